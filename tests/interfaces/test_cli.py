import json
import os
import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from keysync.interfaces import cli
from keysync.media.read import read_frames
from keysync.models import Models, load_occlusion
from keysync.movement import HARD_TO_HEAR, Movement
from keysync.synthetic.make import plan_clips
from keysync.train.compact import Plan
from keysync.train.occlusion import OcclusionPlan

MakeClip = Callable[..., Path]


@pytest.fixture
def run(
    tiny: Models, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """run(*words) -> exit code and everything printed; '--model tiny' is the tiny model."""
    monkeypatch.setattr("keysync.models.load_models", lambda *_: tiny)

    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["keysync", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "500")
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capfd.readouterr()
        return code, printed.out + printed.err

    return run


def test_sync_writes_the_video_and_the_report(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    out, report = tmp_path / "out.mkv", tmp_path / "report.json"
    words = ("-o", out, "--video-codec", "ffv1", "--json", report, "--length", "video")
    code, printed = run("sync", make_clip(10), make_speech(1.0), *words)
    assert code == 0
    assert "10 frames (0.40 s), 10 synced" in printed
    assert "0.60 s longer than the picture" in printed
    assert len(list(read_frames(out))) == 10
    told = json.loads(report.read_text())
    (span,) = told["spans"]
    assert span["reason"] == "no speech: the lips rest"  # a tone
    assert (span["state"], span["first"], span["last"]) == ("silent", 0, 9)
    assert (span["start_s"], span["end_s"]) == (0, 0.4)
    assert len(told["boxes"]) == told["frames"] == 10


def test_longer_speech_is_kept_by_default(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    code, printed = run("sync", make_clip(10), make_speech(1.0), "-o", tmp_path / "out.mkv")
    assert code == 0
    assert "25 frames (1.00 s), 25 synced" in printed
    assert "warning" not in printed


def test_check_tells_what_sync_would_do(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    told, sheet = tmp_path / "check.json", tmp_path / "sheet.png"
    code, printed = run("check", make_clip(31), make_speech(0.5), "--json", told, "--sheet", sheet)
    assert code == 0
    assert "1 people seen; to sync: number 1" in printed
    found = json.loads(told.read_text())
    assert found["people"] == found["synced_people"] == [1]
    assert found["estimate"]["seconds"] > 0
    spans = found["spans"]
    assert (spans[0]["start_s"], spans[-1]["end_s"]) == (0, 1.24)
    assert all(before["end_s"] == after["start_s"] for before, after in pairwise(spans))
    assert any("the lips rest for the last 0.7" in line for line in found["problems"])
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_check_with_a_sheet_tells_what_is_hard_to_hear(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for sure, told in ((0.2, True), (0.8, False)):
        moved = Movement(np.zeros((50, 7), np.float32), sure=sure, unsaid=0.0)
        monkeypatch.setattr("keysync.movement.move", lambda *_, moved=moved: moved)
        code, printed = run("check", make_clip(6), make_speech(0.5), "--sheet", tmp_path / "sheet.png")
        assert code == 0
        assert (HARD_TO_HEAR in printed) == told


def test_check_tells_what_a_transcript_lacks(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = []

    def move(*given: object) -> Movement:
        asked.append(given[-1])
        return Movement(np.zeros((50, 7), np.float32), sure=0.9, unsaid=0.3)

    monkeypatch.setattr("keysync.movement.move", move)
    monkeypatch.setattr("keysync.movement.follow", lambda _, words, *__: words)
    monkeypatch.setattr("keysync.movement.read_words", lambda text, language: [(language, text)])
    words = tmp_path / "words.txt"
    words.write_text("hola")
    code, printed = run("check", make_clip(6), make_speech(0.5), "--transcript", words, "--language", "es")
    assert code == 0
    assert asked == [[("es", "hola")]]
    assert "speech.wav: 30 % is not what the words say" in printed
    code, printed = run("check", make_clip(6), "--transcript", words)
    assert code == 2
    assert "one transcript is given for no speech" in printed
    code, printed = run("check", make_clip(6), "--recognise")
    assert code == 2
    assert "there is no speech to recognise" in printed


def test_a_plan_that_does_not_fit_into_memory_is_one_line(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def grow(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("keysync.check.rearranged", grow)
    code, printed = run("check", make_clip(6), make_speech(0.5))
    assert code == 3
    assert "not enough memory to plan its sync" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("pairs", [["1"], ["1="], ["x=a.wav"], ["1=a.wav", "1=b.wav"]])
def test_an_unclear_assignment_is_refused(
    pairs: list[str], run: Callable[..., tuple[int, str]], make_clip: MakeClip, tmp_path: Path
) -> None:
    words = [word for pair in pairs for word in ("--assign", pair)]
    code, printed = run("sync", make_clip(3), "-o", tmp_path / "out.mkv", *words)
    assert code == 2
    assert "write PERSON=SPEECH, each person once" in printed


def test_transcripts_go_with_assigned_speeches(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("hello")
    begin = ("sync", make_clip(3), "-o", tmp_path / "out.mkv")
    for words, fact in (
        ([make_speech(), "--transcript", text, "--transcript", text], "several transcripts are given"),
        (["--assign", f"1={make_speech()}", "--transcript", text], "write PERSON=FILE, each person once"),
        (["--assign", f"1={make_speech()}", "--transcript", f"2={text}"], "person 2, who has no speech"),
    ):
        code, printed = run(*begin, *words)
        assert code == 2
        assert fact in printed


def test_without_moonshine_it_says_how_to_get_it(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("KEYSYNC_CACHE", str(tmp_path))
    monkeypatch.delenv("KEYSYNC_MODELS", raising=False)
    monkeypatch.setattr("keysync.pipeline.load_occlusion", lambda *_: None)  # its models are not there either
    code, printed = run("sync", make_clip(3), make_speech(), "-o", tmp_path / "out.mkv", "--recognise")
    assert code == 2
    assert "run keysync models fetch moonshine" in printed
    assert not (tmp_path / "out.mkv").exists()


def test_a_person_is_given_a_speech_by_number(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    code, printed = run("sync", make_clip(8), "-o", tmp_path / "o.mkv", "--assign", f"1={make_speech(0.3)}")
    assert code == 0
    assert "8 frames (0.32 s), 8 synced" in printed


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        (["--seed", "-1"], 2, "seed is -1"),
        (["--steps", "0"], 2, "steps is 0"),
        (["--crf", "99"], 2, "crf is 99"),
        (["--json", "nowhere/report.json"], 2, "its folder does not exist"),
        (["--video-codec", "vp8"], 2, "vp8"),
        (["--length", "forever"], 2, "forever"),
        (["--occlusion", "sam3"], 2, "sam3"),
        (["--occlusion", "sam2", "--occluder", "5,5"], 2, "occluder is '5,5'; write x,y@time"),
        (["--occlusion", "sam2", "--occluder", "-5,5@1"], 2, "occluder is '-5,5@1'"),
        (["--occlusion", "sam2", "--occluder", "5,5@1e9"], 2, "occluder is '5,5@1e9'"),
        (["--occluder", "5,5@1"], 2, "add --occlusion sam2"),
        (["--language", "klingon"], 2, "klingon"),
        (["--recognise", "--language", "fr-fr"], 2, "only English can be recognised, and language is fr-fr"),
        (["--transcript", "nowhere.txt"], 3, "nowhere.txt: cannot be read"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(
    options: list[str], code: int, fact: str, run: Callable[..., tuple[int, str]], make_clip: MakeClip,
    make_speech: MakeClip, tmp_path: Path,
) -> None:  # fmt: skip
    found, printed = run("sync", make_clip(3), make_speech(), "-o", tmp_path / "out.mkv", *options)
    assert found == code
    assert fact in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"a" * 4_000_001, "is too large for a transcript"),
        (b"a" * 1_000_001, "the transcript has 1000001 letters"),
    ],
    ids=["bytes", "large file", "long text"],
)
def test_a_transcript_that_is_none_is_one_line(
    content: bytes, fact: str, run: Callable[..., tuple[int, str]], make_clip: MakeClip,
    make_speech: MakeClip, tmp_path: Path,
) -> None:  # fmt: skip
    text, out = tmp_path / "words.txt", tmp_path / "out.mkv"
    text.write_bytes(content)
    code, printed = run("sync", make_clip(3), make_speech(), "-o", out, "--transcript", text)
    assert code in (2, 3)
    assert fact in printed
    assert "Traceback" not in printed
    assert not out.exists()


def _zero_length(path: Path) -> None:
    path.write_bytes(b"")


def _not_media(path: Path) -> None:
    path.write_text("a letter, not a film\n" * 50)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("spoil", [_zero_length, _not_media, _truncated, Path.unlink])
def test_a_spoilt_video_is_one_line_and_exit_3(
    spoil: Callable[[Path], None], run: Callable[..., tuple[int, str]], make_clip: MakeClip,
    make_speech: MakeClip, tmp_path: Path,
) -> None:  # fmt: skip
    clip, speech = make_clip(5), make_speech()
    spoil(clip)
    code, printed = run("sync", clip, speech, "-o", tmp_path / "out.mkv")
    assert code == 3
    assert str(clip) in printed
    assert "Traceback" not in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "out.mkv").exists()


def test_sound_without_sound_and_video_without_picture_say_so(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    clip, speech = make_clip(3), make_speech()
    for video, sound in ((clip, clip), (speech, speech)):
        code, printed = run("sync", video, sound, "-o", tmp_path / "out.mkv")
        assert code == 3
        assert "; " in printed
        assert "Traceback" not in printed


def test_an_unwritable_place_leaves_nothing(
    run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip, tmp_path: Path
) -> None:
    code, printed = run("sync", make_clip(3), make_speech(), "-o", tmp_path / "gone" / "out.mkv")
    assert code in (2, 3)
    assert "gone" in printed
    assert "Traceback" not in printed


def test_debug_shows_the_trace(
    run: Callable[..., tuple[int, str]], make_speech: MakeClip, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=r"gone\.mp4"):
        run("--debug", "sync", tmp_path / "gone.mp4", make_speech(), "-o", tmp_path / "out.mkv")
    os.environ.pop("KEYSYNC_DEBUG", None)


def test_convert_of_a_missing_checkpoint_is_one_line(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    words = [tmp_path / name for name in ("keys.pt", "between.pt", "vae.safetensors", "hubert", "wavlm")]
    code, printed = run("models", "convert", *words, "-o", tmp_path / "full")
    assert code == 2
    assert "keys.pt" in printed
    assert "Traceback" not in printed


def test_models_lists_hashes_and_licences(run: Callable[..., tuple[int, str]]) -> None:
    code, printed = run("models")
    assert code == 0
    assert "face_landmark.tflite" in printed
    assert "compact/keyframes.safetensors" in printed
    assert "Apache-2.0" in printed


@pytest.fixture
def with_sam2(sam2_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Models) -> Path:  # noqa: ARG001
    """The user's folder of models, with SAM 2 in it, and what looks for occluders as it really is."""
    for place in ("keysync.pipeline", "keysync.models"):
        monkeypatch.setattr(f"{place}.load_occlusion", load_occlusion)
    monkeypatch.setenv("KEYSYNC_MODELS", str(tmp_path / "mine"))
    return Path(shutil.copytree(sam2_weights, tmp_path / "mine" / "sam2"))


@pytest.mark.parametrize("command", ["sync", "check"])
def test_sam2_without_weights_is_one_line_before_anything_is_looked_at(
    command: str, with_sam2: Path, run: Callable[..., tuple[int, str]], make_clip: MakeClip,
    make_speech: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.rmtree(with_sam2)
    monkeypatch.setattr("keysync.models.sam2_folder", lambda: with_sam2)
    out = ("-o", tmp_path / "out.mkv") if command == "sync" else ("--sheet", tmp_path / "sheet.png")
    code, printed = run(command, make_clip(3), make_speech(), *out, "--occlusion", "sam2")
    assert code == 2
    (line,) = [line for line in printed.splitlines() if line.startswith("error:")]
    assert line.endswith(
        f"'keysync models fetch sam2' gets it, or put the folder of a Sam2VideoModel at {with_sam2}"
    )
    assert "Traceback" not in printed


def test_a_clicked_occluder_is_followed_and_a_click_beside_is_told(
    with_sam2: Path, run: Callable[..., tuple[int, str]], make_clip: MakeClip, make_speech: MakeClip,
    tmp_path: Path,
) -> None:  # fmt: skip
    words = ["--occlusion", "sam2", "--occluder", "48,56@0.2", "--occluder", "9000,5@0.2"]
    extra = ["--save-masks", tmp_path / "masks", "--json", tmp_path / "report.json"]
    code, printed = run("sync", make_clip(10), make_speech(0.4), "-o", tmp_path / "o.mkv", *words, *extra)
    assert code == 0
    assert printed.count("left out") == 1
    assert "occluder 9000,5@0.2 was left out: no synced face is near that point then" in printed
    (span,) = json.loads((tmp_path / "report.json").read_text())["occluders"]
    assert span["first"] <= 5 <= span["last"]  # random weights: what else they see nobody knows
    assert (tmp_path / "masks" / "person-1.mkv").exists()
    code, printed = run("check", make_clip(10), make_speech(0.4), "--sheet", tmp_path / "s.png", *words)
    assert code == 0
    assert printed.count("left out") == 1
    code, printed = run("models")
    assert str(with_sam2 / "model.safetensors") in printed
    assert "your own" in printed


def test_models_fetch_sam2_tells_where_it_is(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysync.checkpoints.fetch_sam2", lambda: tmp_path / "sam2")
    assert run("models", "fetch", "sam2") == (0, f"{tmp_path / 'sam2'}\n")


def test_options_of_train_are_what_the_plan_says_and_jobs_are_none_of_it(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, object, dict[str, object]]] = []

    def train(out: Path, plan: object, **how: object) -> Path:
        asked.append((out, plan, {name: value for name, value in how.items() if name != "say"}))
        return out

    monkeypatch.setattr("keysync.train.compact.train_compact", train)
    monkeypatch.setattr("keysync.train.occlusion.train_occlusion", train)
    assert run("train", "compact", tmp_path, "--clips", "40", "--jobs", "3", "--device", "cpu")[0] == 0
    assert run("train", "occlusion", tmp_path, "--people", "300", "--jobs", "3")[0] == 0
    assert run("train", "occlusion", tmp_path, "--seed", "0")[0] == 0
    assert asked == [
        (tmp_path, Plan(clips=40), {"device": "cpu", "jobs": 3}),
        (tmp_path, OcclusionPlan(people=300), {"jobs": 3}),
        (tmp_path, OcclusionPlan(seed=0), {"jobs": None}),
    ]


def test_clips_are_drawn_as_asked(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("keysync.synthetic.make.make_clips", lambda plans, *_: asked.append(plans) or [])
    as_said = ("--clips", "4", "--takes", "2", "--split", "test", "--size", "640x360", "--fps", "30000/1001")
    assert run("synth", tmp_path, *as_said)[0] == 0
    plans = plan_clips(
        4, 1, split="test", takes=2, size=(640, 360), seconds=4.0, fps=Fraction(30000, 1001), framing="head"
    )
    assert asked == [plans]
    for words, fact in (
        (("--size", "640by360"), "size is 640by360"),
        (("--fps", "25/0"), "fps 25/0"),
        (("--takes", "0"), "takes is 0"),
        (("--split", "all"), "split is 'all'"),
    ):
        code, printed = run("synth", tmp_path, *words)
        assert code == 2
        assert fact in printed


@pytest.mark.parametrize("words", [("synth", "x"), ("train", "compact", "x"), ("train", "occlusion", "x")])
def test_no_jobs_at_all_are_refused_before_anything_is_made(
    words: tuple[str, ...],
    run: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = run(*words, "--jobs", "0")
    assert code == 2
    assert printed.strip().splitlines()[-1] == "error: jobs is 0; it must be 1 or more"
    assert not list(tmp_path.iterdir())
