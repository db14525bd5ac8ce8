"""Frames of any MuJoCo model without a screen."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import mujoco
import numpy as np
from jax.typing import ArrayLike

from costogo.core.errors import CostogoError, MissingExtraError, known
from costogo.core.validate import require, require_shape
from costogo.sim.kinematics import JOINTS, check_state, check_vector, to_mujoco

Arrow = tuple[str | ArrayLike, ArrayLike]

METRES_PER_NEWTON = 1.0 / 400.0  # length of an arrow
ARROW_WIDTH = 0.025  # m, radius of the shaft
ARROW_COLOUR = np.array([0.85, 0.08, 0.08, 1.0], np.float32)


def frame_stride(dt: float, frames: float) -> tuple[int, float]:
    """Every how many-th of states `dt` seconds apart to show for about `frames` per second, and how many that are."""
    every = max(1, round(1.0 / (frames * dt)))
    return every, 1.0 / (every * dt)


def render(
    model: mujoco.MjModel,
    positions: np.ndarray,
    *,
    forces: Sequence[Sequence[Arrow]] | None = None,
    width: int = 640,
    height: int = 480,
    camera: str | None = "side",
) -> Iterator[np.ndarray]:
    """RGB frames (height, width, 3), uint8, of positions (n, nq), one at a time and each in memory of its own.

    Of states `(qpos, qvel)` of `costogo.sim.MujocoDynamics` pass `states[:, : model.nq]`, of states of the quadruped
    `quadruped_positions(states)`. `forces` has for each frame a list of `(where, force)`, which are drawn as red arrows
    of 1 m per 400 N: `where` is a point (3,) in the world (m) or the name of a body, then its centre of mass, and
    `force` (3,) is in the world (N). Cameras: those of the model; the models of costogo have `side`, which goes with
    the robot, and `fixed`; None is a free camera that sees the whole model. `MUJOCO_GL` chooses how OpenGL is reached;
    on Linux it is EGL where that is unset.

    Raises `CostogoError` at once for positions of another shape or not finite, a size that the model's offscreen
    buffer does not hold, an unknown camera, or forces that do not fit; at the first frame `MissingExtraError` without
    OpenGL.
    """
    limits = (int(model.vis.global_.offwidth), int(model.vis.global_.offheight))
    require(
        0 < width <= limits[0] and 0 < height <= limits[1],
        f"width and height are {width} and {height}; pass at most {limits[0]} and {limits[1]}",
    )
    view = _view(model, camera)
    rows = _checked_positions(model, positions)
    arrows = [[]] * len(rows) if forces is None else [_checked_arrows(model, frame) for frame in forces]
    require(
        len(arrows) == len(rows), f"forces has {len(arrows)} lists for {len(rows)} frames; pass one list for each frame"
    )
    return _frames(model, view, rows, arrows, width, height)


def _view(model: mujoco.MjModel, camera: str | None) -> mujoco.MjvCamera:
    view = mujoco.MjvCamera()
    if camera is None:
        mujoco.mjv_defaultFreeCamera(model, view)
        return view
    view.type = mujoco.mjtCamera.mjCAMERA_FIXED
    view.fixedcamid = model.camera(known("camera", camera, [model.camera(i).name for i in range(model.ncam)])).id
    return view


def quadruped_positions(states: np.ndarray) -> np.ndarray:
    """Positions (n, 19) in MuJoCo's coordinates of kinodynamic states (n, 24) or (24,), rpy first."""
    rows = [to_mujoco(check_state("states", x), np.zeros(JOINTS))[0] for x in np.atleast_2d(states)]
    return np.array(rows)


def _checked_positions(model: mujoco.MjModel, positions: np.ndarray) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(positions, float))
    fix = "pass one row of qpos for each frame, of states (qpos, qvel) states[:, : model.nq]"
    require_shape("positions", rows.shape, (len(rows), model.nq), fix)
    for row, column in np.argwhere(~np.isfinite(rows)):
        value = rows[row, column]
        raise CostogoError(f"positions is {value} at row {row}, column {column}; pass finite numbers")
    return rows


def _checked_arrows(model: mujoco.MjModel, frame: Sequence[Arrow]) -> list[tuple[int | np.ndarray, np.ndarray]]:
    """The arrows of a frame: the number of a body or a point (3,) m, and a force (3,) N."""
    names = [model.body(i).name for i in range(model.nbody)]

    def start(where: str | ArrayLike) -> int | np.ndarray:
        if isinstance(where, str):
            return model.body(known("body", where, names)).id
        return check_vector("point", np.asarray(where), 3, "pass (x, y, z) in m, or the name of a body")

    return [
        (start(where), check_vector("force", np.asarray(force), 3, "pass (x, y, z) in N")) for where, force in frame
    ]


def _frames(
    model: mujoco.MjModel, view: mujoco.MjvCamera, rows: np.ndarray, arrows: list, width: int, height: int
) -> Iterator[np.ndarray]:
    data, rectangle = mujoco.MjData(model), mujoco.MjrRect(0, 0, width, height)
    room = model.ngeom + model.nsite + 1000
    scene, option = mujoco.MjvScene(model, maxgeom=room), mujoco.MjvOption()
    with _offscreen(model, width, height) as (make_current, context):
        for row, row_arrows in zip(rows, arrows, strict=True):
            data.qpos[:] = row
            mujoco.mj_fwdPosition(model, data)
            mujoco.mjv_updateScene(model, data, option, None, view, mujoco.mjtCatBit.mjCAT_ALL, scene)
            for where, force in row_arrows:
                _draw_arrow(scene, data.xipos[where] if isinstance(where, int) else where, force)
            make_current()  # another film may have been at work since the last frame
            mujoco.mjr_render(rectangle, scene, context)
            frame = np.empty((height, width, 3), np.uint8)
            mujoco.mjr_readPixels(frame, None, rectangle, context)
            yield frame[::-1].copy()  # OpenGL counts rows from below


def _draw_arrow(scene: mujoco.MjvScene, point: np.ndarray, force: np.ndarray) -> None:
    """Append a red arrow that begins at `point` (m); nothing for a force (N) of zero.

    MuJoCo draws an arrow half as long as the distance that it is given (seen in 4.0, measured in pixels).
    """
    if scene.ngeom >= scene.maxgeom or not force.any():
        return
    geom, kind = scene.geoms[scene.ngeom], mujoco.mjtGeom.mjGEOM_ARROW
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).ravel(), ARROW_COLOUR)
    mujoco.mjv_connector(geom, kind, ARROW_WIDTH, point, point + 2.0 * METRES_PER_NEWTON * force)
    scene.ngeom += 1


@contextmanager
def _offscreen(
    model: mujoco.MjModel, width: int, height: int
) -> Iterator[tuple[Callable[[], None], mujoco.MjrContext]]:
    """A rendering context that is freed again, and what makes it the current one.

    `mujoco.Renderer` is bound to what `MUJOCO_GL` was when mujoco was imported, and without it needs a screen; so the
    context is made here.
    """
    try:
        if sys.platform.startswith("linux") and not os.environ.get("MUJOCO_GL"):
            from mujoco.egl import GLContext
        else:
            from mujoco import GLContext
    except (ImportError, AttributeError) as error:
        raise MissingExtraError("rendering needs OpenGL; on Debian: apt-get install libegl1 libgl1-mesa-dri") from error
    window = GLContext(width, height)
    window.make_current()
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    try:
        yield window.make_current, context
    finally:
        window.make_current()  # what is freed next must be this one's
        context.free()
        window.free()
