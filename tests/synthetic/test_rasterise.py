"""The rasteriser: what is nearest is seen, and holes in strands stay where they are."""

from __future__ import annotations

import numpy as np

from keysync.synthetic.rasterise import Atlas, Mesh, draw_depth, draw_visible, vertex_normals


def two_squares(layer: int = 0, alpha: float = 1.0) -> tuple[Mesh, Atlas]:
    """Squares of two triangles each; the second may be a layer of strands."""
    square = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.array([[0, 0], [0, 1], [1, 1], [1, 0]] * 2, np.float32)
    triangles = np.concatenate([square, square + 4]).astype(np.int32)
    mesh = Mesh(
        triangles=triangles,
        triangle_uv=triangles,
        uv=uv,
        material=np.zeros(4, np.int32),
        one_sided=np.ones(4, np.uint8),
        layer=np.array([0, 0, layer, layer], np.uint8),
        no_shadow=np.zeros(4, np.uint8),
    )
    texel = np.array([[1, 1, 1, alpha, 0, 0, 0, 1]], np.float32)
    return mesh, Atlas(texel, np.array([[0, 1, 1]], np.int32), np.zeros((1, 5), np.float32))


def square(left: float, right: float, nearness: float) -> list[list[float]]:
    return [
        [left, left, nearness],
        [left, right, nearness],
        [right, right, nearness],
        [right, left, nearness],
    ]


def seen(mesh: Mesh, atlas: Atlas, corners: list[list[float]], side: int = 16) -> np.ndarray:
    nearness = np.zeros((side, side), np.float32)
    ids = np.full((side, side), -1, np.int32)
    draw_visible(np.array(corners, np.float32), mesh, atlas, nearness, ids)
    return ids


def test_the_nearer_square_hides_the_farther_one_in_any_order() -> None:
    mesh, atlas = two_squares()
    for far, near in ((0.1, 0.2), (0.2, 0.1)):
        ids = seen(mesh, atlas, square(2, 14, far) + square(4, 12, near))
        inside = ids[5:11, 5:11] // 2
        assert (inside == (1 if near > far else 0)).all()
        assert (ids[2:4, 2:14] // 2 == 0).all()


def test_a_square_covers_exactly_the_pixels_whose_centres_it_holds() -> None:
    mesh, atlas = two_squares()
    ids = seen(mesh, atlas, square(2.4, 9.6, 0.1) + square(20, 21, 0.1))
    expected = np.zeros((16, 16), bool)
    expected[2:10, 2:10] = True
    np.testing.assert_array_equal(ids >= 0, expected)


def test_one_sided_triangles_are_not_seen_from_behind() -> None:
    mesh, atlas = two_squares()
    mirrored = [[16 - x, y, n] for x, y, n in square(2, 14, 0.1)] + square(20, 21, 0.1)
    assert (seen(mesh, atlas, mirrored) == -1).all()
    assert (seen(mesh._replace(one_sided=np.zeros(4, np.uint8)), atlas, mirrored) >= 0).any()


def test_strands_cover_about_their_alpha_and_move_with_the_surface() -> None:
    mesh, atlas = two_squares(layer=1, alpha=0.5)
    behind = square(-5, -4, 0.1)
    ids = seen(mesh, atlas, behind + square(4, 68, 0.2), 128) >= 0
    assert 0.4 < ids[4:68, 4:68].mean() < 0.6
    moved = seen(mesh, atlas, behind + square(14, 78, 0.2), 128) >= 0
    np.testing.assert_array_equal(moved[14:78, 14:78], ids[4:68, 4:68])


def test_depth_keeps_the_largest_value_and_skips_what_casts_no_shadow() -> None:
    mesh, _ = two_squares()
    corners = np.array(square(2, 14, 1.0) + square(4, 12, 3.0), np.float32)
    depth = np.full((16, 16), -1e9, np.float32)
    draw_depth(corners, mesh.triangles, np.zeros(4, np.uint8), depth)
    assert depth[8, 8] == 3
    assert depth[3, 3] == 1
    depth = np.full((16, 16), -1e9, np.float32)
    draw_depth(corners, mesh.triangles, np.array([0, 0, 1, 1], np.uint8), depth)
    assert depth[8, 8] == 1


def test_normals_are_unit_and_point_out_of_a_counter_clockwise_square() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    normals = vertex_normals(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    np.testing.assert_allclose(normals, np.tile([0, 0, 1], (4, 1)), atol=1e-6)
