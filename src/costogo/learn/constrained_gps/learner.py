"""Constrained guided policy search, Algorithm 1."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from costogo.core.status import Status
from costogo.core.validate import require
from costogo.learn.constrained_gps.agreement import ascend, draw_noise, policy_terms, regression
from costogo.learn.constrained_gps.policy_fit import fit_policy
from costogo.nn import GaussianPolicy
from costogo.problem import OptimalControlProblem, open_loop, total_cost
from costogo.problem.costs import ScaledCost
from costogo.problem.rollout import next_state
from costogo.solvers import GaussianDDP, GaussianTrajectory


class GPSState(eqx.Module):
    """State between two iterations: count, key, trajectories, multipliers, policy."""

    step: Int[Array, ""]
    key: Array
    q: GaussianTrajectory
    weights: Float[Array, "conditions N"]
    policy: GaussianPolicy


class ConstrainedGPS(eqx.Module):
    """One policy from several Gaussian trajectories that are pulled into agreement with it (Levine and Koltun 2014,
    Algorithm 1; spec constrained_gps section 6).

    A step improves every trajectory by `iterations` of `solver` on cost and agreement, fits the policy to samples of
    all of them, and raises the multipliers by `rate` times the divergence. The cost is scaled by a factor that rises
    geometrically from `first_scale` to one over `ramp` steps.

    `problem_of(condition)` is the problem of one of the `conditions` (a pytree whose leaves have a leading axis; pushes
    and terrains live there), `starts` (conditions, nx) its initial states with covariance `start_covariance`.
    `observe(x)` is what the policy sees, `noise` the covariance of the process. `guess(condition)` gives controls
    (N, nu) to begin with, by default zero. `valid(x)` tells a failure in `evaluate`, whose costs are then `worst`.

    Deviations from the paper: those of `GaussianDDP`; averages of the policy over the same antithetic samples
    throughout; the multipliers' rise is limited (spec section 9).
    """

    problem_of: Callable[[Any], OptimalControlProblem]
    conditions: Any
    starts: Float[Array, "conditions nx"]
    start_covariance: Float[Array, "nx nx"]
    noise: Float[Array, "nx nx"]
    policy: Callable[[Array], GaussianPolicy]
    observe: Callable[[Array], Array]
    guess: Callable[[Any], Array] | None = None
    valid: Callable[[Array], Array] | None = None
    solver: GaussianDDP = eqx.field(default_factory=GaussianDDP)
    first_iterations: int = eqx.field(static=True, default=100)
    samples: int = eqx.field(static=True, default=20)
    fit_iterations: int = eqx.field(static=True, default=150)
    rate: ArrayLike = 0.1
    first_weight: ArrayLike = 0.1
    first_scale: float = eqx.field(static=True, default=0.1)
    ramp: int = eqx.field(static=True, default=50)
    worst: float = eqx.field(static=True, default=1e6)

    steps_per_epoch: ClassVar[int] = 1

    def __check_init__(self):
        require(self.starts.ndim == 2, f"starts has shape {self.starts.shape}; pass one state per row")
        for name in ("first_iterations", "fit_iterations", "ramp"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")
        even = self.samples >= 2 and self.samples % 2 == 0
        require(even, f"samples is {self.samples}; pass an even number of at least 2")
        require(0 < self.first_scale <= 1, f"first_scale is {self.first_scale}; pass a number in (0, 1]")
        for leaf in jax.tree.leaves(self.conditions):
            require(len(leaf) == len(self.starts), f"conditions have a leaf of length {len(leaf)}, starts "
                    f"{len(self.starts)} rows; pass one entry per start")  # fmt: skip

    def scale(self, step: ArrayLike) -> Array:
        """Factor of the cost in step number `step`, counted from zero."""
        share = jnp.minimum(jnp.asarray(step, float) / self.ramp, 1.0)
        return self.first_scale ** (1.0 - share)

    def init(self, key: Array) -> GPSState:
        """Trajectories of maximum entropy, and a policy fitted to them."""
        key, network, draw = jax.random.split(key, 3)
        q = jax.vmap(self._first)(self.conditions, self.starts)
        weights = jnp.full(q.controls.shape[:2], self.first_weight, q.controls.dtype)
        rows = regression(self.observe, q, jnp.ones_like(weights), self._draw(draw))
        policy = fit_policy(self.policy(network), rows, iterations=self.fit_iterations).policy
        return GPSState(jnp.array(0, jnp.int32), key, q, weights, policy)

    def step(self, state: GPSState) -> tuple[GPSState, dict[str, Array]]:
        """One iteration; metrics are means over conditions and knots, failures are counted."""
        key, draw = jax.random.split(state.key)
        scale, averaging = self.scale(state.step), self._averaging()

        def improve(condition, q, weights):
            def terms_of(q):
                return policy_terms(state.policy, self.observe, weights, averaging, q)

            return self.solver.run(_scaled(self.problem_of(condition), scale), q, terms_of, noise=self.noise)

        found = jax.vmap(improve)(self.conditions, state.q, state.weights)
        rows = regression(self.observe, found.q, state.weights, self._draw(draw))
        fit = fit_policy(state.policy, rows, iterations=self.fit_iterations)
        divergence = jax.vmap(
            lambda q, weights: policy_terms(fit.policy, self.observe, weights, averaging, q).divergence(q)
        )(found.q, state.weights)
        weights = ascend(state.weights, divergence, rate=self.rate)
        failed = (found.status != Status.CONVERGED) & (found.status != Status.MAX_ITERATIONS)
        metrics = {
            "trajectory_cost": jnp.mean(found.cost) / scale,
            "divergence": jnp.mean(divergence),
            "weight": jnp.mean(weights),
            "fit": fit.after,
            "scale": scale,
            "trajectory_failures": jnp.mean(failed),
        }
        return GPSState(state.step + 1, key, found.q, weights, fit.policy), metrics

    def evaluate(self, state: GPSState) -> dict[str, Array]:
        """Cost of the policy without noise, unscaled, on the training conditions; failures cost `worst`."""
        costs, failed = self.test(state.policy, self.conditions, self.starts)
        return {"cost": jnp.mean(costs), "failed": jnp.mean(failed)}

    def test(self, policy: GaussianPolicy, conditions: Any, starts: Array) -> tuple[Array, Array]:
        """Costs (n,) of the policy without noise on any conditions, and which ended in failure."""

        def one(condition, x0):
            problem = self.problem_of(condition)
            states, controls, ts = self.rollout(policy, problem, x0)
            cost = total_cost(problem, states, controls, ts)
            good = jnp.isfinite(cost) & (cost < self.worst)
            if self.valid is not None:
                good &= jnp.all(jax.vmap(self.valid)(states))
            return jnp.where(good, cost, self.worst), ~good

        return jax.vmap(one)(conditions, starts)

    def rollout(self, policy: GaussianPolicy, problem: OptimalControlProblem, x0: Array) -> tuple[Array, Array, Array]:
        """States (N+1, nx), controls (N, nu) and times (N+1,) under the policy's mean."""
        ts = problem.times(0.0, x0.dtype)

        def step(x, t):
            u = jnp.asarray(policy(self.observe(x)), x.dtype)
            new = next_state(problem.dynamics, x, u, t)
            return new, (new, u)

        _, (states, controls) = jax.lax.scan(step, x0, ts[:-1])
        return jnp.concatenate([x0[None], states]), controls, ts

    def _first(self, condition: Any, x0: Array) -> GaussianTrajectory:
        problem = _scaled(self.problem_of(condition), self.scale(0))
        N, nu, nx = problem.horizon, problem.nu, len(x0)
        controls = jnp.zeros((N, nu), x0.dtype) if self.guess is None else self.guess(condition)
        q = GaussianTrajectory(
            open_loop(problem, x0, controls),
            controls,
            jnp.zeros((N, nu, nx), x0.dtype),
            jnp.broadcast_to(jnp.eye(nu, dtype=x0.dtype), (N, nu, nu)),
            jnp.broadcast_to(self.start_covariance.astype(x0.dtype), (N + 1, nx, nx)),
        )
        solver = eqx.tree_at(lambda s: s.max_iterations, self.solver, self.first_iterations)
        return solver.run(problem, q, noise=self.noise).q

    def _averaging(self) -> Array:
        return draw_noise(jax.random.PRNGKey(0), self.samples, self.starts.shape[1])

    def _draw(self, key: Array) -> Array:
        return draw_noise(key, self.samples, self.starts.shape[1])


def _scaled(problem: OptimalControlProblem, factor: Array) -> OptimalControlProblem:
    """The problem with its cost times a factor."""
    terminal = problem.terminal_cost
    scaled = None if terminal is None else (lambda x: factor * terminal(x))
    return eqx.tree_at(
        lambda p: (p.stage_cost, p.terminal_cost),
        problem,
        (ScaledCost(problem.stage_cost, factor), scaled),
        is_leaf=lambda leaf: leaf is None,
    )
