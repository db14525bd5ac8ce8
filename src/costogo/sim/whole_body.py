"""Whole-body tracking of a kinodynamic reference: one quadratic program per control step (spec mpc_net 8.8)."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import dataclasses
import time
from typing import NamedTuple

import daqp
import mujoco
import numpy as np

from costogo.core.validate import require, require_shape
from costogo.sim.anymal import TORQUE_LIMIT, anymal_model
from costogo.sim.kinematics import (
    JOINTS,
    STATES,
    VELOCITIES,
    RobotModel,
    RobotTerms,
    check_state,
    check_vector,
    rotation_vector,
)

FREE = 1e30
EQUALITY = 5  # daqp's code for a row that holds with equality
OPTIMAL = 1


class Reference(NamedTuple):
    """What to track: a kinodynamic state, an input, and which feet are to stand.

    `x` (24,) as in `costogo.sim.kinematics`; `u` (24,) of contact forces on the feet in the base frame (N) and joint
    velocities (rad/s); `contacts` (4,), true for stance. `base_acceleration` (6,) is the rate of angular and linear
    velocity in the base frame (rad/s2, m/s2), the model's `xdot[6:12]`, and `joint_acceleration` (12,) that of the
    joint velocities (rad/s2), which only swinging feet follow; None is zero.
    """

    x: np.ndarray
    u: np.ndarray
    contacts: np.ndarray
    base_acceleration: np.ndarray | None = None
    joint_acceleration: np.ndarray | None = None


class Command(NamedTuple):
    """Torques (12,) N m, and of the program: accelerations (18,), contact forces (4, 3) in the world (N), whether it
    was solved, and the seconds of the whole call and of the solver alone."""

    torques: np.ndarray
    accelerations: np.ndarray
    forces: np.ndarray
    solved: bool
    seconds: float
    solver_seconds: float


@dataclasses.dataclass(frozen=True)
class TrackingGains:
    """Gains, weights and limits of the whole-body controller.

    `base_kp` 1/s2 and `base_kd` 1/s act on orientation, position and their velocities; `swing_kp`, `swing_kd` on the
    position of swinging feet. The weights are of squared accelerations (rad/s2, m/s2) and forces (N); `regularisation`
    is that of all accelerations. `friction` is the slope of the pyramid `|F_x|, |F_y| <= friction F_z`, `torque_limit`
    N m. `joint_kp`, `joint_kd` (N m/rad, N m s/rad) hold the joints where the program has no solution.
    """

    base_kp: float = 100.0
    base_kd: float = 20.0
    swing_kp: float = 350.0
    swing_kd: float = 37.0
    base_weight: float = 1.0
    swing_weight: float = 1.0
    force_weight: float = 1e-5
    regularisation: float = 1e-6
    friction: float = 0.5
    torque_limit: float = TORQUE_LIMIT
    joint_kp: float = 150.0
    joint_kd: float = 4.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            require(np.isfinite(value) and value >= 0.0, f"{field.name} is {value}; pass a finite number, zero or more")
        for name in ("regularisation", "force_weight"):
            require(getattr(self, name) > 0.0, f"{name} is 0, and the program is then not strictly convex; try 1e-6")


class WholeBodyController:
    """Torques that make the whole robot follow a kinodynamic reference.

    With accelerations `a` (18,) and forces `F` on the stance feet in the world,

        minimise   w_b |a_base - a_base*|^2 + w_s |J_swing a + Jdot_swing v - a_foot*|^2 + w_f |F - R lambda|^2
        subject to M_base a + h_base = J_base' F                (the base has no motor)
                   J_stance a = -Jdot_stance v                  (stance feet do not move)
                   |F_x|, |F_y| <= mu F_z,   |tau| <= limit,    tau = M_joints a + h_joints - J_joints' F

    where `a*` is feedforward plus PD on the reference, for a foot from its forward kinematics in the world. Torques are
    eliminated, and so are forces on swinging feet. If there is no solution, the torques hold the reference's joint
    angles, with those that balance its forces as feedforward; `failures` counts how often.
    """

    def __init__(self, gains: TrackingGains | None = None, model: mujoco.MjModel | None = None):
        model = anymal_model() if model is None else model
        self.gains = TrackingGains() if gains is None else gains
        self._robot, self._reference = RobotModel(model), RobotModel(model)
        self.failures = 0

    def __call__(self, x: np.ndarray, joint_velocities: np.ndarray, reference: Reference) -> Command:
        """Command at an (estimated) state (24,) and joint velocities (12,)."""
        start = time.perf_counter()
        x, reference = check_state("x", x), _checked(reference)
        now = self._robot.terms(x, joint_velocities)
        wanted = self._reference.terms(reference.x, reference.u[JOINTS:])
        forces = reference.u[:JOINTS].reshape(-1, 3) @ wanted.rotation.T
        hessian, gradient = self._tasks(now, wanted, forces, reference)
        rows, lower, upper, sense = self._constraints(now, reference.contacts)
        answer, _, flag, info = daqp.solve(hessian, gradient, rows, upper, lower, sense)
        solver = info["setup_time"] + info["solve_time"]
        if flag != OPTIMAL or not np.all(np.isfinite(answer)):
            self.failures += 1
            torques = self._hold(x, joint_velocities, now, forces, reference)
            return Command(torques, np.zeros(VELOCITIES), forces, False, time.perf_counter() - start, solver)
        a, solution = answer[:VELOCITIES], np.zeros((4, 3))
        solution[reference.contacts] = answer[VELOCITIES:].reshape(-1, 3)
        torques = now.mass[6:] @ a + now.bias[6:] - now.jacobian[:, 6:].T @ solution.ravel()
        return Command(torques, a, solution, True, time.perf_counter() - start, solver)

    def _tasks(self, now: RobotTerms, wanted: RobotTerms, forces: np.ndarray, reference: Reference):
        """Hessian and gradient in `(a, F_stance)`."""
        g, swing = self.gains, np.repeat(~reference.contacts, 3)
        feedforward = _accelerations(wanted, reference)
        size = VELOCITIES + 3 * int(reference.contacts.sum())
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        diagonal = np.full(size, g.force_weight)
        diagonal[:VELOCITIES] = g.regularisation
        diagonal[:6] += g.base_weight
        gradient[:6] = -g.base_weight * self._base_task(now, wanted, feedforward)
        gradient[VELOCITIES:] = -g.force_weight * forces[reference.contacts].ravel()
        task = (wanted.jacobian @ feedforward + wanted.drift - now.drift).reshape(-1, 3)
        task += g.swing_kp * (wanted.positions - now.positions) + g.swing_kd * (wanted.velocities - now.velocities)
        rows = now.jacobian[swing]
        hessian[:VELOCITIES, :VELOCITIES] = g.swing_weight * rows.T @ rows
        gradient[:VELOCITIES] -= g.swing_weight * rows.T @ task.ravel()[swing]
        hessian[np.diag_indices(size)] += diagonal
        return hessian, gradient

    def _base_task(self, now: RobotTerms, wanted: RobotTerms, feedforward: np.ndarray) -> np.ndarray:
        """Acceleration (6,) of the base: linear in the world, angular in the base frame."""
        g = self.gains
        turn = now.rotation.T @ wanted.rotation
        position = wanted.base - now.base
        velocity = wanted.velocity[:3] - now.velocity[:3]
        linear = feedforward[:3] + g.base_kp * position + g.base_kd * velocity
        spin = turn @ wanted.velocity[3:6] - now.velocity[3:6]
        angular = turn @ feedforward[3:6] + g.base_kp * rotation_vector(turn) + g.base_kd * spin
        return np.concatenate([linear, angular])

    def _constraints(self, now: RobotTerms, contacts: np.ndarray):
        """Rows, lower and upper bounds, and which rows are equalities."""
        g, stance = self.gains, np.repeat(contacts, 3)
        jacobian, feet = now.jacobian[stance], int(contacts.sum())
        motion = np.hstack([now.mass, -jacobian.T])
        still = np.hstack([jacobian, np.zeros((3 * feet, 3 * feet))])
        cone = np.hstack([np.zeros((4 * feet, VELOCITIES)), np.kron(np.eye(feet), _pyramid(g.friction))])
        base, joints, held = -now.bias[:6], -now.bias[6:], -now.drift[stance]
        lower = np.concatenate([base, held, np.full(4 * feet, -FREE), joints - g.torque_limit])
        upper = np.concatenate([base, held, np.zeros(4 * feet), joints + g.torque_limit])
        sense = np.zeros(len(upper), np.int32)
        sense[: 6 + 3 * feet] = EQUALITY
        return np.vstack([motion[:6], still, cone, motion[6:]]), lower, upper, sense

    def _hold(self, x, joint_velocities, now: RobotTerms, forces: np.ndarray, reference: Reference) -> np.ndarray:
        """Torques within the limit that hold the joints of the reference."""
        g = self.gains
        feedforward = now.bias[6:] - now.jacobian[:, 6:].T @ (forces * reference.contacts[:, None]).ravel()
        feedback = g.joint_kp * (reference.x[12:] - x[12:]) + g.joint_kd * (reference.u[JOINTS:] - joint_velocities)
        return np.clip(feedforward + feedback, -g.torque_limit, g.torque_limit)


def _accelerations(wanted: RobotTerms, reference: Reference) -> np.ndarray:
    """Accelerations (18,) of the reference as MuJoCo has them: linear in the world, `R (vdot + omega x v)`."""
    base = np.zeros(6) if reference.base_acceleration is None else reference.base_acceleration
    joints = np.zeros(JOINTS) if reference.joint_acceleration is None else reference.joint_acceleration
    turning = np.cross(reference.x[6:9], reference.x[9:12])
    return np.concatenate([wanted.rotation @ (base[3:] + turning), base[:3], joints])


def _pyramid(friction: float) -> np.ndarray:
    """Rows (4, 3) of `|F_x|, |F_y| <= friction F_z`, to be at most zero."""
    return np.array([[1, 0, -friction], [-1, 0, -friction], [0, 1, -friction], [0, -1, -friction]], float)


def _checked(reference: Reference) -> Reference:
    """The reference as arrays of the right shapes."""
    u = check_vector("reference.u", reference.u, STATES, "pass 12 contact forces and 12 joint velocities")
    contacts = np.asarray(reference.contacts, bool)
    require_shape("reference.contacts", contacts.shape, (4,), "pass a flag per foot, LF, RF, LH, RH")
    base, joints = reference.base_acceleration, reference.joint_acceleration
    return Reference(
        check_state("reference.x", reference.x),
        u,
        contacts,
        None if base is None else check_vector("reference.base_acceleration", base, 6, "pass 3 angular, 3 linear"),
        None if joints is None else check_vector("reference.joint_acceleration", joints, JOINTS, "pass 12 numbers"),
    )
