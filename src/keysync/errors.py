"""Every error a caller can act on.

Each message is one line: the place, the fact, the way out. The command line prints it and exits
with ``exit_code``; anything that is not a ``KeySyncError`` is a bug of ours.
"""


class KeySyncError(Exception):
    """Root of the tree; catch this to catch everything KeySync raises on purpose."""

    exit_code = 1


class ConfigError(KeySyncError):
    """A setting or an argument is wrong."""

    exit_code = 2


class CheckpointError(ConfigError):
    """A weight file is missing, altered, or does not fit its network."""


class InputError(KeySyncError):
    """A video, a sound or a path from outside cannot be used."""

    exit_code = 3


class MediaError(InputError):
    """A media file cannot be read or written."""


class NoFaceFound(InputError):
    """No frame of the video shows a usable face."""


class MissingProgram(ConfigError):
    """An optional program or package is needed for this command and is not installed."""
