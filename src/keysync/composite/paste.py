"""A patch of new picture into the original frame, in the frame's own pixel format.

Only samples under the mask are written. Everything else is a copy of the source's planes, so it is
bit-identical, whatever the pixel format, before an encoder sees it.
"""

from __future__ import annotations

import av
import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from keysync.composite.blend import bounds

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in frame pixels, end not included
Plane = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

_GRID = 4  # boxes start on multiples of this: the coarsest chroma step of any common format
# Packed and semi-planar formats, and the planar one that holds the same samples.
_PLANAR = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "yuyv422": "yuv422p",
    "uyvy422": "yuv422p", "p010le": "yuv420p10le", "p016le": "yuv420p16le", "p210le": "yuv422p10le",
    "rgb48le": "gbrp16le", "rgba64le": "gbrap16le", "rgba": "gbrap", "bgra": "gbrap", "argb": "gbrap",
}  # fmt: skip


def paste(
    picture: av.VideoFrame,
    patch: Float32[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    box: Box,
) -> av.VideoFrame:
    """A copy of ``picture`` in which ``patch`` (RGB, 0 to 255) covers ``box`` as far as ``alpha`` says.

    Chroma samples are changed only where every luma sample around them is under the mask, so that no
    pixel outside changes when a player spreads chroma over its neighbours.
    """
    picture = planar(picture)
    x0, y0 = box[0] // _GRID * _GRID, box[1] // _GRID * _GRID
    x1 = min(-(-box[2] // _GRID) * _GRID, picture.width)
    y1 = min(-(-box[3] // _GRID) * _GRID, picture.height)
    cover = np.zeros((y1 - y0, x1 - x0), np.float32)
    colours = np.zeros((*cover.shape, 3), np.float32)
    inner = np.s_[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0]
    cover[inner], colours[inner] = alpha, patch

    shapes = _shapes(picture)
    cuts = [
        np.s_[-(-y0 // step_y) : -(-y1 // step_y), -(-x0 // step_x) : -(-x1 // step_x)]
        for _, _, step_x, step_y in shapes
    ]
    window = _like(picture, x1 - x0, y1 - y0)
    for index, cut in enumerate(cuts):
        plane(window, index)[:] = plane(picture, index)[cut]

    deep = picture.format.components[0].bits > 8
    wide, top = ("rgb48le", 65535) if deep else ("rgb24", 255)
    before = window.to_ndarray(format=wide, threads=1).astype(np.float32)
    mixed = before + (colours * (top / 255) - before) * cover[..., None]
    mixed = np.clip(np.rint(mixed), 0, top).astype(np.uint16 if deep else np.uint8)
    blended = av.VideoFrame.from_ndarray(mixed, format=wide).reformat(
        format=picture.format.name,
        src_colorspace=picture.colorspace,
        dst_colorspace=picture.colorspace,
        src_color_range=2,
        dst_color_range=picture.color_range or 1,
        threads=1,
    )

    shown = (cover > 0).astype(np.uint8)
    surrounded = cv2.erode(shown, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    result = _copy(picture)
    for index, (cut, (_, _, step_x, step_y)) in enumerate(zip(cuts, shapes, strict=True)):
        mask = shown if step_x == step_y == 1 else surrounded[::step_y, ::step_x]
        target = plane(result, index)[cut]
        np.copyto(target, plane(blended, index), where=mask.astype(bool))
    return result


def trim(patch: Float32[np.ndarray, "h w c"], box: Box) -> tuple[Float32[np.ndarray, "y x c"], Box]:
    """Cut a patch (RGB, alpha, and more) and its box to where alpha is above 0; empty if it is nowhere."""
    shown = patch[..., 3] > 0
    if not shown.any():
        return patch[:0, :0], (box[0], box[1], box[0], box[1])
    rows, columns = bounds(shown)
    inner = (box[0] + columns.start, box[1] + rows.start, box[0] + columns.stop, box[1] + rows.stop)
    return patch[rows, columns], inner


def planar(picture: av.VideoFrame) -> av.VideoFrame:
    """The same samples with every component in a plane of its own; most formats already are."""
    components = picture.format.components
    if picture.format.is_planar and len({c.plane for c in components}) == len(components):
        return picture
    name = _PLANAR.get(picture.format.name, "gbrp" if picture.format.is_rgb else "yuv444p")
    if picture.format.name == "pal8":
        name = "gbrp"
    converted = picture.reformat(format=name, threads=1)
    return _tag(converted, picture)


def plane(picture: av.VideoFrame, index: int) -> Plane:
    """A writable view of one plane's samples, without the padding at the end of each row."""
    source = picture.planes[index]
    component = next(c for c in picture.format.components if c.plane == index)
    kind = np.dtype(np.uint16 if component.bits > 8 else np.uint8)
    rows: Plane = np.frombuffer(memoryview(source), kind).reshape(source.height, -1)
    return rows[:, : source.width]


def _shapes(picture: av.VideoFrame) -> list[tuple[int, int, int, int]]:
    """Width, height, and luma pixels per sample across and down, for each plane."""
    sizes = [(p.width, p.height) for p in picture.planes]
    return [(w, h, -(-picture.width // w), -(-picture.height // h)) for w, h in sizes]


def _like(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    return _tag(av.VideoFrame(width, height, picture.format.name), picture)


def _tag(new: av.VideoFrame, old: av.VideoFrame) -> av.VideoFrame:
    new.colorspace, new.color_range = old.colorspace, old.color_range
    new.color_primaries, new.color_trc = old.color_primaries, old.color_trc
    if old.time_base is not None:
        new.pts, new.time_base = old.pts, old.time_base
    return new


def _copy(picture: av.VideoFrame) -> av.VideoFrame:
    new = _like(picture, picture.width, picture.height)
    for index in range(len(picture.planes)):
        plane(new, index)[:] = plane(picture, index)
    return new
