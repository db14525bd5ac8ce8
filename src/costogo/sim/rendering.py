"""Frames of a robot without a screen."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import mujoco
import numpy as np

from costogo.core.errors import MissingExtraError, known
from costogo.core.validate import require
from costogo.sim.kinematics import JOINTS, check_state, to_mujoco


def render_states(
    model: mujoco.MjModel, states: np.ndarray, *, width: int = 640, height: int = 480, camera: str = "side"
) -> np.ndarray:
    """RGB frames (n, height, width, 3), uint8, of states (n, 24), as of a record. Cameras: `side`, which goes with the
    robot, and `fixed`. `MUJOCO_GL` chooses how OpenGL is reached; on Linux it is EGL where that is unset."""
    limits = (int(model.vis.global_.offwidth), int(model.vis.global_.offheight))
    require(
        0 < width <= limits[0] and 0 < height <= limits[1],
        f"width and height are {width} and {height}; pass at most {limits[0]} and {limits[1]}",
    )
    index = model.camera(known("camera", camera, [model.camera(i).name for i in range(model.ncam)])).id
    view = mujoco.MjvCamera()
    view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, index
    data, rectangle = mujoco.MjData(model), mujoco.MjrRect(0, 0, width, height)
    scene, option = mujoco.MjvScene(model, maxgeom=1000), mujoco.MjvOption()
    states = np.atleast_2d(np.asarray(states, float))
    frames = np.empty((len(states), height, width, 3), np.uint8)
    with _offscreen(model, width, height) as context:
        for x, frame in zip(states, frames, strict=True):
            data.qpos[:], data.qvel[:] = to_mujoco(check_state("states", x), np.zeros(JOINTS))
            mujoco.mj_forward(model, data)
            mujoco.mjv_updateScene(model, data, option, None, view, mujoco.mjtCatBit.mjCAT_ALL, scene)
            mujoco.mjr_render(rectangle, scene, context)
            mujoco.mjr_readPixels(frame, None, rectangle, context)
            frame[:] = frame[::-1].copy()  # OpenGL counts rows from below
    return frames


@contextmanager
def _offscreen(model: mujoco.MjModel, width: int, height: int) -> Iterator[mujoco.MjrContext]:
    """A rendering context that is freed again.

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
        yield context
    finally:
        context.free()
        window.free()
