import io
import json
import re
from pathlib import Path

import numpy as np
from rich.console import Console

from keysync.evaluate.report import table, write_html
from keysync.evaluate.result import Look, Results


def _results() -> Results:
    found = Results({"suite": "pair"}, failures=["bad: <no> face"], absent={"fvd": "no weights"})
    for row, values in (("truth", (1.0, 0.9)), ("pred", (0.5, 0.7))):
        for clip, value in zip("ab", values, strict=True):
            found.add(row, clip, {"opening_r": value, "lipleak": None})
    found.totals["pred"] = {"fid": 12.5}
    picture = np.full((8, 16, 3), 100, np.uint8)
    found.looks = [Look("a", 25.0, {"truth": picture}, {"truth": np.linspace(0, 0.3, 50)}, [("M", 0.1, 0.2)])]
    return found


def test_json_holds_means_intervals_and_every_clip(tmp_path: Path) -> None:
    _results().write(tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    pred = rows["pred"]["opening_r"]
    assert pred["mean"] == 0.6
    assert pred["n"] == 2
    assert pred["lowest"] == 0.5
    assert pred["values"] == {"a": 0.5, "b": 0.7}
    assert pred["ci95"][0] <= 0.6 <= pred["ci95"][1]
    assert rows["truth"]["lipleak"] is None
    assert rows["pred"]["fid"]["ci95"] is None


def test_the_table_shows_every_row_and_metric() -> None:
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(table(_results()))
    shown = captured.get()
    assert re.search(r"opening_r.*0\.950 \[0\.900, 1\.000\].*0\.600 \[0\.500, 0\.700\]", shown)
    assert re.search(r"fid.*12\.5", shown)


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    write_html(_results(), tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text()
    assert "<no>" not in page
    assert "&lt;no&gt; face" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<polyline" in page
    assert ">M</text>" in page
    assert "absent: no weights" in page
