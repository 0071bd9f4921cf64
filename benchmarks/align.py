"""How far from a synthesiser's own times the ear finds each phone, on voices it never heard.

python benchmarks/align.py
"""

from __future__ import annotations

import numpy as np

from keysync.models import compact_ear
from keysync.synthetic.align import align
from keysync.synthetic.speech import TEST_VOICES, speak
from keysync.synthetic.text import sentence

SENTENCES = 40
SHARES = (50, 90, 98)


def main() -> None:
    """Print one row per test voice."""
    print(f"| voice | phones | {' | '.join(f'{share} % within, ms' for share in SHARES)} |")
    print("|---|---|" + "---|" * len(SHARES))
    ear = compact_ear()
    for voice in TEST_VOICES:
        apart_s = []
        for seed in range(SENTENCES):
            rng = np.random.default_rng(seed)
            said = speak(sentence(rng), voice, rng)
            found, _ = align(ear, said.samples, [phone.name for phone in said.phones])
            apart_s += [
                abs(ours.start_s - theirs.start_s)
                for ours, theirs in zip(found.phones, said.phones, strict=True)
            ]
        shown = " | ".join(f"{1000 * value:.0f}" for value in np.percentile(apart_s, SHARES))
        print(f"| {voice} | {len(apart_s)} | {shown} |")


if __name__ == "__main__":
    main()
