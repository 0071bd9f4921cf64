"""The command line: parse, call the pipeline, report."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, no_type_check

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from keysync.config import LONGEST_TEXT, Extend, Language, Length, Occlusion, SyncConfig, VideoCodec
from keysync.errors import ConfigError, InputError, KeySyncError
from keysync.interfaces.evaluate import evaluate

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Lip-sync a video to a new speech track; nothing but the mouth changes.",
)
models_app = typer.Typer(help="What is installed: sizes, licences, hashes.", invoke_without_command=True)
app.add_typer(models_app, name="models")
train_app = typer.Typer(
    help="Make the networks that ship with KeySync from seeds alone.", no_args_is_help=True
)
app.add_typer(train_app, name="train")
app.command()(evaluate)
console, errors = Console(), Console(stderr=True)

Device = Literal["auto", "cpu", "cuda", "mps"]


@app.callback()
def settings(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""
    # Read back by ``main``: errors are handled where no context is left.
    os.environ["KEYSYNC_DEBUG"] = "1" if debug else ""
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder greets every file with a page of text


@app.command()
def sync(
    video: Annotated[Path, typer.Argument(help="The video whose mouth shall move.")],
    audio: Annotated[Path | None, typer.Argument(help="The new speech; any file with sound.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write; .mp4, .mkv, .mov …")
    ] = None,
    model: Annotated[str, typer.Option(help="auto, compact, full, or a model folder.")] = "auto",
    device: Annotated[Device, typer.Option(help="Where to compute.")] = "auto",
    speaker: Annotated[
        str, typer.Option(help="Whom to sync: auto, largest, all, a person's number, or x,y on the face.")
    ] = "auto",
    assign: Annotated[
        list[str] | None,
        typer.Option(help="Person=speech, several times: --assign 1=a.wav --assign 2=b.wav."),
    ] = None,
    transcript: Annotated[
        list[str] | None,
        typer.Option(
            help="What AUDIO says, as text, .srt or .vtt: lips then follow the words too. With --assign "
            "Person=file, several times."
        ),
    ] = None,
    recognise: Annotated[
        bool,
        typer.Option(
            "--recognise",
            help="Write down what is said, if it is English and no transcript is given: lips then follow the "
            "words too (keysync models fetch moonshine).",
        ),
    ] = False,
    language: Annotated[Language, typer.Option(help="Of the words.")] = "en-us",
    length: Annotated[Length, typer.Option(help="What decides how long the result is.")] = "longest",
    extend: Annotated[
        Extend, typer.Option(help="Where pictures come from if the speech is longer.")
    ] = "bounce",
    keep_background: Annotated[
        float | None, typer.Option(help="Mix the video's own sound in, at this level in dB (-20 is a tenth).")
    ] = None,
    occlusion: Annotated[
        Occlusion,
        typer.Option(
            help="What before the mouth to find and leave on top: anything (auto), hands only, or "
            "anything and followed by SAM 2 (sam2; slow, see 'keysync models')."
        ),
    ] = "auto",
    occluder: Annotated[
        list[str] | None,
        typer.Option(
            help="A point on a thing before the face, x,y@time in pixels and seconds, several times; "
            "SAM 2 follows it (needs --occlusion sam2)."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same film.")] = 23,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps per stage; the model's own if absent.")
    ] = None,
    video_codec: Annotated[VideoCodec, typer.Option(help="ffv1 is lossless and needs .mkv.")] = "h264",
    crf: Annotated[int | None, typer.Option(help="Quality of the codec: lower is better.")] = None,
    save_masks: Annotated[
        Path | None, typer.Option(help="Folder for films of what was found before each face, white on black.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write a report: spans, boxes, times.")] = None,
) -> None:
    """Make the mouth in VIDEO say AUDIO."""
    if output is None:
        raise ConfigError("no output: add -o FILE")
    if (audio is None) == (not assign):
        raise ConfigError("give either one speech after the video, or --assign PERSON=SPEECH")
    config = SyncConfig(
        seed=seed, steps=steps, length=length, extend=extend, speaker=speaker,
        transcript=_texts(transcript, bool(assign)), recognise=recognise, language=language,
        occlusion=occlusion, occluders=tuple(occluder or ()), keep_background_db=keep_background,
        resume=resume, video_codec=video_codec, crf=crf,
    )  # fmt: skip
    speech = audio or _assigned("--assign", "SPEECH", "1=a.wav", assign or [])
    _sync(video, speech, output, model, device, config, json, save_masks)


def _texts(transcripts: list[str] | None, assigned: bool) -> str | dict[int, str] | None:
    """What the files of --transcript hold, by person if speeches are assigned."""
    if not transcripts:
        return None
    if assigned:
        files = _assigned("--transcript", "FILE", "1=a.txt", transcripts)
        return {person: _text(path) for person, path in files.items()}
    if len(transcripts) > 1:
        raise ConfigError("several transcripts are given for one speech; put their words into one file")
    return _text(Path(transcripts[0]))


def _text(path: Path) -> str:
    """What a text file holds."""
    try:
        if path.stat().st_size > 4 * LONGEST_TEXT:
            raise InputError(f"{path}: is too large for a transcript; give the words of the speech alone")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8; save it as that") from error


def _assigned(option: str, what: str, example: str, pairs: list[str]) -> dict[int, Path]:
    """``1=a.wav`` to {1: a.wav}."""
    files: dict[int, Path] = {}
    for pair in pairs:
        who, equals, path = pair.partition("=")
        if not equals or not path or not who.isdecimal() or int(who) in files:
            raise ConfigError(f"{option} {pair}: write PERSON={what}, each person once, as in {example}")
        files[int(who)] = Path(path)
    return files


def _sync(
    video: Path,
    speech: Path | dict[int, Path],
    output: Path,
    model: str,
    device: str,
    config: SyncConfig,
    json: Path | None,
    save_masks: Path | None = None,
) -> None:
    from keysync.models import load_models
    from keysync.pipeline import sync_file

    if json is not None and not json.parent.is_dir():
        raise ConfigError(f"{json}: its folder does not exist; make it first")
    if save_masks is not None:
        save_masks.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with console.status("loading the model"):
        models = load_models(model, device)
    if model == "auto" and models.name == "compact":
        console.print("Model: compact (the full weights are not installed; see 'keysync models')")
    try:
        with _bar() as advance:
            report = sync_file(
                video, speech, output, models=models, config=config, on_progress=advance, masks=save_masks
            )
    except KeyboardInterrupt:
        errors.print(f"interrupted; the same command with --resume goes on with {output}", soft_wrap=True)
        raise typer.Exit(130) from None
    spent = time.monotonic() - begin
    if json is not None:
        report.write(json)
    if report.speech_cut_s > 0.05 and config.length != "longest":
        errors.print(
            f"warning: the speech is {float(report.speech_cut_s):.2f} s longer than the picture; "
            "that end is cut (--length longest keeps it)",
            style="yellow",
        )
    for line in report.summary():
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        f"{output}: {report.frames} frames ({float(report.end - report.start):.2f} s), "
        f"{report.synced} synced; {spent:.1f} s with the {models.name} model on {models.device}",
        soft_wrap=True,
    )


@app.command()
def check(
    video: Annotated[Path, typer.Argument(help="The video to look at.")],
    audio: Annotated[Path | None, typer.Argument(help="The new speech, if there is one yet.")] = None,
    speaker: Annotated[str, typer.Option(help="As for sync.")] = "auto",
    transcript: Annotated[
        Path | None, typer.Option(help="What AUDIO says, as for sync: is it what is heard?")
    ] = None,
    recognise: Annotated[
        bool, typer.Option("--recognise", help="As for sync: what is understood of AUDIO?")
    ] = False,
    language: Annotated[Language, typer.Option(help="Of the words.")] = "en-us",
    length: Annotated[Length, typer.Option(help="As for sync.")] = "longest",
    extend: Annotated[Extend, typer.Option(help="As for sync.")] = "bounce",
    occlusion: Annotated[Occlusion, typer.Option(help="As for sync; looked for only with --sheet.")] = "auto",
    occluder: Annotated[list[str] | None, typer.Option(help="As for sync; only with --sheet.")] = None,
    model: Annotated[str, typer.Option(help="auto, compact, full, or a model folder.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG: frames with boxes and numbers.")] = None,
) -> None:
    """What 'sync' would do: who, where, where not and why, how long it takes."""
    from keysync.check import check_file
    from keysync.outline import outline

    for path in (json, sheet):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{path}: its folder does not exist; make it first")
    config = SyncConfig(
        speaker=speaker, transcript=_text(transcript) if transcript else None, recognise=recognise,
        language=language, length=length, extend=extend, occlusion=occlusion, occluders=tuple(occluder or ()),
    )  # fmt: skip
    if sheet is None:
        config = replace(config, occlusion="off", occluders=())
    known = outline(model)
    with _bar() as advance:
        found = check_file(
            video, audio, model=known, config=config,
            on_progress=lambda done, total: advance("look", done, total),
        )  # fmt: skip
    table = Table("from s", "to s", "state", "why")
    for span in found.report.spans():
        table.add_row(f"{span['start_s']:.2f}", f"{span['end_s']:.2f}", span["state"], span["reason"])
    console.print(table)
    who = ", ".join(map(str, found.report.synced_people))
    console.print(f"{len(found.report.people)} people seen; to sync: number {who}", highlight=False)
    for line in (*found.report.notes, *found.problems):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        f"syncing takes about {found.seconds:.0f} s and {found.memory_mb} MB here "
        f"with the {known.name} model",
        highlight=False,
    )
    if json is not None:
        found.write(json)
    if sheet is not None:
        found.sheet(sheet)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write.")] = Path("out/demo.mp4"),
) -> None:
    """Sync the drawn sample that ships with KeySync."""

    sample = Path(__file__).parents[1] / "sample"
    output.parent.mkdir(parents=True, exist_ok=True)
    _sync(sample / "head.mp4", sample / "speech.wav", output, "compact", "cpu", SyncConfig(), None)


@models_app.callback()
@no_type_check  # typer checks with a context class of its own
def models(context: typer.Context) -> None:
    """List model files; 'fetch' gets what is missing."""
    if context.invoked_subcommand is not None:
        return
    from keysync.checkpoints import (
        cache_folder,
        installed,
        installed_kokoro,
        installed_moonshine,
        installed_sam2,
    )
    from keysync.outline import COMPACT, model_folder

    table = Table("file", "MB", "licence", "SHA-256", "where")
    kinds = {
        "faces": installed,
        "moonshine": installed_moonshine,
        "sam2": installed_sam2,
        "kokoro": installed_kokoro,
    }
    for what, rows in kinds.items():
        for row in rows():
            place = str(row.path) if row.path else f"not installed: keysync models fetch {what}"
            table.add_row(row.name, f"{row.size / 1e6:.1f}", row.licence, row.sha256[:12], place)
    import json

    hashes = json.loads((COMPACT / "model.json").read_text())["sha256"]
    for name, digest in hashes.items():
        path = COMPACT / name
        table.add_row(
            f"compact/{name}", f"{path.stat().st_size / 1e6:.1f}", "Apache-2.0", digest[:12], str(path)
        )
    console.print(table)
    console.print(
        f"Model used by --model auto: {model_folder('auto').name}; cache: {cache_folder()}", soft_wrap=True
    )


@models_app.command()
def fetch(
    what: Annotated[
        Literal["faces", "moonshine", "sam2", "kokoro"],
        typer.Argument(
            help="moonshine: what --recognise needs, 44 MB; sam2: what --occlusion sam2 needs, 156 MB; "
            "kokoro: what train compact needs, 119 MB."
        ),
    ] = "faces",
) -> None:
    """Get models into the cache, verified by hash. Moonshine's licence is MIT, all others' Apache-2.0."""
    from keysync.checkpoints import fetch_kokoro, fetch_moonshine, fetch_sam2, installed, model_file

    if what != "faces":
        fetch_it = {"moonshine": fetch_moonshine, "sam2": fetch_sam2, "kokoro": fetch_kokoro}[what]
        console.print(str(fetch_it()), soft_wrap=True)
        return
    for row in installed():
        console.print(str(model_file(row.name)), soft_wrap=True)


@models_app.command()
def convert(
    keyframes: Annotated[Path, typer.Argument(help="keyframe_dub.pt or .safetensors")],
    interpolation: Annotated[Path, typer.Argument(help="interpolation_dub.pt or .safetensors")],
    autoencoder: Annotated[
        Path, typer.Argument(help="The weight file of Stable Video Diffusion's vae folder.")
    ],
    hubert: Annotated[Path, typer.Argument(help="Folder of HuBERT base.")],
    wavlm: Annotated[Path, typer.Argument(help="Folder of WavLM Base+.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where --model full looks if absent.")
    ] = None,
) -> None:
    """Make a model folder of the official checkpoints; pickles are opened with weights only."""
    from keysync.checkpoints import cache_folder
    from keysync.convert import convert_official

    folder = out or cache_folder() / "full"
    convert_official(keyframes, interpolation, autoencoder, hubert, wavlm, folder)
    console.print(f"{folder}: done; use it with --model {folder if out else 'full'}", soft_wrap=True)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the clips.")],
    clips: Annotated[int, typer.Option(help="How many people to draw.")] = 10,
    seed: Annotated[int, typer.Option(help="Same seed, same clips.")] = 1,
    takes: Annotated[int, typer.Option(help="Clips of each person, alike but for the words.")] = 1,
    size: Annotated[str, typer.Option(help="Pixels: 512, or 640x360.")] = "512",
    seconds: Annotated[float, typer.Option(help="Length of each clip.")] = 4.0,
    fps: Annotated[str, typer.Option(help="Frames per second: 25, or 30000/1001.")] = "25",
    framing: Annotated[str, typer.Option(help="head, or nearer: face.")] = "head",
    split: Annotated[
        str, typer.Option(help="train, or test: people and voices that no training sees.")
    ] = "train",
    occluders: Annotated[
        bool, typer.Option("--occluders", help="Something comes before every face.")
    ] = False,
    rooms: Annotated[bool, typer.Option("--rooms", help="Speech is heard with echo and noise.")] = False,
    natural: Annotated[
        bool, typer.Option("--natural", help="Voices that sound like people (keysync models fetch kokoro).")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a PNG with frames of every clip.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Draw talking heads with exact labels (needs the 'synthetic' extra, flite and espeak-ng)."""
    with _needs("synthetic"):
        from keysync.synthetic.make import make_clips, plan_clips
        from keysync.synthetic.sheet import contact_sheet
    width, _, height = size.partition("x")
    try:
        sides, rate = (int(width), int(height or width)), Fraction(fps)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"size is {size}, fps {fps}; write them as in --size 640x360 --fps 30000/1001"
        ) from error
    plans = plan_clips(
        clips, seed, split=split, takes=takes, size=sides, seconds=seconds, fps=rate, framing=framing,
        occluders=occluders, rooms=rooms, natural=natural,
    )  # fmt: skip
    folders = []
    with _bar() as advance:
        for folder in make_clips(plans, out, jobs):
            folders.append(folder)
            advance("clips", len(folders), clips)
    if sheet is not None:
        contact_sheet(sorted(folders), sheet)


