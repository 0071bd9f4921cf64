import av
import numpy as np
import pytest

from keysync.composite.paste import paste, planar, plane, trim


def _noise(form: str, width: int = 66, height: int = 50, tags: tuple[int, int] = (1, 1)) -> av.VideoFrame:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(40, 180, height), np.linspace(0, 60, width))
    rgb = np.clip(smooth[..., None] + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    frame = frame.reformat(format=form, dst_colorspace=tags[0], dst_color_range=tags[1])
    frame.colorspace, frame.color_range = tags
    return frame


FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "nv12", "gbrp", "rgb24", "gray"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [(66, 50), (65, 49)])
def test_nothing_outside_the_mask_changes_by_a_bit(form: str, size: tuple[int, int]) -> None:
    frame = _noise(form, *size)
    alpha = np.zeros((21, 30), np.float32)
    alpha[3:18, 4:27] = 0.7
    box = (17, 13, 47, 34)
    out = paste(frame, np.full((21, 30, 3), 200, np.float32), alpha, box)
    covered = np.zeros((size[1], size[0]), bool)
    covered[13:34, 17:47] = alpha > 0
    source = planar(frame)
    before, after = plane(source, 0), plane(out, 0)
    assert out.format.name == source.format.name
    assert np.array_equal(before[~covered], after[~covered])
    assert not np.array_equal(before[covered], after[covered])
    if form != "gray":  # the conversion of gray to RGB dithers
        shown, kept = out.to_ndarray(format="rgb24"), source.to_ndarray(format="rgb24")
        assert np.array_equal(shown[~covered], kept[~covered])


@pytest.mark.parametrize("tags", [(1, 1), (5, 1), (1, 2), (5, 2)])
def test_pasting_the_frame_itself_shows_the_frame(tags: tuple[int, int]) -> None:
    frame = _noise("yuv444p", tags=tags)
    own = frame.to_ndarray(format="rgb24")[10:40, 12:52].astype(np.float32)
    out = paste(frame, own, np.ones((30, 40), np.float32), (12, 10, 52, 40))
    change = out.to_ndarray(format="rgb24").astype(int) - frame.to_ndarray(format="rgb24").astype(int)
    assert np.abs(change).max() <= 4
    assert np.abs(change).mean() < 0.8


def test_ten_bits_stay_ten_bits() -> None:
    frame = _noise("yuv420p10le")
    out = paste(frame, np.full((20, 20, 3), 90.3, np.float32), np.ones((20, 20), np.float32), (8, 8, 28, 28))
    assert out.format.name == "yuv420p10le"
    assert plane(out, 0).max() > 255


def test_box_at_the_frame_edge_is_allowed() -> None:
    frame = _noise("yuv420p", 65, 49)
    out = paste(frame, np.full((9, 9, 3), 250, np.float32), np.ones((9, 9), np.float32), (56, 40, 65, 49))
    assert out.to_ndarray(format="rgb24")[45, 61].min() > 225


def test_trim_keeps_what_shows_and_nothing_else() -> None:
    patch = np.zeros((10, 12, 4), np.float32)
    patch[3:7, 4:9, 3] = 0.5
    cut, box = trim(patch, (100, 50, 112, 60))
    assert box == (104, 53, 109, 57)
    assert cut.shape == (4, 5, 4)
    assert (cut[..., 3] > 0).all()


def test_trim_of_nothing_is_empty() -> None:
    cut, box = trim(np.zeros((10, 12, 4), np.float32), (100, 50, 112, 60))
    assert cut.size == 0
    assert box == (100, 50, 100, 50)
