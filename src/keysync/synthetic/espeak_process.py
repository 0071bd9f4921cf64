"""One utterance of espeak-ng, made in a process of its own: run by ``speech.py``, never imported.

The library keeps hidden state between utterances (the phase of its voice's flutter, its random
numbers), so the second time a sentence is said it comes out a few samples longer. A fresh process
gives the same bytes for the same words. It needs the standard library only, so it starts in 20 ms.

Arguments: voice, words per minute, pitch, text. Writes one line of JSON ({"rate_hz", "phones": [[name,
start_s], ...]}), then the samples as native 16-bit integers. Exits with one of the codes below.

Source: espeak-ng 1.51, ``speak_lib.h``.
"""

import ctypes
import json
import sys

EXIT_NO_LIBRARY, EXIT_NO_VOICE = 3, 4

_AUDIO_OUTPUT_SYNCHRONOUS, _INITIALIZE_PHONEME_EVENTS = 2, 1
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_CHARS_UTF8 = 1
_EVENT_LIST_END, _EVENT_PHONEME = 0, 7


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


def main(voice: str, words_per_minute: int, pitch: int, text: str) -> int:
    """Speak to standard output; returns the exit code."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        return EXIT_NO_LIBRARY
    rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, _INITIALIZE_PHONEME_EVENTS)
    if rate_hz <= 0:
        return EXIT_NO_LIBRARY
    ctypes.CDLL(None).srand(0)  # its breath noise comes from C's rand, which it seeds with the time of day
    chunks: list[bytes] = []
    phones: list[tuple[str, float]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
    def collect(sound, count, event):  # type: ignore[no-untyped-def]
        if sound and count > 0:
            chunks.append(ctypes.string_at(sound, 2 * count))
        index = 0
        while event[index].type != _EVENT_LIST_END:
            if event[index].type == _EVENT_PHONEME:
                phones.append((event[index].id.string.decode(), event[index].audio_position / 1000))
            index += 1
        return 0

    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return EXIT_NO_VOICE
    library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
    line = text.encode()
    library.espeak_Synth(line, len(line) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    sys.stdout.buffer.write(json.dumps({"rate_hz": rate_hz, "phones": phones}).encode() + b"\n")
    sys.stdout.buffer.write(b"".join(chunks))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
