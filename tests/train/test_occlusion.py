from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import ConfigError
from keysync.mask.occlusion import NOTHING_KNOWN, ByFace, FaceOrNot
from keysync.mask.segmenter import SIDE, Segmenter, SegmenterConfig
from keysync.models import load_occlusion
from keysync.train.occlusion import Batch, OcclusionPlan, pack, scores, segmenter_loss
from keysync.train.occlusion_faces import SIDE as STORED
from keysync.train.occlusion_faces import Faces
from keysync.train.occlusion_scenes import Examples, Props, draw_props


@pytest.fixture(scope="module")
def props() -> Props:
    return draw_props(1, 12, 4)


@pytest.fixture(scope="module")
def faces() -> list[Faces]:
    """Two plain grey people: whatever differs from grey was put there."""
    points = np.random.default_rng(0).uniform(60, 130, (3, 68, 2)).astype(np.float32)
    points[:, 48:68, 1] += 10
    level = (np.full((3, STORED, STORED, 3), grey, np.uint8) for grey in (110, 150))
    return [Faces(pictures, points, np.full((3, STORED, STORED), 255, np.uint8)) for pictures in level]


def test_the_same_generator_draws_the_same_examples(faces: list[Faces], props: Props) -> None:
    first, again = (Examples(faces, props, np.random.default_rng([1, 2])).draw() for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_in_front_means_an_empty_truth_and_something_a_visible_one(
    faces: list[Faces], props: Props
) -> None:
    examples = Examples(faces, props, np.random.default_rng(3))
    clear = [examples.draw(covered=0.0) for _ in range(10)]
    assert not any(example.cover.any() for example in clear)
    hidden = [examples.draw(covered=1.0) for _ in range(40)]
    assert sum(bool((example.cover > 0.5).sum() > 50) for example in hidden) > 25
    for example in (*clear, *hidden):
        for part in (example.crop, example.clean, example.cover):
            assert part.dtype == np.float32
            assert part.min() >= 0
            assert part.max() <= 1 + 1e-5
        assert set(np.unique(example.known)) <= {0.0, 1.0}


def test_the_loss_is_least_for_the_truth() -> None:
    cover = torch.zeros(2, 1, 16, 16)
    cover[0, :, 4:12, 4:12] = 1
    weight = torch.ones_like(cover)
    right, wrong = (20 * (2 * cover - 1), -20 * (2 * cover - 1))
    unsure = torch.zeros_like(cover)
    losses = [float(segmenter_loss(logits, cover, weight)) for logits in (right, unsure, wrong)]
    assert losses[0] < 1e-3 < losses[1] < losses[2]


def test_scores_know_a_perfect_answer_and_a_false_alarm(faces: list[Faces], props: Props) -> None:
    examples = Examples(faces, props, np.random.default_rng(5))
    batch = Batch([examples.draw(covered=float(k % 2)) for k in range(16)])

    class Oracle(Segmenter):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            return batch.cover - 0.5

    perfect = scores(Oracle(SegmenterConfig()), batch)
    assert perfect["iou"] == perfect["recall"] == 1
    assert perfect["false_alarm"] == 0

    class Alarmed(Segmenter):
        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(batch.cover)

    assert scores(Alarmed(SegmenterConfig()), batch)["false_alarm"] == 1


def test_what_is_packed_is_what_the_pipeline_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Segmenter(SegmenterConfig(widths=(4, 8))).eval()
    folder = pack(network, tmp_path)
    looking = load_occlusion("auto", torch.device("cpu"), folder)
    assert looking is not None
    crops = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE, 3), dtype=np.uint8)
    wide = np.zeros((3, 2 * SIDE, 2 * SIDE, 3), np.uint8)
    wide[:, SIDE // 2 : SIDE // 2 + SIDE, SIDE // 2 : SIDE // 2 + SIDE] = crops
    alone = ByFace(FaceOrNot(network.half().float(), torch.device("cpu")))
    np.testing.assert_allclose(
        looking.finder.find(wide, NOTHING_KNOWN)[0], alone.find(crops, NOTHING_KNOWN)[0], atol=1e-4
    )


def test_a_plan_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="people is 5; it must be over"):
        OcclusionPlan(people=5)
