"""Visible triangles to colour: textures, three lights with a shadow map, soft light from all around."""

from __future__ import annotations

import math

import numba
import numpy as np

_JIT = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}
CHANNELS = 8  # of a texture: r, g, b (linear), alpha, bump x, y, z, gloss


@numba.njit(**_JIT)
def _sample(atlas, first, wide, high, u, v, out):  # type: ignore[no-untyped-def]
    """Bilinear texture look-up, clamped at the edges."""
    x, y = u * wide - 0.5, (1 - v) * high - 0.5
    x0, y0 = int(math.floor(x)), int(math.floor(y))
    fx, fy = x - x0, y - y0
    x1, y1 = min(max(x0 + 1, 0), wide - 1), min(max(y0 + 1, 0), high - 1)
    x0, y0 = min(max(x0, 0), wide - 1), min(max(y0, 0), high - 1)
    a, b = first + y0 * wide + x0, first + y0 * wide + x1
    c, d = first + y1 * wide + x0, first + y1 * wide + x1
    for q in range(8):
        upper = (1 - fx) * atlas[a, q] + fx * atlas[b, q]
        lower = (1 - fx) * atlas[c, q] + fx * atlas[d, q]
        out[q] = (1 - fy) * upper + fy * lower


@numba.njit(**_JIT)
def shade(  # type: ignore[no-untyped-def]
    depth, ids, points, vertices, normals, occlusion, triangles, uv, uv_index, material, atlas, place, wide,
    high, surface, lights, ambient, eye, shadow, to_shadow, lip_z, mouth_dark, image, cover,
):  # fmt: skip
    """Colour of every pixel that shows a triangle, linear light.

    Args:
        surface: [m 5] specular, gloss, skin (light bleeds red), interior (dark behind the lips), bump.
        lights: [k 6] direction and colour; the first casts the shadow.
        ambient: [9 3] spherical harmonics of the surrounding light.
        shadow: [s s] heights seen from light 0; to_shadow: [3 4] world to that map.
        lip_z, mouth_dark: depth behind the lips darkens the mouth by exp(-depth * mouth_dark).
        image, cover: [h w 3] and [h w], filled where something is seen.
    """
    texel = np.zeros(8, np.float32)
    size = shadow.shape[0]
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            t = ids[y, x]
            if t < 0:
                continue
            cover[y, x] = 1
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            x0, y0 = points[a, 0], points[a, 1]
            x1, y1, x2, y2 = points[b, 0], points[b, 1], points[c, 0], points[c, 1]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            px, py = x + 0.5 - x0, y + 0.5 - y0
            w = depth[y, x]
            p1 = ((y2 - y0) * px - (x2 - x0) * py) / area * points[b, 2] / w
            p2 = (-(y1 - y0) * px + (x1 - x0) * py) / area * points[c, 2] / w
            p0 = 1 - p1 - p2
            m = material[t]
            i, j, k = uv_index[t, 0], uv_index[t, 1], uv_index[t, 2]
            u = p0 * uv[i, 0] + p1 * uv[j, 0] + p2 * uv[k, 0]
            v = p0 * uv[i, 1] + p1 * uv[j, 1] + p2 * uv[k, 1]
            _sample(atlas, place[m], wide[m], high[m], u, v, texel)
            bump = surface[m, 4]
            nx = p0 * normals[a, 0] + p1 * normals[b, 0] + p2 * normals[c, 0] + bump * texel[4]
            ny = p0 * normals[a, 1] + p1 * normals[b, 1] + p2 * normals[c, 1] + bump * texel[5]
            nz = p0 * normals[a, 2] + p1 * normals[b, 2] + p2 * normals[c, 2] + bump * texel[6]
            X = p0 * vertices[a, 0] + p1 * vertices[b, 0] + p2 * vertices[c, 0]
            Y = p0 * vertices[a, 1] + p1 * vertices[b, 1] + p2 * vertices[c, 1]
            Z = p0 * vertices[a, 2] + p1 * vertices[b, 2] + p2 * vertices[c, 2]
            ex, ey, ez = eye[0] - X, eye[1] - Y, eye[2] - Z
            scale = 1 / math.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex * scale, ey * scale, ez * scale
            if nx * ex + ny * ey + nz * ez < 0 and area > 0:
                nx, ny, nz = -nx, -ny, -nz
            scale = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            nx, ny, nz = nx * scale, ny * scale, nz * scale

            open_sky = p0 * occlusion[a] + p1 * occlusion[b] + p2 * occlusion[c]
            inside = surface[m, 3]
            if inside > 0:
                open_sky *= math.exp(-max(lip_z - Z, 0.0) * mouth_dark * inside)
            skin = surface[m, 2]
            red = green = blue = 0.0
            for q in range(9):
                if q == 0:
                    h = 1.0
                elif q == 1:
                    h = ny
                elif q == 2:
                    h = nz
                elif q == 3:
                    h = nx
                elif q == 4:
                    h = nx * ny
                elif q == 5:
                    h = ny * nz
                elif q == 6:
                    h = 3 * nz * nz - 1
                elif q == 7:
                    h = nx * nz
                else:
                    h = nx * nx - ny * ny
                red += ambient[q, 0] * h
                green += ambient[q, 1] * h
                blue += ambient[q, 2] * h
            # Light that enters skin leaves it redder, most of all in the creases.
            red = max(red, 0.0) * (open_sky * (1 - skin * 0.45) + skin * 0.45 * math.sqrt(open_sky))
            green, blue = max(green, 0.0) * open_sky, max(blue, 0.0) * open_sky

            shine = 0.0
            for q in range(lights.shape[0]):
                lx, ly, lz = lights[q, 0], lights[q, 1], lights[q, 2]
                facing = nx * lx + ny * ly + nz * lz
                lit = 1.0
                if q == 0 and facing > -0.35:
                    sx = to_shadow[0, 0] * X + to_shadow[0, 1] * Y + to_shadow[0, 2] * Z + to_shadow[0, 3]
                    sy = to_shadow[1, 0] * X + to_shadow[1, 1] * Y + to_shadow[1, 2] * Z + to_shadow[1, 3]
                    sz = to_shadow[2, 0] * X + to_shadow[2, 1] * Y + to_shadow[2, 2] * Z + to_shadow[2, 3]
                    total, count = 0.0, 0
                    for dy in range(2):
                        for dx in range(2):
                            ix, iy = int(sx + dx * 1.8 - 0.9), int(sy + dy * 1.8 - 0.9)
                            if 0 <= ix < size and 0 <= iy < size:
                                total += min(max(1 - (shadow[iy, ix] - sz - 0.45) * 2.5, 0.0), 1.0)
                                count += 1
                    if count > 0:
                        lit = total / count
                open_light = open_sky if inside > 0 else 0.5 + 0.5 * open_sky
                # Wrapped light, wider for red: the look of light scattered under skin.
                wrap_r, wrap_g, wrap_b = 0.35 * skin, 0.12 * skin, 0.08 * skin
                red += (
                    lights[q, 3] * max((facing + wrap_r) / (1 + wrap_r), 0.0) * open_light
                    * (lit * (1 - 0.12 * skin) + 0.12 * skin)
                )  # fmt: skip
                green += lights[q, 4] * max((facing + wrap_g) / (1 + wrap_g), 0.0) * open_light * lit
                blue += lights[q, 5] * max((facing + wrap_b) / (1 + wrap_b), 0.0) * open_light * lit
                if facing > 0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    scale = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
                    half = (nx * hx + ny * hy + nz * hz) * scale
                    if half > 0:
                        graze = 1 - (ex * hx + ey * hy + ez * hz) * scale
                        fresnel = 0.04 + 0.96 * graze**5
                        gloss = surface[m, 1]
                        lobe = math.exp(gloss * (half - 1) * (1 + 0.5 * (1 - half)))
                        shine += lights[q, 4] * facing * lit * open_light * fresnel * (gloss + 8) * 0.04 * lobe
            shine *= surface[m, 0] * texel[7]
            image[y, x, 0] = texel[0] * red + shine
            image[y, x, 1] = texel[1] * green + shine
            image[y, x, 2] = texel[2] * blue + shine
