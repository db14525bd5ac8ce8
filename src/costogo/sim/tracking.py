"""A controller in the loop: estimate, reference, whole-body program, torques, physics."""

import dataclasses
from collections.abc import Callable

import numpy as np

from costogo.core.validate import require
from costogo.sim.quadruped import QuadrupedSimulation
from costogo.sim.whole_body import Command, Reference, WholeBodyController

Controller = Callable[[float, np.ndarray], Reference | tuple]


@dataclasses.dataclass(frozen=True)
class Record:
    """What happened, a row per step of the simulation: `times` (n,) s, `states` and `estimates` (n, 24) at the start of
    the step, `references` (n, 24) and `inputs` (n, 24) tracked, `contacts` (n, 4) wanted, `torques` (n, 12) N m,
    `forces` (n, 4, 3) of the floor on the feet in the world (N), `solved` (n,) and `seconds` (n,) of the whole-body
    program. `final` (24,) is the state after the last step; `fallen` if that ended the run.
    """

    times: np.ndarray
    states: np.ndarray
    estimates: np.ndarray
    references: np.ndarray
    inputs: np.ndarray
    contacts: np.ndarray
    torques: np.ndarray
    forces: np.ndarray
    solved: np.ndarray
    seconds: np.ndarray
    final: np.ndarray
    fallen: bool

    @property
    def failures(self) -> int:
        """Steps whose program had no solution."""
        return int(np.sum(~self.solved))

    @property
    def survived(self) -> float:
        """Seconds until the fall or the end."""
        return len(self.times) * float(self.times[1] - self.times[0]) if len(self.times) > 1 else 0.0


def track(
    simulation: QuadrupedSimulation,
    controller: Controller,
    seconds: float,
    *,
    every: int = 1,
    tracker: WholeBodyController | None = None,
) -> Record:
    """Run `controller(t, x_estimate)` on the simulation from where it is, for `seconds` or until the robot falls.

    The controller returns a `Reference` or a tuple of its first entries, `(x_ref, u_ref, contacts)`; it is asked at
    every `every`-th step and its answer held in between, while `tracker` turns it into torques at each step.
    """
    require(seconds > 0.0, f"seconds is {seconds}; pass a positive number")
    require(every >= 1, f"every is {every}; pass a number of steps, at least 1")
    tracker = WholeBodyController() if tracker is None else tracker
    rows, reference = [], None
    for k in range(max(1, round(seconds / simulation.timestep))):
        estimate = simulation.estimate()
        if reference is None or k % every == 0:
            reference = Reference(*controller(simulation.time, estimate.x))
        command = tracker(estimate.x, estimate.joint_velocities, reference)
        time, state = simulation.time, simulation.state()
        simulation.step(command.torques)
        rows.append(_row(time, state, estimate.x, reference, command, simulation.contact_forces()))
        if simulation.fallen():
            break
    columns = {name: np.asarray([row[name] for row in rows]) for name in rows[0]}
    return Record(**columns, final=simulation.state(), fallen=simulation.fallen())


def _row(
    time: float, state: np.ndarray, estimate: np.ndarray, reference: Reference, command: Command, forces: np.ndarray
) -> dict:
    return {
        "times": time,
        "states": state,
        "estimates": estimate,
        "references": np.asarray(reference.x, float),
        "inputs": np.asarray(reference.u, float),
        "contacts": np.asarray(reference.contacts, bool),
        "torques": command.torques,
        "forces": forces,
        "solved": command.solved,
        "seconds": command.seconds,
    }
