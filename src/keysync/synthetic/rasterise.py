"""Triangles -> which one each pixel sees, and how near it is. Compiled by numba, single-threaded.

Of 52 000 triangles most are smaller than a pixel, so the loop over triangles is the whole cost and
a plain z-buffer beats every renderer we tried. The same input gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, no_type_check

import numba
import numpy as np
from jaxtyping import Float32, Int32, UInt8

_STRANDS = 1024  # strands of hair once around the head; each is seen or not over pieces four times as long
_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def compiled(kernel: _Kernel) -> _Kernel:
    """Compile with numba; the machine code is kept on disk.

    Kernels are marked ``no_type_check``: a runtime type check inside would not compile.
    """
    return numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")(kernel)  # type: ignore[no-any-return]


class Mesh(NamedTuple):
    """Triangles of one person; their vertices move, this does not."""

    triangles: Int32[np.ndarray, "t 3"]
    triangle_uv: Int32[np.ndarray, "t 3"]
    uv: Float32[np.ndarray, "u 2"]
    material: Int32[np.ndarray, " t"]
    one_sided: UInt8[np.ndarray, " t"]  # 1: not drawn when seen from behind
    layer: UInt8[np.ndarray, " t"]  # 0: opaque; 1 and up: a layer of strands with holes between
    no_shadow: UInt8[np.ndarray, " t"]  # 1: casts none


class Atlas(NamedTuple):
    """Textures of all materials, one after the other, and how each material takes light."""

    texels: Float32[np.ndarray, "p 8"]  # linear red, green, blue; alpha; bump x, y, z; gloss
    place: Int32[np.ndarray, "m 3"]  # first texel, width, height
    finish: Float32[np.ndarray, "m 5"]  # gloss strength, sharpness, skin, inside of the mouth, bump


@compiled
@no_type_check
def vertex_normals(vertices: Float32[np.ndarray, "n 3"], triangles: Int32[np.ndarray, "t 3"]):
    """Unit normals, each the area-weighted mean of its triangles'."""
    normals = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        scale = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-20)
        normals[i, 0] *= scale
        normals[i, 1] *= scale
        normals[i, 2] *= scale
    return normals


@compiled
@no_type_check
def _strand_covers(mesh, atlas, t, share_0, share_1, share_2):
    """Whether a point of a strand layer is hair: its alpha against a hash of where it lies.

    The hash is tied to the texture, not to the screen: holes tied to the screen crawl over a
    moving head. The layer is hashed too, so that one layer's holes show the next layer.
    """
    a, b, c = mesh.triangle_uv[t, 0], mesh.triangle_uv[t, 1], mesh.triangle_uv[t, 2]
    u = share_0 * mesh.uv[a, 0] + share_1 * mesh.uv[b, 0] + share_2 * mesh.uv[c, 0]
    v = share_0 * mesh.uv[a, 1] + share_1 * mesh.uv[b, 1] + share_2 * mesh.uv[c, 1]
    material = mesh.material[t]
    start, width, height = atlas.place[material, 0], atlas.place[material, 1], atlas.place[material, 2]
    column = min(max(int(u * width), 0), width - 1)
    row = min(max(int((1 - v) * height), 0), height - 1)
    mixed = (int(u * _STRANDS) * 73856093) ^ (int(v * _STRANDS / 4) * 19349663) ^ (mesh.layer[t] * 83492791)
    mixed = (mixed * 2654435761) & 0xFFFFFF
    chance = (mixed >> 8) / 65536.0
    return atlas.texels[start + row * width + column, 3] > 0.05 + 0.9 * chance


@compiled
@no_type_check
def draw_visible(
    screen: Float32[np.ndarray, "n 3"],
    mesh: Mesh,
    atlas: Atlas,
    nearness: Float32[np.ndarray, "h w"],
    seen: Int32[np.ndarray, "h w"],
):
    """Fill ``nearness`` (1 / distance, given as 0) and ``seen`` (triangle, given as -1).

    ``screen`` holds pixels x and y (centre of the top-left pixel at .5) and 1 / distance.
    """
    height, width = seen.shape
    for t in range(mesh.triangles.shape[0]):
        a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
        x0, y0 = screen[a, 0], screen[a, 1]
        x1, y1 = screen[b, 0], screen[b, 1]
        x2, y2 = screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (area > 0 and mesh.one_sided[t] == 1):  # y runs down: a front has negative area
            continue
        left = max(math.ceil(min(x0, x1, x2) - 0.5), 0)
        right = min(math.floor(max(x0, x1, x2) - 0.5), width - 1)
        top = max(math.ceil(min(y0, y1, y2) - 0.5), 0)
        bottom = min(math.floor(max(y0, y1, y2) - 0.5), height - 1)
        if left > right or top > bottom:
            continue
        near_0, near_1, near_2 = screen[a, 2], screen[b, 2], screen[c, 2]
        # Shares of corners b and c are linear on the screen; these are their steps along x and y.
        b_x, b_y = (y2 - y0) / area, -(x2 - x0) / area
        c_x, c_y = -(y1 - y0) / area, (x1 - x0) / area
        for y in range(top, bottom + 1):
            share_b = b_x * (left + 0.5 - x0) + b_y * (y + 0.5 - y0)
            share_c = c_x * (left + 0.5 - x0) + c_y * (y + 0.5 - y0)
            for x in range(left, right + 1):
                if share_b >= -1e-6 and share_c >= -1e-6 and share_b + share_c <= 1.000001:
                    near = near_0 + share_b * (near_1 - near_0) + share_c * (near_2 - near_0)
                    if near > nearness[y, x]:
                        covers = True
                        if mesh.layer[t] > 0:
                            # Divided by distance, the shares become those on the surface.
                            on_b, on_c = share_b * near_1 / near, share_c * near_2 / near
                            covers = _strand_covers(mesh, atlas, t, 1 - on_b - on_c, on_b, on_c)
                        if covers:
                            nearness[y, x] = near
                            seen[y, x] = t
                share_b += b_x
                share_c += c_x


