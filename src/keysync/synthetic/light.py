"""What each pixel sees -> its colour, in linear light. Compiled by numba, single-threaded."""

from __future__ import annotations

import math
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32

from keysync.synthetic.rasterise import Atlas, Mesh, compiled, draw_depth

_SHADOW_SIDE = 384
_SHADOW_REACH_CM = 26.0
_SHADOW_BIAS_CM = 0.45
_SHADOW_CENTRE = np.array([0.0, -4.0, 0.0])
_OCCLUSION_DIRECTIONS = 40
_OCCLUSION_SIDE = 200
_OCCLUSION_REACH_CM = 34.0
_OCCLUSION_CENTRE = np.array([0.0, -6.0, 0.0])


class Lights(NamedTuple):
    """Lamps far away, the first of them casting shadows, and the light from all around."""

    lamps: Float32[np.ndarray, "k 6"]  # unit direction to the lamp; red, green, blue
    around: Float32[np.ndarray, "9 3"]  # spherical harmonics (order y, z, x, xy, yz, 3zz-1, xz, xx-yy)


class Shadow(NamedTuple):
    """Depth seen from the first lamp."""

    depth: Float32[np.ndarray, "s s"]
    to_map: Float32[np.ndarray, "3 4"]


def lamp_view(
    direction: Float32[np.ndarray, " 3"] | Float64[np.ndarray, " 3"],
    side: int,
    reach_cm: float,
    centre: Float64[np.ndarray, " 3"],
) -> Float32[np.ndarray, "3 4"]:
    """Affine map from space to a square picture seen from ``direction``; the third row grows to the lamp."""
    forward = direction / np.linalg.norm(direction)
    helper = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.95 else np.array([1.0, 0.0, 0.0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    scale = side / (2 * reach_cm)
    view = np.zeros((3, 4))
    view[:, :3] = right * scale, -np.cross(forward, right) * scale, forward
    view[:2, 3] = side / 2
    view[:, 3] -= view[:, :3] @ centre
    return view.astype(np.float32)


def cast_shadow(vertices: Float32[np.ndarray, "n 3"], mesh: Mesh, lights: Lights) -> Shadow:
    """Draw the person as the first lamp sees them."""
    to_map = lamp_view(lights.lamps[0, :3], _SHADOW_SIDE, _SHADOW_REACH_CM, _SHADOW_CENTRE)
    depth = np.full((_SHADOW_SIDE, _SHADOW_SIDE), -1e9, np.float32)
    draw_depth(vertices @ to_map[:, :3].T + to_map[:, 3], mesh.triangles, mesh.no_shadow, depth)
    return Shadow(depth, to_map)


def openness(
    vertices: Float32[np.ndarray, "n 3"], normals: Float32[np.ndarray, "n 3"], mesh: Mesh
) -> Float32[np.ndarray, " n"]:
    """Share of the light from all around that reaches each vertex past the rest of the person, 0.08 to 1."""
    place = np.arange(_OCCLUSION_DIRECTIONS) + 0.5
    polar = np.arccos(1 - 2 * place / _OCCLUSION_DIRECTIONS)
    turn = np.pi * (1 + 5**0.5) * place  # the golden angle spreads the directions evenly
    sphere = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)
    reached, possible = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in sphere:
        to_map = lamp_view(direction, _OCCLUSION_SIDE, _OCCLUSION_REACH_CM, _OCCLUSION_CENTRE)
        seen = vertices @ to_map[:, :3].T + to_map[:, 3]
        depth = np.full((_OCCLUSION_SIDE, _OCCLUSION_SIDE), -1e9, np.float32)
        draw_depth(seen, mesh.triangles, mesh.no_shadow, depth)
        column, row = np.clip(seen[:, :2].astype(int), 0, _OCCLUSION_SIDE - 1).T
        hidden_cm = np.minimum(depth[row, column] - seen[:, 2] - 0.35, 10.0)
        facing = np.maximum(normals @ direction, 0.0)
        reached += facing / (1 + np.exp(6 * hidden_cm))
        possible += facing
    return np.clip(0.08 + reached / (possible + 1e-6), 0.0, 1.0).astype(np.float32)


@compiled
@no_type_check
def _sample(atlas, material, u, v, texel):
    """Bilinear texture lookup into ``texel`` (8 channels)."""
    start, width, height = atlas.place[material, 0], atlas.place[material, 1], atlas.place[material, 2]
    if width == 1 and height == 1:
        for i in range(8):
            texel[i] = atlas.texels[start, i]
        return
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    column, row = math.floor(x), math.floor(y)
    right, down = np.float32(x - column), np.float32(y - row)
    left_column, right_column = min(max(column, 0), width - 1), min(max(column + 1, 0), width - 1)
    upper = start + min(max(row, 0), height - 1) * width
    lower = start + min(max(row + 1, 0), height - 1) * width
    for i in range(8):
        above = (1 - right) * atlas.texels[upper + left_column, i] + right * atlas.texels[
            upper + right_column, i
        ]
        below = (1 - right) * atlas.texels[lower + left_column, i] + right * atlas.texels[
            lower + right_column, i
        ]
        texel[i] = (1 - down) * above + down * below


@compiled
@no_type_check
def _lit_share(shadow, x, y, z):
    """Share of the first lamp's light that reaches a point: mean of four soft comparisons."""
    view = shadow.to_map
    column = view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3]
    row = view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3]
    depth = view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3]
    side = shadow.depth.shape[0]
    total, count = 0.0, 0
    for down in range(2):
        for right in range(2):
            i, j = int(row + 1.8 * down - 0.9), int(column + 1.8 * right - 0.9)
            if 0 <= i < side and 0 <= j < side:
                hidden_cm = shadow.depth[i, j] - depth - _SHADOW_BIAS_CM
                total += min(max(1 - 2.5 * hidden_cm, 0.0), 1.0)
                count += 1
    return total / count if count > 0 else 1.0


