"""Maximum-entropy DDP, and its extension by agreement with a policy: a Gaussian distribution over trajectories."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from costogo.core.errors import CostogoError
from costogo.core.status import Status
from costogo.core.validate import is_concrete, require, require_shape
from costogo.lqr import LQModel, Sweep, backward
from costogo.problem import AffineFeedback, OptimalControlProblem, expand, rollout, total_cost
from costogo.solvers.forward_pass import Candidate, LineSearch, search
from costogo.solvers.gaussian import GaussianTrajectory, entropy, expected_cost, propagate
from costogo.solvers.iteration import REGULARISATION_MAX, check_iteration, default_tolerance, schedule
from costogo.solvers.policy_terms import PolicyTerms, capped

SUFFICIENT_DECREASE = 1e-4
SMALLEST_STEP = 1e-3
CONTROL_DAMPING = 1e-4  # of that of the states

TermsOf = Callable[[GaussianTrajectory], PolicyTerms]


class DistributionSolution(eqx.Module):
    """Distribution, cost of its mean, value of the objective, `E KL(pi || q)` of each knot, how it ended, and the
    damping to go on with."""

    q: GaussianTrajectory
    cost: Float[Array, ""]
    objective: Float[Array, ""]
    divergence: Float[Array, " N"]
    status: Int[Array, ""]
    iterations: Int[Array, ""]
    damping: Float[Array, ""]


class Fit(NamedTuple):
    """Covariances with the gains that are best for them, and the value of the objective without the mean's cost.
    `swept` is false where there are no best gains, as some `Quu` is indefinite; then those before are kept."""

    q: GaussianTrajectory
    Quu: Array
    value: Array
    swept: Bool[Array, ""]


class _State(NamedTuple):
    """Carry of the iteration; `model` is the expansion about `q`, made once for each mean that is tried."""

    q: GaussianTrajectory
    model: LQModel
    value: Array
    swept: Array
    damping: Array
    growth: Array
    iteration: Array
    status: Array


class GaussianDDP(eqx.Module):
    """Trajectory optimiser of constrained guided policy search (Levine and Koltun 2014, Algorithm 2; spec
    constrained_gps section 4).

    Minimises, by the mean trajectory, the gains `K` and the control covariances `C`,

        sum_k l(x_k, u_k) + 1/2 tr(Sigma_k l_xu,xu) - 1/2 log |C_k| + lambda_k E KL(pi || q)_k

    under linearised dynamics with process noise. An iteration is a mean pass (one backward sweep over the model with
    the agreement added, eq. 3 to 5, and a line search on the true dynamics) and a covariance pass: gains by the same
    sweep (eq. 7) and covariances in closed form (eq. 8) in turn, until neither changes by more than
    `covariance_tolerance` or `covariance_sweeps` are spent. Without a policy (lambda = 0) this is maximum-entropy
    iterative LQR, with `C = Quu^-1`.

    Deviations from the paper: the covariances of all knots are updated together, by a part of the way where the
    objective would rise, so that it never does; the line search accepts a step that lowers the objective (printed: one
    that raises it); eigenvalues of `C` are at most `covariance_cap` (unit of the control squared), standard deviations
    of the states at most `state_limit` (a number, or one for each): linearised contacts let them explode. A mean pass
    that is rejected is damped: `damping/2 |dx|^2` is added to the model of the next one. (Adding to `Quu` instead, as
    other solvers here do, makes small steps in the controls, which contacts turn into large ones of the state: the
    walker then takes longer, and stalls if restarted every few iterations.)

    `max_iterations` are as many as are wanted: ending there is normal. `STALLED` where no step is accepted at the
    largest damping. `INDEFINITE` where at the end some `Quu` is: gains and covariances are then those of an earlier
    trajectory. Raises `CostogoError` for a problem with bounds or constraints.
    """

    max_iterations: int | Array = 3
    tolerance: float | None = eqx.field(static=True, default=None)
    covariance_sweeps: int | Array = 20
    covariance_tolerance: float = eqx.field(static=True, default=1e-4)
    covariance_cap: ArrayLike = jnp.inf
    state_limit: ArrayLike = jnp.inf
    line_search_decay: float = eqx.field(static=True, default=0.5)
    line_search_trials: int = eqx.field(static=True, default=10)
    line_search_block: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_iteration(self)
        for name in ("covariance_sweeps", "covariance_tolerance"):
            value = getattr(self, name)
            require(isinstance(value, jax.Array) or value > 0, f"{name} is {value}; pass a positive number")
        for name in ("covariance_cap", "state_limit"):
            value = getattr(self, name)
            positive = not is_concrete(value) or bool(np.all(np.asarray(value) > 0))
            require(positive, f"{name} is {value}; pass positive numbers, infinity for no limit")

    def check(self, problem: OptimalControlProblem, nx: int) -> None:
        """Raise on what this solver does not handle."""
        for name in ("control_bounds", "equality", "inequality"):
            if getattr(problem, name) is not None:
                raise CostogoError(
                    f"GaussianDDP handles no {name}: a Gaussian has no limits; put it in the cost, or let the dynamics"
                    " limit the control"
                )
        shape = np.shape(self.state_limit)
        require(shape in ((), (nx,)), f"state_limit has shape {shape}; pass a number, or one for each of {nx} states")

    def run(
        self,
        problem: OptimalControlProblem,
        q: GaussianTrajectory,
        terms_of: TermsOf | None = None,
        *,
        noise: Float[Array, "nx nx"],
        damping: ArrayLike = 0.0,
        t0: ArrayLike = 0.0,
    ) -> DistributionSolution:
        """Improve `q`; one trajectory, batch with `jax.vmap`.

        `q.state_covariances[0]` is the covariance of the start and is kept. `terms_of(q)` are the policy's averages
        about a distribution, by `PolicyTerms`; its random numbers must be fixed. `noise` is that of the process, `F`,
        `damping` that of the first mean pass.
        """
        N, nx, nu = problem.horizon, q.states.shape[-1], problem.nu
        self.check(problem, nx)
        require_shape("q.controls", q.controls.shape, (N, nu), "pass a distribution over the problem's horizon")
        require_shape("noise", noise.shape, (nx, nx), "pass the covariance of the process noise of one step")
        if terms_of is None:
            none = PolicyTerms.none(N, nx, nu, q.controls.dtype)
            terms_of = lambda q: none  # noqa: E731
        q = eqx.tree_at(lambda q: q.covariances, q, capped(q.covariances, self.covariance_cap))
        ts = problem.times(t0, q.states.dtype)
        zero, count = jnp.zeros((), q.states.dtype), jnp.array(0, jnp.int32)
        model = expand(problem, q.states, q.controls, ts)
        start = _State(
            q, model, zero + jnp.inf, jnp.array(True), zero + damping, zero + 1.0, count,
            jnp.array(Status.RUNNING, jnp.int32),
        )  # fmt: skip
        final = jax.lax.while_loop(
            lambda s: (s.status == Status.RUNNING) & (s.iteration < self.max_iterations),
            lambda s: self._iterate(problem, terms_of, noise, ts, s),
            start,
        )
        status = jnp.where(final.status == Status.RUNNING, Status.MAX_ITERATIONS, final.status)
        lost = ~final.swept & (final.status != Status.NOT_FINITE)
        status = jnp.where(lost, Status.INDEFINITE, status).astype(jnp.int32)
        q, cost = final.q, total_cost(problem, final.q.states, final.q.controls, ts)
        divergence = terms_of(q).divergence(q)
        return DistributionSolution(q, cost, cost + final.value, divergence, status, final.iteration, final.damping)

    def _iterate(self, problem: OptimalControlProblem, terms_of: TermsOf, noise, ts, state: _State) -> _State:
        """One mean pass and one covariance pass."""
        q, model, terms = state.q, state.model, terms_of(state.q)
        sweep = backward(_damped(terms.add_to(model, q.controls, q.covariances), state.damping))
        swept = sweep.status == Status.CONVERGED
        moved, accepted = self._step(problem, terms_of, ts, q, sweep)
        accepted &= swept
        mean = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, q)
        ahead = expand(problem, mean.states, mean.controls, ts)
        fitted = self._fit(ahead, terms_of(mean), mean, noise)
        damping, growth = schedule(state.damping, state.growth, accepted)
        size = default_tolerance(self.tolerance, q.controls.dtype) * (1.0 + jnp.max(jnp.abs(q.controls)))
        converged = swept & (state.damping == 0) & (jnp.max(jnp.abs(sweep.feedforward)) <= size)
        status = jnp.where(damping > REGULARISATION_MAX, Status.STALLED, Status.RUNNING)
        status = jnp.where(converged, Status.CONVERGED, status)
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(model)]))
        status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
        return _State(fitted.q, ahead, fitted.value, fitted.swept, damping, growth, state.iteration + 1, status)

    def _step(
        self, problem: OptimalControlProblem, terms_of: TermsOf, ts: Array, q: GaussianTrajectory, sweep: Sweep
    ) -> tuple[GaussianTrajectory, Array]:
        """Line search over rollouts of the true dynamics, on the part of the objective that the mean decides."""

        def candidate(states: Array, controls: Array) -> Candidate:
            terms = terms_of(_at(q, states, controls))
            value = total_cost(problem, states, controls, ts) + terms.pull(controls, q.covariances)
            return Candidate(states, controls, value, jnp.zeros_like(value))

        def advance(alpha: Array) -> Candidate:
            law = AffineFeedback.unbounded(q.states[:-1], q.controls + alpha * sweep.feedforward, sweep.gains)
            return candidate(*rollout(problem.dynamics, q.states[0], law, ts[:-1]))

        rule = LineSearch(self.line_search_decay, self.line_search_trials, self.line_search_block)
        slope = SUFFICIENT_DECREASE * jnp.minimum(sweep.decrease[0], 0.0)
        best, _, accepted = search(advance, candidate(q.states, q.controls), rule, slope, jnp.zeros(()))
        return _at(q, best.states, best.controls), accepted

    def _fit(self, model: LQModel, terms: PolicyTerms, q: GaussianTrajectory, noise: Array) -> Fit:
        """Covariance pass: gains and covariances in turn."""

        def improve(carry):
            at, step, _, count = carry
            target = terms.best_covariance(at.Quu, at.q, self.covariance_cap)
            tried = at.q.covariances + step * (target - at.q.covariances)
            trial = self._with_gains(model, terms, q, tried, noise)
            better = trial.swept & (trial.value <= at.value + 1e-12 * (1.0 + jnp.abs(at.value)))
            change = jnp.maximum(_change(trial.q.covariances, at.q.covariances), _change(trial.q.gains, at.q.gains))
            at = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, at)
            return (
                at,
                jnp.where(better, jnp.minimum(1.0, 2.0 * step), 0.5 * step),
                better & (change <= self.covariance_tolerance),
                count + 1,
            )

        first = self._with_gains(model, terms, q, q.covariances, noise)
        carry = (first, jnp.ones_like(first.value), ~first.swept, jnp.array(0, jnp.int32))
        return jax.lax.while_loop(
            lambda c: ~c[2] & (c[1] > SMALLEST_STEP) & (c[3] < self.covariance_sweeps), improve, carry
        )[0]

    def _with_gains(
        self, model: LQModel, terms: PolicyTerms, q: GaussianTrajectory, covariances: Array, noise: Array
    ) -> Fit:
        """The gains that are best for some covariances, and what the objective then is."""
        sweep = backward(terms.add_to(model, q.controls, covariances))
        swept = sweep.status == Status.CONVERGED
        gains = jnp.where(swept, sweep.gains, q.gains)
        S = propagate(model, gains, covariances, q.state_covariances[0], noise, self.state_limit)
        q = GaussianTrajectory(q.states, q.controls, gains, covariances, S)
        ahead = sweep.value_hessian[1:]
        Quu = model.R + jnp.einsum("kxi,kxy,kyj->kij", model.B, ahead, model.B)
        value = expected_cost(model, q) - entropy(covariances) + terms.penalty(q)
        return Fit(q, Quu, value, swept)


def _damped(model: LQModel, damping: Array) -> LQModel:
    """The model with `damping/2 (|dx|^2 + 1e-4 |du|^2)` added at every knot: a step that stays near."""
    states = damping * jnp.eye(model.nx, dtype=model.Q.dtype)
    controls = CONTROL_DAMPING * damping * jnp.eye(model.nu, dtype=model.R.dtype)
    return eqx.tree_at(lambda m: (m.Q, m.R), model, (model.Q.at[1:].add(states), model.R + controls))


def _at(q: GaussianTrajectory, states: Array, controls: Array) -> GaussianTrajectory:
    return GaussianTrajectory(states, controls, q.gains, q.covariances, q.state_covariances)


def _change(new: Array, old: Array) -> Array:
    return jnp.max(jnp.abs(new - old)) / (1e-12 + jnp.max(jnp.abs(old)))
