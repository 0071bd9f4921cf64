"""Text -> the phones that say it, by espeak-ng's reading.

espeak-ng writes IPA; it is brought into Kokoro's alphabet, which has one symbol for each sound, then into
``PHONES``.

Source: espeak-ng's IPA; the phone alphabet of Kokoro-82M v1.0 (hexgrad, 2025).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping

from keysync.errors import InputError, MissingProgram
from keysync.synthetic.utterance import PAUSE, VOWELS

ENGLISH, OTHERS = ("en-us", "en-gb"), ("es", "fr-fr", "it", "pt-br")  # as espeak-ng calls what can be said

# Symbol -> ours. A stress mark or a blank is a symbol too, but no phone.
_TABLE = """
b=B d=D f=F h=HH j=Y k=K l=L m=M n=N p=P s=S t=T v=V w=W z=Z ɡ=G ŋ=NG ɹ=R ʃ=SH ʒ=ZH ð=DH θ=TH ʤ=JH ʧ=CH T=D
A=EY I=AY O=OW Q=OW W=AW Y=OY i=IY u=UW ɑ=AA ɔ=AO ɒ=AO ɛ=EH ɪ=IH ᵻ=IH ʊ=UH ʌ=AH ə=AX ᵊ=AX ɜ=ER æ=AE a=AE
,=PAU .=PAU
"""
# What other languages have besides, or mean by the same symbol. A nasal vowel is the vowel to lips; an r of
# the tongue's tip looks like a d, one of the throat like nothing.
_TABLE_ABROAD = """
a=AA ɐ=AX æ=AX o=AO ʊ=UH y=UW ø=UH œ=UH β=B ɣ=G r=D ɾ=D ʁ=HH x=HH χ=HH ɲ=N+Y ʎ=L+Y ʦ=T+S ʣ=D+Z ʝ=Y ɥ=W e=EH
"""
_PHONES = {symbol: (ours,) for symbol, ours in (entry.split("=") for entry in _TABLE.split())}
_PHONES_ABROAD = _PHONES | {
    symbol: tuple(ours.split("+")) for symbol, ours in (entry.split("=") for entry in _TABLE_ABROAD.split())
}
_SAID = dict.fromkeys(ENGLISH, _PHONES) | dict.fromkeys(OTHERS, _PHONES_ABROAD)
_SAID["pt-br"] = _PHONES_ABROAD | {"y": ("IH",)}  # espeak-ng's sign there for an e that ends a word
_SILENT = " ˈˌː\u0303"  # stress, length and nasality are symbols too, but no phones
# espeak-ng's way of writing -> Kokoro's, in this order.
_SPELT = """
ʔˌn̩=tᵊn ʔn̩=tᵊn aɪ=I aʊ=W eɪ=A ɔɪ=Y oʊ=O əʊ=Q dʒ=ʤ tʃ=ʧ əl=ᵊl n̩=ᵊn l̩=ᵊl m̩=ᵊm ʔ=t r=ɹ x=k ɬ=l ç=k ɐ=ə g=ɡ ʲ= ̃=
"""
_AMERICAN = "ɜːɹ=ɜɹ ɜː=ɜɹ ɚ=əɹ ɪə=iə oː=ɔ o=ɔ ː= ɾ=T ɒ=ɔ"
_BRITISH = "eə=ɛː iə=ɪə æ=a ɚ=əɹ ɾ=t"
_ABROAD_SPELT = "tʃ=ʧ dʒ=ʤ ts=ʦ dz=ʣ g=ɡ -="
_WRITTEN = {"en-us": f"{_SPELT} {_AMERICAN}", "en-gb": f"{_SPELT} {_BRITISH}"}


def spell(text: str, language: str) -> str:
    """What espeak-ng reads, in Kokoro's symbols, words apart; it speaks no punctuation.

    Args:
        language: of ``ENGLISH`` or ``OTHERS``.
    Raises:
        MissingProgram: espeak-ng is not installed.
        InputError: it fails.
    """
    spelt = _ipa(text, language)
    for entry in _WRITTEN.get(language, _ABROAD_SPELT).split():
        theirs, _, kokoro = entry.partition("=")
        spelt = spelt.replace(theirs, kokoro)
    return spelt


def phones(symbols: str, language: str) -> tuple[str, ...]:
    """``PHONES`` of what is spelt, after a pause; each comma and full stop is a pause.

    Raises:
        InputError: a symbol is none that our tables have.
    """
    known = _SAID[language]
    found = [PAUSE]
    for index, symbol in enumerate(symbols):
        if symbol in _SILENT:
            continue
        if symbol not in known:
            raise InputError(
                f"espeak-ng: sound {symbol!r} in {symbols!r} is not in our table; add it to pronounce.py"
            )
        if symbol == "ɹ" and _ends_a_vowel(symbols, index, known):
            found[-1] = "ER"  # one sound to us
        elif (symbol, found[-1]) != (",", PAUSE):
            found += known[symbol]
    return tuple(found)


def words(text: str, language: str) -> list[tuple[str, ...]]:
    """The phones of each word. A sound that we do not know, of a foreign name say, is left out.

    Raises:
        MissingProgram: espeak-ng is not installed.
        InputError: it fails.
    """
    known = _SAID[language].keys() | set(_SILENT)
    spelt = ["".join(filter(known.__contains__, word)) for word in spell(text, language).split()]
    return [said for word in spelt if (said := phones(word, language)[1:])]


def _ends_a_vowel(symbols: str, index: int, known: Mapping[str, tuple[str, ...]]) -> bool:
    """Of an r: as in bird, not as in a-round."""
    before, after = symbols[index - 1 : index], symbols[index + 1 :].lstrip("ˈˌ")[:1]
    return before == "ɜ" or (before == "ə" and not (after in known and known[after][0] in VOWELS))


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
    return " ".join(re.sub(r"\([a-z-]+\)", "", done.stdout).split())  # (en): it takes this word for English
