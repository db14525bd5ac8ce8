"""Legged robots as a single rigid body with kinematic legs: contacts as equality rows, friction as inequalities."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from costogo.core.validate import require
from costogo.problem import AbstractCost, DiscretisedCost, OptimalControlProblem, QuadraticTerminalCost, discretise
from costogo.systems.legged.gait import Gait, SwingSpline
from costogo.systems.legged.rigid_body import GRAVITY


class LeggedRobot(eqx.Module):
    """Body and leg geometry of one robot, in two or three dimensions; subclasses give the numbers.

    State: orientation, position (world), angular velocity, linear velocity (base frame), joint angles. Control: contact
    forces of all feet in the base frame (N), joint velocities (rad/s). The vertical is the last axis.
    """

    rotation_dimension: ClassVar[int]
    foot_names: ClassVar[tuple[str, ...]]

    def rotation(self, x: Array) -> Float[Array, "dim dim"]:
        """Base to world."""
        raise NotImplementedError

    def feet(self, x: Array) -> Float[Array, "feet dim"]:
        """Feet in the world frame (m)."""
        raise NotImplementedError

    def velocity(self, x: Array, u: Array, t: Array) -> Array:
        """Time derivative of the state."""
        raise NotImplementedError

    def forces(self, u: Array) -> Float[Array, "feet dim"]:
        """Contact forces in the base frame."""
        raise NotImplementedError


class ContactConstraints(eqx.Module):
    """Contacts of a legged robot (spec mpc_net 8.2), `dim + 1` rows for each foot.

    Stance: the foot does not move (dim rows; the last is masked). Swing: no contact force (dim rows), and the vertical
    velocity follows the spline, `v_z - v_ref(t) + position_gain (p_z - z_ref(t)) = 0`. `v_ref` is the mean over the
    interval of `dt` seconds, so that the foot is where the spline is at its end.
    """

    robot: LeggedRobot
    gait: Gait
    spline: SwingSpline
    dt: ArrayLike
    position_gain: ArrayLike = 20.0

    def __call__(self, x: Array, u: Array, t: Array) -> Float[Array, " rows"]:
        """Values of all rows; those that do not hold at `t` are masked out."""
        position, velocity = self.foot_motion(x, u, t)
        stance = self.gait.stance(t)
        elapsed, duration = self.gait.swing(t)
        height = self.spline.height(elapsed, duration)
        lift = self.spline.mean_velocity(elapsed, duration, self.dt)
        vertical = velocity[:, -1] - lift + self.position_gain * (position[:, -1] - height)
        fixed = jnp.where(stance[:, None], velocity, self.robot.forces(u))
        return jnp.concatenate([fixed, vertical[:, None]], axis=1).reshape(-1)

    def foot_motion(self, x: Array, u: Array, t: Array) -> tuple[Array, Array]:
        """Positions and velocities of the feet in the world frame, each (feet, dim)."""
        return jax.jvp(self.robot.feet, (x,), (self.robot.velocity(x, u, t),))

    def mask(self, t: Array) -> Bool[Array, " rows"]:
        """Rows that hold over the interval from `t` on."""
        stance = self.gait.stance(t)
        dim = self.robot.rotation_dimension
        return jnp.concatenate([jnp.ones((len(stance), dim), bool), ~stance[:, None]], axis=1).reshape(-1)

    def names(self) -> list[str]:
        """What each row says, for messages and metrics."""
        axes = "xz" if self.robot.rotation_dimension == 2 else "xyz"
        rows = []
        for foot in self.robot.foot_names:
            rows += [f"{foot} velocity (stance) or force (swing) {axis}" for axis in axes] + [f"{foot} swing height"]
        return rows


class FrictionCones(eqx.Module):
    """`h = mu F_z - sqrt(F_t^2 + epsilon) >= 0` of each stance foot, force in the world frame (N); `epsilon` in N^2."""

    robot: LeggedRobot
    gait: Gait
    friction: ArrayLike = 0.5
    epsilon: ArrayLike = 25.0

    def __call__(self, x: Array, u: Array, t: Array) -> Float[Array, " feet"]:
        """Margin of each foot."""
        force = self.robot.forces(u) @ self.robot.rotation(x).T
        return self.friction * force[:, -1] - jnp.sqrt(jnp.sum(force[:, :-1] ** 2, axis=1) + self.epsilon)

    def mask(self, t: Array) -> Bool[Array, " feet"]:
        """Feet on the ground."""
        return self.gait.stance(t)

    def names(self) -> list[str]:
        """What each row says, for messages and metrics."""
        return [f"{foot} friction cone" for foot in self.robot.foot_names]


class StandingCost(AbstractCost):
    """`1/2 (x - x_ref)' Q (x - x_ref) + 1/2 (u - u_ref(t))' R (u - u_ref(t))` per second, diagonal weights.

    `u_ref` shares the weight equally among the stance feet: `m g / n_stance` upwards, joints at rest.
    """

    gait: Gait
    Q: Array
    R: Array
    x_ref: Array
    weight: ArrayLike
    dim: int = eqx.field(static=True)

    def reference_control(self, t: Array) -> Array:
        """Weight-sharing forces and zero joint velocities."""
        stance = jnp.asarray(self.gait.stance(t), self.x_ref.dtype)
        forces = jnp.zeros((len(stance), self.dim), self.x_ref.dtype).at[:, -1].set(stance * self.weight / stance.sum())
        return jnp.concatenate([forces.reshape(-1), jnp.zeros(self.R.shape[0] - forces.size, self.x_ref.dtype)])

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost per second."""
        dx, du = x - self.x_ref, u - self.reference_control(t)
        return 0.5 * jnp.sum(self.Q * dx**2) + 0.5 * jnp.sum(self.R * du**2)


