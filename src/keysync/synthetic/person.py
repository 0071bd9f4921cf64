"""One seed -> one person; one seed -> one scene; both together -> a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from keysync.synthetic.camera import (
    Camera,
    Sensor,
    View,
    cut_backdrop,
    develop,
    draw_backdrop,
    draw_sensor,
    draw_view,
    frame,
)
from keysync.synthetic.dress import (
    Outfit,
    Sheet,
    Shell,
    dress,
    paint_cloth,
    paint_strands,
    tuck_into_collar,
)
from keysync.synthetic.head import (
    PIVOT,
    draw_shape,
    express,
    head_model,
    lip_depth,
    lip_gap,
    rotation,
    smooth_step,
)
from keysync.synthetic.light import Lights, cast_shadow, openness, shade
from keysync.synthetic.rasterise import Atlas, Mesh, draw_visible, vertex_normals
from keysync.synthetic.skin import (
    Look,
    Texture,
    draw_look,
    flat_texture,
    linear,
    paint_eye,
    paint_mouth,
    paint_skin,
)

_IN_FRONT_CM = 0.7
_BODY_FOLLOWS = 0.35  # share of the head's shift that the body makes too
_PARTS = 4  # of a person, each with a generator of its own: shape, look, skin, dress
_MATERIALS = ("face", "head", "eye", "mouth", "gums", "teeth", "lash", "hair", "cloth", "beard", "frame")
_MATERIAL_OF_PART = {
    "face": "face",
    "head_neck": "head",
    "mouth_socket": "mouth",
    "eye_socket_L": "head",
    "eye_socket_R": "head",
    "gums_tongue": "gums",
    "teeth": "teeth",
    "sclera_L": "eye",
    "sclera_R": "eye",
    "lashes_L": "lash",
    "lashes_R": "lash",
}
_ONE_SIDED = ("face", "head")
_NO_SHADOW = ("eye", "mouth", "gums", "teeth", "lash", "frame")
_NO_OCCLUSION = ("lash", "frame", "eye")

Vertices = Float32[np.ndarray, "n 3"]


@dataclass(frozen=True, slots=True)
class Person:
    """A dressed head. Vertices are the head's, then those of hair shells, then those of sheets."""

    look: Look
    outfit: Outfit
    resting: Vertices
    mesh: Mesh
    atlas: Atlas
    open_share: Float32[np.ndarray, " v"]
    head_share: Float32[np.ndarray, " n"]  # 1 follows the head, 0 the body
    shell_rows: Int64[np.ndarray, " s"]
    shell_out_cm: Float32[np.ndarray, " s"]
    worn: Float32[np.ndarray, "w 3"]
    worn_head_share: Float32[np.ndarray, " w"]


