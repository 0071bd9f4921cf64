from pathlib import Path

import pytest
import torch

from keysync.errors import CheckpointError, InputError
from keysync.evaluate.learned import frechet
from keysync.evaluate.learned.frechet import Fid, Fvd
from keysync.evaluate.learned.i3d import I3d
from keysync.evaluate.learned.inception import Inception

from .conftest import Clip, lively


def fid() -> Fid:
    return Fid(lively(Inception(16)))  # type: ignore[arg-type]


def fvd() -> Fvd:
    return Fvd(lively(I3d(8)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("make", "frames"), [(fid, 4), (fvd, 32)])
def test_equal_sets_have_no_distance_and_a_changed_one_has(make: type, frames: int, clip: Clip) -> None:
    same, other = make(), make()
    for seed in (0, 1):
        video = clip(frames, seed)
        assert same.add(video, video, None, None) is None
        other.add(255 - video // 2, video, None, None)
    assert other.total() > 1e-3
    assert same.total() == pytest.approx(0, abs=1e-6 * other.total())
    assert not make().higher_is_better


def test_too_little_to_tell_has_no_total(clip: Clip) -> None:
    score = fid()
    assert score.total() is None
    score.add(clip(1), clip(1, 1), None, None)
    assert score.total() is None  # one frame has no covariance


def test_a_clip_shorter_than_a_window_is_refused(clip: Clip) -> None:
    score = fvd()
    with pytest.raises(InputError, match="15 frames; FVD needs 16"):
        score.add(clip(15), clip(15), None, None)
    assert score.total() is None


def test_fvd_sees_the_order_of_frames() -> None:
    network = lively(I3d(8))
    frames = torch.rand(1, 3, 16, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = frames.cumsum(dim=2) / 16
    assert network(frames).shape == (1, 400)
    assert not torch.allclose(network(frames), network(frames.flip(2)), rtol=1e-3)


@pytest.mark.usefixtures("unpinned")
def test_the_published_files_load(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fid, "build", staticmethod(lambda: Inception(16)))
    monkeypatch.setattr(Fvd, "build", staticmethod(lambda: I3d(8)))
    assert "pt_inception-2015-12-05-6726825d.pth" in str(Fid.absent())
    assert "i3d_pretrained_400.pt" in str(Fvd.absent())
    state = {**lively(Inception(16)).state_dict(), "fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    torch.save(state, models / frechet.INCEPTION.name)
    torch.save(lively(I3d(8)).state_dict(), models / frechet.I3D.name)
    assert Fid.absent() is None
    assert Fvd.absent() is None
    assert Fid.load("cpu").total() is None
    Fvd.load("cpu")
    torch.save(I3d(4).state_dict(), models / frechet.I3D.name)
    with pytest.raises(CheckpointError, match="of another shape"):
        Fvd.load("cpu")


def test_the_published_inception_is_pinned(models: Path) -> None:
    torch.save(Inception(16).state_dict(), models / frechet.INCEPTION.name)
    with pytest.raises(CheckpointError, match="not the published 6726825d0af5"):
        Fid.load("cpu")


def test_official_names_and_sizes() -> None:
    with torch.device("meta"):
        inception, i3d = Inception(), I3d()
    # 23,834,568 of torchvision's Inception-v3 without auxiliary head, less its classifier of 1000 x 2049.
    assert sum(value.numel() for value in inception.parameters()) == 23_834_568 - 1000 * 2049
    names = {**inception.state_dict(), **i3d.state_dict()}
    for name, shape in {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_7a.branch7x7x3_4.bn.running_mean": (192,),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
        "Mixed_4f.b2b.conv3d.weight": (128, 32, 3, 3, 3),
        "Mixed_5c.b3b.bn.running_var": (128,),
        "logits.conv3d.bias": (400,),
    }.items():
        assert tuple(names[name].shape) == shape, name
