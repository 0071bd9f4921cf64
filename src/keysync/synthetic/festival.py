"""Text and a Festival voice -> timed speech: more recorded throats for the ear to learn from.

flite and espeak-ng have three recorded English voices to train on, which is few. Festival has others, most of
them of other languages. What such a voice says is babble in its own language's sounds, each labelled with the
English phone whose mouth it shares: lips do not know languages, and users dub into all of them.

Source: Festival 2.5 (``utt.synth``, relation ``Segment``); its Czech, Finnish, Italian, Catalan and Russian
voices' phone sets.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from string import ascii_letters

from keysync.errors import InputError, MissingProgram
from keysync.synthetic.utterance import CONSONANTS, PAUSE, VOWELS, Utterance, fill, known, read_wav

# Ours -> Festival's name, its language, Debian's package.
VOICES = {
    "festival-ked": ("ked_diphone", "english", "festvox-kdlpc16k"),
    "festival-slt": ("cmu_us_slt_arctic_hts", "english", "festvox-us-slt-hts"),
    "festival-dita": ("czech_dita", "czech", "festvox-czech-dita"),
    "festival-krb": ("czech_krb", "czech", "festvox-czech-krb"),
    "festival-machac": ("czech_machac", "czech", "festvox-czech-machac"),
    "festival-ph": ("czech_ph", "czech", "festvox-czech-ph"),
    "festival-lj": ("suo_fi_lj_diphone", "finnish", "festvox-suopuhe-lj"),
    "festival-mv": ("hy_fi_mv_diphone", "finnish", "festvox-suopuhe-mv"),
    "festival-lp": ("lp_diphone", "italian", "festvox-italp16k"),
    "festival-pc": ("pc_diphone", "italian", "festvox-itapc16k"),
    "festival-ona": ("upc_ca_ona_hts", "catalan", "festvox-ca-ona-hts"),
    "festival-nsh": ("msu_ru_nsh_clunits", "russian", "festvox-ru"),
}

# Stress and length marks are taken off a name before it is looked up. A rolled r sounds like the tapped d of
# American English and leaves the lips alone, as English r does not.
_COMMON = """
#=PAU ##=PAU pau=PAU _= a=AA e=EH E=EH i=IY o=AO O=AO u=UW y=UW &=AX ax=AX j=Y w=W
p=P b=B m=M f=F v=V t=T d=D n=N l=L s=S z=Z S=SH Z=ZH k=K g=G h=HH r=D rr=D
ts=T+S c=T+S dz=D+Z tS=CH dZ=JH J=N+Y L=L+Y N=NG ng=NG nf=M
"""
_OWN = {
    "english": " ".join(f"{name.lower()}={name}" for name in (PAUSE, *VOWELS, *CONSONANTS)),
    "czech": "ch=HH c~=CH dz~=JH s~=SH z~=ZH r~=ZH r~*=SH n~=N+Y t~=T+Y d~=D+Y n*=NG",
    "finnish": "",
    "italian": "",
    "catalan": "",
    "russian": """
        ii=IY yy=IH uu=UW ee=EH oo=AO aa=AA a=AH e=IH i=IH y=IH u=UH ae=AX ay=AX ur=UH ch=CH sh=SH sch=SH
        zh=ZH hh=HH pp=P bb=B tt=T dd=D kk=K gg=G ff=F vv=V ss=S zz=Z mm=M nn=N ll=L
    """,
}
_CYRILLIC = str.maketrans("abvgdezijklmnoprstufhcqwy", "абвгдезийклмнопрстуфхцшжы")
_PROGRAM = """
(voice_{voice})
(Param.set 'Duration_Stretch {stretch:.3f})
(let ((utt (utt.synth (Utterance Text "{text}"))))
  (utt.save.wave utt "{path}")
  (mapcar (lambda (s) (format t "%s %.4f\\n" (item.name s) (item.feat s 'end)))
          (utt.relation.items utt 'Segment)))
"""
_SPELT = {*ascii_letters, *" ,.'"}
_LONGEST_S = 60  # that one sentence may take to make


def language(voice: str) -> str:
    """What a voice of ``VOICES`` speaks."""
    return VOICES[voice][1]


def speak_festival(text: str, voice: str, *, stretch: float) -> Utterance:
    """Speak at the voice's own rate; ``stretch`` above 1 is slower.

    The three voices that are not made of diphones (slt, ona, nsh) keep their own pace.

    Args:
        text: letters, commas and a full stop; for other languages than English of ``text.babble``.
        voice: a name of ``VOICES``.
    Raises:
        MissingProgram: Festival or this voice is not installed.
        InputError: the text holds something else, Festival fails, or says a phone that is not in our tables.
    """
    if not set(text) <= _SPELT:  # it becomes part of a program
        raise InputError(f"{text!r}: give letters, blanks, commas and full stops only")
    name, tongue, package = VOICES[voice]
    spelt = text.translate(_CYRILLIC) if tongue == "russian" else text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        program = Path(folder) / "say.scm"
        program.write_text(
            _PROGRAM.format(voice=name, stretch=stretch, text=spelt, path=path), encoding="utf-8"
        )
        try:
            done = subprocess.run(
                ["festival", "--batch", str(program)],
                capture_output=True, text=True, check=False, timeout=_LONGEST_S,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise MissingProgram("festival: not found; install it (Debian: apt install festival)") from error
        except subprocess.TimeoutExpired as error:
            raise InputError(f"festival: {voice} took over {_LONGEST_S} s to say {text!r}") from error
        if f"voice_{name}" in done.stderr:
            raise MissingProgram(f"{voice}: Festival has no such voice; Debian: apt install {package}")
        if done.returncode != 0 or not path.exists():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"festival: {voice} could not say {text!r}: {reason}")
        samples, rate_hz = read_wav(path)
    table = _table(tongue)
    starts: list[tuple[str, float]] = []
    start_s = 0.0
    for line in done.stdout.splitlines():
        symbol, end = line.split()
        end_s = float(end)
        ours = table.get(symbol, table.get(symbol.rstrip("1:")))
        if ours is None:
            raise InputError(f"{voice}: phone {symbol!r} of Festival is not in our table; add it")
        for index, part in enumerate(ours):
            at_s = start_s + (end_s - start_s) * index / len(ours)
            starts.append((known(part, "festival"), at_s))
        start_s = end_s
    return Utterance(samples, rate_hz, fill(starts, len(samples) / rate_hz))


def _table(tongue: str) -> dict[str, tuple[str, ...]]:
    entries = (_OWN[tongue] if tongue == "english" else f"{_COMMON} {_OWN[tongue]}").split()
    split = (entry.partition("=") for entry in entries)
    return {name: tuple(part for part in ours.split("+") if part) for name, _, ours in split}
