"""Sentences to speak: random words, plain nonsense between them, and a few commas.

Meaning does not matter to a mouth, variety does. The words were chosen so that every ARPAbet phone
occurs and the sounds seen on the lips (p b m f v w) occur often; made-up syllables add the
transitions that English words are short of.
"""

from __future__ import annotations

import math

import numpy as np

_ENGLISH = """
able about above after again apple autumn baby back bag ball bamboo banana basket bath beach because become
bed beef before beige begin believe below beside better between big bird black blue board boat body book both
bottle bottom bow box boy brave bread bring brother brown bubble build bump business busy butter button cabin
call camp cap carry casual chair change cheap check cheese chew chief child choose church city clap clean
climb close cloth club coffee coin come comb cook cool copy cough could cow crash cup curve dance day deaf
deep different dinner dive dog door double down dream drop dwarf each early earth easy eight elephant empty
enjoy enough even evening every examine example eye fabric face fall family famous far farm father favour
feather february feel fever few field fifty film final finger fire first fish five fix flame flavour flower
fly follow food foot for forest fork form forty found four free friday friend from fruit full fun funny game
garage garden gather gave gift give glove go good grape grave great green grow gym half hammer hand happy harm
have head hear heart heavy help herb high hive home hope house how huge human idea imagine improve into island
item jam job join joy judge july jump june just keep key kitchen knee knife know lamp language large laugh
leaf leap learn leave left lemon less level library lift light like limb lip listen little live loaf long look
loud love lump machine magic make many map marble march matter maybe mean measure member memory middle might
mile milk mind minute mirror mob monday money month moon morning mother mountain mouse mouth move movie much
mud music must myth name near never new night nine nobody noise north nothing number oath object ocean office
often oil old omit one onion only open orange other our outside oven over page paint pair paper park party
pass path paw peace pebble people pepper perfect phone piano picture piece pink pipe place plan play please
pleasure plum point pool poor pop power prefer problem prove puff pull pump purple push put puzzle queen
question quick quiet rabbit rain read ready really remember rhyme rice ring river road robin roof room rope
rough royal rub rubber run sad safe salt same sample sandwich save say school sea seven shape sharp shave she
sheep shelf shirt shoe shop should shrimp shrug sight simple sing six sleep slow small smile smooth snow soap
social soft some song soon soup south spoon spring stamp stop story stove street strong summer sun super
supper surf swim swamp table take talk tape teacher teeth television temper ten than that the them these thick
thing think this thought three thumb thump time together tomb tomorrow tooth top touch towel town toy travel
treasure tree trouble truck true try tube turn twelve twin umbrella uncle under until up use usual valley
value van vase vein vague very view village vine violin visit vivid voice vote vowel vow wait walk wall want
warm wash wasp watch water wave way we weather web week welcome well west whale wheel where whisper white who
why wide wife wild wind window wing winter with woman wonder wood word work world worm would wrap write yacht
yard year yellow yes yesterday young zebra zero zipper zoo
"""

WORDS = tuple(_ENGLISH.split())
_ONSETS = (
    "b",
    "p",
    "m",
    "f",
    "v",
    "w",
    "b",
    "p",
    "m",
    "f",
    "v",
    "w",
    "d",
    "t",
    "k",
    "s",
    "sh",
    "ch",
    "l",
    "n",
    "r",
)
_VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "oy", "ow", "aw", "ay")
_CODAS = ("b", "p", "m", "ff", "v", "mp", "th", "sh", "t", "k", "n", "l", "z")
_NONSENSE_SHARE = 0.15
_BABBLED = (*"pbmfvpbmfvdtkszlnrgc", "")


def words_filling(seconds: float) -> int:
    """A little more than anyone says in that time, so that speech fills a clip."""
    return max(3, math.ceil(seconds * 3.5))


def sentence(rng: np.random.Generator, words: int | None = None) -> str:
    """Draw a sentence of ``words`` words (5 to 11 if not given); one in three long ones has a pause."""
    count = int(rng.integers(5, 12)) if words is None else words
    drawn = [
        _nonsense(rng) if rng.random() < _NONSENSE_SHARE else str(rng.choice(WORDS)) for _ in range(count)
    ]
    if count > 7 and rng.random() < 0.35:
        drawn[count // 2] += ","
    return " ".join(drawn).capitalize() + "."


def _nonsense(rng: np.random.Generator) -> str:
    return "".join(str(rng.choice(part)) for part in (_ONSETS, _VOWELS, _CODAS))


def babble(rng: np.random.Generator, words: int | None = None, ended: float = 0.0) -> str:
    """Draw ``words`` made-up words (5 to 11 if not given) that most languages spell as they say them.

    Args:
        ended: share of the syllables that end in a consonant.
    """
    count = int(rng.integers(5, 12)) if words is None else words
    drawn = []
    for _ in range(count):
        syllables = [
            str(rng.choice(_BABBLED)) + str(rng.choice([*"aeiou"])) + _end(rng, ended)
            for _ in range(rng.integers(1, 5))
        ]
        drawn.append("".join(syllables) + ("," if rng.random() < 0.06 else ""))
    return " ".join(drawn) + "."


def _end(rng: np.random.Generator, share: float) -> str:
    return str(rng.choice([*"nmrsl"])) if share and rng.random() < share else ""