@dataclass(frozen=True, slots=True)
class Posed:
    """A person at one moment."""

    face: Vertices  # the head before it is turned: for measures of the mouth
    vertices: Float32[np.ndarray, "v 3"]
    normals: Float32[np.ndarray, "v 3"]

    @property
    def landmarks(self) -> Float32[np.ndarray, "68 3"]:
        """In space, cm."""
        return np.asarray(self.vertices[head_model().landmarks])


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything about a clip's picture that is neither the person nor their motion."""

    view: View
    pose: Float64[np.ndarray, " 3"]  # pitch, yaw, roll about which the head moves, degrees
    lights: Lights
    exposure: float
    backdrop: Float32[np.ndarray, "640 640 3"]
    sensor: Sensor


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture and what it shows, before the sensor."""

    srgb: Float32[np.ndarray, "h w 3"]  # 0 to 1
    matte: UInt8[np.ndarray, "h w"]  # share of each pixel that is person, not background; 255 is all
    mouth_area: UInt8[np.ndarray, "h w"]  # the same of the lower face: lips, chin, what an open mouth shows
    visible: Bool[np.ndarray, " 68"]  # landmarks with nothing in front of them; those out of frame are not
    teeth_share: float  # of what an open mouth shows, 0 to 1
    tongue_share: float


def foresee_look(rng: np.random.Generator) -> Look:
    """The look that ``draw_person`` will draw from such a generator, without building the head."""
    return draw_look(rng.spawn(_PARTS)[1])


def draw_person(rng: np.random.Generator) -> Person:
    """Draw and build one person (about 2 s)."""
    shape_rng, look_rng, skin_rng, dress_rng = rng.spawn(_PARTS)
    model = head_model()
    natural = draw_shape(shape_rng)
    look = draw_look(look_rng)
    outfit = dress(natural, look, dress_rng)
    resting = tuck_into_collar(natural)
    shells = outfit.shells
    person = Person(
        look=look,
        outfit=outfit,
        resting=resting,
        mesh=_join(outfit),
        atlas=_paint(look, skin_rng),
        open_share=np.empty(0, np.float32),
        head_share=smooth_step(-17, -8, model.neutral[:, 1]).astype(np.float32),
        shell_rows=np.concatenate([np.empty(0, np.int64), *(shell.rows for shell in shells)]),
        shell_out_cm=np.concatenate([np.empty(0, np.float32), *(shell.out_cm for shell in shells)]),
        worn=np.concatenate([sheet.points for sheet in outfit.sheets]),
        worn_head_share=np.concatenate([sheet.head_share for sheet in outfit.sheets]),
    )
    return _with_openness(person)


def pose(
    person: Person,
    weights: Float32[np.ndarray, " 57"],
    degrees: Float32[np.ndarray, " 3"] | Float64[np.ndarray, " 3"],
    shift_cm: Float32[np.ndarray, " 3"] | Float64[np.ndarray, " 3"],
) -> Posed:
    """Move face, head and body: expression weights, then rotation and shift of the head."""
    face = express(person.resting, weights)
    turn, shift = rotation(degrees).T, np.asarray(shift_cm, np.float32)

    def place(points: Vertices, head_share: Float32[np.ndarray, " n"]) -> Vertices:
        share = head_share[:, None]
        with_head = (points - PIVOT) @ turn + PIVOT + shift
        return np.asarray(share * with_head + (1 - share) * (points + np.float32(_BODY_FOLLOWS) * shift))

    head = place(face, person.head_share)
    skin_normals = vertex_normals(head, head_model().triangles)
    rows = person.shell_rows
    shells = head[rows] + skin_normals[rows] * person.shell_out_cm[:, None]
    vertices = np.concatenate([head, shells, place(person.worn, person.worn_head_share)])
    normals = vertex_normals(vertices, person.mesh.triangles)
    # Hair takes part of its normals from the scalp: its own make it look like clay.
    hair = slice(len(head), len(head) + len(rows))
    normals[hair] = np.float32(0.6) * normals[hair] + np.float32(0.4) * skin_normals[rows]
    return Posed(face, vertices, normals)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw one scene."""
    view_rng, pose_rng, light_rng, back_rng, sensor_rng = rng.spawn(5)
    return Scene(
        view=draw_view(view_rng),
        pose=np.clip(pose_rng.normal(size=3) * (3, 9, 2.5), -35, 35),
        lights=_draw_lights(light_rng),
        exposure=float(light_rng.uniform(0.85, 1.1)),
        backdrop=draw_backdrop(back_rng),
        sensor=draw_sensor(sensor_rng),
    )


def place_camera(scene: Scene, person: Person, size: tuple[int, int], framing: str) -> Camera:
    """The scene's camera for this person, at rest in the scene's pose; see ``camera.frame``."""
    at_rest = pose(person, np.zeros(len(head_model().names), np.float32), scene.pose, np.zeros(3))
    return frame(scene.view, at_rest.landmarks, size, framing)


