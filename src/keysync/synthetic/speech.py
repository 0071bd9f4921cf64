"""Text and a voice -> sound whose phones are timed by the synthesiser that made it.

flite is run as a program; espeak-ng through its shared library (in a small process of its own), because
only the library tells when each phone starts. Both are tools of this optional part, never linked into
the package.

Source: CMU flite 2.2 (``-psdur``); espeak-ng 1.51 ``speak_lib.h`` (phoneme events).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keysync.errors import InputError, MissingProgram
from keysync.synthetic import espeak_process, festival
from keysync.synthetic.utterance import PAUSE, Utterance, at_any_level, fill, known, read_wav, resample

_FLITE_PITCH_HZ = {"slt": 170.0, "rms": 105.0, "awb": 125.0, "kal16": 100.0}
_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f4", "f5"),
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "aunty", "belinda", "benjamin", "caleb", "david", "ed"),
    *("edward", "Gene", "grandma", "grandpa", "iven", "john", "kaukovalta", "Lee", "linda", "Marco", "max"),
    *("Michael", "Mike", "norbert", "pablo", "paul", "quincy", "rob", "robert", "shelby", "steph", "travis"),
    *("victor", "zac", "croak", "klatt", "klatt2", "klatt3", "klatt4", "whisper", "whisperf"),
)
TRAIN_VOICES = (
    *("slt", "rms", "kal16"),
    *("en-us", "en-gb-scotland"),
    *(f"en-us+{variant}" for variant in _VARIANTS),
)
TEST_VOICES = ("awb", "en-us+f3")  # never trained on
EAR_VOICES = (*TRAIN_VOICES, *festival.VOICES)  # what the audio encoder hears; drawn people have the first

# An espeak phone may be two of ours in a row (a vowel and its r), or none: it then lengthens the one before.
_ESPEAK_TABLE = """
0=AA A:=AA A@=AA+R a=AE aa=AE V=AH VR=AH+R @=AX @2=AX @-=AX a#=AX @L=AX+L 3=ER 3:=ER
O=AO O2=AO O:=AO O@=AO+R o@=AO+R e=EH E=EH e@=EH+R I=IH I2=IH I#=IH IR=IH+R i=IY i:=IY i@=IY+AX i@3=IY+R
U=UH U@=UH+R u=UW u:=UW eI=EY aI=AY aI2=AY aI@=AY+AX aI3=AY+R aU=AW aU@=AW+R aU3=AW+R OI=OY oU=OW
p=P b=B m=M f=F v=V T=TH D=DH t=T t#=T t2=T d=D n=N n-=N l=L l^=L L=L s=S z=Z S=SH Z=ZH tS=CH dZ=JH
k=K g=G N=NG h=HH r=R r-=R w=W w#=W j=Y ?= ;= _=PAU _:=PAU _::=PAU _|=PAU
"""
_ESPEAK = {
    name: tuple(part for part in ours.split("+") if part)
    for name, _, ours in (entry.partition("=") for entry in _ESPEAK_TABLE.split())
}
# Seconds by which an espeak event comes late: a stop's event marks its burst, not its silent closure.
_ESPEAK_LATE_S = {**dict.fromkeys(("P", "B", "T", "D", "K", "G"), 0.05), "M": 0.01}


def speak(text: str, voice: str, rng: np.random.Generator) -> Utterance:
    """Say ``text`` at 16 kHz, at a pace, pitch and level drawn from ``rng``.

    The playback rate is drawn too (0.85 to 1.18) and every time divided by it: pitch and vocal tract
    move together, so one recorded voice becomes many while the times stay exact.

    Args:
        text: English, or ``text.babble`` for a voice of another language.
        voice: a name of ``EAR_VOICES`` or ``TEST_VOICES``; any ``en-*`` espeak voice.
    Raises:
        MissingProgram: the synthesiser of this voice is not installed.
        InputError: it knows no such voice, or says a phone that our tables do not have.
    """
    pace, pitch = rng.uniform(0.85, 1.3), rng.uniform(-1.0, 1.0)
    if voice.startswith("en-"):
        spoken = speak_espeak(text, voice, words_per_minute=round(175 / pace), pitch=round(50 + 25 * pitch))
    elif voice in festival.VOICES:
        spoken = festival.speak_festival(text, voice, stretch=pace)
    else:
        spoken = speak_flite(text, voice, stretch=pace, pitch_scale=1.0 + 0.2 * pitch)
    spoken = resample(spoken, playback=rng.uniform(0.85, 1.18))
    return Utterance(at_any_level(spoken.samples, rng), spoken.rate_hz, spoken.phones)


def speak_flite(text: str, voice: str, *, stretch: float, pitch_scale: float) -> Utterance:
    """Speak through the flite program, at the voice's own rate; ``stretch`` above 1 is slower.

    Raises:
        MissingProgram: flite is not installed.
        InputError: the voice is unknown, or flite fails.
    """
    if voice not in _FLITE_PITCH_HZ:
        raise InputError(f"{voice}: no such voice; take one of {', '.join(TRAIN_VOICES + TEST_VOICES)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"  # a file of its own: processes that share one overwrite each other
        command = ["flite", "-voice", voice, "-psdur", "--setf", f"duration_stretch={stretch:.4f}"]
        command += ["--setf", f"int_f0_target_mean={_FLITE_PITCH_HZ[voice] * pitch_scale:.2f}"]
        try:
            done = subprocess.run(
                [*command, "-t", text, "-o", str(path)], capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise MissingProgram("flite: not found; install it (Debian: apt install flite)") from error
        if done.returncode != 0 or not path.exists():
            raise InputError(f"flite: could not say {text!r}: {done.stderr.strip() or 'no reason given'}")
        samples, rate_hz = read_wav(path)
    # Each token is "phone:end": a phone starts where the one before it ended.
    tokens = [token.rsplit(":", 1) for token in done.stdout.split()]
    starts_s = [0.0, *(float(end) for _, end in tokens[:-1])]
    names = [known(name.upper(), "flite") for name, _ in tokens]
    return Utterance(samples, rate_hz, fill(list(zip(names, starts_s, strict=True)), len(samples) / rate_hz))


def speak_espeak(text: str, voice: str, *, words_per_minute: int, pitch: int) -> Utterance:
    """Speak through libespeak-ng at its own rate; ``pitch`` runs from 0 to 100, 50 is normal.

    Raises:
        MissingProgram: libespeak-ng is not installed.
        InputError: the voice or one of its phones is unknown, or the text holds nothing to say.
    """
    command = [sys.executable, "-I", "-S", espeak_process.__file__, voice, str(words_per_minute), str(pitch)]
    done = subprocess.run([*command, text], capture_output=True, check=False)
    if done.returncode == espeak_process.EXIT_NO_LIBRARY:
        raise MissingProgram("espeak-ng: not found; install it (Debian: apt install espeak-ng)")
    if done.returncode == espeak_process.EXIT_NO_VOICE:
        raise InputError(f"{voice}: no such voice; take one of {', '.join(TRAIN_VOICES + TEST_VOICES)}")
    header, _, sound = done.stdout.partition(b"\n")
    if done.returncode != 0 or not sound:
        raise InputError(
            f"espeak-ng: could not say {text!r}: {done.stderr.decode().strip() or 'it is silent'}"
        )
    told = json.loads(header)
    samples = np.frombuffer(sound, np.int16).astype(np.float32) / 32768
    events: list[tuple[str, float]] = [(name, start_s) for name, start_s in told["phones"] if name]
    ends_s = [start_s for _, start_s in events[1:]] + [len(samples) / told["rate_hz"]]

    starts: list[tuple[str, float]] = [(PAUSE, 0.0)]
    for (name, start_s), end_s in zip(events, ends_s, strict=True):
        if name not in _ESPEAK:
            raise InputError(f"{voice}: phone {name!r} of espeak-ng is not in our table; add it to speech.py")
        for index, part in enumerate(_ESPEAK[name]):
            at_s = start_s + (end_s - start_s) * 0.6 * index - _ESPEAK_LATE_S.get(part, 0.0)
            starts.append((part, max(at_s, starts[-1][1])))
    return Utterance(samples, told["rate_hz"], fill(starts, len(samples) / told["rate_hz"]))
