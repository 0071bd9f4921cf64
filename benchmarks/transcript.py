"""What known words are worth, before anything is painted: drawn speech, so that the truth is known.

    python benchmarks/transcript.py [--sentences 24] [--seed 7]

Sentences of 4 s by the two voices that the ear never heard, cut off where 4 s end, as in the drawn suite. By
voice, Pearson's r of the opening that the curves describe with the true one: heard, moved by rule along the
words, and the mean of both, which is what a transcript gives; with a word left out of the text, with two, and
with one too many. Then the share of the speech in which a text is heard: its own, and the next sentence's.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Float32

from keysync.audio.opening import opening_of
from keysync.errors import InputError
from keysync.models import compact_ear
from keysync.script import Words, find, follow, read_words
from keysync.speech import Speech
from keysync.synthetic.articulate import CURVE_SCALES, articulate
from keysync.synthetic.speech import TEST_VOICES, speak
from keysync.synthetic.text import sentence, words_filling
from keysync.synthetic.utterance import RATE_HZ, Utterance, fill

SECONDS = 4.0
EXTRA = ("HH", "AX", "L", "OW")
CPU = torch.device("cpu")


def say(voice: str, rng: np.random.Generator) -> tuple[str, Utterance]:
    """A text, and the first 4 s of it as said."""
    text = sentence(rng, words_filling(SECONDS))
    whole = speak(text, voice, rng)
    samples = whole.samples[: round(SECONDS * RATE_HZ)]
    starts = [(phone.name, phone.start_s) for phone in whole.phones if phone.start_s < len(samples) / RATE_HZ]
    return text, Utterance(samples, RATE_HZ, fill(starts, len(samples) / RATE_HZ))


def opening(curves: Float32[np.ndarray, "t 7"]) -> np.ndarray:
    """How far a mouth opens whose curves these are."""
    jaw, closure = (curves[:, :2] * CURVE_SCALES[:2]).T.astype(np.float64)
    return opening_of(jaw, closure)


def main() -> None:
    parser = argparse.ArgumentParser(description="What known words are worth.")
    parser.add_argument("--sentences", type=int, default=24, help="of each voice")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rng, ear = np.random.default_rng(args.seed), compact_ear()
    columns = ("heard", "by rule", "both", "word missing", "two missing", "word too many")
    print(f"{'':10}" + "".join(f"{name:>15}" for name in columns) + f"{'own text':>15}{'other text':>15}")
    for voice in TEST_VOICES:
        said = [say(voice, rng) for _ in range(args.sentences)]
        scores: dict[str, list[float]] = defaultdict(list)
        for (text, utterance), (other, _) in zip(said, said[1:] + said[:1], strict=True):
            sound, words = Speech([utterance.samples]), read_words(text, "en-us")
            mouth = articulate(utterance, utterance.duration_s, rng, jaw_gain=1.0, lip_gain=1.0)
            with torch.no_grad():
                heard = ear.told_curves(ear(torch.from_numpy(utterance.samples))).numpy()
            true = opening(mouth.curves_at((np.arange(len(heard)) + 0.5) * 0.02))

            def score(curves: np.ndarray, true: np.ndarray = true) -> float:
                return float(np.corrcoef(opening(curves), true)[0, 1])

            def moved(told: Words, sound: Speech = sound, heard: np.ndarray = heard) -> np.ndarray:
                try:
                    known = follow(sound, told, ear, CPU)[: len(heard)]
                except InputError:  # refused: what is heard is all there is
                    return heard
                return np.where(np.isnan(known), heard, known)

            scores["heard"].append(score(heard))
            scores["by rule"].append(score(moved(words)))
            texts = (words, words[:2] + words[3:], words[:2] + words[4:], [*words[:2], EXTRA, *words[2:]])
            for name, told in zip(columns[2:], texts, strict=True):
                scores[name].append(score((moved(told) + heard) / 2))
            scores["own text"].append(find(sound, words, ear, CPU).share)
            scores["other text"].append(find(sound, read_words(other, "en-us"), ear, CPU).share)
        print(f"{voice:10}" + "".join(f"{np.mean(scores[name]):15.3f}" for name in columns), end="")
        print("".join(f"{np.mean(scores[name]):15.2f}" for name in ("own text", "other text")))
        print(f"{'lowest':10}" + "".join(f"{np.min(scores[name]):15.3f}" for name in columns), end="")
        print(f"{np.min(scores['own text']):15.2f}{np.max(scores['other text']):9.2f} (most)")


if __name__ == "__main__":
    main()
