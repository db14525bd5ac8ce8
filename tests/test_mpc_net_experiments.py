"""Experiments of MPC-Net without their training: names of runs, tables, claims from made-up summaries."""

import numpy as np
import pytest

from costogo.experiments.claims import VERDICTS
from costogo.experiments.mpc_net import e2, e3, e4, e5, ladder, obstacle
from costogo.experiments.mpc_net.arms import Comparison
from costogo.experiments.mpc_net.presets import MPCNetConfig, plain_quadruped
from costogo.experiments.mpc_net.runs import RUNS
from costogo.experiments.registry import ExperimentConfig

PLACE = plain_quadruped("static_walk")
ROW = {
    "survived 3 s": 1.0, "survived 6 s": 1.0, "survived 3 s, noise": 0.9, "cost": 10.0, "cost, noise": 12.0,
    "teacher's cost": 9.0, "violation": 1.0, "experts in use": 4, "collisions": 0.0, "passed below": 0.5,
}  # fmt: skip


def made_up(arms, place=PLACE, seeds=3, **columns):
    """A comparison whose column `name` is `base + slope i` for arm number i."""
    found = Comparison(place, arms)
    for i, arm in enumerate(arms):
        for seed in range(seeds):
            row = ROW | {name: base + slope * i for name, (base, slope) in columns.items()}
            found.summary.append({"system": found.title, "arm": arm, "seed": seed, **row})
            found.curves += [
                {"arm": arm, "seed": seed, "epoch": epoch, "survival": 3.0 - i / epoch, "cost": 5.0 / epoch,
                 "violation": 1.0 / epoch, "loss": 1.0}
                for epoch in (4, 8)
            ]  # fmt: skip
    return found


def test_names_of_runs_tell_them_apart():
    """Every field that is not the default, and none that is."""
    assert RUNS.name_of(PLACE) == "anymal-static_walk-seed0"
    other = MPCNetConfig(system="ballbot", loss="cloning", latent=(32, 32), alpha=0.0, seed=3)
    assert RUNS.name_of(other) == "ballbot-loss=cloning-latent=32x32-alpha=0.0-seed3"
    settings = [MPCNetConfig(system="ballbot", **change) for change in ladder.ARMS.values()]
    assert len({RUNS.name_of(setting) for setting in settings}) == len(ladder.ARMS)


def test_what_is_not_set_is_the_systems_own():
    """And stands in the run's record; the comparisons on the quadruped start from a smaller network."""
    own = MPCNetConfig(system="anymal", gait="static_walk")
    assert (own.latent, MPCNetConfig(system="ballbot").latent, PLACE.latent) == ((128,), (32,), (32,))
    assert own.neighbours > PLACE.neighbours
    assert own.violation_weight > PLACE.violation_weight == 0.0
    given = {"latent": (16, 16), "neighbours": 0, "violation_weight": 0.0}
    told = vars(MPCNetConfig(system="anymal", **given))
    assert {name: told[name] for name in given} == given
    assert RUNS.name_of(own) != RUNS.name_of(PLACE)


def test_a_comparison_says_and_draws(tmp_path):
    found = made_up(e3.ARMS, violation=(2.0, 3.0))
    assert found.says("violation", 10.0, "mm") == "two neighbours 20, no neighbours 50 mm"
    np.testing.assert_array_equal(found.of("no neighbours", "violation"), [5.0] * 3)
    assert found.draw(tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "reproduced"), (-0.5, "not reproduced")])
def test_claims_follow_the_numbers(slope, verdict):
    """Lower violation with the Hamiltonian, and with the mixture: both ways round."""
    fallen = [
        {"system": "anymal static_walk", "arm": arm, "survived": 10.0 - 5.0 * i, "fallen": 0.0,
         "torque change [N m]": 2.0 + i}
        for i, arm in enumerate(e2.ARMS)
    ]  # fmt: skip
    stable, violation, falls = e2._claims(made_up(e2.ARMS, violation=(3.0, slope)), fallen, 3)
    assert [c.verdict for c in (stable, violation, falls)] == ["reproduced", verdict, "reproduced"]
    assert "Hamiltonian 3" in violation.ours and "Hamiltonian 10" in falls.ours
    _, violation, used = e4._claims(made_up(e4.ARMS, violation=(3.0, slope)), 3)
    assert violation.verdict == verdict and used.verdict == "reproduced"


def test_claims_on_neighbours():
    found = made_up(e3.ARMS, **{"cost, noise": (12.0, 3.0)})
    shaken = [{"arm": a, "torque change [N m]": 2.0 + i, "fallen": float(i)} for i, a in enumerate(e3.ARMS)]
    claims = e3._claims(found, shaken, 3)
    assert [c.verdict for c in claims] == ["reproduced"] * 3
    assert "no neighbours 1 of 1" in claims[2].ours


def test_claims_on_small_systems():
    base = made_up(ladder.ARMS, MPCNetConfig(system="ballbot"), violation=(0.0, 0.0))
    first, noise = ladder._claims(base, 5)  # nothing to violate, so nothing is said about it
    assert first.verdict == "reproduced" and "1.111 times" in first.ours and noise.verdict == "not reproduced"
    worse = made_up(ladder.ARMS, MPCNetConfig(system="planar"), cost=(12.0, 0.0), violation=(1.0, 1.0))
    first, _, ordered = ladder._claims(worse, 5)
    assert first.verdict == "partly" and ordered.verdict == "reproduced"
    claims = obstacle._claims(made_up(obstacle.ARMS, MPCNetConfig(system="point_mass"), collisions=(0.005, 0.02)), 5)
    assert [c.verdict for c in claims] == ["partly", "reproduced", "reproduced"]
    assert all(claim.verdict in VERDICTS for claim in claims)


def test_sides_of_the_disc():
    """Two paths above, one below, one that ends in the disc."""
    x = np.linspace(-2, 2, 5)
    paths = np.stack([np.column_stack([x, y * np.sin(np.linspace(0, np.pi, 5)), np.ones(5)]) for y in (1, 0.8, -1, -1)])
    paths[3, 3:, 2] = 0
    found = obstacle._sides(paths)
    assert found["collisions"] == 0.25
    np.testing.assert_allclose(found["passed below"], 1 / 3)


def test_minutes_until_stable():
    """The first evaluation after the last bad one counts."""
    rows = [
        {"seed": seed, "minutes": 1.0 + k, "survived": value}
        for seed, values in enumerate(([0.5, 1.0, 0.8, 1.0, 1.0], [0.9, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 0.1]))
        for k, value in enumerate(values)
    ]
    claim = e5._claim("trot", rows, 3)
    assert claim.ours == "4.0 min, 1.0 min, inf min" and claim.verdict == "partly"


def test_number_of_seeds(tmp_path):
    assert ExperimentConfig(tmp_path).seed_count(5) == 5
    assert ExperimentConfig(tmp_path, quick=True).seed_count(5) == 1
    assert ExperimentConfig(tmp_path, quick=True).seed_count(5, quick=3) == 3
    assert ExperimentConfig(tmp_path, seeds=2).seed_count(5) == 2
    assert ExperimentConfig(tmp_path, quick=True, seeds=2).seed_count(5) == 2
