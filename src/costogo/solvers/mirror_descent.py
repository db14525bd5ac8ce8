"""Dynamic-mirror-descent MPC: sampling solvers as one family of utilities, step sizes and shifts."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.errors import CostogoError, known
from costogo.core.status import Status
from costogo.core.validate import is_concrete, require
from costogo.problem import OptimalControlProblem, total_cost
from costogo.problem.rollout import next_state, open_loop
from costogo.solvers.solution import Multipliers, QuadraticValue, Solution, SolveStats
from costogo.solvers.utilities import LowCost, faults

MODES = ("closed_loop", "open_loop")


class ControlDistribution(eqx.Module):
    """Gaussian over control sequences, independent from knot to knot and from control to control."""

    mean: Float[Array, "N nu"]
    variance: Float[Array, "N nu"]


class MirrorDescent(eqx.Module):
    """Sampling MPC by dynamic mirror descent (Wagener et al. 2019; spec dmd_mpc section 4).

    One iteration draws `samples` control sequences from a Gaussian, rolls them out, turns their costs into weights by
    the `utility`, and takes the mirror step of size `step_size` (alpha),

        mean <- mean + alpha sum_i w_i (u_i - mean),

    which in the natural parameters of the Gaussian minimises `alpha <grad J, eta> + D(eta | eta_old)` for the objective
    that the utility stands for. `LowCost` with alpha = 1 is the cross-entropy method, `Exponentiated` is MPPI,
    `ExpectedCost` the policy gradient. With `adapt` the variance follows by the same step on the second moments,
    otherwise it stays `std`^2. Noise of neighbouring knots has the given `correlation`: the step on the mean is the
    same for any fixed covariance, and noise that stays for a while moves what white noise only shakes. Controls are
    clipped to the bounds of the problem before they are applied, and the clipped ones are averaged.

    The shift: without a `policy` the iteration starts from the controls given, in receding horizon the previous plan
    moved on. With `policy(x, t) -> u` it starts from the policy's own rollout whatever was planned before. In mode
    "closed_loop" the first samples are the policy in closed loop with noise, `u = pi(x) + noise`, and their executed
    controls are averaged (M-DeMoRL, eqs. 10 to 12); in "open_loop" noise is added to the controls of its rollout.

    Randomness is explicit: `key` belongs to the solver, and the noise of a solve depends on it and on the time `t0`, so
    that the steps of a controller draw anew. For a batch map over keys as well: `jax.vmap(lambda x0, key: solve(
    problem, x0, solver=MirrorDescent(key=key)))`.

    Accepts control bounds and any dynamics, JAX or simulator; costs and dynamics need no derivatives. Raises on
    equality and inequality constraints. It stops after `max_iterations`: the status is `MAX_ITERATIONS`, or
    `NOT_FINITE` where every sample was. `gains` are zero and `value` is NaN: there is no quadratic model.
    `stats.stationarity` is the largest change of a mean control in the last step.
    """

    max_iterations: int | Array = 5
    utility: Callable = eqx.field(default_factory=LowCost)
    step_size: ArrayLike = 0.9
    std: ArrayLike = 0.3
    correlation: float = eqx.field(static=True, default=0.0)
    samples: int = eqx.field(static=True, default=100)
    adapt: bool = eqx.field(static=True, default=False)
    policy: Callable | None = None
    mode: str = eqx.field(static=True, default="closed_loop")
    key: Array = eqx.field(default_factory=lambda: jax.random.PRNGKey(0))

    differentiable: ClassVar[bool] = False

    def __check_init__(self):
        known("mode", self.mode, MODES)
        require(0 <= self.correlation < 1, f"correlation is {self.correlation}; pass a number in [0, 1)")
        require(self.samples >= 2, f"samples is {self.samples}; pass at least 2")
        if is_concrete(self.step_size):
            require(0 < float(self.step_size) <= 1, f"step_size is {self.step_size}; pass a number in (0, 1]")
        if is_concrete(self.std):
            require(bool(np.all(np.asarray(self.std) > 0)), f"std is {self.std}; pass positive numbers")
        if is_concrete(self.max_iterations):
            require(int(self.max_iterations) >= 0, f"max_iterations is {self.max_iterations}; pass 0 or more")

    def check(self, problem: OptimalControlProblem) -> None:
        """Raise on what this solver does not handle."""
        if problem.equality is not None or problem.inequality is not None:
            raise CostogoError("MirrorDescent handles control_bounds only; put other constraints into the cost")

    def run(
        self, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array, states: Array | None = None
    ) -> Solution:
        """All iterations, and the rollout of the mean; one problem, unbatched. `states` are not used."""
        distribution, moved, _ = self.improve(problem, x0, controls, t0)
        lower, upper = problem.bounds(x0.dtype)
        controls = distribution.mean
        states, ts = open_loop(problem, x0, controls, t0), problem.times(t0, x0.dtype)
        cost = total_cost(problem, states, controls, ts)
        finite = jnp.isfinite(cost) & jnp.all(jnp.isfinite(states))
        status = jnp.where(finite, Status.MAX_ITERATIONS, Status.NOT_FINITE).astype(jnp.int32)
        active = (controls <= lower) | (controls >= upper)
        return _solution(states, controls, cost, active, status, moved, jnp.asarray(self.max_iterations, jnp.int32))

    def improve(
        self, problem: OptimalControlProblem, x0: Array, controls: Array, t0: ArrayLike = 0.0
    ) -> tuple[ControlDistribution, Array, dict[str, Array]]:
        """The distribution after all iterations, from the shifted plan, the last change of a mean control, and of each
        fault of the weights the share of iterations that had it (see `utilities.faults`)."""
        t0 = jnp.asarray(t0, x0.dtype)
        key = jax.random.fold_in(self.key, jax.lax.bitcast_convert_type(t0.astype(jnp.float32), jnp.int32))
        lower, upper = problem.bounds(x0.dtype)
        first = self.policy_plan(problem, x0, t0) if self.policy is not None else jnp.clip(controls, lower, upper)
        variance = jnp.broadcast_to(jnp.asarray(self.std, x0.dtype) ** 2, first.shape)

        def iterate(i, carry):
            old, _, found = carry
            noise = self._noise(jax.random.fold_in(key, i), first.shape, x0.dtype) * jnp.sqrt(old.variance)
            applied, costs = self._sample(problem, x0, t0, old.mean, noise, i)
            new = self.step(old, applied, self.utility(costs))
            found = jax.tree.map(jnp.add, found, faults(self.utility, costs))
            return new, jnp.max(jnp.abs(new.mean - old.mean)), found

        none = jax.tree.map(jnp.zeros_like, faults(self.utility, jnp.zeros(self.samples, x0.dtype)))
        start = (ControlDistribution(first, variance), jnp.zeros((), x0.dtype), none)
        new, moved, found = jax.lax.fori_loop(0, self.max_iterations, iterate, start)
        return new, moved, jax.tree.map(lambda count: count / jnp.maximum(self.max_iterations, 1), found)

    def step(
        self, old: ControlDistribution, applied: Float[Array, "M N nu"], weights: Float[Array, " M"]
    ) -> ControlDistribution:
        """The mirror step on the moments of the distribution."""
        # A sample that diverged in closed loop has controls that are not finite; zero weight does not silence those.
        applied = jnp.where(weights[:, None, None] != 0, applied, old.mean)
        mean = old.mean + self.step_size * jnp.einsum("i,ikj->kj", weights, applied - old.mean)
        if not self.adapt:
            return ControlDistribution(mean, old.variance)
        second = old.variance + old.mean**2
        second = second + self.step_size * jnp.einsum("i,ikj->kj", weights, applied**2 - second)
        return ControlDistribution(mean, jnp.maximum(second - mean**2, 1e-12))

    def policy_plan(self, problem: OptimalControlProblem, x0: Array, t0: ArrayLike = 0.0) -> Float[Array, "N nu"]:
        """Controls of the policy's own rollout, without noise."""
        noise = jnp.zeros((problem.horizon, problem.nu), x0.dtype)
        return _follow(problem, self.policy, x0, noise, jnp.asarray(t0, x0.dtype))[1]

    def _noise(self, key: Array, shape: tuple[int, int], dtype) -> Float[Array, "M N nu"]:
        """Standard normal, `e_k = c e_{k-1} + sqrt(1 - c^2) n_k` from knot to knot."""
        white = jax.random.normal(key, (self.samples, *shape), dtype)
        if self.correlation == 0:
            return white
        N, c = shape[0], self.correlation
        back = jnp.arange(N)[:, None] - jnp.arange(N)[None]
        filtering = jnp.where(back >= 0, c ** jnp.maximum(back, 0.0), 0.0)
        filtering = filtering * jnp.where(jnp.arange(N) == 0, 1.0, jnp.sqrt(1.0 - c**2))
        return jnp.einsum("kj,mju->mku", filtering.astype(dtype), white)

    def _sample(self, problem: OptimalControlProblem, x0, t0, mean: Array, noise: Array, i: Array):
        """Applied controls (M, N, nu) and costs (M,) of all samples; infinite where a rollout is not finite."""
        ts, (lower, upper) = problem.times(t0, x0.dtype), problem.bounds(x0.dtype)

        def plan(noise):
            applied = jnp.clip(mean + noise, lower, upper)
            return open_loop(problem, x0, applied, t0), applied

        def law(noise):
            return _follow(problem, self.policy, x0, noise, t0)

        if self.policy is None or self.mode == "open_loop":
            states, applied = jax.vmap(plan)(noise)
        elif isinstance(self.max_iterations, int) and self.max_iterations == 1:
            states, applied = jax.vmap(law)(noise)
        else:
            states, applied = jax.lax.cond(i == 0, jax.vmap(law), jax.vmap(plan), noise)
        costs = jax.vmap(lambda xs, us: total_cost(problem, xs, us, ts))(states, applied)
        return applied, jnp.where(jnp.isfinite(costs), costs, jnp.inf)