@compiled
@no_type_check
def _harmonics(around, i, x, y, z):
    """Light from all around on a surface with normal (x, y, z), colour channel i."""
    light = (
        around[0, i]
        + around[1, i] * y
        + around[2, i] * z
        + around[3, i] * x
        + around[4, i] * x * y
        + around[5, i] * y * z
        + around[6, i] * (3 * z * z - 1)
        + around[7, i] * x * z
        + around[8, i] * (x * x - y * y)
    )
    return max(light, 0.0)


@compiled
@no_type_check
def shade(
    nearness: Float32[np.ndarray, "h w"],
    seen: Int32[np.ndarray, "h w"],
    screen: Float32[np.ndarray, "n 3"],
    vertices: Float32[np.ndarray, "n 3"],
    normals: Float32[np.ndarray, "n 3"],
    open_share: Float32[np.ndarray, " n"],
    mesh: Mesh,
    atlas: Atlas,
    lights: Lights,
    shadow: Shadow,
    eye: Float32[np.ndarray, " 3"],
    lips_z,
    mouth_dark,
    image: Float32[np.ndarray, "h w 3"],
    covered: Float32[np.ndarray, "h w"],
):
    """Fill ``image`` and ``covered`` (both given as 0) where a triangle is seen.

    ``eye`` is the camera. What lies inside the mouth fades by ``exp(-mouth_dark * depth)``, depth in cm
    behind ``lips_z``, for every light: teeth lit from all around would glow.
    """
    height, width = seen.shape
    texel = np.zeros(8, np.float32)
    colour = np.zeros(3, np.float32)
    for row in range(height):
        for column in range(width):
            t = seen[row, column]
            if t < 0:
                continue
            covered[row, column] = 1
            a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
            x0, y0 = screen[a, 0], screen[a, 1]
            x1, y1 = screen[b, 0], screen[b, 1]
            x2, y2 = screen[c, 0], screen[c, 1]
            area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
            px, py = column + 0.5 - x0, row + 0.5 - y0
            near = nearness[row, column]
            share_b = ((y2 - y0) * px - (x2 - x0) * py) / area * screen[b, 2] / near
            share_c = (-(y1 - y0) * px + (x1 - x0) * py) / area * screen[c, 2] / near
            share_a = 1 - share_b - share_c

            material = mesh.material[t]
            strength, sharpness = atlas.finish[material, 0], atlas.finish[material, 1]
            skin, inside = atlas.finish[material, 2], atlas.finish[material, 3]
            bump = atlas.finish[material, 4]
            ua, ub, uc = mesh.triangle_uv[t, 0], mesh.triangle_uv[t, 1], mesh.triangle_uv[t, 2]
            u = share_a * mesh.uv[ua, 0] + share_b * mesh.uv[ub, 0] + share_c * mesh.uv[uc, 0]
            v = share_a * mesh.uv[ua, 1] + share_b * mesh.uv[ub, 1] + share_c * mesh.uv[uc, 1]
            _sample(atlas, material, u, v, texel)

            x = share_a * vertices[a, 0] + share_b * vertices[b, 0] + share_c * vertices[c, 0]
            y = share_a * vertices[a, 1] + share_b * vertices[b, 1] + share_c * vertices[c, 1]
            z = share_a * vertices[a, 2] + share_b * vertices[b, 2] + share_c * vertices[c, 2]
            ex, ey, ez = eye[0] - x, eye[1] - y, eye[2] - z
            scale = 1 / math.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex * scale, ey * scale, ez * scale
            nx = share_a * normals[a, 0] + share_b * normals[b, 0] + share_c * normals[c, 0] + bump * texel[4]
            ny = share_a * normals[a, 1] + share_b * normals[b, 1] + share_c * normals[c, 1] + bump * texel[5]
            nz = share_a * normals[a, 2] + share_b * normals[b, 2] + share_c * normals[c, 2] + bump * texel[6]
            scale = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
            if area > 0 and nx * ex + ny * ey + nz * ez < 0:  # the back of a two-sided sheet
                scale = -scale
            nx, ny, nz = nx * scale, ny * scale, nz * scale

            opened = share_a * open_share[a] + share_b * open_share[b] + share_c * open_share[c]
            if inside > 0:
                opened *= math.exp(-max(lips_z - z, 0.0) * mouth_dark * inside)
            # In the creases of skin, red light bleeds through from beside.
            colour[0] = _harmonics(lights.around, 0, nx, ny, nz) * (
                opened * (1 - 0.45 * skin) + 0.45 * skin * math.sqrt(opened)
            )
            colour[1] = _harmonics(lights.around, 1, nx, ny, nz) * opened
            colour[2] = _harmonics(lights.around, 2, nx, ny, nz) * opened
            lamp_open = opened if inside > 0 else 0.5 + 0.5 * opened
            shine = 0.0
            for k in range(lights.lamps.shape[0]):
                lx, ly, lz = lights.lamps[k, 0], lights.lamps[k, 1], lights.lamps[k, 2]
                facing = nx * lx + ny * ly + nz * lz
                lit = 1.0
                if k == 0 and facing > -0.35:
                    lit = _lit_share(shadow, x, y, z)
                # Skin lets light wrap around its edge of shadow, red the furthest.
                wrapped = max((facing + 0.35 * skin) / (1 + 0.35 * skin), 0.0)
                colour[0] += (
                    lights.lamps[k, 3] * wrapped * lamp_open * (lit * (1 - 0.12 * skin) + 0.12 * skin)
                )
                wrapped = max((facing + 0.12 * skin) / (1 + 0.12 * skin), 0.0)
                colour[1] += lights.lamps[k, 4] * wrapped * lamp_open * lit
                wrapped = max((facing + 0.08 * skin) / (1 + 0.08 * skin), 0.0)
                colour[2] += lights.lamps[k, 5] * wrapped * lamp_open * lit
                if facing > 0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    scale = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
                    half = (nx * hx + ny * hy + nz * hz) * scale
                    if half > 0:
                        grazing = 1 - (ex * hx + ey * hy + ez * hz) * scale
                        fresnel = 0.04 + 0.96 * grazing**5
                        lobe = math.exp(sharpness * (half - 1) * (1 + 0.5 * (1 - half)))
                        shine += (
                            lights.lamps[k, 4]
                            * facing
                            * lit
                            * lamp_open
                            * fresnel
                            * (sharpness + 8)
                            * 0.04
                            * lobe
                        )
            shine *= strength * texel[7]
            for i in range(3):
                image[row, column, i] = texel[i] * colour[i] + shine
