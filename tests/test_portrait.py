import numpy as np

from keysync.cast import Run
from keysync.clip import Cover
from keysync.portrait import choose_portraits


def _run(gaps: list[float], turns: list[float] | None = None, **more: object) -> Run:
    """A face: eyes 10 apart, inner lips ``gaps`` apart, jaw line ``turns`` aside."""
    landmarks = np.zeros((len(gaps), 68, 2), np.float32)
    landmarks[:, 42:48, 0] = 10
    landmarks[:, 65:68, 1] = np.array(gaps)[:, None]
    landmarks[:, :17, 0] = np.array(turns or [0] * len(gaps))[:, None]
    some = {name: np.ones(len(gaps), np.float32) for name in ("strength", "yaw_deg", "hollow")}
    return Run(0, landmarks, np.tile(np.eye(2, 3), (len(gaps), 1, 1)), **(some | more))  # type: ignore[arg-type]


def _first(run: Run, *, open_mouth: bool = True) -> int:
    (place,) = choose_portraits(run, [(0, len(run))], open_mouth=open_mouth)
    return place


def test_it_is_an_early_frame_with_its_mouth_wide_open() -> None:
    assert _first(_run([1, 3, 2])) == 1
    assert _first(_run([1, 2.4, 2] + [0] * 60 + [2.9])) == 1  # a little wider, but much later
    assert _first(_run([0.1] * 60 + [1, 2, 2.5, 1])) == 61  # nothing to see before
    assert _first(_run([0.0] * 5)) == 0
    assert _first(_run([1, 3, 2]), open_mouth=False) == 0


def test_it_shows_a_hanging_jaw_rather_than_a_grin() -> None:
    gaps = [0, 3, 2] + [0.1] * 50 + [2.7, 2.8]

    def hollow(grin: float, late: float) -> np.ndarray:
        return np.array([1, grin, grin] + [0] * 50 + [late, late], np.float32)

    assert _first(_run(gaps, hollow=hollow(0.1, 0.5))) == 53
    assert _first(_run(gaps, hollow=hollow(0.4, 0.5))) == 1  # no grin: the widest early one
    turned = np.array([0] * 53 + [12, 0], np.float32)
    assert _first(_run(gaps, hollow=hollow(0.1, 0.5), yaw_deg=turned)) == 54
    assert _first(_run([0, 3, 2, 1], hollow=np.array([1, 0, 0, 1], np.float32))) == 1  # hardly open
    assert _first(_run(gaps, hollow=hollow(0.1, 0.5)), open_mouth=False) == 0


def test_it_is_no_yell() -> None:
    assert _first(_run([0.5, 3, 2, 8, 7])) == 1
    assert _first(_run([8, 7])) == 0  # nothing else to see


def test_it_hides_nothing_that_another_frame_shows() -> None:
    hand = Cover.pack(np.ones((8, 8), np.float32), 0.3, 0.5)
    speck = Cover.pack(np.zeros((8, 8), np.float32), 0.01, 0.0)
    assert _first(_run([1, 3, 2], covers=[None, hand, speck])) == 2
    assert _first(_run([1, 3, 2], strength=np.array([1, 0.4, 1], np.float32))) == 2
    assert _first(_run([1, 3, 2], covers=[hand, None, speck]), open_mouth=False) == 1


def test_it_is_not_blurred_by_a_fast_head_if_another_frame_is_not() -> None:
    run = _run([1, 3, 2, 2])
    run.landmarks[2:, :, 0] += 5  # half the eyes' distance between the second frame and the third
    assert _first(run) == 3
    run.landmarks[2:, :, 0] -= 4
    assert _first(run) == 1  # slow enough
    run.landmarks[:, :, 0] += 5 * np.arange(4, dtype=np.float32)[:, None]
    assert _first(run) == 1  # all are fast


def test_a_turned_head_has_a_portrait_of_its_own_with_the_same_mouth_and_gets_the_old_one_back() -> None:
    gaps, turns = [3] + [1] * 29, [0.0] * 10 + [5.0] * 10 + [0.0] * 10
    gaps[12], gaps[15], gaps[18] = 2, 3, 0
    stretches = [(0, 10), (10, 20), (20, 30)]
    assert choose_portraits(_run(gaps, turns), stretches, open_mouth=True) == [0, 15, 0]
    assert choose_portraits(_run(gaps, turns), stretches, open_mouth=False) == [0, 0, 0]
    hand = Cover.pack(np.ones((8, 8), np.float32), 0.3, 0.5)
    covers = [hand if place == 15 else None for place in range(30)]
    assert choose_portraits(_run(gaps, turns, covers=covers), stretches, open_mouth=True) == [0, 12, 0]


def test_where_a_turned_head_keeps_its_mouth_shut_one_half_turned_that_opens_it_does() -> None:
    turns, stretches = [0.0] * 8 + [1.0] * 2 + [2.0] * 10, [(0, 10), (10, 20)]
    assert choose_portraits(_run([3] * 10 + [0] * 10, turns), stretches, open_mouth=True) == [0, 8]
    assert choose_portraits(_run([3] * 20, turns), stretches, open_mouth=True) == [0, 10]


def test_a_head_that_hardly_turns_keeps_its_portrait() -> None:
    turns = [0.0] * 10 + [0.8] * 10
    assert choose_portraits(_run([3] + [1] * 19, turns), [(0, 10), (10, 20)], open_mouth=True) == [0, 0]