def picture(person: Person, posed: Posed, scene: Scene, camera: Camera, oversample: float = 1.0) -> Drawing:
    """Draw a person in a scene, before the sensor.

    Args:
        oversample: samples per pixel along each side; above 1, edges are smooth.
    """
    width, height = round(camera.width * oversample), round(camera.height * oversample)
    screen = camera.project(posed.vertices)
    screen[:, 0] *= width / camera.width
    screen[:, 1] *= height / camera.height
    nearness, seen = np.zeros((height, width), np.float32), np.full((height, width), -1, np.int32)
    draw_visible(screen, person.mesh, person.atlas, nearness, seen)

    light, covered = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    # The wider the mouth opens, the more light its back teeth get.
    mouth_dark = 0.30 + 0.9 * math.exp(-2.0 * max(lip_gap(posed.face), 0.0))
    lips_z = posed.landmarks[[62, 66], 2].mean()
    shade(
        nearness,
        seen,
        screen,
        posed.vertices,
        posed.normals,
        person.open_share,
        person.mesh,
        person.atlas,
        scene.lights,
        cast_shadow(posed.vertices, person.mesh, scene.lights),
        np.array([camera.x, camera.y, camera.distance], np.float32),
        np.float32(lips_z),
        np.float32(mouth_dark),
        light,
        covered,
    )
    visible = _visible(screen[head_model().landmarks], nearness)
    teeth_share, tongue_share = _mouth_shows(seen)
    lower = np.append(_lower_face(len(person.mesh.triangles)), False)[seen].astype(
        np.float32
    )  # [-1]: nothing
    if oversample != 1.0:
        size = (camera.width, camera.height)
        lower = cv2.resize(lower, size, interpolation=cv2.INTER_AREA)
        light = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
        covered = cv2.resize(covered, size, interpolation=cv2.INTER_AREA)
    backdrop = cut_backdrop(scene.backdrop, (camera.width, camera.height))
    return Drawing(
        srgb=develop(np.float32(scene.exposure) * light + backdrop * (1 - covered[..., None])),
        matte=(covered * 255 + 0.5).astype(np.uint8),
        mouth_area=(lower * 255 + 0.5).astype(np.uint8),
        visible=visible,
        teeth_share=teeth_share,
        tongue_share=tongue_share,
    )


def protrusion(person: Person, posed: Posed) -> float:
    """How far the lips stand out beyond the same person's at rest, cm."""
    return lip_depth(posed.face) - lip_depth(person.resting)


