"""Triangles to pixels in numba: no display, no driver, the same bits for the same input."""

from __future__ import annotations

import math

import numba
import numpy as np

_JIT = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


@numba.njit(**_JIT)
def normals(vertices, triangles):  # type: ignore[no-untyped-def]
    """Unit normals [v 3], each the area-weighted mean of the triangles around it."""
    out = np.zeros_like(vertices)
    for i in range(triangles.shape[0]):
        a, b, c = triangles[i, 0], triangles[i, 1], triangles[i, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        vx = vertices[c, 0] - vertices[a, 0]
        vy = vertices[c, 1] - vertices[a, 1]
        vz = vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            out[corner, 0] += x
            out[corner, 1] += y
            out[corner, 2] += z
    for i in range(out.shape[0]):
        scale = 1 / math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2 + 1e-20)
        out[i, 0] *= scale
        out[i, 1] *= scale
        out[i, 2] *= scale
    return out


@numba.njit(**_JIT)
def deform(neutral, rows, offsets, starts, weights, out):  # type: ignore[no-untyped-def]
    """``out = neutral + sum_k weights[k] * shape_k``; shapes are sparse, rows ``starts[k]:starts[k + 1]``."""
    out[:] = neutral
    for k in range(weights.shape[0]):
        weight = weights[k]
        if abs(weight) < 1e-4:
            continue
        for j in range(starts[k], starts[k + 1]):
            i = rows[j]
            out[i, 0] += weight * offsets[j, 0]
            out[i, 1] += weight * offsets[j, 1]
            out[i, 2] += weight * offsets[j, 2]


@numba.njit(**_JIT)
def visible(points, triangles, cull, see_through, uv, uv_index, atlas, place, wide, high, material, depth, ids):  # type: ignore[no-untyped-def]
    """Nearest triangle at every pixel centre.

    Args:
        points: [v 3] screen x, y and 1 / distance (larger is nearer).
        cull: [t] 1 = skip when seen from behind. see_through: [t] 1 = hashed alpha (hair).
        depth, ids: [h w] buffers to fill; start at 0 and -1.
    """
    height, width = ids.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (area > 0 and cull[t] == 1):
            continue
        left = max(0, int(math.ceil(min(x0, x1, x2) - 0.5)))
        right = min(width - 1, int(math.floor(max(x0, x1, x2) - 0.5)))
        top = max(0, int(math.ceil(min(y0, y1, y2) - 0.5)))
        bottom = min(height - 1, int(math.floor(max(y0, y1, y2) - 0.5)))
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        w0, w1, w2 = points[a, 2], points[b, 2], points[c, 2]
        step1, row1 = (y2 - y0) * inverse, -(x2 - x0) * inverse
        step2, row2 = -(y1 - y0) * inverse, (x1 - x0) * inverse
        for y in range(top, bottom + 1):
            share1 = step1 * (left + 0.5 - x0) + row1 * (y + 0.5 - y0)
            share2 = step2 * (left + 0.5 - x0) + row2 * (y + 0.5 - y0)
            for x in range(left, right + 1):
                if share1 >= -1e-6 and share2 >= -1e-6 and share1 + share2 <= 1.000001:
                    w = w0 + share1 * (w1 - w0) + share2 * (w2 - w0)
                    if w > depth[y, x]:
                        shown = True
                        if see_through[t] == 1:
                            p1, p2 = share1 * w1 / w, share2 * w2 / w
                            p0 = 1 - p1 - p2
                            m = material[t]
                            i, j, k = uv_index[t, 0], uv_index[t, 1], uv_index[t, 2]
                            u = p0 * uv[i, 0] + p1 * uv[j, 0] + p2 * uv[k, 0]
                            v = p0 * uv[i, 1] + p1 * uv[j, 1] + p2 * uv[k, 1]
                            column = min(max(int(u * wide[m]), 0), wide[m] - 1)
                            row = min(max(int((1 - v) * high[m]), 0), high[m] - 1)
                            # Hashed alpha, tied to the texture: tied to the screen it would crawl.
                            fine = (int(u * 2048) * 73856093) ^ (int(v * 2048) * 19349663) ^ (t & 3)
                            dice = ((fine * 2654435761) & 0xFFFF) / 65536.0
                            shown = atlas[place[m] + row * wide[m] + column, 3] > dice * 0.9 + 0.05
                        if shown:
                            depth[y, x] = w
                            ids[y, x] = t
                share1 += step1
                share2 += step2


@numba.njit(**_JIT)
def shadow_depth(points, triangles, skip, depth):  # type: ignore[no-untyped-def]
    """Height of the nearest surface towards a light at every pixel; points are [v 3], larger z is nearer."""
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        if skip[t] == 1:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        left = max(0, int(math.ceil(min(x0, x1, x2) - 0.5)))
        right = min(width - 1, int(math.floor(max(x0, x1, x2) - 0.5)))
        top = max(0, int(math.ceil(min(y0, y1, y2) - 0.5)))
        bottom = min(height - 1, int(math.floor(max(y0, y1, y2) - 0.5)))
        if left > right or top > bottom:
            continue
        inverse = 1.0 / area
        z0, z1, z2 = points[a, 2], points[b, 2], points[c, 2]
        step1, row1 = (y2 - y0) * inverse, -(x2 - x0) * inverse
        step2, row2 = -(y1 - y0) * inverse, (x1 - x0) * inverse
        for y in range(top, bottom + 1):
            share1 = step1 * (left + 0.5 - x0) + row1 * (y + 0.5 - y0)
            share2 = step2 * (left + 0.5 - x0) + row2 * (y + 0.5 - y0)
            for x in range(left, right + 1):
                if share1 >= -1e-6 and share2 >= -1e-6 and share1 + share2 <= 1.000001:
                    z = z0 + share1 * (z1 - z0) + share2 * (z2 - z0)
                    depth[y, x] = max(depth[y, x], z)
                share1 += step1
                share2 += step2


@numba.njit(**_JIT)
def bake(uv, uv_index, triangles, values, tile, out, filled):  # type: ignore[no-untyped-def]
    """Paint vertex ``values`` [v n] into texture space: ``out`` [h w n]; ``filled`` [h w] marks what was hit."""
    height, width = filled.shape
    for t in range(triangles.shape[0]):
        i, j, k = uv_index[t, 0], uv_index[t, 1], uv_index[t, 2]
        x0, y0 = (uv[i, 0] - tile) * width, (1 - uv[i, 1]) * height
        x1, y1 = (uv[j, 0] - tile) * width, (1 - uv[j, 1]) * height
        x2, y2 = (uv[k, 0] - tile) * width, (1 - uv[k, 1]) * height
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        for y in range(max(0, int(min(y0, y1, y2)) - 1), min(height - 1, int(max(y0, y1, y2)) + 1) + 1):
            for x in range(max(0, int(min(x0, x1, x2)) - 1), min(width - 1, int(max(x0, x1, x2)) + 1) + 1):
                px, py = x + 0.5 - x0, y + 0.5 - y0
                s1 = ((y2 - y0) * px - (x2 - x0) * py) / area
                s2 = (-(y1 - y0) * px + (x1 - x0) * py) / area
                if s1 >= -0.02 and s2 >= -0.02 and s1 + s2 <= 1.02:
                    for q in range(values.shape[1]):
                        out[y, x, q] = (
                            (1 - s1 - s2) * values[triangles[t, 0], q]
                            + s1 * values[triangles[t, 1], q]
                            + s2 * values[triangles[t, 2], q]
                        )
                    filled[y, x] = 1