class WalkingTask(eqx.Module):
    """A robot that keeps its place under a gait: problem, first guess, observation, starts, validity.

    `horizon` knots of `dt` seconds; the plant is the same model, integrated with RK4 (the solver uses the midpoint
    rule).
    """

    robot: Any
    gait: Gait
    spline: SwingSpline
    dt: float = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    position_gain: float = eqx.field(static=True)

    def __init__(
        self,
        robot: Any,
        gait: Gait,
        *,
        dt: float = 0.025,
        horizon: int = 40,
        spline: SwingSpline | None = None,
        position_gain: float = 20.0,
    ):
        require(gait.feet == len(robot.foot_names),
                f"the gait is for {gait.feet} feet, the robot has {len(robot.foot_names)}")  # fmt: skip
        self.robot, self.gait, self.dt, self.horizon = robot, gait, dt, horizon
        self.spline = SwingSpline() if spline is None else spline
        self.position_gain = position_gain

    @property
    def constraints(self) -> ContactConstraints:
        """Equality rows."""
        return ContactConstraints(self.robot, self.gait, self.spline, self.dt, self.position_gain)

    @property
    def cones(self) -> FrictionCones:
        """Inequality rows."""
        return FrictionCones(self.robot, self.gait)

    @property
    def running_cost(self) -> StandingCost:
        """Cost per second."""
        robot = self.robot
        Q, R = (jnp.asarray(w, float) for w in robot.weights())
        return StandingCost(self.gait, Q, R, jnp.asarray(robot.standing(), float), robot.mass * GRAVITY,
                            robot.rotation_dimension)  # fmt: skip

    def problem(self) -> OptimalControlProblem:
        """The problem of one MPC call."""
        cost = self.running_cost
        return OptimalControlProblem(
            discretise(self.robot.velocity, self.dt, "midpoint"),
            DiscretisedCost(cost, self.dt),
            QuadraticTerminalCost(Q=0.1 * cost.Q, x_ref=cost.x_ref),
            horizon=self.horizon,
            nu=self.robot.nu,
            dt=self.dt,
            equality=self.constraints,
            equality_mask=self.constraints.mask,
            inequality=self.cones,
            inequality_mask=self.cones.mask,
        )

    def plant(self) -> Any:
        """The model as the robot to be controlled, over one interval."""
        return discretise(self.robot.velocity, self.dt, "rk4")

    def guess(self, x: Array, ts: Array) -> tuple[Array, Array]:
        """Standing at every knot with the weight shared: it does not follow the dynamics, and need not."""
        cost = self.running_cost
        states = jnp.broadcast_to(cost.x_ref.astype(x.dtype), (self.horizon + 1, x.size))
        return states, jax.vmap(cost.reference_control)(ts[:-1]).astype(x.dtype)

    def observe(self, x: Array, t: Array) -> Array:
        """Swing phases, contact flags, and the state relative to the reference, seen from the robot's heading."""
        stance = self.gait.stance(t).astype(x.dtype)
        return jnp.concatenate([self.gait.phase(t).astype(x.dtype), stance, self.robot.relative(x)])

    @property
    def observation_size(self) -> int:
        """Number of entries of an observation."""
        return 2 * self.gait.feet + self.robot.nx

    def start(self, key: Array) -> tuple[Array, Array]:
        """Random state and a time within the cycle, at a knot."""
        one, two = jax.random.split(key)
        knots = max(1, round(self.gait.period / self.dt))
        return self.robot.random_state(one), self.dt * jax.random.randint(two, (), 0, knots)


def numpy_weights(parts: list[np.ndarray]) -> np.ndarray:
    """Diagonal weights from parts."""
    return np.concatenate([np.asarray(part, float).reshape(-1) for part in parts])
