import numpy as np
import pytest

from keysync.face.mesh import IBUG_68
from keysync.face.pose import face_width, yaw_deg
from keysync.synthetic.head import head_model, rotation


def mesh(yaw: float, roll: float = 0.0, scale: float = 20.0) -> np.ndarray:
    """The 68 points of the mean head in their places of a mesh, the others anywhere on the nose."""
    model = head_model()
    turned = model.neutral[model.landmarks] @ rotation(np.array([0.0, yaw, roll])).T
    points = np.zeros((468, 2), np.float32)
    points[:] = (turned[30, :2] * (1, -1)) * scale
    points[IBUG_68] = turned[:, :2] * (1, -1) * scale
    return points


@pytest.mark.parametrize("roll", [-20.0, 0.0, 20.0])
def test_yaw_grows_with_the_turn_and_has_its_sign(roll: float) -> None:
    found = [yaw_deg(mesh(yaw, roll)) for yaw in (-40, -20, 0, 20, 40)]
    assert found == sorted(found)
    assert found[2] == pytest.approx(0, abs=1.5)
    assert found[0] < -20
    assert found[4] > 20


def test_a_tilted_face_is_no_wider_and_a_larger_one_is() -> None:
    assert face_width(mesh(0, roll=30)) == pytest.approx(face_width(mesh(0)), rel=0.03)
    assert face_width(mesh(0, scale=40)) == pytest.approx(2 * face_width(mesh(0)), rel=1e-4)
