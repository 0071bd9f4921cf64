"""Results for people: a table in the terminal, and one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from jaxtyping import Float
from rich import box
from rich.table import Table

from keysync.evaluate.lips import BILABIALS
from keysync.evaluate.result import Look, Results

_COLOURS = ("#222222", "#1b7837", "#999999", "#2166ac", "#d6604d", "#762a83", "#e08214")
_CHART_WIDTH, _CHART_HEIGHT = 1000, 180
_SILENCE = "PAU"  # shown as a gap


def table(results: Results) -> Table:
    """Metrics down, rows across; mean and 95 % interval."""
    shown = Table(title="mean [95 % interval]", title_justify="left", box=box.SIMPLE_HEAD)
    shown.add_column("metric", no_wrap=True)
    for row in results.rows:
        shown.add_column(row, justify="right")
    for metric in results.metrics():
        shown.add_row(metric, *(" ".join(cell) for cell in _cells(results, metric)))
    return shown


def write_html(results: Results, path: Path) -> None:
    """Tables, strips side by side, and opening curves with the phones under them."""
    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    # Names of files come from outside: every value is escaped.
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(template)
    path.write_text(
        page.render(
            about=results.about,
            rows=list(results.rows),
            table=[(metric, _cells(results, metric)) for metric in results.metrics()],
            absent=results.absent,
            failures=results.failures,
            looks=[_drawn(look, results) for look in results.looks],
        ),
        encoding="utf-8",
    )


def _cells(results: Results, metric: str) -> list[tuple[str, str]]:
    cells = []
    for row in results.rows:
        found = results.summary(row, metric)
        span = (
            found and found.ci95 and found.n > 1 and f"[{_number(found.ci95[0])}, {_number(found.ci95[1])}]"
        )
        cells.append((_number(found.mean) if found else "–", span or ""))
    return cells


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _drawn(look: Look, results: Results) -> dict[str, Any]:
    top = max(max(float(curve.max()) for curve in look.openings.values()), 1e-6)
    seconds = max(len(curve) for curve in look.openings.values()) / look.fps
    scale = _CHART_WIDTH / seconds
    return {
        "clip": look.clip,
        "seconds": f"{seconds:.2f}",
        "top": f"{top:.3f}",
        "strips": [(name, _jpeg(strip)) for name, strip in look.strips.items()],
        "curves": [
            (name, _path(curve, look.fps, scale, top), _COLOURS[index % len(_COLOURS)])
            for index, (name, curve) in enumerate(look.openings.items())
        ],
        "phones": [
            (name, round(start * scale, 1), round((end - start) * scale, 1), name in BILABIALS)
            for name, start, end in look.phones
            if name != _SILENCE
        ],
        "numbers": [
            (metric, [_number(clips.get(look.clip, {}).get(metric)) for clips in results.rows.values()])
            for metric in results.metrics()
        ],
    }


def _path(curve: Float[np.ndarray, " t"], fps: float, scale: float, top: float) -> str:
    heights = _CHART_HEIGHT * (1 - curve / top)
    return " ".join(f"{k / fps * scale:.1f},{y:.1f}" for k, y in enumerate(heights.tolist()))


def _jpeg(picture: np.ndarray) -> str:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    return base64.b64encode(data.tobytes()).decode()
