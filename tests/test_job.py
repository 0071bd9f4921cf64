from pathlib import Path

import pytest
import torch

from keysync.errors import ConfigError
from keysync.job import Job


def interrupted(
    output: Path, settings: dict[str, object], *, resume: bool = False, work: bool = True
) -> None:
    def run() -> None:
        with Job(output, settings, resume=resume) as job:
            if work:
                job.save("1-0", latents=torch.ones(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()


def test_work_survives_an_interruption_and_goes_with_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    interrupted(out, {"seed": 1})
    with Job(out, {"seed": 1}, resume=True) as job:
        found = job.load("1-0")
        assert found is not None
        assert torch.equal(found["latents"], torch.ones(2))
        assert job.load("1-169") is None
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_nothing_was_done(tmp_path: Path) -> None:
    interrupted(tmp_path / "out.mp4", {}, work=False)
    assert not list(tmp_path.iterdir())


def test_unfinished_work_is_neither_lost_nor_mixed_up(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    interrupted(out, {"seed": 1})
    with pytest.raises(ConfigError, match=r"unfinished work on out\.mp4; add --resume"):
        Job(out, {"seed": 1}, resume=False)
    with pytest.raises(ConfigError, match="other inputs or settings"):
        Job(out, {"seed": 2}, resume=True)
    assert (tmp_path / "out.mp4.keysync" / "1-0.safetensors").exists()


def test_a_damaged_piece_counts_as_none(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    interrupted(out, {})
    (tmp_path / "out.mp4.keysync" / "1-0.safetensors").write_bytes(b"half a fi")
    with Job(out, {}, resume=True) as job:
        assert job.load("1-0") is None


def test_resume_without_work_begins_anew(tmp_path: Path) -> None:
    with Job(tmp_path / "out.mp4", {}, resume=True) as job:
        assert job.load("1-0") is None
