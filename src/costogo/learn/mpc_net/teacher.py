"""The teacher at work: MPC rollouts under a mix of teacher and student, and the samples they leave."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from costogo.core.status import Status
from costogo.learn.mpc_net.replay import Sample
from costogo.learn.mpc_net.rollouts import closed_loop, scores
from costogo.mpc import RecedingHorizon
from costogo.problem import value_and_jacobians
from costogo.solvers import Solution, expand_hamiltonian, hamiltonian_sample


class Collected(NamedTuple):
    """Samples of some rollouts, which of them are sound, and what happened."""

    samples: Sample
    keep: Bool[Array, " n"]
    metrics: dict[str, Array]


class Task(eqx.Module):
    """What a student is to learn: the problem of the teacher, and how the student meets it. Plain functions throughout.

    `controller` is the teacher; `plant(x, u, t)` the robot over one interval; `observe(x, t)` what the student sees;
    `start(key) -> x, t` draws the start of a rollout; `valid(x)` ends it; `spread` (nx,) are the standard deviations of
    the samples around a visited state.
    """

    controller: RecedingHorizon
    plant: Callable
    observe: Callable
    start: Callable
    valid: Callable
    spread: Float[Array, " nx"]


def collect(
    task: Task,
    policy: Any,
    alpha: Array,
    key: Array,
    *,
    rollouts: int,
    steps: int,
    neighbours: int,
    violation_weight: float = 0.0,
) -> Collected:
    """MPC rollouts with the applied control `alpha u_mpc + (1 - alpha) u_student` (paper eq. 10 and 11).

    One MPC call per step. At each visited state, and at `neighbours` states drawn around it, the cost-to-go of that
    call gives costate, multipliers and Hamiltonian. Samples of a failed call, of a row that is not finite, or from
    beyond the end of a rollout are not kept; everything else is, failed rollouts included.
    """
    keys = jax.random.split(key, rollouts)
    gather = jax.vmap(lambda k: _rollout(task, policy, alpha, k, steps, neighbours, violation_weight))
    samples, keep, metrics = gather(keys)
    flat = jax.tree.map(lambda a: a.reshape(keep.size, *a.shape[3:]), samples)
    return Collected(flat, keep.reshape(-1), {name: jnp.mean(value) for name, value in metrics.items()})


def _rollout(task: Task, policy: Any, alpha: Array, key: Array, steps: int, neighbours: int, violation_weight: float):
    start_key, noise_key = jax.random.split(key)
    x0, t0 = task.start(start_key)
    times = t0 + task.controller.problem.dt * jnp.arange(steps, dtype=x0.dtype)

    def act(memory, x, t):
        state, noise_key = memory
        noise_key, draw = jax.random.split(noise_key)
        solution, state = task.controller.plan(state, x, t)
        solved = (solution.status == Status.CONVERGED) | (solution.status == Status.MAX_ITERATIONS)
        offsets = jax.random.normal(draw, (neighbours, x.size), x.dtype) * task.spread
        points = jnp.concatenate([x[None], x + offsets])
        rows = jax.vmap(lambda point: _sample(task, solution, point, t, violation_weight))(points)
        student = jnp.asarray(policy(task.observe(x, t)), x.dtype)
        # Not `alpha * a + (1 - alpha) * b`: at alpha = 1 a student that gives NaN must not matter.
        mixed = jnp.where(alpha >= 1, state.plan.controls[0], alpha * state.plan.controls[0] + (1 - alpha) * student)
        return mixed, (state, noise_key), (rows, solved)

    memory = (task.controller.init(x0, t0=t0), noise_key)
    rollout = closed_loop(act, task.plant, task.valid, memory, x0, times)
    rows, solved = rollout.extra
    here = rollout.alive[:-1]
    finite = jnp.all(jnp.array([_finite_rows(leaf) for leaf in jax.tree.leaves(rows)]), axis=0)
    keep = (here & solved)[:, None] & finite
    metrics = scores(task.controller.problem, rollout)
    metrics["teacher_failures"] = jnp.sum(here & ~solved, dtype=x0.dtype) / jnp.maximum(jnp.sum(here), 1)
    metrics["dropped"] = jnp.sum(here[:, None] & ~keep, dtype=x0.dtype) / jnp.maximum(
        jnp.sum(here) * (1 + neighbours), 1
    )
    return rows, keep, metrics


def _finite_rows(leaf: Array) -> Array:
    return jnp.all(jnp.isfinite(leaf), axis=tuple(range(2, leaf.ndim)))


def _sample(task: Task, solution: Solution, x: Array, t: Array, violation_weight: float) -> Sample:
    problem = task.controller.problem
    source = hamiltonian_sample(problem, solution, x, 0, t)
    expansion = expand_hamiltonian(problem, task.controller.solver.barrier, source)
    hessian = expansion.hessian
    if violation_weight > 0 and problem.equality is not None:
        hessian += violation_weight * _violation_metric(problem, x, expansion.control, t)
    row = Sample(
        observation=task.observe(x, t),
        control=expansion.control,
        gradient=expansion.gradient,
        hessian=hessian,
        state=x,
        time=source.time,
        costate=source.costate,
        multipliers=source.multipliers,
    )
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), row)


def _violation_metric(problem: Any, x: Array, u: Array, t: Array) -> Array:
    """`D'D` of the active rows: what half the squared violation adds to the Hessian (spec 4.8)."""
    D = value_and_jacobians(problem.equality, x[None], u[None], t[None])[2][0]
    if problem.equality_mask is not None:
        D = jnp.where(problem.equality_mask(t)[:, None] > 0, D, 0.0)
    return D.T @ D