def _follow(problem: OptimalControlProblem, policy, x0: Array, noise: Array, t0: Array) -> tuple[Array, Array]:
    """States and controls of `u = clip(pi(x, t) + noise)`."""
    lower, upper = problem.bounds(x0.dtype)

    def step(x, knot):
        extra, low, high, t = knot
        u = jnp.clip(jnp.asarray(policy(x, t), x.dtype) + extra, low, high)
        new = next_state(problem.dynamics, x, u, t)
        return new, (new, u)

    _, (states, controls) = jax.lax.scan(step, x0, (noise, lower, upper, problem.times(t0, x0.dtype)[:-1]))
    return jnp.concatenate([x0[None], states]), controls


def _solution(states, controls, cost, active, status, moved, iterations) -> Solution:
    """A solution without a quadratic model about it."""
    (N, nu), nx, dtype = controls.shape, states.shape[-1], states.dtype
    unknown = lambda *shape: jnp.full(shape, jnp.nan, dtype)  # noqa: E731
    zero = jnp.zeros((), dtype)
    return Solution(
        controls=controls, states=states, cost=cost, gains=jnp.zeros((N, nu, nx), dtype),
        value=QuadraticValue(unknown(N + 1, nx, nx), unknown(N + 1, nx), unknown(N + 1)),
        multipliers=Multipliers(jnp.zeros((N, 0), dtype), jnp.zeros((N, 0, nx), dtype)),
        active=active, defect=zero, status=status, iterations=iterations,
        stats=SolveStats(moved, zero, jnp.array(0, jnp.int32), zero, zero),
    )  # fmt: skip
