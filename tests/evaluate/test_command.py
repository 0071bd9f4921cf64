"""``keysync evaluate`` as a user types it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keysync.interfaces import cli

Make = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Make:
    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["keysync", "evaluate", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "300")
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capfd.readouterr()
        return code, printed.out + printed.err

    return run


def test_a_pair_gives_a_table_json_and_a_page(run: Make, film: Make, wander: Make, tmp_path: Path) -> None:
    clip, out, page = film(wander(1)), tmp_path / "out.json", tmp_path / "out.html"
    code, printed = run(clip, clip, "--json", out, "--html", page)
    assert code == 0
    assert "opening_r" in printed
    assert "fvd: absent" in printed
    assert json.loads(out.read_text())["rows"]["pred"]["opening_r"]["mean"] == 1
    assert page.stat().st_size > 1000


def test_a_missing_partner_is_a_line_exit_1_and_the_table_is_still_there(
    run: Make, film: Make, wander: Make, tmp_path: Path
) -> None:
    for name in ("pred/a.mp4", "pred/b.mp4", "ref/a.mp4"):
        film(wander(1), name)
    code, printed = run(tmp_path / "pred", tmp_path / "ref")
    assert code == 1
    assert "failed: b: no file of this name" in printed
    assert "opening_r" in printed


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["one.mp4"], "1 paths given"),
        (["--suite", "real"], "0 paths given"),
        (["a", "b", "--metrics", "beauty"], "'beauty' is unknown"),
        (["a", "b", "--jobs", "0"], "jobs is 0"),
        (["a", "b", "--json", "nowhere/out.json"], "its folder does not exist"),
        (["--suite", "drawn", "--people", "0"], "people is 0"),
        (["--suite", "drawn", "--rows", "truth,yours"], "no model there"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(
    words: list[str], fact: str, run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.evaluate.drawn.make_clips", lambda *_: pytest.fail("drawn"))
    code, printed = run(*words)
    assert code == 2
    assert fact in printed
    assert "Traceback" not in printed


def test_without_its_extra_the_command_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['torchmetrics'] = None; sys.argv = ['keysync', 'evaluate', 'a', 'b'];"
        "from keysync.interfaces.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: torchmetrics")
    assert "is not installed; run pip install 'keysync[evaluate]'" in done.stderr
