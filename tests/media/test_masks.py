from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.errors import MediaError
from keysync.media.masks import write_masks


def test_masks_come_back_to_the_bit_and_in_time(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).integers(0, 255, (5, 30, 42), dtype=np.uint8)
    times = [Fraction(t, 1000) for t in (500, 533, 540, 617, 700)]
    write_masks(tmp_path / "m.mkv", masks, times, (30, 42))
    with av.open(str(tmp_path / "m.mkv")) as film:
        frames = list(film.decode(video=0))
    assert [Fraction(frame.pts) * frame.time_base for frame in frames] == [t - times[0] for t in times]
    np.testing.assert_array_equal(np.stack([frame.to_ndarray() for frame in frames]), masks)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "m.mkv"
    with pytest.raises(MediaError, match=r"m\.mkv: cannot be written") as caught:
        write_masks(path, np.zeros((1, 8, 8), np.uint8), [Fraction(0)], (8, 8))
    assert "\n" not in str(caught.value)
