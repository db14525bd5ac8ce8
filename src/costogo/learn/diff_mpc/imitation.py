"""Imitation of an expert by differentiating through the learner's own MPC."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from costogo.core.status import Status
from costogo.core.validate import require
from costogo.learn.data import Demonstrations, ImitationData, Imitator, take
from costogo.learn.state import TrainState, initial_parameters, labelled
from costogo.problem import OptimalControlProblem
from costogo.solvers import BoxDDP, ImplicitAdjoint, Solution, adjoint_system, solve


class ImitationState(eqx.Module):
    """Training state, and the stored controls (n, N, nu) from which the next solves start."""

    train: TrainState
    warm_starts: Float[Array, "n N nu"]

    @property
    def step(self) -> Array:
        """Updates done so far."""
        return self.train.step

    @property
    def parameters(self) -> Any:
        """Current parameters."""
        return self.train.parameters


class DiffMPCImitation(Imitator):
    """Differentiable-MPC imitation learning (Amos et al. 2018; spec differentiable_mpc section 7).

    Minimises the mean squared error between the learner's optimal controls and the expert's,
    `mean_{batch, k, i} (u*_{k,i}(theta) - u_{k,i})^2`, over parameters theta of cost, dynamics or both, by gradients
    through the solver. `build(theta)` returns the learner's problem; `parameters` is the start, a
    pytree or a function of a key that draws one.

    Each solve starts from the stored controls of that trajectory, which are reset to zero every `reset_every` epochs.
    A solve that does not converge keeps its loss and contributes no gradient; it is counted (`unconverged`). `freeze`
    maps (epoch, gradient) to the gradient used, for alternating groups; `project` maps parameters into their domain
    after each update and its interventions are counted (`projections`).

    Metrics of `step`: loss, unconverged, zero_gradient and clamped fractions of the batch. `evaluate`: losses on
    validation and test demonstrations from zero controls, fractions of test solves that did not converge or whose
    Lagrangian Hessian was indefinite (the adjoint then falls back to Gauss-Newton), and the parameters.
    """

    build: Callable[[Any], OptimalControlProblem]
    parameters: Any
    data: ImitationData
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    solver: BoxDDP = eqx.field(default_factory=BoxDDP)
    adjoint: ImplicitAdjoint = eqx.field(default_factory=ImplicitAdjoint)
    batch_size: int = eqx.field(static=True, default=32)
    reset_every: int = eqx.field(static=True, default=50)
    freeze: Callable[[Array, Any], Any] | None = eqx.field(static=True, default=None)
    project: Callable[[Any], Any] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; pass at least 1")
        require(self.reset_every >= 1, f"reset_every is {self.reset_every}; pass at least 1 epoch")

    def init(self, key: Array) -> ImitationState:
        """Training state at the start; `key` orders the data and draws the parameters."""
        order, draw = jax.random.split(key)
        parameters = initial_parameters(self.parameters, draw)
        warm_starts = jnp.zeros_like(self.data.train.controls)
        return ImitationState(TrainState.create(order, parameters, self.optimiser), warm_starts)

    def step(self, state: ImitationState) -> tuple[ImitationState, dict[str, Array]]:
        """One update on one minibatch."""
        epoch = state.step // self.steps_per_epoch
        first = state.step % (self.steps_per_epoch * self.reset_every) == 0
        warm = jnp.where(first, 0.0, state.warm_starts)
        rows, weights = self.minibatches.rows(state.train.key, state.step)
        batch, guesses = take(self.data.train, rows), take(warm, rows)

        differentiate = jax.value_and_grad(self._loss, has_aux=True)
        (losses, solutions), gradients = jax.vmap(differentiate, in_axes=(None, 0, 0))(state.parameters, batch, guesses)
        weights = weights.astype(losses.dtype)
        gradient = jax.tree.map(lambda g: jnp.tensordot(weights, g, 1) / jnp.sum(weights), gradients)
        if self.freeze is not None:
            gradient = self.freeze(epoch, gradient)
        finite = jnp.isfinite(solutions.controls)
        stored = warm.at[rows].set(jnp.where(finite, solutions.controls, 0.0), mode="drop")
        new = ImitationState(state.train.update(gradient, self.optimiser, self.project), stored)
        return new, _batch_metrics(losses, weights, solutions, gradients)

    def evaluate(self, state: ImitationState) -> dict[str, Array]:
        """Losses on held-out demonstrations, failure counts and parameters."""
        metrics = self.evaluate_parameters(state.parameters)
        return metrics | {"projections": state.train.projections} | labelled(state.parameters)

    def evaluate_parameters(self, parameters: Any) -> dict[str, Array]:
        """Imitation losses of any parameters, wherever they were learned."""
        metrics = {}
        for name in ("validation", "test"):
            split: Demonstrations = getattr(self.data, name)
            guess = jnp.zeros_like(split.controls)
            losses, solutions = jax.vmap(self._loss, in_axes=(None, 0, 0))(parameters, split, guess)
            metrics[f"{name}_loss"] = jnp.mean(losses)
            metrics[f"{name}_unconverged"] = jnp.mean(solutions.status != Status.CONVERGED)
        metrics["test_fallback"] = jnp.mean(self._fallbacks(parameters, solutions))
        return metrics

    def policy(self, state: ImitationState) -> Callable[[Array], Solution]:
        """The learned MPC: a function from an initial state to the solution of the learner's problem."""
        problem = self.build(state.parameters)
        return lambda x0: solve(problem, x0, solver=self.solver, adjoint=self.adjoint)

    def _loss(self, parameters: Any, demonstration: Demonstrations, guess: Array) -> tuple[Array, Solution]:
        problem = self.build(parameters)
        solution = solve(problem, demonstration.x0s, guess, solver=self.solver, adjoint=self.adjoint)
        return jnp.mean((solution.controls - demonstration.controls) ** 2), solution

    def _fallbacks(self, parameters: Any, solutions: Solution) -> Array:
        """Whether the adjoint of each solution needs its Gauss-Newton fallback."""
        problem = self.build(parameters)

        def fallback(solution):
            zeros = jnp.zeros_like(solution.states), jnp.zeros_like(solution.controls)
            system = adjoint_system(
                problem, solution.states, solution.controls, ~solution.active, 0.0, self.adjoint.hessian, *zeros
            )
            return ~system.positive_definite

        return jax.vmap(fallback)(solutions)


def _batch_metrics(losses: Array, weights: Array, solutions: Solution, gradients: Any) -> dict[str, Array]:
    """Weighted means over the minibatch."""
    total = jnp.sum(weights)
    zero = jnp.all(jnp.stack([_all_zero(g) for g in jax.tree.leaves(gradients)]), axis=0)
    unconverged = solutions.status != Status.CONVERGED
    clamped = jnp.mean(solutions.active, axis=(1, 2))
    per_row = {"loss": losses, "unconverged": unconverged, "zero_gradient": zero & ~unconverged, "clamped": clamped}
    metrics = {name: jnp.sum(weights * value) / total for name, value in per_row.items()}
    return metrics | {"iterations": jnp.sum(weights * solutions.iterations) / total}


def _all_zero(gradient: Array) -> Array:
    return jnp.all(gradient.reshape(gradient.shape[0], -1) == 0, axis=1)
