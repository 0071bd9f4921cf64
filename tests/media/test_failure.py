import inspect
import os
from pathlib import Path

import av.error
import pytest

from keysync.errors import ConfigError, KeySyncError, MediaError
from keysync.media.failure import media_errors, require_file, require_target

AV_ERRORS = [
    thing
    for _, thing in inspect.getmembers(av.error, inspect.isclass)
    if issubclass(thing, av.error.FFmpegError)
]


@pytest.mark.parametrize("doing", ["read", "write"])
@pytest.mark.parametrize("kind", AV_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_pyav_becomes_one_line_with_a_way_out(kind: type[Exception], doing: str) -> None:
    with pytest.raises(KeySyncError) as caught, media_errors(Path("film.mp4"), doing):
        raise kind(22, "something\nis wrong")
    assert isinstance(caught.value, (MediaError, ConfigError))
    assert str(caught.value).startswith("film.mp4: ")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        EOFError(),
        ValueError("no codec"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
        MemoryError(),
    ],
)
def test_plain_errors_that_pyav_lets_through_become_ours(error: Exception) -> None:
    with pytest.raises(MediaError, match=r"film\.mp4: .+; "), media_errors(Path("film.mp4"), "read"):
        raise error


def test_a_full_disk_is_named_while_writing() -> None:
    with pytest.raises(MediaError, match="disk is full"), media_errors(Path("film.mp4"), "write"):
        raise av.error.OSError(28, "No space left on device")


def test_a_bug_of_ours_is_not_hidden() -> None:
    with pytest.raises(KeyError), media_errors(Path("film.mp4"), "read"):
        raise KeyError("bug")


def test_our_own_errors_pass_unchanged() -> None:
    error = MediaError("said before")
    with pytest.raises(MediaError) as caught, media_errors(Path("film.mp4"), "read"):
        raise error
    assert caught.value is error


def test_what_is_no_file_with_content_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, fact in [
        ("", "folder"),
        ("empty.mp4", "empty"),
        ("pipe.mp4", "pipe"),
        ("no.mp4", "no such file"),
    ]:
        with pytest.raises(MediaError, match=fact):
            require_file(tmp_path / name)
    with pytest.raises(MediaError):
        require_file(tmp_path / "a\0b")
    with pytest.raises(MediaError, match="too long"):
        require_file(tmp_path / ("a" * 300))


def test_a_link_to_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "pipe")
    with pytest.raises(MediaError, match="pipe"):
        require_file(tmp_path / "link.mp4")


def test_a_target_that_cannot_become_a_file_is_a_wrong_argument(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for path, fact in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "film.mp4", "folder does not exist"),
        (tmp_path / "file" / "film.mp4", "no folder"),
        (tmp_path / "pipe.mp4", "pipe"),
    ]:
        with pytest.raises(ConfigError, match=fact):
            require_target(path)
