"""What it is worth to write down what a speech says, before anything is painted.

    python benchmarks/recognise.py [--sentences 24] [--seed 9]

Needs Moonshine (``keysync models fetch moonshine``); Kokoro's English voices speak too if Kokoro is there.
The first 4 s of plain sentences, and of random words with nonsense between them, which no recogniser can
know, by voices that the ear never heard; clean, in noise and over music. Pearson's r of the opening that the
curves describe with the true one: as heard, with what is recognised (``--recognise``), with the words as they
are (``--transcript``); then the share of sentences of which something was recognised. Kokoro's phones lie
where our ear finds those of the text, which flatters words.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
from jaxtyping import Float32
from movement import CONDITIONS, CPU, SECONDS, cut, listen, opening

from keysync.audio.compact import TOKEN_HOP, CompactAudioEncoder
from keysync.audio.recognise import Recogniser, open_recogniser
from keysync.audio.voice import gate
from keysync.checkpoints import installed_kokoro
from keysync.config import Language
from keysync.evaluate.lips import correlation
from keysync.models import compact_ear
from keysync.movement import move, recognise
from keysync.script import read_words
from keysync.speech import Speech
from keysync.synthetic import kokoro
from keysync.synthetic.align import align
from keysync.synthetic.articulate import articulate
from keysync.synthetic.speech import TEST_VOICES, speak
from keysync.synthetic.text import sentence, words_filling
from keysync.synthetic.utterance import Utterance

PLAIN = """
The weather this week has been lovely, so we walked along the river every morning.
Could you please move the meeting to Friday, because my flight leaves on Thursday night?
My brother bought a small boat last summer and he still cannot swim.
Before we begin, make sure that the camera is charged and the lamp is off.
People often forget that the simplest answer may be the best one.
She put the blue bowl on the table and left the room without a word.
We have improved the battery, the screen and the speed of the whole machine.
Welcome to our channel, today I will show you how to bake bread at home.
The company made more money in the first half of the year than ever before.
If you have any questions about the product, feel free to send me a message.
Nobody knew where the old map came from or who had drawn it.
Open the window a little, it is far too warm in here.
The museum will be closed on Monday, but the garden stays open.
I would rather have coffee than tea at this time of the day.
Most of the people who live in this village work in the big factory.
He promised his mother that he would phone her from the airport.
You can find the picture above the fireplace in the smaller room.
Remember to save your work before you turn the computer off.
There are five important rules, and the first one is never to give up.
The film was much longer than I expected, but I really enjoyed the music.
Our teacher asked us to write a poem about the beginning of spring.
Put both hands on the wheel and look over your left shoulder.
It took them seven months to build the bridge across the bay.
Maybe we should buy some apples and cheese from the market.
""".strip().splitlines()


def say(text: str, voice: str, rng: np.random.Generator, ear: CompactAudioEncoder) -> Utterance:
    """The first 4 s of it as said."""
    if voice in TEST_VOICES:
        return cut(speak(text, voice, rng))
    samples, phones = kokoro.utter(text, kokoro.style(voice), rng)
    return cut(align(ear, samples, phones)[0])


def scores(
    samples: Float32[np.ndarray, " n"],
    said: Utterance,
    text: str,
    language: Language,
    recogniser: Recogniser,
    ear: CompactAudioEncoder,
) -> list[float]:
    """Of one sentence: r as heard, recognised, told, and whether anything was recognised."""
    sound = gate(Speech([samples]))
    mouth = articulate(said, said.duration_s, np.random.default_rng(0), jaw_gain=1.0, lip_gain=1.0)
    words, tokens = read_words(text, language), len(samples) // TOKEN_HOP
    found, understood = recognise(sound, recogniser, ear, CPU, language)
    true = opening(mouth.curves_at((np.arange(tokens) + 0.5) * 0.02))
    moved = [listen(sound, ear, None), move(sound, ear, CPU, found), listen(sound, ear, words)]
    return [*(correlation(opening(each.curves[:tokens]), true) for each in moved), float(understood != "")]


def main() -> None:
    parser = argparse.ArgumentParser(description="What it is worth to write down what a speech says.")
    parser.add_argument("--sentences", type=int, default=24, help="of each voice and kind")
    parser.add_argument("--seed", type=int, default=9)
    args = parser.parse_args()
    recogniser, ear, voices = open_recogniser(), compact_ear(), [*TEST_VOICES]
    if all(row.path for row in installed_kokoro()):
        voices += [voice for voice in kokoro.TEST_VOICES if kokoro.language_of(voice) in kokoro.ENGLISH]
    rng = np.random.default_rng(args.seed)
    random = [sentence(rng, words_filling(SECONDS)) for _ in range(args.sentences)]
    columns = ("heard", "recognised", "told", "understood")
    print(f"{'':40}" + "".join(f"{name:>12}" for name in columns))
    for (kind, texts), voice in product({"plain": PLAIN, "random": random}.items(), voices):
        language: Language = "en-us" if voice in TEST_VOICES else kokoro.language_of(voice)
        said = [(text, say(text, voice, rng, ear)) for text in texts[: args.sentences]]
        for condition, spoil in CONDITIONS.items():
            rows = [
                scores(
                    np.asarray(spoil(each.samples, rng), np.float32), each, text, language, recogniser, ear
                )
                for text, each in said
            ]
            means = "".join(f"{mean:12.3f}" for mean in np.mean(rows, axis=0))
            print(f"{f'{kind}, {voice}, {condition}':40}{means}", flush=True)


if __name__ == "__main__":
    main()
