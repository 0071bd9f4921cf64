"""What a user may set for one run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

from keysync.errors import ConfigError

VideoCodec = Literal["h264", "hevc", "av1", "ffv1"]
Length = Literal["longest", "audio", "video", "shortest"]
Extend = Literal["bounce", "loop", "freeze", "silence"]
Language = Literal["en-us", "en-gb", "es", "fr-fr", "it", "pt-br"]  # as espeak-ng calls them
Occlusion = Literal["auto", "off", "hands", "sam2"]
LONGEST_TEXT = 1_000_000  # letters of a transcript: some twenty hours of speech
_CLICK = re.compile(r"(\d{1,5}),(\d{1,5})@(\d{1,6}(?:\.\d{1,6})?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncConfig:
    """Settings of ``sync`` and ``sync_file``; ``None`` means the model's or the encoder's own default."""

    seed: int = 23  # 0 or more; the same seed gives the same film
    steps: int | None = None  # denoising steps per stage, 1 to 1000
    length: Length = "longest"  # what decides how long the result is
    # Where pictures come from if the speech is the longer: the end played backwards and forwards, the
    # clip again, its last frame with or without moving lips.
    extend: Extend = "bounce"
    # Whom to sync: who speaks in the source, the largest face, everyone, a person's number, or a point "x,y".
    speaker: str = "auto"
    # The words of the speech, as plain text or subtitles; lips then follow them too, not the sound alone.
    # With several speeches, by the number of the person who says it.
    transcript: str | Mapping[int, str] | None = None
    # Whether to write down what a speech without a transcript says, where it is sure, and follow that.
    recognise: bool = False
    language: Language = "en-us"  # of the words
    # How to find what is before a mouth, see docs/occlusion.md.
    occlusion: Occlusion = "auto"
    # Points on things before a face, each "x,y@time": pixels of the frame, seconds. Only for "sam2".
    occluders: tuple[str, ...] = ()
    keep_background_db: float | None = None  # level of the source's own sound under the speech
    resume: bool = False  # go on with an interrupted run
    video_codec: VideoCodec = "h264"
    crf: int | None = None  # quality of the video codec, 0 (best) to 63

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise ConfigError(f"steps is {self.steps}; it must be 1 to 1000")
        if self.length not in get_args(Length):
            raise ConfigError(f"length is {self.length!r}; choose one of {', '.join(get_args(Length))}")
        if self.extend not in get_args(Extend):
            raise ConfigError(f"extend is {self.extend!r}; choose one of {', '.join(get_args(Extend))}")
        if not re.fullmatch(r"auto|largest|all|[1-9]\d{0,2}|\d{1,5},\d{1,5}", self.speaker):
            raise ConfigError(
                f"speaker is {self.speaker!r}; choose auto, largest, all, a person's number (1, 2, …) or a "
                "point on the face, x,y"
            )
        texts = [self.transcript] if isinstance(self.transcript, str) else (self.transcript or {}).values()
        for text in texts:
            if len(text) > LONGEST_TEXT:
                raise ConfigError(f"the transcript has {len(text)} letters; give {LONGEST_TEXT} at most")
        if self.language not in get_args(Language):
            raise ConfigError(f"language is {self.language!r}; choose one of {', '.join(get_args(Language))}")
        if self.recognise and not self.language.startswith("en"):
            raise ConfigError(
                f"only English can be recognised, and language is {self.language}; give a transcript instead"
            )
        if self.occlusion not in get_args(Occlusion):
            raise ConfigError(
                f"occlusion is {self.occlusion!r}; choose one of {', '.join(get_args(Occlusion))}"
            )
        for click in self.occluders:
            if not _CLICK.fullmatch(click):
                raise ConfigError(
                    f"occluder is {click!r}; write x,y@time (pixels of the frame, seconds), as in 320,410@2.5"
                )
        if self.occluders and self.occlusion != "sam2":
            raise ConfigError(
                f"occluders are given, but occlusion is {self.occlusion!r}; only sam2 follows them: "
                "add --occlusion sam2"
            )
        if self.video_codec not in get_args(VideoCodec):
            choices = ", ".join(get_args(VideoCodec))
            raise ConfigError(f"video codec is {self.video_codec!r}; choose one of {choices}")
        if self.crf is not None and not 0 <= self.crf <= 63:
            raise ConfigError(f"crf is {self.crf}; it must be 0 to 63")

    def clicks(self) -> list[tuple[int, int, Fraction]]:
        """``occluders`` as numbers: x, y, seconds."""
        found = [match.groups() for click in self.occluders if (match := _CLICK.fullmatch(click))]
        return [(int(x), int(y), Fraction(time)) for x, y, time in found]

    def texts(self, assigned: Mapping[int, Path], spoken: Sequence[Path]) -> dict[Path, str]:
        """The words of each speech whose words are given.

        Args:
            assigned: who says which file, if that is given.
            spoken: all speeches.
        Raises:
            ConfigError: it is not clear whose words they are.
        """
        given = self.transcript
        if given is None:
            return {}
        if isinstance(given, str):
            if len(spoken) != 1:
                fault = "several speeches; say whose it is, as in 1=a.txt" if spoken else "no speech; add one"
                raise ConfigError(f"one transcript is given for {fault}")
            return {spoken[0]: given}
        texts: dict[Path, str] = {}
        for person, text in given.items():
            if person not in assigned:
                raise ConfigError(
                    f"a transcript is given for person {person}, who has no speech; assign one too"
                )
            path = assigned[person]
            if texts.setdefault(path, text) != text:
                raise ConfigError(f"{path}: has two transcripts; give one, or assign a file to each person")
        return texts
