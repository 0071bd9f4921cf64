"""What moving by rule and known words are worth, before anything is painted; drawn speech tells the truth.

    python benchmarks/movement.py [--sentences 24] [--seed 7]

Sentences of 4 s by the two voices that the ear never heard, cut off where 4 s end, as in the drawn suite. By
voice, Pearson's r of the opening that the curves describe with the true one: as heard; moved by rule too, as
networks are told; and told the words: all, with one missing from the text, with two, and with one too many.
The same in noise and over music. Then how sure the ear is of the phones that it names, and how well the
speech agrees with a text (mean log likelihood of 20 ms): its own, and the next sentence's.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from itertools import product

import numpy as np
import torch
from jaxtyping import Float32

from keysync.audio.compact import SILENT_TAIL_S, TOKEN_HOP, CompactAudioEncoder
from keysync.audio.opening import opening_of
from keysync.audio.window import AudioTokens
from keysync.errors import InputError
from keysync.evaluate.lips import correlation
from keysync.models import compact_ear
from keysync.movement import Movement, follow, move
from keysync.script import Words, find, read_words
from keysync.speech import Speech
from keysync.synthetic.articulate import CURVE_SCALES, articulate
from keysync.synthetic.channel import music, over
from keysync.synthetic.room import noise
from keysync.synthetic.speech import TEST_VOICES, speak
from keysync.synthetic.text import sentence, words_filling
from keysync.synthetic.utterance import RATE_HZ, Utterance, fill

SECONDS = 4.0
EXTRA = ("HH", "AX", "L", "OW")
CPU = torch.device("cpu")
# Noise 10 dB below the speech and as loud as it, music as loud.
CONDITIONS = {
    "clean": lambda samples, _: samples,
    "noise -10 dB": lambda samples, rng: over(noise(rng.normal(size=len(samples)), 0.5), samples, 10),
    "noise 0 dB": lambda samples, rng: over(noise(rng.normal(size=len(samples)), 0.5), samples, 0),
    "music 0 dB": lambda samples, rng: over(music(len(samples), rng), samples, 0),
}


def say(voice: str, rng: np.random.Generator) -> tuple[str, Utterance]:
    """A text, and the first 4 s of it as said."""
    text = sentence(rng, words_filling(SECONDS))
    return text, cut(speak(text, voice, rng))


def cut(whole: Utterance) -> Utterance:
    """The first 4 s of it."""
    samples = whole.samples[: round(SECONDS * RATE_HZ)]
    starts = [(phone.name, phone.start_s) for phone in whole.phones if phone.start_s < len(samples) / RATE_HZ]
    return Utterance(samples, RATE_HZ, fill(starts, len(samples) / RATE_HZ))


def opening(curves: Float32[np.ndarray, "t 7"]) -> np.ndarray:
    """How far a mouth opens whose curves these are."""
    jaw, closure = (curves[:, :2] * CURVE_SCALES[:2]).T.astype(np.float64)
    return opening_of(jaw, closure)


def main() -> None:
    parser = argparse.ArgumentParser(description="What moving by rule and known words are worth.")
    parser.add_argument("--sentences", type=int, default=24, help="of each voice")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    ear = compact_ear()
    columns = ("heard", "by rule too", "all words", "one missing", "two missing", "one too many")
    print(f"{'':22}" + "".join(f"{name:>14}" for name in (*columns, "sure", "own text", "other text")))
    for voice, (condition, spoil) in product(TEST_VOICES, CONDITIONS.items()):
        rng = np.random.default_rng(args.seed)
        said = [say(voice, rng) for _ in range(args.sentences)]
        scores: dict[str, list[float]] = defaultdict(list)
        for (text, utterance), (other, _) in zip(said, said[1:] + said[:1], strict=True):
            samples = np.asarray(spoil(utterance.samples, rng), np.float32)
            sound, words = Speech([samples]), read_words(text, "en-us")
            mouth = articulate(utterance, utterance.duration_s, rng, jaw_gain=1.0, lip_gain=1.0)
            tokens = AudioTokens(ear, sound, tail_s=SILENT_TAIL_S)
            heard = ear.told_curves(tokens.span(0, -(-len(samples) // TOKEN_HOP))).numpy()
            true = opening(mouth.curves_at((np.arange(len(heard)) + 0.5) * 0.02))
            texts = {
                "by rule too": None,
                "all words": words,
                "one missing": words[:2] + words[3:],
                "two missing": words[:2] + words[4:],
                "one too many": [*words[:2], EXTRA, *words[2:]],
            }
            scores["heard"].append(correlation(opening(heard), true))
            for name, told in texts.items():
                moved = listen(sound, ear, told)
                scores[name].append(correlation(opening(moved.curves[: len(heard)]), true))
                if told is None:
                    scores["sure"].append(moved.sure)
            scores["own text"].append(find(sound, words, ear, CPU)[1])
            scores["other text"].append(find(sound, read_words(other, "en-us"), ear, CPU)[1])
        means = "".join(f"{np.mean(scores[name]):14.3f}" for name in columns)
        shares = "".join(f"{np.mean(scores[name]):14.2f}" for name in ("sure", "own text", "other text"))
        print(f"{voice + ', ' + condition:22}{means}{shares}")
        lowest = "".join(f"{np.min(scores[name]):14.3f}" for name in columns)
        shares = "".join(f"{np.min(scores[name]):14.2f}" for name in ("sure", "own text"))
        shares += f"{np.max(scores['other text']):14.2f}"
        print(f"{'lowest (other: most)':22}{lowest}{shares}")


def listen(sound: Speech, ear: CompactAudioEncoder, words: Words | None) -> Movement:
    """As networks are told; a text that is refused is left out."""
    try:
        found = None if words is None else follow(sound, words, ear, CPU)
    except InputError:
        found = None
    return move(sound, ear, CPU, found)


if __name__ == "__main__":
    main()
