import pytest

from keysync.errors import ConfigError
from keysync.generate.layout import Layout


@pytest.mark.parametrize("frames", [1, 2, 13, 14, 15, 27, 50, 157, 170, 171, 1000])
def test_windows_cover_every_frame_without_a_gap(frames: int) -> None:
    layout = Layout()
    keyframes = layout.keyframes(frames)
    assert keyframes[0] == 0
    assert frames - 1 <= keyframes[-1] < frames - 1 + layout.spacing
    assert all(end - begin == 13 for begin, end in layout.windows(keyframes))
    assert [k for group in layout.groups(keyframes) for k in group] == keyframes


def test_groups_leave_a_place_for_the_identity_frame() -> None:
    assert [len(group) for group in Layout().groups(Layout().keyframes(400))] == [13, 13, 6]


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 frames"):
        Layout().keyframes(0)
