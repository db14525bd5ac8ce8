"""Imitation of a linear-quadratic expert: learn A and B through the solution."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.learn.state import TrainState
from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.solvers import BoxDDP, Solution, solve


class LQRImitation(eqx.Module):
    """LQR imitation (Amos et al. 2018, section 5.2; spec differentiable_mpc X2).

    Expert and learner share the cost `1/2 |tau|^2 + p'tau` over `horizon` stages and differ in `x+ = A x + B u`. Each
    step draws `batch_size` initial states from N(0, I) and lowers
    `mean (u - u_expert)^2 + mean (x - x_expert)^2` by RMSprop (rate 1e-2, averaging 0.99). `control_limit` bounds the
    controls of both (the paper's text) or is None (the paper's public code). The learner starts from
    `A = I + 0.2 N(0, 1)`, `B = N(0, 1)`, drawn from its key. Metrics: loss and `model_loss`, the mean squared error of
    the entries of A and B.
    """

    expert: tuple[Float[Array, "nx nx"], Float[Array, "nx nu"]]
    linear: Float[Array, " nz"]
    horizon: int = eqx.field(static=True, default=5)
    control_limit: float | None = eqx.field(static=True, default=None)
    batch_size: int = eqx.field(static=True, default=128)
    steps_per_epoch: int = eqx.field(static=True, default=100)
    optimiser: optax.GradientTransformation = eqx.field(
        static=True, default=optax.rmsprop(1e-2, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    )

    def __check_init__(self):
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; pass at least 1")
        require(self.steps_per_epoch >= 1, f"steps_per_epoch is {self.steps_per_epoch}; pass at least 1")

    def init(self, key: Array) -> TrainState:
        """Random dynamics, and the key from which initial states are drawn."""
        kA, kB, order = jax.random.split(key, 3)
        A, B = self.expert
        start = (
            jnp.eye(len(A)) + 0.2 * jax.random.normal(kA, A.shape),
            jax.random.normal(kB, B.shape),
        )
        return TrainState.create(order, start, self.optimiser)

    def step(self, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        """One update on fresh initial states."""
        x0 = self._states(jax.random.fold_in(state.key, state.step))
        expert = self._solve(self.expert, x0)
        loss, gradient = jax.value_and_grad(lambda p: _error(self._solve(p, x0), expert))(state.parameters)
        return state.update(gradient, self.optimiser), {"loss": loss, "model_loss": self._model_loss(state.parameters)}

    def evaluate(self, state: TrainState) -> dict[str, Array]:
        """Imitation loss on a fixed set of states, and the model loss."""
        x0 = self._states(jax.random.PRNGKey(0))
        loss = _error(self._solve(state.parameters, x0), self._solve(self.expert, x0))
        return {"test_loss": loss, "validation_loss": loss, "model_loss": self._model_loss(state.parameters)}

    def policy(self, state: TrainState) -> Any:
        """The learned controller: initial states (n, nx) to solutions."""
        return lambda x0: self._solve(state.parameters, x0)

    def _states(self, key: Array) -> Array:
        return jax.random.normal(key, (self.batch_size, len(self.expert[0])))

    def _model_loss(self, model: tuple[Array, Array]) -> Array:
        entries = [jnp.ravel(a - b) for a, b in zip(model, self.expert, strict=True)]
        return jnp.mean(jnp.concatenate(entries) ** 2)

    def _solve(self, model: tuple[Array, Array], x0: Array) -> Solution:
        A, B = model
        nx, nu = B.shape
        limit = jnp.inf if self.control_limit is None else self.control_limit
        problem = OptimalControlProblem(
            lambda x, u, t: A @ x + B @ u,
            QuadraticCost(Q=1.0, R=1.0, q=self.linear[:nx], r=self.linear[nx:]),
            horizon=self.horizon,
            control_bounds=None if self.control_limit is None else (-limit, limit),
            nu=nu,
        )
        solver = BoxDDP(subproblem="clamped" if self.control_limit is None else "interior_point")
        return jax.vmap(lambda x: solve(problem, x, solver=solver))(x0)


def _error(ours: Solution, expert: Solution) -> Array:
    """Mean squared error of controls plus that of states (stages only: x_N costs nothing)."""
    controls = jnp.mean((ours.controls - expert.controls) ** 2)
    return controls + jnp.mean((ours.states[:, :-1] - expert.states[:, :-1]) ** 2)
