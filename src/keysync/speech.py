"""The speech that drives the mouth: 16 kHz mono samples on disk, so that its length costs no memory."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

SPEECH_RATE_HZ = 16000


@runtime_checkable
class Sound(Protocol):
    """Mono sound at 16 kHz."""

    def samples(self, start: int, stop: int) -> Float32[np.ndarray, " n"]:
        """Samples ``start`` to ``stop``; zeros outside the sound."""
        ...

    def __len__(self) -> int: ...

    @property
    def mean(self) -> float:
        """Of all samples."""
        ...

    @property
    def variance(self) -> float:
        """Of all samples."""
        ...


class Speech:
    """A mono track at 16 kHz, kept in an anonymous temporary file.

    Attributes:
        mean, variance: of all samples (population variance); speech encoders want them removed.
    """

    rate_hz = SPEECH_RATE_HZ

    def __init__(self, blocks: Iterable[Float32[np.ndarray, " _"]]) -> None:
        """Store ``blocks`` one after the other.

        Args:
            blocks: 16 kHz mono samples, in order, nominally -1 to 1; cut anywhere.
        """
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        # Closed with this object, silently: a forgotten Speech must not raise a ResourceWarning.
        self._closer = weakref.finalize(self, self._file.close)
        self._length = 0
        total = squares = 0.0
        for block in blocks:
            self._file.write(np.ascontiguousarray(block).tobytes())
            self._length += block.size
            # Sums in float64: exact to 1e-9 for a day of samples, where float32 loses the mean.
            wide = block.astype(np.float64)
            total += float(wide.sum())
            squares += float(wide @ wide)
        self._file.flush()  # a full disk is to be noticed here, where it is told in one line
        self.mean = total / max(self._length, 1)
        self.variance = max(squares / max(self._length, 1) - self.mean**2, 0.0)

    def __len__(self) -> int:
        return self._length

    @property
    def duration_s(self) -> Fraction:
        """Length in seconds, exact."""
        return Fraction(self._length, self.rate_hz)

    def samples(self, start: int, stop: int) -> Float32[np.ndarray, " n"]:
        """Samples ``start`` to ``stop`` (not included), zero before the track's start and after its end."""
        out = np.zeros(max(stop - start, 0), dtype=np.float32)
        first, last = max(start, 0), min(stop, self._length)
        if first < last:
            self._file.seek(first * out.itemsize)
            data = self._file.read((last - first) * out.itemsize)
            out[first - start : last - start] = np.frombuffer(data, dtype=np.float32)
        return out

    def close(self) -> None:
        """Give the disk space back now rather than when the object goes."""
        self._closer()
