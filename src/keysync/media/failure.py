"""What goes wrong with media files, said in one line each: the file, the fact, the way out."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import av.error

from keysync.errors import ConfigError, KeySyncError, MediaError

Doing = Literal["read", "write"]

_OTHER_FORMAT = "convert it to an .mp4 with H.264 and AAC"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_BAD_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
_NO_CODEC = (
    av.error.DecoderNotFoundError,
    av.error.EncoderNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.MuxerNotFoundError,
    av.error.FilterNotFoundError,
    av.error.BSFNotFoundError,
)


@contextmanager
def media_errors(path: Path, doing: Doing) -> Iterator[None]:
    """Turn all that PyAV and the operating system raise about ``path`` into our own errors.

    Raises:
        MediaError: the file cannot be read, or writing it failed.
        ConfigError: the place or the format asked of the output cannot be had.
    """
    try:
        yield
    except KeySyncError:
        raise
    # Every class of av.error has FFmpegError as its base; PyAV itself raises plain ValueError
    # (UnicodeDecodeError among them) for names and metadata that it cannot take.
    except (av.error.FFmpegError, OSError, EOFError, ValueError, MemoryError) as error:
        raise translate(error, path, doing) from error


def translate(error: Exception, path: Path, doing: Doing) -> KeySyncError:
    """Say ``error``, met while reading or writing ``path``, in one line."""
    kind, fact = _explain(error, doing)
    return kind(f"{path}: {fact}".replace("\n", " "))


def require_file(path: Path) -> None:
    """Refuse what is no file with content, before anything opens it: opening a pipe would wait for ever.

    Raises:
        MediaError: no such file, a folder, a pipe or a device, or an empty file.
    """
    with media_errors(path, "read"):
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(f"{path}: is a folder; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path}: is a pipe or a device; copy its content to a file first")
    if status.st_size == 0:
        raise MediaError(f"{path}: the file is empty; fetch or record it again")


def require_target(path: Path) -> None:
    """Refuse an output name that cannot become a file.

    Raises:
        ConfigError: the name belongs to a folder, a pipe or a device, or its folder does not exist.
    """
    with media_errors(path, "write"):
        path.parent.stat()
        if not path.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is a pipe or a device; name a file")


def _explain(error: Exception, doing: Doing) -> tuple[type[KeySyncError], str]:
    # A wrong place for the output is the caller's argument; a bad input is the world's.
    place: type[KeySyncError] = MediaError if doing == "read" else ConfigError
    number = getattr(error, "errno", None)
    if number in _DISK_FULL:
        return MediaError, "the disk is full; free some space, then the same command with --resume goes on"
    if number in _BAD_NAME:
        return place, "the name is too long or its links run in a circle; use another name"
    if isinstance(error, FileNotFoundError):
        if doing == "read":
            return place, "no such file; check the name"
        return place, "its folder does not exist; create the folder first"
    if isinstance(error, NotADirectoryError):
        return place, "a part of the path is no folder; check the path"
    if isinstance(error, IsADirectoryError):
        return place, "is a folder; name a file"
    if isinstance(error, PermissionError):
        return place, f"no permission to {doing} it; change the permissions or use another place"
    if isinstance(error, MemoryError):
        return MediaError, f"not enough memory to {doing} it; use a smaller picture or free some memory"
    if isinstance(error, _NO_CODEC):
        if doing == "read":
            return MediaError, f"its format is unknown to the installed PyAV; {_OTHER_FORMAT}"
        return ConfigError, "the installed PyAV lacks an encoder for it; install PyAV from its wheel"
    if isinstance(error, (NotImplementedError, av.error.PatchWelcomeError, av.error.ExperimentalError)):
        return MediaError, f"uses a part of its format that PyAV does not support; {_OTHER_FORMAT}"
    if doing == "read" and isinstance(error, (av.error.InvalidDataError, EOFError)):
        return MediaError, f"is damaged, cut short, or no media file; fetch it again, or {_OTHER_FORMAT}"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    wayout = _OTHER_FORMAT if doing == "read" else "try another codec or container"
    return MediaError, f"{said} (while trying to {doing} it); {wayout}"
