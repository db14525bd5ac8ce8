"""Planning rate of sampling MPC on true models, beside one iteration of box DDP on the same problem: solves per second.

One solve is what a controller does in one step, from a plan it has. The walker is simulated in MuJoCo by its C engine.
"""

import jax.numpy as jnp

from benchmarks.cases.common import Case, Settings, timing_fields
from benchmarks.harness import interleave
from benchmarks.ours import compiled
from benchmarks.report import Row
from costogo.experiments.constrained_gps.tasks import walker_dynamics, walking_cost
from costogo.problem import OptimalControlProblem
from costogo.sim.models.walker import STANDING_HEIGHT
from costogo.solvers import BoxDDP, Exponentiated, LowCost, MirrorDescent
from costogo.systems import CartPole, Pendulum


def run(settings: Settings) -> list[Row]:
    """Every problem with its samplers and with DDP."""
    return [
        row
        for name, (problem, x0, samplers) in _problems().items()
        for row in _rows(name, problem, x0, samplers, settings)
    ]


def _problems():
    """Problem, state, and samplers that swing up pendulum and cart-pole (tests/test_mirror_descent.py)."""
    pendulum, cartpole, walker = Pendulum(), CartPole(), walker_dynamics()
    stand = jnp.zeros(18).at[1].set(STANDING_HEIGHT)
    torques = jnp.full(6, 100.0)
    return {
        "pendulum, N=40": (
            _swing_up(pendulum, 40), jnp.array([-1.0, 0.0, 0.0]),
            [MirrorDescent(2, utility=utility, std=2.0, correlation=0.9, samples=200, step_size=1.0)
             for utility in (LowCost(0.05), Exponentiated(1.0))],
        ),
        "cart-pole, N=25": (
            _swing_up(cartpole, 25), jnp.array([0.0, 0.0, -1.0, 0.0, 0.0]),
            [MirrorDescent(4, utility=LowCost(0.04), std=30.0, samples=500, step_size=1.0),
             MirrorDescent(4, utility=Exponentiated(0.1), std=15.0, correlation=0.3, samples=500, step_size=1.0)],
        ),
        "walker in MuJoCo, N=50": (
            OptimalControlProblem(walker, walking_cost, horizon=50, dt=walker.dt, control_bounds=(-torques, torques)),
            stand,
            [MirrorDescent(1, utility=utility, std=20.0, samples=100) for utility in (LowCost(), Exponentiated())],
        ),
    }  # fmt: skip


def _swing_up(system, horizon: int) -> OptimalControlProblem:
    return OptimalControlProblem(
        system, system.cost(), horizon=horizon, control_bounds=system.control_bounds(), dt=system.dt
    )


def _rows(name: str, problem: OptimalControlProblem, x0, samplers, settings: Settings) -> list[Row]:
    controls, zero = jnp.zeros((problem.horizon, problem.nu)), jnp.zeros(())
    solvers = {f"{_title(s)}, {s.samples} samples, {s.max_iterations} iterations": s for s in samplers}
    solvers["box DDP, one iteration"] = BoxDDP(max_iterations=1, subproblem="clamped")
    programs = [
        compiled(title, lambda x, u, t, s=solver: s.run(problem, x, u, t), x0, controls, zero)
        for title, solver in solvers.items()
    ]
    timings = interleave([program.contender for program in programs], settings.effort)
    rows: list[Row] = []
    for title, timing in timings.items():
        fields = timing_fields(timing, "ms")
        rows.append({"problem": name, "work": title, **fields, "hz": 1e3 / fields["ms"]})
    return rows


def _title(solver: MirrorDescent) -> str:
    return "CEM" if isinstance(solver.utility, LowCost) else "MPPI"


CASE = Case(
    "planning", (("problem", "problem", 0), ("work", "work", 0), ("ms", "ms", 3), ("hz", "plans per second", 3)), run
)
