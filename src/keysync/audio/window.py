"""A whole speech -> the tokens around each video frame.

Long speech is encoded piece by piece, each with sound to spare on both sides, and only when a frame asks
for it: memory does not grow with length, and no token is lost or moved where pieces meet.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from keysync.audio.encoder import HOP, RATE_HZ, AudioEncoder, HubertEncoder
from keysync.errors import InputError
from keysync.speech import Sound

TOKENS_PER_SECOND = RATE_HZ // HOP
CHUNKS_KEPT = 3

PastEnd = Literal["zero", "repeat"]


class AudioTokens:
    """The tokens of one speech, made as they are asked for.

    Args:
        chunk_s: how much to encode at a time, whole seconds. A speech shorter than two chunks is encoded
            in one piece; the last chunk of a longer one takes what is left over.
        tail_s: silence to hear after the speech, whole seconds: with ``past_end="repeat"`` an encoder that
            knows silence then goes on hearing it, however abruptly the speech ends.
        device: where the encoder lives.
    Raises:
        InputError: the speech has no samples.
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        sound: Sound,
        *,
        chunk_s: int = 20,
        tail_s: int = 0,
        device: torch.device | None = None,
    ) -> None:
        if len(sound) == 0:
            raise InputError("the speech has no samples; give a longer one")
        self._encoder = encoder
        self._sound = sound
        self._device = device
        self._total = -(-len(sound) // HOP) + tail_s * TOKENS_PER_SECOND
        self._end = len(sound) if tail_s == 0 else self._total * HOP
        self._chunk = chunk_s * TOKENS_PER_SECOND
        self._chunks = max(1, self._total // self._chunk)
        self._spare = math.ceil(encoder.context_s * TOKENS_PER_SECOND) + 1
        self._kept: OrderedDict[int, Float[Tensor, "tokens dim"]] = OrderedDict()

    def __len__(self) -> int:
        """Number of tokens."""
        return self._total

    def at(
        self,
        times: Sequence[Fraction],
        tokens_per_frame: int = 2,
        offset: int = 0,
        past_end: PastEnd = "zero",
    ) -> Float[Tensor, "frames tokens dim"]:
        """The tokens that each frame hears.

        Args:
            times: when each frame is shown, seconds of the speech.
            tokens_per_frame: 20 ms each, around the frame's time (see ``token_indices``).
            offset: shift in tokens. -1 is how the published interpolation model heard WavLM.
            past_end: what frames hear after the last token.
        """
        return self._pick(token_indices(times, tokens_per_frame, offset), past_end)

    def span(self, first: int, stop: int) -> Float[Tensor, "tokens dim"]:
        """Tokens ``first`` to ``stop``, or to the last."""
        return self._pick(torch.arange(first, min(stop, self._total))[:, None], "zero")[:, 0]

    def _pick(self, indices: Int64[Tensor, "frames n"], past_end: PastEnd) -> Float[Tensor, "frames n dim"]:
        inside, silent = _resolve(indices, self._total, past_end)
        heard = torch.zeros(*indices.shape, self._encoder.dim)
        chunk_of = (inside // self._chunk).clamp(max=self._chunks - 1)
        for number in sorted(set(chunk_of.flatten().tolist())):
            here = chunk_of == number
            tokens = self._tokens(number)
            heard = heard.to(tokens)
            heard[here] = tokens[inside[here] - number * self._chunk]
        heard[silent] = 0
        return heard

    def _tokens(self, chunk: int) -> Float[Tensor, "tokens dim"]:
        """A chunk's own tokens, without the spare ones."""
        if chunk not in self._kept:
            first = chunk * self._chunk
            last = self._total if chunk == self._chunks - 1 else first + self._chunk
            start, stop = max(first - self._spare, 0), min(last + self._spare, self._total)
            samples = self._sound.samples(start * HOP, min(stop * HOP, self._end))
            with torch.no_grad():
                tokens = self._encode(torch.from_numpy(samples))
            self._kept[chunk] = tokens[first - start : last - start].clone()
            if len(self._kept) > CHUNKS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(chunk)
        return self._kept[chunk]

    def _encode(self, samples: Float[Tensor, " n"]) -> Float[Tensor, "tokens dim"]:
        if self._device is not None:
            samples = samples.to(self._device)
        if isinstance(self._encoder, HubertEncoder):
            return self._encoder(samples, self._sound.mean, self._sound.variance)
        return self._encoder(samples)


def token_indices(
    times: Sequence[Fraction], tokens_per_frame: int, offset: int = 0
) -> Int64[Tensor, "frames {tokens_per_frame}"]:
    """Which tokens lie around each frame: of 2 its own and the next, of 8 three more to each side.

    Source: the framing of the published models at 25 frames per second (frame f: 2f, 2f + 1), carried
    over to true frame times so that any rate stays in sync.
    """
    # Whole numbers: floats would misplace tokens whose time is exact, as at 25 and 50 frames per second.
    first = torch.tensor([time.numerator * TOKENS_PER_SECOND // time.denominator for time in times])
    reach = torch.arange(tokens_per_frame) - (tokens_per_frame // 2 - 1)
    return first.to(torch.int64)[:, None] + reach + offset


def gather(
    tokens: Float[Tensor, "steps dim"], indices: Int64[Tensor, "frames n"], past_end: PastEnd = "zero"
) -> Float[Tensor, "frames n dim"]:
    """Pick tokens. Before the first the first is repeated, after the last comes zero or the last again."""
    inside, silent = _resolve(indices, len(tokens), past_end)
    return tokens[inside] * ~silent[..., None]


def _resolve(
    indices: Int64[Tensor, "frames n"], total: int, past_end: PastEnd
) -> tuple[Int64[Tensor, "frames n"], Bool[Tensor, "frames n"]]:
    """Indices that exist, and which of them are to be silent instead."""
    return indices.clamp(0, total - 1), (indices >= total) & (past_end == "zero")
