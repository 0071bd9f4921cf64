from fractions import Fraction

import av
import numpy as np

from keysync.cast import Run
from keysync.clip import Frame
from keysync.models import load_models
from keysync.perform import _portraits
from keysync.report import Report

FIRST, COUNT = 3, 75  # of the run; frames of it: three stretches


def test_every_portrait_is_the_frame_that_was_chosen_whatever_their_order() -> None:
    models = load_models("compact")
    landmarks = np.zeros((COUNT, 68, 2), np.float32)
    landmarks[:, 42:48, 0] = 10
    landmarks[:, 65:68, 1] = 0.5
    landmarks[60, 65:68, 1] = 3  # seen first by those who look for a wide mouth
    landmarks[25:50, :17, 0] = 5  # a turned head between
    ones = np.ones(COUNT, np.float32)
    run = Run(FIRST, landmarks, np.tile(np.eye(2, 3), (COUNT, 1, 1)), ones, ones, ones)
    frames = (
        Frame(av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8)), Fraction(number, 25))
        for number in range(FIRST + COUNT)
    )
    report = Report(model="compact", video="", speech="", output="")
    portraits = list(_portraits(enumerate(frames), run, models, report))
    places = [portrait.place for portrait in portraits]
    assert places[0] == 60
    assert 25 <= places[1] < 50
    assert places[2] == 60
    for portrait in portraits:
        shown = float((portrait.crop[..., :16, :16].mean() + 1) * 127.5)
        assert round(shown) == FIRST + portrait.place
