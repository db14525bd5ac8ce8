"""The Riccati sweeps in pure JAX: the reference of the native kernels, and what other devices than CPUs run.

One problem after the other where XLA says so; batching is `vmap`. The contract stands in `sweeps`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.status import Status
from costogo.lqr.box_qp import box_qp
from costogo.lqr.linalg import cholesky, cholesky_solve, lower_solve
from costogo.lqr.model import EqualityRows, LQModel
from costogo.lqr.results import Limits, Sweep

# Smallest pivot of an equality row, relative to its diagonal entry and in units of the precision.
DEPENDENT = 1e3


def backward(model: LQModel, limits: Limits | None, equality: EqualityRows | None, regularisation: Array) -> Sweep:
    """Backward sweep of one problem."""

    def step(carry, knot):
        V, v, constant, ok = carry
        stage, limit, rows = knot
        k, K, extra = _stage(stage, limit, rows, V, v, regularisation)
        Quu, Qux, Qxx, qu, qx = extra.pop("q")
        slope = qu + Quu @ k
        half = Qux.T @ K
        new_V = Qxx + half + half.T + K.T @ Quu @ K
        new_V = 0.5 * (new_V + new_V.T)
        new_v = qx + K.T @ slope + Qux.T @ k
        vd = V @ stage.d
        linear, quadratic = qu @ k, k @ (Quu @ k)
        constant = constant + (v + 0.5 * vd) @ stage.d + linear + 0.5 * quadratic
        ok = ok & extra.pop("ok")
        out = dict(K=K, k=k, V=new_V, v=new_v, c=constant, Quu=Quu, Qux=Qux, dJ=jnp.stack([linear, quadratic]), **extra)
        return (new_V, new_v, constant, ok), out

    zero = jnp.zeros((), model.B.dtype)
    last = (model.Q[-1], model.q[-1], zero, jnp.array(True))
    stages = LQModel(model.A, model.B, model.d, model.Q[:-1], model.q[:-1], model.R, model.r, model.P)
    (V0, v0, constant, ok), out = jax.lax.scan(step, last, (stages, limits, equality), reverse=True)
    finite = jnp.all(jnp.isfinite(V0)) & jnp.all(jnp.isfinite(v0)) & jnp.isfinite(constant)
    bad = jnp.where(_sound_data(model, limits, equality, regularisation), Status.INDEFINITE, Status.NOT_FINITE)
    return Sweep(
        gains=out["K"],
        feedforward=out["k"],
        value_hessian=jnp.concatenate([out["V"], model.Q[-1:]]),
        value_gradient=jnp.concatenate([out["v"], model.q[-1:]]),
        value_constant=jnp.append(out["c"], zero),
        Quu=out["Quu"],
        Qux=out["Qux"],
        factor=out["L"],
        free=out["free"],
        multiplier_offset=out["nu"],
        multiplier_slope=out["N"],
        decrease=jnp.sum(out["dJ"], axis=0),
        status=jnp.where(ok & finite, Status.CONVERGED, bad).astype(jnp.int32),
    )


def _sound_data(model: LQModel, limits: Limits | None, equality: EqualityRows | None, regularisation: Array) -> Array:
    """Whether what a sweep was given are numbers; bounds may be infinite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((model, equality, regularisation))]
    bounds = () if limits is None else (limits.lower, limits.upper)
    return jnp.all(jnp.array(finite + [~jnp.any(jnp.isnan(bound)) for bound in bounds]))


def _stage(stage: LQModel, limit: Limits | None, rows: EqualityRows | None, V, v, regularisation):
    """Minimise the local quadratic over u at one knot, for all x."""
    VB, VA = V @ stage.B, V @ stage.A
    Quu = stage.R + stage.B.T @ VB
    Qux = stage.P + VB.T @ stage.A
    Qxx = stage.Q + stage.A.T @ VA
    shifted = v + V @ stage.d
    qu = stage.r + stage.B.T @ shifted
    qx = stage.q + stage.A.T @ shifted

    nu = stage.B.shape[-1]
    H = Quu + regularisation * jnp.eye(nu, dtype=Quu.dtype)
    free, fixed, set_ok = jnp.ones(nu, bool), jnp.zeros(nu, Quu.dtype), jnp.array(True)
    if limit is not None:
        free, fixed, set_ok = _clamped_set(H, qu, limit)
    both = free[:, None] & free[None, :]
    L, ok = cholesky(jnp.where(both, H, jnp.eye(nu, dtype=H.dtype)))
    rhs = jnp.where(free, qu + H @ fixed, -fixed)
    k, K, nu0, slope, rows_ok = _reduced_solve(L, rhs, jnp.where(free[:, None], Qux, 0.0), rows, free, fixed)
    extra = {"L": L, "free": free, "nu": nu0, "N": slope, "ok": ok & rows_ok & set_ok, "q": (Quu, Qux, Qxx, qu, qx)}
    return k, K, extra


