"""Text -> speech that sounds like people, by Kokoro's voices: what is said in order, but not when.

Other synthesisers tell exactly when each phone starts and sound like machines. Kokoro's voices, and mixtures
of them, sound like people, and its own idea of when a phone starts is some 65 ms late and 25 ms uncertain. So
it is not asked: ``train/align.py`` finds the times in the sound.

Source: Kokoro-82M v1.0 (hexgrad, 2025), its 8-bit ONNX file and phone alphabet; espeak-ng's IPA.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from keysync.checkpoints import KOKORO, kokoro_file
from keysync.errors import InputError, MissingProgram
from keysync.synthetic.utterance import PAUSE

RATE_HZ = 24000
TEST_VOICES = ("am_michael", "bf_emma")  # never trained on, nor mixed into others
_STYLE, _LONGEST = 256, 510  # numbers of a style, symbols of a sentence
_MIXED, _FOREIGN = 0.4, 0.2  # of the voices drawn; the rest are English ones as they are

# Symbol -> ours. A stress mark or a blank is a symbol too, but no phone.
_TABLE = """
b=B d=D f=F h=HH j=Y k=K l=L m=M n=N p=P s=S t=T v=V w=W z=Z ɡ=G ŋ=NG ɹ=R ʃ=SH ʒ=ZH ð=DH θ=TH ʤ=JH ʧ=CH T=D
A=EY I=AY O=OW Q=OW W=AW Y=OY i=IY u=UW ɑ=AA ɔ=AO ɒ=AO ɛ=EH ɪ=IH ᵻ=IH ʊ=UH ʌ=AH ə=AX ᵊ=AX ɜ=ER æ=AE a=AE
,=PAU .=PAU
"""
_PHONES = dict(entry.split("=") for entry in _TABLE.split())
# Kokoro's number of each symbol, which its weights were trained with.
_NUMBERS = dict(zip(",. AIOQSTWY", (3, 4, 16, 24, 25, 31, 33, 35, 36, 39, 41), strict=True)) | {
    **{letter: 43 + index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz") if letter not in "g"},
    **{"ᵊ": 42, "ɑ": 69, "ɒ": 71, "æ": 72, "ɔ": 76, "ð": 81, "ʤ": 82, "ə": 83, "ɛ": 86, "ɜ": 87, "ɡ": 92},
    **{"ɪ": 102, "ŋ": 112, "θ": 119, "ɹ": 123, "ʃ": 131, "ʧ": 133, "ʊ": 135, "ʌ": 138, "ʒ": 147, "ˈ": 156},
    **{"ˌ": 157, "ː": 158, "ᵻ": 177},
}
# espeak-ng's way of writing -> Kokoro's, in this order.
_SPELT = """
ʔˌn̩=tᵊn ʔn̩=tᵊn aɪ=I aʊ=W eɪ=A ɔɪ=Y oʊ=O əʊ=Q dʒ=ʤ tʃ=ʧ əl=ᵊl n̩=ᵊn l̩=ᵊl m̩=ᵊm ʔ=t r=ɹ x=k ɬ=l ç=k ɐ=ə g=ɡ ʲ= ̃=
"""
_AMERICAN = "ɜːɹ=ɜɹ ɜː=ɜɹ ɚ=əɹ ɪə=iə oː=ɔ o=ɔ ː= ɾ=T ɒ=ɔ"
_BRITISH = "eə=ɛː iə=ɪə æ=a ɚ=əɹ ɾ=t"


@dataclass(frozen=True, slots=True)
class Style:
    """One way to sound: a voice, or a mixture of two."""

    name: str
    british: bool
    numbers: Float32[np.ndarray, "lengths 256"]  # for a sentence of each length


@dataclass(frozen=True, slots=True)
class Script:
    """A sentence as Kokoro reads it, and its phones of ``PHONES``, from a pause to a pause."""

    symbols: str
    phones: tuple[str, ...]


def draw_style(rng: np.random.Generator) -> Style:
    """An English voice, a mixture of one with any other, or a voice of another language speaking English.

    Raises:
        CheckpointError: Kokoro is not on this machine.
    """
    known = [name for name in sorted(_voices()) if name not in TEST_VOICES]
    english = [name for name in known if name[0] in "ab"]
    kind = rng.random()
    if kind < _FOREIGN:
        return style(str(rng.choice([name for name in known if name not in english])))
    first = style(str(rng.choice(english)))
    if kind > _FOREIGN + _MIXED:
        return first
    other, share = style(str(rng.choice(known))), np.float32(rng.uniform(0.3, 0.75))
    mixed = share * first.numbers + (1 - share) * other.numbers
    return Style(f"{first.name}+{other.name}", first.british, mixed)


def style(voice: str) -> Style:
    """A voice as it is.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        InputError: it has no such voice.
    """
    if voice not in _voices():
        raise InputError(f"{voice}: no such voice; take one of {', '.join(sorted(_voices()))}")
    return Style(voice, voice.startswith("b"), _voices()[voice])


def read(text: str, british: bool) -> Script:
    """What to say, by espeak-ng's reading of English; each comma and full stop is a pause.

    Raises:
        MissingProgram: espeak-ng is not installed.
        InputError: it says a phone that our tables do not have, or nothing.
    """
    parts = []
    for clause, mark in re.findall(r"([^,.]+)([,.]?)", text):
        spelt = _ipa(clause, "en-gb" if british else "en-us")
        for entry in (*_SPELT.split(), *(_BRITISH if british else _AMERICAN).split()):
            theirs, _, kokoro = entry.partition("=")
            spelt = spelt.replace(theirs, kokoro)
        parts.append(spelt + mark)
    symbols = " ".join(parts)
    phones = [PAUSE]
    for index, symbol in enumerate(symbols):
        if symbol in " ˈˌː":
            continue
        if symbol not in _PHONES:
            raise InputError(
                f"espeak-ng: sound {symbol!r} in {text!r} is not in our table; add it to kokoro.py"
            )
        if symbol == "ɹ" and symbols[index - 1 : index] in ("ɜ", "ə") and phones[-1] in ("ER", "AX"):
            phones[-1] = "ER"  # one sound to us
        elif (symbol, phones[-1]) != (",", PAUSE):
            phones.append(_PHONES[symbol])
    if len(phones) < 3 or len(symbols) > _LONGEST:
        raise InputError(f"{text!r}: give Kokoro a sentence, {_LONGEST} sounds at most")
    return Script(symbols, tuple(phones if phones[-1] == PAUSE else [*phones, PAUSE]))


def speak_kokoro(script: Script, how: Style, speed: float) -> Float32[np.ndarray, " n"]:
    """Say it at 24 kHz; ``speed`` above 1 is faster.

    Raises:
        CheckpointError: Kokoro is not on this machine.
        MissingProgram: onnxruntime is not installed.
    """
    numbers = [_NUMBERS[symbol] for symbol in script.symbols]
    told = {
        "tokens": np.array([[0, *numbers, 0]]),
        "style": how.numbers[len(numbers) - 1][None],
        "speed": np.array([speed], np.float32),
    }
    samples: Float32[np.ndarray, " n"] = _network().run(None, told)[0].ravel()
    return samples


@lru_cache(maxsize=1)
def _network() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingProgram("onnxruntime: not installed; run pip install 'keysync[synthetic]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        kokoro_file("model.onnx"), options, providers=["CPUExecutionProvider"]
    )


@lru_cache(maxsize=1)
def _voices() -> dict[str, Float32[np.ndarray, "lengths 256"]]:
    """By name; the file is one we know, so what is in it needs no doubt."""
    folder, found = KOKORO["voices.tgz"].member, {}
    with tarfile.open(kokoro_file("voices.tgz")) as archive:
        for member in archive:
            path, content = Path(member.name), archive.extractfile(member)
            if str(path.parent) == folder and content is not None:
                found[path.stem] = np.frombuffer(content.read(), np.float32).reshape(_LONGEST, _STYLE)
    return found


def _ipa(clause: str, voice: str) -> str:
    try:
        done = subprocess.run(
            ["espeak-ng", "-q", "--ipa", "-v", voice, "--", clause],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingProgram("espeak-ng: not found; install it (Debian: apt install espeak-ng)") from error
    if done.returncode:
        raise InputError(f"espeak-ng: could not read {clause!r}: {done.stderr.strip() or 'no reason given'}")
    return " ".join(done.stdout.split())