def _visible(
    pixels: Float32[np.ndarray, "68 3"], nearness: Float32[np.ndarray, "h w"]
) -> Bool[np.ndarray, " 68"]:
    """Landmarks in the frame before which nothing stands by more than the thickness of a beard."""
    column, row = np.floor(pixels[:, :2]).astype(int).T
    height, width = nearness.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    near = nearness[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    in_front_cm = 1 / pixels[:, 2] - 1 / np.maximum(near, 1e-6)  # where nothing is drawn: far behind
    return np.asarray(inside & (in_front_cm < _IN_FRONT_CM))


@lru_cache(maxsize=1)
def _mouth_parts() -> tuple[Bool[np.ndarray, " t"], ...]:
    """Which of the head's triangles are inside the mouth, teeth, and tongue."""
    model = head_model()
    tongue = np.zeros(len(model.neutral), bool)
    for name in ("tongueUp", "tongueOut"):
        tongue[model.expressions[name][0]] = True
    inside = np.isin(model.triangle_part, ("mouth_socket", "gums_tongue", "teeth"))
    return inside, model.triangle_part == "teeth", tongue[model.triangles].all(axis=1)


def _mouth_shows(seen: Int32[np.ndarray, "h w"]) -> tuple[float, float]:
    """Shares of teeth and of tongue in what shows of the inside of the mouth.

    Args:
        seen: triangle at each pixel, -1 for none.
    """
    inside, teeth, tongue = _mouth_parts()
    shown = seen[(seen >= 0) & (seen < len(inside))]
    shown = shown[inside[shown]]
    if not len(shown):
        return 0.0, 0.0
    return float(teeth[shown].mean()), float(tongue[shown].mean())


@lru_cache(maxsize=2)
def _lower_face(triangle_count: int) -> Bool[np.ndarray, " t"]:
    """Triangles from below the nose to the chin, the inside of the mouth included, of all that are drawn."""
    model = head_model()
    points = model.neutral[model.landmarks]
    middle = model.neutral[model.triangles].mean(axis=1)
    low, high = points[8, 1] - 0.5, points[33, 1] - 0.3
    front = (middle[:, 1] > low) & (middle[:, 1] < high) & (middle[:, 2] > points[[4, 12], 2].min())
    inside = np.isin(model.triangle_part, ("mouth_socket", "gums_tongue", "teeth"))
    lower = np.zeros(triangle_count, bool)
    lower[: len(model.triangles)] = (front & (model.triangle_part == "face")) | inside
    return lower


def _join(outfit: Outfit) -> Mesh:
    """One list of triangles for head, shells and sheets."""
    model = head_model()
    number = {name: index for index, name in enumerate(_MATERIALS)}
    triangles, triangle_uv, uv = [model.triangles], [model.triangle_uv], [model.uv]
    material = [np.array([number[_MATERIAL_OF_PART[str(part)]] for part in model.triangle_part], np.int32)]
    lashes = material[0] == number["lash"]
    layer = [lashes.astype(np.uint8)]
    vertex_count, uv_count = len(model.neutral), len(model.uv)
    pieces: tuple[Shell | Sheet, ...] = (*outfit.shells, *outfit.sheets)
    for piece in pieces:
        triangles.append(piece.triangles + np.int32(vertex_count))
        triangle_uv.append(piece.triangles + np.int32(uv_count))
        uv.append(piece.uv)
        material.append(np.full(len(piece.triangles), number[piece.material], np.int32))
        layer.append(np.full(len(piece.triangles), piece.layer, np.uint8))
        vertex_count += len(piece.uv)
        uv_count += len(piece.uv)
    joined = np.concatenate(material)
    return Mesh(
        triangles=np.concatenate(triangles),
        triangle_uv=np.concatenate(triangle_uv),
        uv=np.concatenate(uv),
        material=joined,
        one_sided=np.isin(joined, [number[name] for name in _ONE_SIDED]).astype(np.uint8),
        layer=np.concatenate(layer),
        no_shadow=np.isin(joined, [number[name] for name in _NO_SHADOW]).astype(np.uint8),
    )


def _paint(look: Look, rng: np.random.Generator) -> Atlas:
    """Textures and finishes in the order of ``_MATERIALS``."""
    face, head = paint_skin(look, rng)
    hair, beard = paint_strands(look, rng)
    ivory = np.array([0.80, 0.74, 0.60]) * rng.uniform((0.75, 0.72, 0.66), 1.0)
    plastic = linear(rng.choice([0.05, 0.1, 0.4]) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.4, 1)]))
    textures: dict[str, Texture] = {
        "face": face,
        "head": head,
        "eye": paint_eye(rng),
        "mouth": paint_mouth(look, head),
        "gums": flat_texture(np.array([0.45, 0.12, 0.12])),
        "teeth": flat_texture(ivory),
        "lash": flat_texture(np.array([0.015, 0.012, 0.01]), alpha=0.35, gloss=0.1),
        "hair": hair,
        "cloth": paint_cloth(rng),
        "beard": beard,
        "frame": flat_texture(plastic, gloss=3.0),
    }
    oily = rng.uniform(0.5, 1.5)
    finishes = {  # gloss strength, sharpness, skin, inside of the mouth, bump
        "face": (0.9 * oily, 14, 1, 0, 0.10),
        "head": (0.7 * oily, 14, 1, 0, 0.10),
        "eye": (3.0, 160, 0, 0, 0),
        "mouth": (1.2, 40, 0.8, 1, 0.05),
        "gums": (1.6, 40, 0.8, 1, 0),
        "teeth": (1.3, 50, 0.3, 1.15, 0),
        "lash": (0.1, 5, 0, 0, 0),
        "hair": (0.9, 18, 0.1, 0, 0.45),
        "cloth": (0.2, 6, 0.1, 0, 0.6),
        "beard": (0.4, 12, 0.1, 0, 0.5),
        "frame": (2.0, 60, 0, 0, 0),
    }
    sizes = np.array([textures[name].shape[:2] for name in _MATERIALS])
    start = np.concatenate([[0], np.cumsum(sizes.prod(axis=1))[:-1]])
    return Atlas(
        texels=np.concatenate([textures[name].reshape(-1, 8) for name in _MATERIALS]),
        place=np.stack([start, sizes[:, 1], sizes[:, 0]], axis=1).astype(np.int32),
        finish=np.array([finishes[name] for name in _MATERIALS], np.float32),
    )