@train_app.command("compact")
def train_compact_model(
    out: Annotated[Path, typer.Argument(help="Working folder; run again to go on.")],
    clips: Annotated[int | None, typer.Option(help="People to draw.")] = None,
    keyframe_steps: Annotated[int | None, typer.Option(help="Steps of stage one.")] = None,
    keyframe_again_steps: Annotated[
        int | None, typer.Option(help="Its steps in a second round, on several frames of a person at a time.")
    ] = None,
    interpolation_steps: Annotated[int | None, typer.Option(help="Steps of stage two.")] = None,
    decoder_steps: Annotated[int | None, typer.Option(help="Steps of the decoder.")] = None,
    refine_steps: Annotated[
        int | None, typer.Option(help="Steps of the decoder on what keyframes paint.")
    ] = None,
    speech_hours: Annotated[float | None, typer.Option(help="Speech for the audio encoder.")] = None,
    audio_steps: Annotated[int | None, typer.Option(help="Steps of the audio encoder.")] = None,
    natural_hours: Annotated[float | None, typer.Option(help="Of Kokoro's speech, for it too.")] = None,
    natural_steps: Annotated[
        int | None, typer.Option(help="Its steps on that; 0 leaves it out, and Kokoro is not needed.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that draw; one for each core if absent.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything.")] = None,
    device: Annotated[Device, typer.Option(help="Where the networks learn.")] = "auto",
) -> None:
    """Train the compact model from seeds alone; the folder OUT/model works with --model."""
    given = {
        name: value
        for name, value in locals().items()
        if value is not None and name not in ("out", "device", "jobs")
    }
    with _needs("synthetic"):
        from keysync.train.compact import Plan, train_compact
    folder = train_compact(out, Plan(**given), say=_say, device=device, jobs=jobs)
    console.print(f"{folder}: done; try 'keysync sync … --model {folder}'", soft_wrap=True)


