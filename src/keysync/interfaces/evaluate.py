"""``keysync evaluate``: parse, call the evaluation, print and write what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keysync.errors import ConfigError

if TYPE_CHECKING:
    from keysync.evaluate.result import Results

Suite = Literal["drawn", "real"]


def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="PRED REF: two videos, or two folders matched by name. DIR with --suite real."),
    ] = None,
    suite: Annotated[
        Suite | None, typer.Option(help="drawn: the exact benchmark; real: a folder of footage.")
    ] = None,
    driving: Annotated[Path | None, typer.Option(help="The speech, or a folder of it.")] = None,
    source: Annotated[Path | None, typer.Option(help="The video before syncing, or a folder.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Names with commas between; all if absent.")] = None,
    model: Annotated[str, typer.Option(help="What row MODEL is: compact, full, or a folder.")] = "compact",
    rows: Annotated[
        str, typer.Option(help="For --suite drawn: truth, nothing, frozen, MODEL, or any model.")
    ] = "truth,nothing,frozen,MODEL",
    people: Annotated[int, typer.Option(help="For --suite drawn: how many, 1 or more.")] = 24,
    seed: Annotated[int, typer.Option(help="For --suite drawn: another seed is a fresh set.")] = 7,
    natural: Annotated[
        bool, typer.Option("--natural", help="For --suite drawn: voices that sound like people (Kokoro's).")
    ] = False,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="For --suite drawn: models are told what is said.")
    ] = False,
    recognise: Annotated[
        bool, typer.Option("--recognise", help="For --suite drawn: models write down what is said.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where models compute: cpu, cuda, mps.")] = "cpu",
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    json: Annotated[Path | None, typer.Option(help="Write all numbers.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures and curves.")] = None,
) -> None:
    """Measure how well lips follow the speech and how real the picture looks."""
    # Here, because the command line registers this function before its own helpers exist.
    from keysync.interfaces.cli import _bar, _needs, console, errors

    places = paths or []
    wanted = {None: 2, "drawn": 0, "real": 1}[suite]
    if len(places) != wanted:
        usage = {None: "PRED REF", "drawn": "--suite drawn", "real": "--suite real DIR"}[suite]
        raise ConfigError(f"{len(places)} paths given; the command is keysync evaluate {usage}")
    for target in (json, html):
        if target is not None and not target.parent.is_dir():
            raise ConfigError(f"{target}: its folder does not exist; make it first")
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it must be 1 or more")

    with _needs("evaluate"):
        from keysync.evaluate.metrics import check_names
        from keysync.evaluate.pair import evaluate_pairs, find_pairs
        from keysync.evaluate.report import table, write_html
    chosen = check_names(metrics)

    results: Results
    if suite == "drawn":
        with _needs("evaluate,synthetic"):
            from keysync.evaluate.drawn import evaluate_drawn
        names = [model if row.upper() == "MODEL" else row for row in rows.split(",") if row]
        with _bar() as advance:
            results = evaluate_drawn(
                names,
                people=people,
                seed=seed,
                natural=natural,
                transcript=transcript,
                recognise=recognise,
                jobs=jobs,
                device=device,
                metrics=chosen,
                on_progress=advance,
            )
    elif suite == "real":
        from keysync.evaluate.real import evaluate_real
        from keysync.models import load_models

        with _bar() as advance:
            results = evaluate_real(
                places[0], load_models(model, device), metrics=chosen, on_progress=advance
            )
    else:
        pairs = list(find_pairs(places[0], places[1], driving, source))
        with _bar() as advance:
            results = evaluate_pairs(pairs, chosen, jobs=jobs, device=device, on_progress=advance)

    console.print(table(results))
    for name, why in results.absent.items():
        console.print(f"{name}: absent, {why}", highlight=False, soft_wrap=True)
    if json is not None:
        results.write(json)
    if html is not None:
        write_html(results, html)
    for line in results.failures:
        errors.print(f"failed: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    if results.failures:
        raise typer.Exit(1)