@compiled
@no_type_check
def draw_depth(
    screen: Float32[np.ndarray, "n 3"],
    triangles: Int32[np.ndarray, "t 3"],
    skipped: UInt8[np.ndarray, " t"],
    depth: Float32[np.ndarray, "h w"],
):
    """Fill ``depth`` with the largest third coordinate per pixel: the view of a lamp."""
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        if skipped[t] == 1:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = screen[a, 0], screen[a, 1]
        x1, y1 = screen[b, 0], screen[b, 1]
        x2, y2 = screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        left = max(math.ceil(min(x0, x1, x2) - 0.5), 0)
        right = min(math.floor(max(x0, x1, x2) - 0.5), width - 1)
        top = max(math.ceil(min(y0, y1, y2) - 0.5), 0)
        bottom = min(math.floor(max(y0, y1, y2) - 0.5), height - 1)
        if area == 0 or left > right or top > bottom:
            continue
        z0, z1, z2 = screen[a, 2], screen[b, 2], screen[c, 2]
        b_x, b_y = (y2 - y0) / area, -(x2 - x0) / area
        c_x, c_y = -(y1 - y0) / area, (x1 - x0) / area
        for y in range(top, bottom + 1):
            share_b = b_x * (left + 0.5 - x0) + b_y * (y + 0.5 - y0)
            share_c = c_x * (left + 0.5 - x0) + c_y * (y + 0.5 - y0)
            for x in range(left, right + 1):
                if share_b >= -1e-6 and share_c >= -1e-6 and share_b + share_c <= 1.000001:
                    z = z0 + share_b * (z1 - z0) + share_c * (z2 - z0)
                    if z > depth[y, x]:
                        depth[y, x] = z
                share_b += b_x
                share_c += c_x


@compiled
@no_type_check
def bake(
    uv: Float32[np.ndarray, "u 2"],
    triangle_uv: Int32[np.ndarray, "t 3"],
    triangles: Int32[np.ndarray, "t 3"],
    values: Float32[np.ndarray, "n c"],
    baked: Float32[np.ndarray, "h w c"],
    covered: UInt8[np.ndarray, "h w"],
):
    """Draw per-vertex ``values`` into texture space; ``covered`` becomes 1 where a triangle fell."""
    height, width, channels = baked.shape
    for t in range(triangles.shape[0]):
        x0, y0 = uv[triangle_uv[t, 0], 0] * width, (1 - uv[triangle_uv[t, 0], 1]) * height
        x1, y1 = uv[triangle_uv[t, 1], 0] * width, (1 - uv[triangle_uv[t, 1], 1]) * height
        x2, y2 = uv[triangle_uv[t, 2], 0] * width, (1 - uv[triangle_uv[t, 2], 1]) * height
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        for y in range(max(0, int(min(y0, y1, y2) - 1)), min(height - 1, int(max(y0, y1, y2) + 1)) + 1):
            for x in range(max(0, int(min(x0, x1, x2) - 1)), min(width - 1, int(max(x0, x1, x2) + 1)) + 1):
                share_b = ((y2 - y0) * (x + 0.5 - x0) - (x2 - x0) * (y + 0.5 - y0)) / area
                share_c = (-(y1 - y0) * (x + 0.5 - x0) + (x1 - x0) * (y + 0.5 - y0)) / area
                # A little beyond the edges, so that no crack is left between neighbours.
                if share_b >= -0.02 and share_c >= -0.02 and share_b + share_c <= 1.02:
                    for i in range(channels):
                        baked[y, x, i] = (
                            (1 - share_b - share_c) * values[triangles[t, 0], i]
                            + share_b * values[triangles[t, 1], i]
                            + share_c * values[triangles[t, 2], i]
                        )
                    covered[y, x] = 1
