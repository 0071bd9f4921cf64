from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keysync.errors import InputError
from keysync.evaluate.real import evaluate_real
from keysync.evaluate.rows import write_silence
from keysync.models import Models

Make = Callable[..., Any]


def test_every_clip_meets_every_speech_and_silence(
    film: Make, wander: Make, tiny: Models, tmp_path: Path
) -> None:
    film(wander(1), "set/one.mp4")
    film(wander(1), "set/nobody.mp4", dark=range(50))
    write_silence(tmp_path / "set/words.wav", 1.0)
    found = evaluate_real(tmp_path / "set", tiny)
    assert list(found.rows["cross"]) == ["one + words"]
    assert list(found.rows["silence"]) == ["one"]
    assert found.rows["source"]["one"]["source_r"] == pytest.approx(1)
    assert "reconstruction" not in found.rows  # the clip has no sound of its own
    assert len(found.failures) == 1
    assert found.failures[0].startswith("nobody:")


def test_a_folder_without_a_video_is_refused(tiny: Models, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video"):
        evaluate_real(tmp_path, tiny)
    with pytest.raises(InputError, match="no such folder"):
        evaluate_real(tmp_path / "none", tiny)
