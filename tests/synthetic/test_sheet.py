from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from keysync.errors import ConfigError
from keysync.synthetic.sheet import FRAMES, contact_sheet


def _clip(folder: Path, frames: int, level: int) -> Path:
    folder.mkdir()
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            picture = np.full((64, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return folder


def test_each_clip_is_a_row_of_its_frames(tmp_path: Path) -> None:
    folders = [_clip(tmp_path / "a", 20, 60), _clip(tmp_path / "b", 3, 200)]
    contact_sheet(folders, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    height, width = sheet.shape[0] // 2, sheet.shape[1] // FRAMES
    assert height == width
    assert np.abs(sheet[:height].astype(int) - 60).max() < 4
    assert np.abs(sheet[height:, : 3 * width].astype(int) - 200).max() < 4
    assert not sheet[height:, 3 * width :].any()  # a clip of three frames fills three places


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        contact_sheet([_clip(tmp_path / "a", 3, 60)], tmp_path / "no" / "sheet.png")
