from fractions import Fraction

import numpy as np
import pytest

from keysync.cast import MIN_WIDTH, YAW_NONE_DEG, at_point, play, rearranged
from keysync.errors import ConfigError
from keysync.face.survey import Appearance, Survey
from keysync.timeline import arrange


def appearance(
    first: int, count: int, *, person: int = 1, yaw: float = 0, width: float = 100, x: float = 50
) -> Appearance:
    landmarks = np.zeros((count, 68, 2), np.float32)
    landmarks[:] = x + np.random.default_rng(person).uniform(-20, 20, (68, 2))
    landmarks[:, :, 0] += np.arange(count)[:, None]  # so that every frame can be told apart
    return Appearance(
        person=person,
        first=first,
        landmarks=landmarks,
        to_crop=np.tile(np.eye(2, 3), (count, 1, 1)),
        yaw_deg=np.full(count, yaw, np.float32),
        width=np.full(count, width, np.float32),
        hollow=np.zeros(count, np.float32),
    )


def survey(*appearances: Appearance, frames: int = 50, shots: tuple[int, ...] = (0,)) -> Survey:
    portraits = {seen.person: np.zeros((96, 96, 3), np.uint8) for seen in appearances}
    times = [Fraction(k, 25) for k in range(frames)]
    return Survey(times=times, shots=list(shots), appearances=list(appearances), portraits=portraits)


def test_each_frame_has_the_state_that_fits() -> None:
    seen = survey(
        appearance(0, 10),
        appearance(12, 8, width=MIN_WIDTH - 1),
        appearance(20, 10, yaw=YAW_NONE_DEG + 1),
        appearance(40, 2),
        shots=(0, 20, 40),
    )
    role = play(seen, 1)
    wanted = ["synced"] * 10 + ["no_face"] * 2 + ["too_small"] * 8 + ["profile"] * 10
    assert role.states == wanted + ["no_face"] * 10 + ["cut"] * 2 + ["no_face"] * 8
    assert [(run.first, len(run)) for run in role.runs] == [(0, 10)]


def test_paint_fades_within_a_shot_but_not_at_cuts_and_ends() -> None:
    role = play(survey(appearance(0, 20), appearance(25, 25), shots=(0, 25)), 1)
    first, second = role.runs
    assert first.strength[0] == 1
    assert first.strength[-1] < first.strength[-2] < first.strength[-3] < 1
    assert first.strength[-1] > 0
    assert (second.strength == 1).all()


def test_strength_falls_with_yaw() -> None:
    strengths = [play(survey(appearance(0, 50, yaw=yaw)), 1).runs[0].strength[25] for yaw in (0, 40, -40, 50)]
    assert strengths[0] == 1
    assert strengths[1] == pytest.approx(strengths[2])
    assert 1 > strengths[1] > strengths[3] > 0


def test_a_number_nobody_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"person 3 is not in this clip \(seen: 1, 2\)"):
        play(survey(appearance(0, 50), appearance(0, 50, person=2)), 3)


def test_a_point_names_whose_face_covers_it() -> None:
    seen = survey(appearance(0, 50), appearance(0, 50, person=2, x=300))
    assert at_point(seen, 310, 300) == 2
    with pytest.raises(ConfigError, match="no face ever covers the point 1,1"):
        at_point(seen, 1, 1)


def test_a_clip_played_backwards_keeps_its_faces() -> None:
    seen = survey(appearance(0, 50))
    line = arrange(seen.times, Fraction(4), "longest", "bounce")
    (whole,) = rearranged(seen, line).appearances
    assert whole.first == 0
    assert np.array_equal(whole.landmarks, seen.appearances[0].landmarks[line.order])


def test_a_clip_that_starts_again_is_cut_there() -> None:
    seen = survey(appearance(0, 50))
    line = arrange(seen.times, Fraction(4), "longest", "loop")
    again = rearranged(seen, line)
    assert again.shots == [0, 50]
    assert [(part.first, len(part.landmarks)) for part in again.appearances] == [(0, 50), (50, 50)]


def test_cuts_of_the_source_stay_cuts() -> None:
    seen = survey(appearance(0, 20), appearance(20, 30, person=2), shots=(0, 20))
    line = arrange(seen.times, Fraction(1), "shortest", "bounce")
    short = rearranged(seen, line)
    assert short.shots == [0, 20]
    assert [(part.person, part.first, len(part.landmarks)) for part in short.appearances] == [
        (1, 0, 20),
        (2, 20, 5),
    ]
