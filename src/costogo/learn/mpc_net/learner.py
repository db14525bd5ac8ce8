"""MPC-Net: a network distilled from an MPC through the control Hamiltonian."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from costogo.core.errors import known
from costogo.core.ring import Ring
from costogo.core.validate import require
from costogo.learn.mpc_net.losses import LOSSES, quadratic_hamiltonian
from costogo.learn.mpc_net.rollouts import closed_loop, scores
from costogo.learn.mpc_net.sample import Sample
from costogo.learn.mpc_net.teacher import Collected, Task, collect
from costogo.solvers import HamiltonianSample


class MPCNetState(eqx.Module):
    """State between two rounds: rounds done, key, network, optimiser and replay buffer."""

    step: Int[Array, ""]
    key: Array
    policy: Any
    optimiser: Any
    replay: Ring


class MPCNet(eqx.Module):
    """Guided by the Hamiltonian of a model-predictive teacher (spec mpc_net sections 6 and 7, Algorithm B).

    A step is one round: `rollouts` closed loops of `steps` MPC calls under the mix `alpha u_mpc + (1 - alpha)
    u_student`, and `updates` Adam steps on minibatches of the replay buffer. The two halves run at the same time on two
    threads: the rollouts use the student as it was when the round began, and their samples are there for the next
    round. `init` fills the buffer with one round of pure teacher (alpha = 1).

    `alpha` is "linear" (from one to zero over the first `anneal` of the `rounds`, then zero: the paper's algorithm with
    a tail of pure student rollouts) or a fixed number. `loss` is one of `hamiltonian`, `blended_hamiltonian`,
    `cloning`, `cloning_norm`; `violation_weight` adds half its multiple of the squared constraint violation, measured
    in the metric of the Hamiltonian, to the Hamiltonian. `trust` leaves out samples whose Hamiltonian does not stand
    behind the teacher's control (see `teacher.trusted`; infinite: none). `policy` is the initial network, or a function
    of a key that draws one; anything with `propose(o) -> weights, controls` and `__call__` will do.

    Deviations from the paper: batch mean, not sum; quadratic expansion of the Hamiltonian in the buffer; rounds instead
    of `mpcDecimation`; gradients whose global norm is above `clip` are scaled down; `trust`.
    """

    task: Task
    policy: Any
    rounds: int = eqx.field(static=True)
    rollouts: int = eqx.field(static=True, default=8)
    steps: int = eqx.field(static=True, default=120)
    updates: int = eqx.field(static=True, default=1000)
    batch_size: int = eqx.field(static=True, default=128)
    capacity: int = eqx.field(static=True, default=100_000)
    neighbours: int = eqx.field(static=True, default=2)
    alpha: str | float = eqx.field(static=True, default="linear")
    anneal: float = eqx.field(static=True, default=0.7)
    loss: str = eqx.field(static=True, default="hamiltonian")
    violation_weight: float = eqx.field(static=True, default=0.0)
    trust: float = eqx.field(static=True, default=3.0)
    learning_rate: float = eqx.field(static=True, default=1e-3)
    final_learning_rate: float = eqx.field(static=True, default=1e-4)
    clip: float = eqx.field(static=True, default=1.0)
    tests: int = eqx.field(static=True, default=20)
    test_steps: int = eqx.field(static=True, default=120)

    host: ClassVar[bool] = True  # a step is two programs side by side, not one
    steps_per_epoch: ClassVar[int] = 1

    def __check_init__(self):
        known("loss", self.loss, LOSSES)
        require(
            self.alpha == "linear" or (isinstance(self.alpha, int | float) and 0 <= self.alpha <= 1),
            f'alpha is {self.alpha!r}; pass "linear", or a number from 0 to 1',
        )
        for name in ("rounds", "rollouts", "steps", "updates", "batch_size", "tests", "test_steps"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")
        require(self.neighbours >= 0, f"neighbours is {self.neighbours}; pass 0 or more")
        weight = self.violation_weight
        require(weight >= 0, f"violation_weight is {weight}; pass 0 or more")
        require(self.trust > 0, f"trust is {self.trust}; pass a positive number, inf to keep every sample")
        require(0 < self.anneal <= 1, f"anneal is {self.anneal}; pass a share of the rounds in (0, 1]")
        rows = self.rollouts * self.steps * (1 + self.neighbours)
        require(
            min(rows, self.capacity) >= self.batch_size,
            f"batch_size is {self.batch_size}, but the replay buffer holds at most {min(rows, self.capacity)} samples "
            "when training begins; pass a smaller batch, a larger capacity, or more rollouts",
        )

    @property
    def robot_minutes(self) -> float:
        """Robot time of all rollouts, if none ends early."""
        return (self.rounds + 1) * self.rollouts * self.steps * float(self.task.controller.problem.dt) / 60

    def teacher_share(self, step: Array | int) -> Array:
        """`alpha` of the rollouts of round number `step`, counted from zero."""
        if self.alpha != "linear":
            return jnp.full((), self.alpha, float)
        return jnp.clip(1.0 - jnp.asarray(step, float) / (self.anneal * self.rounds), 0.0, 1.0)

    def blank(self, key: Array) -> MPCNetState:
        """Fresh network and an empty buffer: what a checkpoint is read into, without a call of the teacher."""
        key, network_key = jax.random.split(key)
        drawn = not hasattr(self.policy, "propose")
        policy = self.policy(network_key) if drawn else self.policy
        optimiser = self._optimiser().init(eqx.filter(policy, eqx.is_inexact_array))
        replay = Ring.empty(self.task.sample_shapes(), self.capacity)
        return MPCNetState(jnp.array(0, jnp.int32), key, policy, optimiser, replay)

    def init(self, key: Array) -> MPCNetState:
        """Fresh network, and a buffer filled by the teacher alone."""
        state = self.blank(key)
        key, data_key = jax.random.split(state.key)
        with ThreadPoolExecutor(1) as pool:
            # Compile what comes later while the teacher's program is compiled: a run on the empty buffer does that.
            later = pool.submit(
                lambda: jax.block_until_ready(
                    (_train(self, state.policy, state.optimiser, state.replay, key), self.evaluate(state))
                )
            )
            found = self._collected(state.policy, jnp.ones(()), jax.random.split(data_key, self.rollouts))
            later.result()
        replay = _insert(state.replay, found.samples, found.keep)
        require(
            int(replay.size) >= self.batch_size,
            f"the teacher left {int(replay.size)} sound samples of {found.keep.size}, fewer than a batch of "
            f"{self.batch_size}; it fails from most starts: look at its status, its constraints and its first guess",
        )
        return eqx.tree_at(lambda s: (s.key, s.replay), state, (key, replay))

    def step(self, state: MPCNetState) -> tuple[MPCNetState, dict[str, Array]]:
        """One round: train on the buffer, and fill it with new rollouts at the same time."""
        key, data_key, batch_key = jax.random.split(state.key, 3)
        alpha, keys = self.teacher_share(state.step + 1), jax.random.split(data_key, self.rollouts)
        with ThreadPoolExecutor(1) as pool:
            teaching = pool.submit(lambda: jax.block_until_ready(self._collected(state.policy, alpha, keys)))
            policy, optimiser, metrics = _train(self, state.policy, state.optimiser, state.replay, batch_key)
            found = teaching.result()
        replay = _insert(state.replay, found.samples, found.keep)
        metrics |= {f"rollout_{name}": jnp.mean(value) for name, value in found.metrics.items()}
        metrics |= {"alpha": alpha, "samples": replay.size}
        return MPCNetState(state.step + 1, key, policy, optimiser, replay), metrics

    def evaluate(self, state: MPCNetState) -> dict[str, Array]:
        """The student alone, from `tests` fixed starts (Algorithm C): means of `scores`, and the worst Hamiltonian."""
        keys = jax.random.split(jax.random.PRNGKey(self.tests), self.tests)
        found = _test(self.task, state.policy, keys, self.test_steps, jnp.asarray(0.0, float))
        means = {name: jnp.mean(value) for name, value in found.items()}
        return means | _diagnose(self.task, state.policy, state.replay)

    def test(self, policy: Any, key: Array, *, starts: int, steps: int, noise: float = 0.0) -> dict[str, Array]:
        """Scores of the student from random starts, one entry each; `noise` is the part of `spread` added to what it
        sees."""
        level = jnp.asarray(noise, float)
        return _in_groups(lambda keys: _test(self.task, policy, keys, steps, level), key, starts, self.tests)

    def test_teacher(self, policy: Any, key: Array, *, starts: int, steps: int) -> dict[str, Array]:
        """The same for the teacher, from the same starts; `policy` is of no consequence, but part of the program."""
        one = jnp.ones(())
        return _in_groups(lambda keys: self._collected(policy, one, keys, steps).metrics, key, starts, self.rollouts)

    def _collected(self, policy: Any, alpha: Array, keys: Array, steps: int | None = None) -> Collected:
        steps = self.steps if steps is None else steps
        return _collect(self.task, policy, alpha, keys, steps, self.neighbours, self.trust, self.violation_weight)

    def terms(self) -> list[str]:
        """Names of the terms of the Hamiltonian, in the order of `worst_term`."""
        problem = self.task.controller.problem
        x, t = jax.eval_shape(self.task.start, jax.random.PRNGKey(0))
        u = jax.ShapeDtypeStruct((problem.nu,), x.dtype)
        names = ["cost", "dynamics"]
        for kind in ("equality", "inequality"):
            function = getattr(problem, kind)
            if function is not None:
                names += (
                    function.names()
                    if hasattr(function, "names")
                    else [f"{kind} {i}" for i in range(jax.eval_shape(function, x, u, t).shape[0])]
                )
        return names

    def explain(self, metrics: dict[str, Any]) -> str:
        """One sentence on the worst sample of the last evaluation: how much, when, and which term is to blame."""
        term = self.terms()[min(int(metrics["worst_term"]), len(self.terms()) - 1)]
        return (
            f"the student's Hamiltonian is at worst {float(metrics['worst_hamiltonian']):.3g} above the teacher's, "
            f"at t = {float(metrics['worst_time']):.3f} s, most of it from: {term}"
        )

    def _optimiser(self) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(
            self.learning_rate, self.rounds * self.updates, self.final_learning_rate / self.learning_rate
        )
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(schedule))


def _in_groups(run: Callable[[Array], dict[str, Array]], key: Array, n: int, size: int) -> dict[str, Array]:
    """Results of `n` keys, computed `size` at a time, so that any number shares one compiled program."""
    keys = jax.random.split(key, n)
    rows = np.arange(-(-n // size) * size).reshape(-1, size) % n
    parts = [run(keys[row]) for row in rows]
    return {name: jnp.concatenate([part[name] for part in parts])[:n] for name in parts[0]}


@eqx.filter_jit
def _collect(
    task: Task, policy: Any, alpha: Array, keys: Array, steps: int, neighbours: int, trust: float, weight: float
) -> Collected:
    return collect(task, policy, alpha, keys, steps=steps, neighbours=neighbours, trust=trust, violation_weight=weight)


@eqx.filter_jit
def _insert(replay: Ring, samples: Sample, keep: Array) -> Ring:
    return replay.insert(samples, keep)


@eqx.filter_jit
def _train(learner: MPCNet, policy: Any, optimiser: Any, replay: Ring, key: Array):
    """`updates` steps of Adam; mean loss and gradient norm."""
    rule, loss = learner._optimiser(), LOSSES[learner.loss]
    metric = _control_metric(learner.task, replay)
    dynamic, static = eqx.partition(policy, eqx.is_inexact_array)

    def objective(dynamic, batch):
        policy = eqx.combine(dynamic, static)
        return jnp.mean(jax.vmap(lambda sample: loss(policy, sample, metric))(batch))

    def update(carry, key):
        dynamic, optimiser = carry
        value, gradient = jax.value_and_grad(objective)(dynamic, replay.draw(key, learner.batch_size))
        moves, optimiser = rule.update(gradient, optimiser, dynamic)
        return (optax.apply_updates(dynamic, moves), optimiser), (value, optax.tree.norm(gradient))

    keys = jax.random.split(key, learner.updates)
    (dynamic, optimiser), (values, norms) = jax.lax.scan(update, (dynamic, optimiser), keys)
    return eqx.combine(dynamic, static), optimiser, {"loss": jnp.mean(values), "gradient_norm": jnp.mean(norms)}


def _control_metric(task: Task, replay: Ring) -> Array:
    """`R` of the stage cost per unit of time, for cloning: its Hessian in the control, without barriers."""
    problem = task.controller.problem
    first = jax.tree.map(lambda a: a[0], replay.data)
    x, u, t = (jnp.asarray(a, float) for a in (first.state, first.control, first.time))
    return jnp.asarray(jax.hessian(lambda u: problem.stage_cost(x, u, t))(u) / problem.dt, jnp.float32)


def _student(task: Task, policy: Any, noise: Array):
    def act(key, x, t):
        key, draw = jax.random.split(key)
        seen = x + noise * task.spread * jax.random.normal(draw, x.shape, x.dtype)
        return jnp.asarray(policy(task.observe(seen, t)), x.dtype), key, None

    return act


@eqx.filter_jit
def _test(task: Task, policy: Any, keys: Array, steps: int, noise: Array) -> dict[str, Array]:
    x0, t0 = jax.vmap(task.start)(keys)
    times = t0[:, None] + task.controller.problem.dt * jnp.arange(steps, dtype=x0.dtype)
    rollout = closed_loop(_student(task, policy, noise), task.plant, task.valid, keys, x0, times)
    return jax.vmap(lambda rollout: scores(task.controller.problem, rollout))(rollout)


@eqx.filter_jit
def _diagnose(task: Task, policy: Any, replay: Ring) -> dict[str, Array]:
    """The sample of a thousand whose Hamiltonian is worst, and the term of it that grew most."""
    batch = replay.draw(jax.random.PRNGKey(0), 1000)
    controls = jax.vmap(policy)(batch.observation)
    values = jax.vmap(quadratic_hamiltonian)(batch, controls)
    worst = jnp.argmax(jnp.where(jnp.isfinite(values), values, jnp.inf))
    row, u = jax.tree.map(lambda a: jnp.asarray(a[worst], float), (batch, controls))
    source = HamiltonianSample(row.state, row.time, row.control, row.costate, row.multipliers)
    problem, barrier = task.controller.problem, task.controller.solver.barrier
    growth = [
        jnp.ravel(new - old)
        for new, old in zip(
            source.parts(problem, barrier, u).values(),
            source.parts(problem, barrier, row.control).values(),
            strict=True,
        )
    ]
    return {
        "worst_hamiltonian": values[worst],
        "worst_time": row.time,
        "worst_term": jnp.argmax(jnp.concatenate(growth)),
    }
