from fractions import Fraction

import numpy as np
import pytest

from keysync.cast import MIN_WIDTH, YAW_NONE_DEG, Run, at_point, play, rearranged
from keysync.clip import Cover
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


def _run(gaps: list[float], **more: object) -> Run:
    """A face whose eyes are 10 apart and whose inner lips are ``gaps`` apart."""
    landmarks = np.zeros((len(gaps), 68, 2), np.float32)
    landmarks[:, 42:48, 0] = 10
    landmarks[:, 65:68, 1] = np.array(gaps)[:, None]
    some = {name: np.ones(len(gaps), np.float32) for name in ("strength", "yaw_deg", "hollow")}
    return Run(0, landmarks, np.tile(np.eye(2, 3), (len(gaps), 1, 1)), **(some | more))  # type: ignore[arg-type]


def test_the_portrait_is_an_early_frame_with_its_mouth_wide_open() -> None:
    assert _run([1, 3, 2]).portrait(open_mouth=True) == 1
    assert (
        _run([1, 2.4, 2] + [0] * 60 + [2.9]).portrait(open_mouth=True) == 1
    )  # a little wider, but much later
    assert _run([0.1] * 60 + [1, 2, 2.5, 1]).portrait(open_mouth=True) == 61  # nothing to see before
    assert _run([0.0] * 5).portrait(open_mouth=True) == 0
    assert _run([1, 3, 2]).portrait(open_mouth=False) == 0


def test_the_portrait_shows_a_hanging_jaw_rather_than_a_grin() -> None:
    gaps = [0, 3, 2] + [0.1] * 50 + [2.7, 2.8]

    def hollow(grin: float, late: float) -> np.ndarray:
        return np.array([1, grin, grin] + [0] * 50 + [late, late], np.float32)

    assert _run(gaps, hollow=hollow(0.1, 0.5)).portrait(open_mouth=True) == 53
    assert _run(gaps, hollow=hollow(0.4, 0.5)).portrait(open_mouth=True) == 1  # no grin: the widest early one
    turned = np.array([0] * 53 + [12, 0], np.float32)
    assert _run(gaps, hollow=hollow(0.1, 0.5), yaw_deg=turned).portrait(open_mouth=True) == 54
    assert (
        _run([0, 3, 2, 1], hollow=np.array([1, 0, 0, 1], np.float32)).portrait(open_mouth=True) == 1
    )  # hardly open
    assert _run(gaps, hollow=hollow(0.1, 0.5)).portrait(open_mouth=False) == 0


def test_the_portrait_is_no_yell() -> None:
    assert _run([0.5, 3, 2, 8, 7]).portrait(open_mouth=True) == 1
    assert _run([8, 7]).portrait(open_mouth=True) == 0  # nothing else to see


def test_the_portrait_hides_nothing_that_another_frame_shows() -> None:
    hand = Cover.pack(np.ones((8, 8), np.float32), 0.3, 0.5)
    speck = Cover.pack(np.zeros((8, 8), np.float32), 0.01, 0.0)
    assert _run([1, 3, 2], covers=[None, hand, speck]).portrait(open_mouth=True) == 2
    assert _run([1, 3, 2], strength=np.array([1, 0.4, 1], np.float32)).portrait(open_mouth=True) == 2
    assert _run([1, 3, 2], covers=[hand, None, speck]).portrait(open_mouth=False) == 1
