"""Outcome of one problem, as a value: a failed problem in a batch is flagged, never hidden."""

from enum import IntEnum


class Status(IntEnum):
    """Status code of a solve, one per problem. `CONVERGED` is zero, so `status == 0` means "trust this lane"."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    STALLED = 2
    INDEFINITE = 3
    NOT_FINITE = 4
    INFEASIBLE = 5
    RUNNING = 6

    def describe(self) -> str:
        """One sentence: what happened, and what usually mends it."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Status.CONVERGED: "the first-order conditions hold to the tolerance",
    Status.MAX_ITERATIONS: "the iteration limit was reached; raise max_iterations, or warm start with `controls`",
    Status.STALLED: "no step size decreased the cost, even with the largest regularisation; check that cost and "
    "dynamics are differentiable and scaled, or loosen the tolerance",
    Status.INDEFINITE: "the control Hessian Quu is not positive definite under the largest regularisation (the cost "
    "is unbounded below, or needs a positive definite control term), or equality rows at one knot depend on each other",
    Status.NOT_FINITE: "the initial state, the controls, the bounds, the cost or the dynamics gave NaN or infinity",
    Status.INFEASIBLE: "the bounds cross, or the constraints admit no point",
    Status.RUNNING: "the solver has not stopped yet (an internal state that no returned solution carries)",
}