@train_app.command("occlusion")
def train_occlusion_segmenter(
    out: Annotated[Path, typer.Argument(help="Working folder; run again to go on.")],
    people: Annotated[int | None, typer.Option(help="People to draw.")] = None,
    sprites: Annotated[int | None, typer.Option(help="Things to draw that may come before a face.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that draw; one for each core if absent.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything.")] = None,
) -> None:
    """Train the network that finds what is before a mouth; OUT/occlusion is what the package ships."""
    given = {
        name: value for name, value in locals().items() if value is not None and name not in ("out", "jobs")
    }
    with _needs("synthetic"):
        from keysync.train.occlusion import OcclusionPlan, train_occlusion
    folder = train_occlusion(out, OcclusionPlan(**given), say=_say, jobs=jobs)
    console.print(f"{folder}: done", soft_wrap=True)


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; run pip install 'keysync[{extra}]'") from error


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar with time left for each step; yields the function to call with (step, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def advance(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield advance


def _once() -> Callable[[logging.LogRecord], bool]:
    """Let each warning through once: a film is read several times."""
    seen: set[str] = set()

    def fresh(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        return line not in seen and not seen.add(line)  # type: ignore[func-returns-value]

    return fresh


def main() -> None:
    """Entry point: an error of ours is one line and its exit code; any other is a bug and keeps its trace."""
    handler = RichHandler(console=errors, show_time=False, show_path=False)
    handler.addFilter(_once())
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    try:
        app()
    except KeySyncError as error:
        if os.environ.get("KEYSYNC_DEBUG"):
            raise
        errors.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
