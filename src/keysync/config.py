"""What a user may set for one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from keysync.errors import ConfigError

VideoCodec = Literal["h264", "hevc", "av1", "ffv1"]
Length = Literal["video", "audio", "shortest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncConfig:
    """Settings of ``sync`` and ``sync_file``; ``None`` means the model's or the encoder's own default."""

    seed: int = 23  # 0 or more; the same seed gives the same film
    steps: int | None = None  # denoising steps per stage, 1 to 1000
    length: Length = "video"  # what decides how long the result is
    video_codec: VideoCodec = "h264"
    crf: int | None = None  # quality of the video codec, 0 (best) to 63

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ConfigError(f"steps is {self.steps}; it must be 1 to 1000")
        if self.length not in get_args(Length):
            raise ConfigError(f"length is {self.length!r}; choose one of {', '.join(get_args(Length))}")
        if self.video_codec not in get_args(VideoCodec):
            choices = ", ".join(get_args(VideoCodec))
            raise ConfigError(f"video codec is {self.video_codec!r}; choose one of {choices}")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ConfigError(f"crf is {self.crf}; it must be 0 to 63")
