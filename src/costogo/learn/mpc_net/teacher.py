"""The teacher at work: MPC rollouts under a mix of teacher and student, and the samples they leave."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from costogo.core.status import Status
from costogo.learn.mpc_net.rollouts import closed_loop, scores
from costogo.learn.mpc_net.sample import Sample
from costogo.mpc import RecedingHorizon
from costogo.problem import value_and_jacobians
from costogo.solvers import Solution, expand_hamiltonian, hamiltonian_sample


class Collected(NamedTuple):
    """Samples of some rollouts, which of them are sound, and what happened in each rollout."""

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

    def sample_shapes(self) -> Sample:
        """Shapes and types of one sample."""
        problem = self.controller.problem
        x, t = jax.eval_shape(self.start, jax.random.PRNGKey(0))
        u = jax.ShapeDtypeStruct((problem.nu,), x.dtype)
        (no,) = jax.eval_shape(self.observe, x, t).shape
        (ng,) = (0,) if problem.equality is None else jax.eval_shape(problem.equality, x, u, t).shape
        nu, nx = problem.nu, x.size
        shapes = ((no,), (nu,), (nu,), (nu, nu), (nx,), (), (nx,), (ng,))
        return Sample(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))


def collect(
    task: Task,
    policy: Any,
    alpha: Array,
    keys: Array,
    *,
    steps: int,
    neighbours: int,
    trust: float = jnp.inf,
    violation_weight: float = 0.0,
) -> Collected:
    """One MPC rollout per key with the applied control `alpha u_mpc + (1 - alpha) u_student` (paper eq. 10 and 11).

    One MPC call per step. At each visited state, and at `neighbours` states drawn around it, the cost-to-go of that
    call gives costate, multipliers and Hamiltonian. Samples of a failed call, of a row that is not finite, from beyond
    the end of a rollout, or not `trusted` are not kept; everything else is, failed rollouts included.
    """
    x0, t0 = jax.vmap(task.start)(keys)
    times = t0[:, None] + task.controller.problem.dt * jnp.arange(steps, dtype=x0.dtype)

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

    memory = jax.vmap(lambda key, x, t: (task.controller.init(x, t0=t), jax.random.fold_in(key, 1)))(keys, x0, t0)
    rollout = closed_loop(act, task.plant, task.valid, memory, x0, times)
    samples, solved = rollout.extra
    here = rollout.alive[:, :-1]
    finite = jnp.all(jnp.array([_finite_rows(leaf) for leaf in jax.tree.leaves(samples)]), axis=0)
    sound = (here & solved)[..., None] & finite
    keep = sound & trusted(samples, sound, trust)
    metrics = jax.vmap(lambda rollout: scores(task.controller.problem, rollout))(rollout)
    metrics |= {
        "teacher_failures": _share(~solved, here),
        "dropped": _share(~sound, here[..., None]),
        "distrusted": _share(sound & ~keep, here[..., None]),
    }
    flat = jax.tree.map(lambda a: a.reshape(keep.size, *a.shape[3:]), samples)
    return Collected(flat, keep.reshape(-1), metrics)


def trusted(samples: Sample, sound: Bool[Array, "..."], trust: float) -> Bool[Array, "..."]:
    """Whether the teacher's control is where its Hamiltonian has its minimum, or near.

    At a state where the quadratic model of the teacher holds it is, and the gradient there vanishes. A plan that one
    iteration has not settled, or a state too far from it, leaves a gradient `g` instead, and the student would gain
    `1/2 g' H^-1 g` by leaving the teacher: without bound, and on few rows (measured: 1e11 where the median is 0.1).
    Rows are trusted up to `trust` times what the Hamiltonian distinguishes, the median of `1/2 du' H du` for the
    distances `du` of the teacher's controls from their mean, over all rows that are `sound`.
    """

    def median(values: Array) -> Array:
        return jnp.nanmedian(jnp.where(sound, values, jnp.nan))

    gap = 0.5 * jnp.sum(samples.gradient * jnp.linalg.solve(samples.hessian, samples.gradient[..., None])[..., 0], -1)
    du = samples.control - jnp.mean(samples.control, tuple(range(sound.ndim)), where=sound[..., None])
    scale = median(0.5 * jnp.einsum("...i,...ij,...j->...", du, samples.hessian, du))
    return ~(gap > trust * scale)


def _share(event: Array, where: Array) -> Array:
    """Share of the entries in `where` that are events, for each rollout."""
    where = jnp.broadcast_to(where, event.shape)
    axes = tuple(range(1, event.ndim))
    return jnp.sum(event & where, axes, dtype=float) / jnp.maximum(jnp.sum(where, axes), 1)


def _finite_rows(leaf: Array) -> Array:
    return jnp.all(jnp.isfinite(leaf), axis=tuple(range(3, leaf.ndim)))


def _sample(task: Task, solution: Solution, x: Array, t: Array, violation_weight: float) -> Sample:
    problem = task.controller.problem
    source = hamiltonian_sample(problem, solution, x, 0, t)
    expansion = expand_hamiltonian(problem, task.controller.solver.barrier, source)
    hessian = expansion.hessian
    if violation_weight > 0 and problem.equality is not None:
        hessian += violation_weight * _violation_metric(problem, x, expansion.control, t, hessian)
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


def _violation_metric(problem: Any, x: Array, u: Array, t: Array, hessian: Array) -> Array:
    """`D' W D` of the active rows, what `1/2 g' W g` adds to the Hessian (spec 4.8), with `W = 1 / diag(D H^-1 D')`.

    Rows are forces here and velocities there: weighed alike, one unit of weight doubles what a step costs that violates
    a single row.
    """
    D = value_and_jacobians(problem.equality, x[None], u[None], t[None])[2][0]
    if problem.equality_mask is not None:
        D = jnp.where(problem.equality_mask(t)[:, None] > 0, D, 0.0)
    spread = jnp.sum(D * jnp.linalg.solve(hessian, D.T).T, axis=1)
    return (D.T * jnp.where(spread > 0, 1.0 / jnp.where(spread > 0, spread, 1.0), 0.0)) @ D
