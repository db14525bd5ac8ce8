"""Presets, comparisons, and the commands of dmd_mpc runs."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from costogo.cli import main
from costogo.core.errors import CostogoError
from costogo.experiments.dmd_mpc import d1, d2, d3, d4
from costogo.experiments.dmd_mpc.arms import Comparison, own_folder
from costogo.experiments.dmd_mpc.presets import CPU_BUDGETS, METHODS, DMDConfig, build, imagination
from costogo.experiments.dmd_mpc.results import episode, summary
from costogo.experiments.dmd_mpc.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.learn.dmd_mpc import BranchedRollouts, ImprovedRollouts
from costogo.sim.tasks import GymnasiumEnvironment
from costogo.solvers import LiteralElites


def test_all_methods_get_the_same_data_updates_and_model_samples():
    """Issue: real steps, updates per step and model samples are the same for all model-based methods."""
    found = {name: imagination(DMDConfig(task="Reacher", method=name)) for name in METHODS}
    assert found["sac"] is None and found["sac_many"] is None
    budgets = {name: DMDConfig(task="Reacher", method=name).budget for name in METHODS}
    assert {name: budget.updates for name, budget in budgets.items()} == dict.fromkeys(METHODS, 5) | {"sac": 1}
    assert {budget.steps for budget in budgets.values()} == {10_000}
    for name in ("m_demorl", "mopac"):
        made: ImprovedRollouts = found[name]
        assert made.start_states * made.solver.samples * made.schedule.largest == 51_200
    for name in ("mbpo", "mbpo_long"):
        assert found[name].samples == 51_200
    assert found["mbpo"].schedule.largest == 1 and found["mbpo_long"].schedule == found["m_demorl"].schedule
    assert found["mopac"].residual and not found["m_demorl"].residual


def test_horizons_grow_over_half_of_a_short_run():
    schedule = imagination(DMDConfig(task="InvertedPendulum")).schedule
    assert [schedule(epoch) for epoch in (0, 10, 20, 40)] == [5, 6, 8, 8]
    paper = imagination(DMDConfig(task="HalfCheetah", scale="paper")).schedule
    assert [paper(epoch) for epoch in (0, 20, 40, 100)] == [5, 10, 15, 15]  # check 9
    ant = imagination(DMDConfig(task="Ant", scale="paper", method="mbpo"))
    assert isinstance(ant, BranchedRollouts) and [ant.schedule(e) for e in (20, 60, 100)] == [1, 13, 25]


def test_settings_reach_the_learner():
    made = imagination(DMDConfig(weighting="literal_14", elites=0.5, step_size=0.5, std=0.1, mode="open_loop"))
    assert isinstance(made.solver.utility, LiteralElites) and made.solver.utility.elites == 0.5
    assert (made.solver.step_size, made.solver.std, made.solver.mode) == (0.5, 0.1, "open_loop")
    assert build(DMDConfig(steps=1000)).capacity == 500 + 1000
    assert RUNS.name_of(DMDConfig(method="mbpo", seed=2)) == "InvertedPendulum-mbpo-seed2"
    assert RUNS.name_of(DMDConfig(task="Swimmer", elites=0.5)) == "Swimmer-m_demorl-elites=0.5-seed0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "Invertedpendulum"}, "did you mean 'InvertedPendulum'"), ({"method": "mbpoo"}, "did you mean 'mbpo'"),
        ({"scale": "gpu"}, "unknown scale"), ({"weighting": "plcc"}, "did you mean 'plc'"),
        ({"steps": 0}, "steps is 0"), ({"updates": 0}, "updates is 0"),
        ({"method": "sac", "updates": 20}, "updates is 20, but sac has one per real step"),
    ],
)  # fmt: skip
def test_mistakes(options, message):
    with pytest.raises(CostogoError, match=message):
        DMDConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elites": 0.0}, "elites is 0.0"), ({"step_size": 2.0}, "step_size is 2.0"), ({"std": 0.0}, "std is 0.0"),
        ({"mode": "closed"}, "did you mean 'closed_loop'"),
    ],
)  # fmt: skip
def test_mistakes_that_the_learner_finds(options, message):
    with pytest.raises(CostogoError, match=message):
        build(DMDConfig(**options))


def comparison(curves, arms=tuple(d1.ARMS)):
    """A comparison whose runs have these returns, one list of lists per arm: seeds, epochs."""
    found = Comparison(DMDConfig(), {arm: {} for arm in arms})
    for arm, seeds in zip(arms, curves, strict=True):
        found.runs[arm] = [
            SimpleNamespace(
                setting=SimpleNamespace(seed=i),
                curves=[
                    {"seed": i, "real_steps": 100 * (k + 1), "return": v, "seconds": 1.0} for k, v in enumerate(row)
                ],
            )
            for i, row in enumerate(seeds)
        ]
    return found


def test_steps_to_the_common_level():
    """Level: 80 % from the mean first return (0) to the best final one (10), for the mean of three evaluations."""
    rise = [0, 0, 0, 10, 10, 10, 10, 10, 10, 10]
    late, never = [0] * 6 + [10] * 4, [0.0] * 10
    none = [never, never]
    found = comparison([[rise, late], [late, late], [never, late], none, none, none])
    assert found.level == 8.0
    np.testing.assert_array_equal(found.steps_to("M-DeMoRL"), [600, 900])
    np.testing.assert_array_equal(found.steps_to("MBPO"), [np.inf, 900])
    np.testing.assert_array_equal(found.final("MBPO"), [0, 10])
    verdicts = {c.claim: c.verdict for c in d1.claims([found])}
    assert verdicts["InvertedPendulum: fewer real steps to 80 % of the common final level"] == "reproduced"
    slow = comparison([[late, late], [rise, rise], [never, late], none, none, none])
    verdicts = {c.claim: c.verdict for c in d1.claims([slow])}
    assert verdicts["InvertedPendulum: fewer real steps to 80 % of the common final level"] == "not reproduced"


def verdicts(claims):
    """By the words after the task."""
    return {claim.claim.split(": ")[1]: claim.verdict for claim in claims}


def test_nobody_learns():
    flat = [[1.0] * 10]
    found = d1.claims([comparison([flat] * 6)])
    assert found[0].verdict == "no claim" and found[2].verdict == "reproduced"
    assert verdicts(found)["fewer real steps than the best baseline"] == "not run"  # one task of four


def test_who_reaches_the_level():
    """Only ours: it needs no part of their steps. Only others: not reproduced. Draws of the seeds span both."""
    rise, flat = [0.0] * 3 + [10.0] * 7, [0.0] * 10
    alone = comparison([[rise] * 2, *[[flat] * 2] * 5])
    assert d1.ratio(alone, d1.PUBLISHED) == 0.0 and d1.claims([alone])[0].verdict == "reproduced"
    other = comparison([[flat] * 2, [rise] * 2, *[[flat] * 2] * 4])
    assert d1.ratio(other, d1.PUBLISHED) == np.inf and d1.claims([other])[0].verdict == "not reproduced"
    controls = comparison([[flat] * 2, *[[flat] * 2] * 4, [rise] * 2])
    assert "none reaches it" in d1.claims([controls])[0].ours and d1.claims([controls])[0].verdict == "not reproduced"
    late = [0.0] * 6 + [10.0] * 4
    mixed = comparison([[rise, late], [late, late], *[[flat] * 2] * 4])
    assert d1.interval(mixed, d1.PUBLISHED) == (600 / 900, 1.0)
    assert d1.claims([alone] * 4)[12].verdict == "reproduced" and d1.claims([alone] * 4)[12].ours.endswith("of 4 tasks")


def test_the_same_final_return_is_that_of_both():
    ends = lambda *finals: comparison([[[0.0] * 5 + [v] * 5] for v in finals])  # noqa: E731
    for finals, verdict in (
        ((10, 10.5, 9.5, 0, 0, 0), "reproduced"), ((10, 5, 5, 0, 0, 0), "partly"),
        ((5, 10, 5, 0, 0, 0), "not reproduced"),
    ):  # fmt: skip
        assert verdicts(d1.claims([ends(*finals)]))["the same final return"] == verdict


def test_claims_of_large_tasks_are_not_run():
    rows = {claim.claim: claim for claim in d1.not_run()}
    assert rows["HalfCheetah: MBPO needs fewer steps than SAC (check 11)"].verdict == "not run"
    assert "hours of updates a seed and core" in rows["Ant: the final return"].ours


def test_claims_of_the_leg():
    """Ours above SAC, below SAC with as many updates; what is gained counts, not what is lost less."""
    found = comparison(
        [[[0.0, 100.0] + [500.0] * 8], [[0.0, 50.0] + [100.0] * 8], [[0.0, 100.0] + [800.0] * 8]], d3.ARMS
    )
    rows = [{"arm": "M-DeMoRL", "RMS error [mm]": e} for e in (12.0, 25.0)]
    assert [claim.verdict for claim in d3.claims(found, rows)] == [
        "reproduced",
        "not reproduced",
        "reproduced",
        "partly",
    ]
    falling = comparison([[[500.0] * 2 + [400.0] * 8], [[500.0] * 2 + [300.0] * 8], [[500.0] * 10]], d3.ARMS)
    assert d3.claims(falling, rows)[2].verdict == "not reproduced"


def walk_rows(arm, seed, gain, **same):
    """Walks whose shifts are `gain` mm per degree, to the balancing side."""
    return [
        {"arm": arm, "seed": seed, "axis": axis, "slope": slope, "seen": float(slope), "steps": 1000, "fell": 0,
         "speed": 0.25, "x-shift": 1e-3 * gain * slope, "y-shift": -1e-3 * gain * slope} | same
        for axis in ("pitch", "roll") for slope in d4.SLOPES
    ]  # fmt: skip


def test_claims_of_the_quadruped():
    rise, flat = [[0.0] * 2 + [100.0] * 8], [[0.0] * 10]
    found = comparison([rise, flat, rise], d4.ARMS)
    trials = [{"arm": arm, "success": 1.0} for arm in d4.ARMS]
    hand = walk_rows(d4.HAND, 0, 4.0)
    good = d4.claims_of(found, walk_rows(d4.OURS, 0, 2.0) + hand, trials)
    assert [claim.verdict for claim in good] == [*4 * ["reproduced"], "not reproduced", "reproduced"]
    standing = d4.claims_of(found, walk_rows(d4.OURS, 0, 2.0, speed=0.0) + hand, trials)
    assert standing[0].verdict == "not reproduced"
    slight = d4.claims_of(found, walk_rows(d4.OURS, 0, 0.1) + hand, trials)  # a correlation of one, of next to nothing
    assert [claim.verdict for claim in slight[1:3]] == ["not reproduced"] * 2
    wrong = d4.claims_of(found, walk_rows(d4.OURS, 0, 2.0) + walk_rows(d4.OURS, 1, -2.0) + hand, trials)
    assert [claim.verdict for claim in wrong[1:3]] == ["partly"] * 2
    fallen = d4.claims_of(found, walk_rows(d4.OURS, 0, 2.0, fell=1, steps=20) + hand, trials)
    assert [claim.verdict for claim in fallen[:3]] == ["not reproduced"] * 3


def test_a_task_that_was_asked_for_has_a_folder_of_its_own(tmp_path):
    assert own_folder(ExperimentConfig(tmp_path), tmp_path) == tmp_path
    assert own_folder(ExperimentConfig(tmp_path, task="LegLiteral"), tmp_path) == tmp_path / "LegLiteral"
    assert DMDConfig(task="LegLiteral").budget == DMDConfig(task="Leg").budget


def test_one_task_more_leaves_the_others_in_the_report(tmp_path, monkeypatch):
    """Runs are there for Reacher and not for the rest: asked for one task, D1 trains that one and reads Reacher."""
    trained = []

    def train(self, config, folder, seeds):
        trained.append(self.base.task)
        self.runs = comparison([[[0.0, 1.0]]] * 6).runs
        return self

    monkeypatch.setattr(Comparison, "train", train)
    monkeypatch.setattr(Comparison, "there", lambda self, config, folder, seeds: self.base.task == "Reacher")
    d1.run(ExperimentConfig(tmp_path, task="InvertedPendulum"), tmp_path)
    assert trained == ["InvertedPendulum", "Reacher"]
    assert "Reacher: the same final return" in (tmp_path / "claims.md").read_text()
    trained.clear()
    d1.run(ExperimentConfig(tmp_path), tmp_path)
    assert trained == list(d1.TASKS)


def test_finished_runs_are_there(tmp_path):
    found = Comparison(DMDConfig(task="InvertedPendulum"), {"SAC": {"method": "sac"}})
    config = ExperimentConfig(tmp_path, quick=True)
    assert not found.there(config, tmp_path / "d1", 1)
    found.train(config, tmp_path / "d1", 1)
    assert found.there(config, tmp_path / "d1", 1)
    assert not found.there(replace(config, seeds=2), tmp_path / "d1", 1)


def test_claims_on_elites():
    arms = list(d2.ARMS)
    good, bad = [[5.0] * 10], [[1.0] * 10]
    found = comparison([bad, bad, good, bad, bad, bad], arms)
    assert [claim.verdict for claim in d2.claims(found)] == ["reproduced", "reproduced"]
    found = comparison([bad, bad, bad, bad, bad, good], arms)
    assert [claim.verdict for claim in d2.claims(found)] == ["not reproduced", "not reproduced"]


def test_shifts_are_related_to_slopes():
    found = d4.walks(lambda x: np.clip([*[4.0 * x[7]] * 4, *[-4.0 * x[6]] * 4, *[0.0] * 7], -1, 1), 3)
    rows = [{"arm": "hand", "seed": 0} | row for row in found]
    assert len(rows) == 14
    for axis in ("pitch", "roll"):
        (correlation,), (gain,) = d4.relation(rows, "hand", axis)
        assert correlation > 0.99 and gain == pytest.approx(1e3 * 0.1 * 4.0 * np.pi / 180.0, rel=0.02)
        assert all(abs(row["speed"]) < 0.1 for row in rows)


def test_an_episode_is_that_of_its_seed():
    environment = GymnasiumEnvironment("Reacher")
    policy = lambda x: np.tanh(x[:2])  # noqa: E731
    one, two, other = (episode(environment, policy, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rewards, two.rewards)
    assert len(one.rewards) == 50 and not one.terminal and np.any(one.rewards != other.rewards)
    np.testing.assert_allclose(one.controls[0], np.tanh(one.observations[0, :2]))
    assert len(episode(environment, policy, 1, steps=7).rewards) == 7


def test_train_evaluate_render_resume(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(CPU_BUDGETS, "Reacher", CPU_BUDGETS["Reacher"]._replace(epoch=50, first=256))
    words = [
        "train",
        "dmd_mpc",
        "--task",
        "Reacher",
        "--method",
        "sac",
        "--steps",
        "100",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 0
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert main(words) == 2 and "--resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--starts", "2"]) == 0
    assert "return" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), "--plan", "3"]) == 2
    assert "trained without a model" in capsys.readouterr().err
    video = tmp_path / "reach.gif"
    assert main(["render", "--run-folder", str(tmp_path / "run"), "--steps", "20", "--out", str(video)]) == 0
    assert video.stat().st_size > 1000
    jax.clear_caches()
    assert summary(DMDConfig(task="Reacher"), lambda x: np.zeros(2), 2)[1]["mean"] == 50


def test_a_task_that_an_experiment_does_not_take(tmp_path, capsys):
    assert main(["reproduce", "dmd_mpc/d4", "--task", "Hopper", "--out", str(tmp_path)]) == 2
    assert "task is 'Hopper', but dmd_mpc/d4 has tasks of its own" in capsys.readouterr().err
    assert not (tmp_path / "dmd_mpc").exists()