def _with_openness(person: Person) -> Person:
    """Bake, in the resting pose, how open every vertex is to the light from around."""
    model = head_model()
    at_rest = pose(person, np.zeros(len(model.names), np.float32), np.zeros(3), np.zeros(3))
    ignored = np.isin(person.mesh.material, [_MATERIALS.index(name) for name in _NO_OCCLUSION])
    mesh = person.mesh._replace(no_shadow=ignored.astype(np.uint8))
    share = openness(at_rest.vertices, at_rest.normals, mesh)
    head = share[: len(model.neutral)]
    # Baked behind closed lips, the inside would stay black; it fades with depth when drawn instead.
    head[np.isin(model.vertex_part, ("teeth", "gums_tongue"))] = 1.0
    lining = model.vertex_part == "mouth_socket"
    head[lining] = np.maximum(head[lining], 0.6)
    eyes = np.isin(model.vertex_part, ("sclera_L", "sclera_R"))
    head[eyes] = np.clip(1.5 * head[eyes] + 0.25, 0, 0.9)  # lids shade them less than the bake says
    return Person(**{name: getattr(person, name) for name in Person.__slots__} | {"open_share": share})


def _draw_lights(rng: np.random.Generator) -> Lights:
    """A key lamp, a fill on the other side, a rim from behind in 40 %, and light from around."""
    side, height = rng.uniform(-1.1, 1.1), rng.uniform(0.1, 1.0)
    key = [math.sin(side) * math.cos(height), math.sin(height), math.cos(side) * math.cos(height)]

    def warmth(spread: float) -> Float64[np.ndarray, " 3"]:
        warm = rng.uniform(-spread, spread)
        return np.array([1 + warm, 1, 1 - warm])

    lamps = [(*key, *(warmth(0.12) * rng.uniform(0.8, 1.5)))]
    other = -math.copysign(1, side) * rng.uniform(0.3, 2.2)
    fill = np.array([math.sin(other), rng.uniform(-0.1, 0.5), math.cos(other)])
    lamps.append((*(fill / np.linalg.norm(fill)), *(warmth(0.2) * rng.uniform(0.05, 0.5))))
    if rng.random() < 0.4:
        rim = np.array([rng.choice([-1, 1]) * 0.8, 0.3, -0.6])
        lamps.append((*(rim / np.linalg.norm(rim)), *np.full(3, rng.uniform(0.2, 0.9))))

    around = np.zeros((9, 3))
    around[0] = rng.uniform(0.18, 0.5) * (1 + rng.normal(0, 0.05, 3))
    around[1], around[2] = rng.uniform(0.03, 0.22), rng.uniform(-0.05, 0.15)
    around[3] = rng.normal(0, 0.06)
    around[4:] = rng.normal(0, 0.02, (5, 1))
    return Lights(np.array(lamps, np.float32), around.astype(np.float32))
