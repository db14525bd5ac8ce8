"""Misuse raises before tracing, as `CostogoError`, and the message names the argument and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import BoxDDP, CostogoError, ImplicitAdjoint, OptimalControlProblem, QuadraticCost, RecedingHorizon, solve

CLAMPED = BoxDDP(subproblem="clamped", max_iterations=3)
X0 = jnp.zeros(2)


def f(x, u, t):
    return x + jnp.stack([u[0], u[0]])


def build(dynamics=f, stage_cost=None, terminal_cost=None, **options):
    stage_cost = (lambda x, u, t: jnp.sum(x**2) + jnp.sum(u**2)) if stage_cost is None else stage_cost
    options = {"horizon": 3, "control_bounds": (-np.ones(1), np.ones(1))} | options
    return OptimalControlProblem(dynamics, stage_cost, terminal_cost, **options)


def solved(x0=X0, controls=None, solver=CLAMPED, adjoint=None, **options):
    return solve(build(**options), x0, controls, solver=solver, adjoint=adjoint)


# What is done, and the words that the message must hold: the argument, the value, the remedy.
CASES = {
    "horizon 0": (lambda: build(horizon=0), ["horizon", "0", "at least 1"]),
    "horizon negative": (lambda: build(horizon=-2), ["horizon", "-2", "at least 1"]),
    "horizon float": (lambda: build(horizon=2.5), ["horizon", "2.5", "integer"]),
    "horizon bool": (lambda: build(horizon=True), ["horizon", "True"]),
    "dynamics": (lambda: build(dynamics=3.0), ["dynamics", "3.0", "f(x, u, t)"]),
    "stage cost": (lambda: build(stage_cost=np.ones(2)), ["stage_cost", "l(x, u, t)"]),
    "terminal cost": (lambda: build(terminal_cost=1.0), ["terminal_cost", "1.0", "None"]),
    "equality": (lambda: build(equality=1.0), ["equality", "1.0"]),
    "inequality": (lambda: build(inequality="h"), ["inequality", "'h'"]),
    "no nu": (lambda: build(control_bounds=None), ["nu=", "control_bounds"]),
    "nu 0": (lambda: build(control_bounds=None, nu=0), ["nu", "0", "at least 1"]),
    "nu against bounds": (lambda: build(nu=2), ["control_bounds", "nu", "[1, 2]"]),
    "one bound": (lambda: build(control_bounds=np.ones(1)), ["control_bounds", "(u_min, u_max)"]),
    "bounds of two lengths": (lambda: build(control_bounds=(np.zeros(1), np.ones(2))), ["control_bounds", "[1, 2]"]),
    "shape of bounds": (lambda: build(control_bounds=(-np.ones((5, 1)), 1.0)), ["u_min", "(5, 1)", "(3, 1)"]),
    "crossed bounds": (lambda: build(control_bounds=(np.ones(1), -np.ones(1))), ["control_bounds", "(0,)", "swap"]),
    "crossed at a knot": (
        lambda: build(control_bounds=(np.zeros((3, 1)), np.array([[1.0], [-1.0], [1.0]]))),
        ["control_bounds", "(1, 0)"],
    ),
    "bounds of text": (lambda: build(control_bounds=("low", 1.0), nu=1), ["u_min", "low", "numbers"]),
    "NaN bound": (lambda: build(control_bounds=(np.array([np.nan]), np.ones(1))), ["u_min", "NaN", "inf"]),
    "batch of states": (lambda: solved(jnp.zeros((4, 2))), ["x0", "(4, 2)", "vmap"]),
    "empty state": (lambda: solved(jnp.zeros(0)), ["x0", "(0,)"]),
    "scalar state": (lambda: solved(1.0), ["x0", "()"]),
    "state of text": (lambda: solved("upright"), ["x0", "upright", "numbers"]),
    "complex state": (lambda: solved(jnp.zeros(2, complex)), ["x0", "complex", "real"]),
    "state of another length": (lambda: solved(jnp.zeros(3)), ["dynamics", "(3,)"]),
    "shape of controls": (lambda: solved(controls=jnp.zeros((2, 1))), ["controls", "(2, 1)", "(3, 1)"]),
    "dynamics of another length": (lambda: solved(dynamics=lambda x, u, t: x[:1]), ["dynamics", "(1,)", "(2,)"]),
    "dynamics of two results": (lambda: solved(dynamics=lambda x, u, t: (x, u)), ["dynamics", "tuple"]),
    "dynamics with two arguments": (lambda: solved(dynamics=lambda x, u: x), ["dynamics", "signature"]),
    "cost not scalar": (lambda: solved(stage_cost=lambda x, u, t: x), ["stage_cost", "(2,)", "()"]),
    "terminal cost with time": (lambda: solved(terminal_cost=lambda x, t: 0.0), ["terminal_cost", "signature"]),
    "weights of another length": (lambda: solved(stage_cost=QuadraticCost(np.ones(3), 1.0)), ["stage_cost", "(2,)"]),
    "weight not square": (lambda: QuadraticCost(np.ones((2, 3)), 1.0), ["Q", "(2, 3)", "square"]),
    "problem": (lambda: solve(f, X0), ["problem", "function", "OptimalControlProblem"]),
    "solver name": (lambda: solved(solver="BoxDDP"), ["solver", "'BoxDDP'", "BoxDDP()"]),
    "solver class": (lambda: solved(solver=BoxDDP), ["solver", "BoxDDP()"]),
    "adjoint name": (lambda: solved(adjoint="implicit"), ["adjoint", "'implicit'", "ImplicitAdjoint()"]),
    "adjoint class": (lambda: solved(adjoint=ImplicitAdjoint), ["adjoint", "ImplicitAdjoint()"]),
    "equality unsupported": (lambda: solved(equality=lambda x, u, t: x), ["BoxDDP", "equality", "cost"]),
    "inequality unsupported": (lambda: solved(inequality=lambda x, u, t: x), ["BoxDDP", "inequality"]),
    "subproblem": (lambda: BoxDDP(subproblem="clampd"), ["subproblem", "clampd", "did you mean 'clamped'"]),
    "shooting": (lambda: BoxDDP(shooting="both"), ["shooting", "both", "single, multiple"]),
    "hessian": (lambda: BoxDDP(hessian="newton"), ["hessian", "newton", "exact"]),
    "max_iterations": (lambda: BoxDDP(max_iterations=-1), ["max_iterations", "-1"]),
    "tolerance": (lambda: BoxDDP(tolerance=-1e-3), ["tolerance", "-0.001"]),
    "tolerance NaN": (lambda: BoxDDP(tolerance=float("nan")), ["tolerance", "nan"]),
    "line search decay": (lambda: BoxDDP(line_search_decay=1.0), ["line_search_decay", "1.0"]),
    "line search trials": (lambda: BoxDDP(line_search_trials=0), ["line_search_trials", "0"]),
    "line search block": (lambda: BoxDDP(line_search_block=0), ["line_search_block", "0"]),
    "adjoint hessian": (lambda: ImplicitAdjoint("exact"), ["adjoint hessian", "exact", "lagrangian"]),
    "unrolled iterations": (lambda: ctg.UnrolledAdjoint(0), ["iterations", "0"]),
    "horizon iterations": (lambda: RecedingHorizon(build(), iterations=0), ["iterations", "0", "None"]),
    "steps": (lambda: ctg.simulate(RecedingHorizon(build()), X0, 0), ["steps", "0"]),
    "integration method": (lambda: ctg.discretise(f, 0.1, "rk5"), ["integration method", "rk5", "'rk4'"]),
    "substeps": (lambda: ctg.discretise(f, 0.1, substeps=0), ["substeps", "0"]),
}


@pytest.mark.parametrize("case", list(CASES))
def test_misuse_is_named(case):
    call, words = CASES[case]
    with pytest.raises(CostogoError) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_misuse_is_named_inside_jit_and_vmap():
    """Shapes are known while tracing: the same error, not JAX's."""
    with pytest.raises(CostogoError, match="controls has shape"):
        jax.jit(jax.vmap(lambda x: solved(x, jnp.zeros((7, 1)))))(jnp.zeros((2, 2)))
    with pytest.raises(CostogoError, match="the result of dynamics has shape"):
        jax.jit(jax.grad(lambda x: solved(x, dynamics=lambda x, u, t: x[:1]).cost))(X0)


def test_slew_rate_needs_jax_dynamics():
    class Simulator:
        def step(self, xs, us, ts):
            raise NotImplementedError

        linearise = step

    with pytest.raises(CostogoError, match="with_slew_rate needs JAX dynamics"):
        ctg.with_slew_rate(build(dynamics=Simulator()), 1.0)


def test_errors_in_the_users_function_are_not_hidden():
    """The cause of a failing function stays attached to the error."""

    def broken(x, u, t):
        raise ValueError("the mass must be positive")

    with pytest.raises(CostogoError, match="the mass must be positive") as caught:
        solved(dynamics=broken)
    assert isinstance(caught.value.__cause__, ValueError)