def _clamped_set(H, qu, limit: Limits):
    """Free set, the values at which the other controls are held, and whether the set was found."""
    if not limit.box:
        return limit.free, jnp.where(limit.free, 0.0, limit.lower), jnp.array(True)
    # The projected Newton finds the set; the masked solve after it carries the values and their derivative.
    stopped = jax.lax.stop_gradient((H, qu, limit.lower, limit.upper))
    solution = box_qp(*stopped)
    ok = solution.ok & ~jnp.any(jnp.isnan(limit.lower) | jnp.isnan(limit.upper))
    free = solution.free | ~ok
    at_upper = solution.x >= stopped[3]
    return free, jnp.where(free, 0.0, jnp.where(at_upper, limit.upper, limit.lower)), ok


def _reduced_solve(L, qu, Qux, rows: EqualityRows | None, free, fixed):
    """Solve the stage KKT system by two Cholesky factorisations (range space)."""
    rhs = jnp.concatenate([qu[:, None], Qux], axis=1)
    if rows is None:
        solution = -cholesky_solve(L, rhs)
        empty = jnp.zeros((0,), qu.dtype), jnp.zeros((0, Qux.shape[1]), qu.dtype)
        return solution[:, 0], solution[:, 1:], *empty, jnp.array(True)
    C, D, e = (jnp.where(rows.mask.reshape(-1, *(1,) * (a.ndim - 1)), a, 0.0) for a in (rows.C, rows.D, rows.e))
    D_free = jnp.where(free, D, 0.0)
    residual = jnp.concatenate([(e + D @ fixed)[:, None], C], axis=1)
    Y = lower_solve(L, D_free.T)
    Z = lower_solve(L, rhs)
    gram = Y.T @ Y + jnp.diag(jnp.where(rows.mask, 0.0, jnp.ones_like(e)))
    S, ok = cholesky(gram)
    # The pivot of a row that depends on those above is rounding, of either sign.
    ok &= jnp.all(jnp.diagonal(S) ** 2 > DEPENDENT * jnp.finfo(e.dtype).eps * jnp.diagonal(gram))
    multipliers = cholesky_solve(S, residual - Y.T @ Z)
    solution = -cholesky_solve(L, rhs + D_free.T @ multipliers)
    return solution[:, 0], solution[:, 1:], multipliers[:, 0], multipliers[:, 1:], ok


def resweep(model: LQModel, sweep: Sweep) -> tuple[Array, Array]:
    """Linear half of the backward sweep, for new `q, r, d` and the matrices already factored in `sweep`.

    Returns the feedforward `k` and the value gradient `v`. Not for held controls or equality rows.
    """

    def step(v, knot):
        A, B, d, q, r, V, K, Quu, Qux, L = knot
        shifted = v + V @ d
        qu, qx = r + B.T @ shifted, q + A.T @ shifted
        k = -cholesky_solve(L, qu[:, None])[:, 0]
        v = qx + K.T @ (qu + Quu @ k) + Qux.T @ k
        return v, (k, v)

    knots = (model.A, model.B, model.d, model.q[:-1], model.r, sweep.value_hessian[1:], sweep.gains)
    knots += (sweep.Quu, sweep.Qux, sweep.factor)
    _, (k, v) = jax.lax.scan(step, model.q[-1], knots, reverse=True)
    return k, jnp.concatenate([v, model.q[-1:]])


def forward(model: LQModel, gains: Array, feedforward: Array, x0: Array) -> tuple[Array, Array]:
    """States and controls of one problem."""

    def step(x, knot):
        A, B, d, K, k = knot
        u = k + K @ x
        new = A @ x + B @ u + d
        return new, (new, u)

    _, (x, u) = jax.lax.scan(step, x0, (model.A, model.B, model.d, gains, feedforward))
    return jnp.concatenate([x0[None], x]), u


def costates(model: LQModel, states: Array, controls: Array) -> Array:
    """Value gradients along a trajectory of one problem."""
    gradient = jnp.einsum("kij,kj->ki", model.Q, states) + model.q
    gradient = gradient.at[:-1].add(jnp.einsum("kij,ki->kj", model.P, controls))

    def step(costate, knot):
        A, g = knot
        costate = A.T @ costate + g
        return costate, costate

    _, earlier = jax.lax.scan(step, gradient[-1], (model.A, gradient[:-1]), reverse=True)
    return jnp.concatenate([earlier, gradient[-1:]])


def control_gradient(model: LQModel, states: Array, controls: Array, costate: Array) -> Array:
    """Derivative of the cost with respect to each control, `R u + P x + r + B' lambda_{k+1}`, shape (N, nu)."""
    gradient = jnp.einsum("...kij,...kj->...ki", model.R, controls) + model.r
    gradient += jnp.einsum("...kij,...kj->...ki", model.P, states[..., :-1, :])
    return gradient + jnp.einsum("...kij,...ki->...kj", model.B, costate[..., 1:, :])
