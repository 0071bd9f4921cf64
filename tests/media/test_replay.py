from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keysync.media.read import read_frames
from keysync.media.replay import Replay


def _times(count: int) -> list[Fraction]:
    return [Fraction(k, 25) for k in range(count)]


@pytest.mark.parametrize(
    "order",
    [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2],
        [0, 1, 2, 3, 4, 5, 5, 5],
        [0, 1, 2, 3, 4, 5, 4, 4, 3, 2, 2, 3, 4, 5, 4],
        [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1],
    ],
)
def test_frames_come_in_the_order_asked_for(order: list[int], make_clip: Callable[..., Path]) -> None:
    path = make_clip(6)
    source = [frame.picture.to_ndarray() for frame in read_frames(path)]
    walk = Replay(path, order, _times(len(order)))
    for _ in range(2):  # every call is a walk of its own
        seen = list(walk())
        assert [frame.time for frame in seen] == _times(len(order))
        assert all(
            np.array_equal(f.picture.to_ndarray(), source[k]) for f, k in zip(seen, order, strict=True)
        )


@pytest.mark.parametrize("name", ["yuv420p10le", "gray", "yuv444p"])
def test_pictures_of_any_format_come_back_whole(name: str, tmp_path: Path) -> None:
    path, rng = tmp_path / "clip.mkv", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 50, 38, name
        for index in range(4):
            picture = av.VideoFrame.from_ndarray(rng.integers(0, 255, (38, 50, 3)).astype(np.uint8), "rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    source = [frame.rgb() for frame in read_frames(path)]
    order = [0, 1, 2, 3, 2, 1]
    seen = [frame.rgb() for frame in Replay(path, order, _times(6))()]
    assert all(np.array_equal(a, source[k]) for a, k in zip(seen, order, strict=True))
