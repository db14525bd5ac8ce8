"""Presets, comparisons, and the commands of dmd_mpc runs."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from costogo.cli import main
from costogo.core.errors import CostogoError
from costogo.experiments.dmd_mpc import d1, d2, d4
from costogo.experiments.dmd_mpc.arms import Comparison
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


def comparison(curves, arms=("M-DeMoRL", "MoPAC", "MBPO", "SAC")):
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
    found = comparison([[rise, late], [late, late], [never, late], [never, never]])
    assert found.level == 8.0
    np.testing.assert_array_equal(found.steps_to("M-DeMoRL"), [600, 900])
    np.testing.assert_array_equal(found.steps_to("MBPO"), [np.inf, 900])
    np.testing.assert_array_equal(found.final("MBPO"), [0, 10])
    verdicts = {c.claim: c.verdict for c in d1.claims([found])}
    assert verdicts["InvertedPendulum: fewer real steps to 80 % of the common final level"] == "reproduced"
    slow = comparison([[late, late], [rise, rise], [never, late], [never, never]])
    verdicts = {c.claim: c.verdict for c in d1.claims([slow])}
    assert verdicts["InvertedPendulum: fewer real steps to 80 % of the common final level"] == "not reproduced"


def test_nobody_learns():
    flat = [[1.0] * 10]
    *claims, median = d1.claims([comparison([flat] * 4)])
    assert all(claim.verdict in ("reproduced", "partly", "not reproduced") for claim in claims)
    assert median.verdict == "not run"  # one task of four
    assert d1.claims([comparison([flat] * 4)] * 4)[-1].verdict != "not run"


def test_one_task_more_leaves_the_others_in_the_report(tmp_path, monkeypatch):
    """Runs are there for Reacher and not for the rest: asked for one task, D1 trains that one and reads Reacher."""
    trained = []

    def train(self, config, folder, seeds):
        trained.append(self.base.task)
        self.runs = comparison([[[0.0, 1.0]]] * 4).runs
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
    assert len(rows) == 14 and d4.correlation(rows, "hand", "pitch")[0] > 0.99
    assert d4.correlation(rows, "hand", "roll")[0] < -0.99


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
