"""What several tests of training need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from keysync.synthetic.speech import speak
from keysync.synthetic.text import sentence
from keysync.synthetic.utterance import PHONES
from keysync.train.spoken import Said


@pytest.fixture
def said_by_flite() -> Callable[[str, int], Said]:
    """Sentences without times, as Kokoro would give them."""

    def say(voice: str, seed: int) -> Said:
        rng = np.random.default_rng(seed)
        heard = speak(sentence(rng), "slt", rng)
        phones = np.array([PHONES.index(phone.name) for phone in heard.phones])
        return Said(voice, np.round(heard.samples * 32767).astype(np.int16), phones)

    return say
