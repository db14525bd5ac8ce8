"""Loading of MJCF models, and what a model needs so that `(qpos, qvel)` is its whole state."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import copy
import os

import mujoco
import numpy as np

from costogo.core.errors import CostogoError, known
from costogo.core.validate import require


def load_model(source: mujoco.MjModel | str | os.PathLike) -> mujoco.MjModel:
    """Compiled model of a file, of MJCF text (anything that begins with `<`), or a copy of a compiled model.

    Raises `CostogoError` with MuJoCo's own words if the file is missing or the text is not MJCF.
    """
    if isinstance(source, mujoco.MjModel):
        return copy.copy(source)
    require(
        isinstance(source, str | os.PathLike),
        f"model is a {type(source).__name__}; pass a mujoco.MjModel, the path of an MJCF file, or MJCF text",
    )
    text = os.fspath(source)
    is_text = text.lstrip().startswith("<")
    require(
        is_text or os.path.isfile(text),
        f"model is {text!r}, and there is no such file; pass the path of an MJCF file, or MJCF text that begins with <",
    )
    try:
        return mujoco.MjModel.from_xml_string(text) if is_text else mujoco.MjModel.from_xml_path(text)
    except ValueError as error:
        raise CostogoError(f"model does not compile: {' '.join(str(error).split())}; mend the MJCF") from error


def check_stateless(model: mujoco.MjModel) -> None:
    """Raise unless the next state is a function of `(qpos, qvel)`, the controls and applied forces alone."""
    plain = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))
    other = [model.joint(i).name or f"joint {i}" for i in range(model.njnt) if model.jnt_type[i] not in plain]
    require(
        not other,
        f"model has free or ball joints ({', '.join(other)}), whose positions are no vector space; "
        "build them of slide and hinge joints",
    )
    require(
        model.na == 0,
        f"model has {model.na} actuator states (filters, integrators, muscles), which are hidden from the state "
        "(qpos, qvel); use actuators without dyntype, such as motor",
    )
    require(model.nu > 0, "model has no actuators; add an <actuator> section with one for each control")
    for size, what in (("nhistory", "delays"), ("npluginstate", "plugins with a state")):
        require(
            getattr(model, size, 0) == 0, f"model has {what}, which the state (qpos, qvel) does not hold; drop them"
        )
    require(
        not model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_SLEEP),
        "model lets bodies sleep, which the state (qpos, qvel) does not hold; drop the flag sleep",
    )


def keyframe_state(model: mujoco.MjModel, keyframe: str | None) -> np.ndarray:
    """State (nx,) of a named keyframe, or the model's own positions at rest for None."""
    if keyframe is None:
        return np.concatenate([model.qpos0, np.zeros(model.nv)])
    names = [model.key(i).name for i in range(model.nkey)]
    require(bool(names), f"keyframe is {keyframe!r}, and the model has none; pass None")
    row = model.key(known("keyframe", keyframe, names)).id
    return np.concatenate([model.key_qpos[row], model.key_qvel[row]])


def control_limits(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper limits (nu,) of the actuators' inputs, infinite where a model gives none."""
    limited = model.actuator_ctrllimited.astype(bool)
    lower, upper = model.actuator_ctrlrange.T
    return np.where(limited, lower, -np.inf), np.where(limited, upper, np.inf)
