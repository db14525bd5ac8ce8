"""Runs that experiments share: trained once, by whichever process is free, and read without a checkpoint."""

import shutil
import threading
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from filelock import FileLock

from costogo.core.errors import CostogoError
from costogo.experiments.training_runs import Recipe
from costogo.io.runs import RunFolder
from toy import regression


@dataclass(frozen=True)
class Setting:
    seed: int = 0


def recipe(trained=None):
    """Trains the toy for three epochs; `trained` collects the seeds whose state was asked for, in order."""
    told = [] if trained is None else trained
    plain = Recipe(
        "toy", lambda setting: regression(), told=lambda setting: {"what": "toy"},
        options=lambda setting, learner: {"epochs": 3, "evaluate_every": 1, "checkpoint_every": 1},
    )  # fmt: skip

    class Watched(Recipe):
        def run(self, setting, learner, place, **how):
            run = super().run(setting, learner, place, **how)
            return replace(run, train=lambda: (told.append(setting.seed), run.train())[1])

    return Watched(**vars(plain))


def test_a_finished_run_is_read_without_its_checkpoint_and_trained_again_only_for_its_state(tmp_path):
    seeds = []
    first = recipe(seeds).trained(Setting(), tmp_path)
    state, curves = first.state, first.curves
    assert [path.name for path in first.folder.checkpoints.iterdir()] == ["epoch_00000003.npz"]
    shutil.rmtree(first.folder.checkpoints)
    seeds.clear()
    again = recipe(seeds).trained(Setting(), tmp_path)
    assert again.finished and again.curves == curves and len(curves) == 3 and not seeds
    assert "resumed" not in again.folder.read_manifest()
    for a, b in zip(*map(jax.tree.leaves, (state, again.state)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert seeds == [0]


def test_what_another_process_trains_is_left_to_it(tmp_path):
    """Seed 0 is taken: the others come first, and then it is waited for."""
    seeds, finished = [], []
    settings = [Setting(seed) for seed in range(3)]
    other = FileLock(tmp_path / f".{recipe().name_of(settings[0])}.lock")
    other.acquire()
    worker = threading.Thread(
        target=lambda: recipe(seeds).all(settings, tmp_path, lambda run: finished.append(run.setting.seed))
    )
    worker.start()
    for _ in range(6000):
        if len(finished) == 2 or not worker.is_alive():
            break
        worker.join(0.01)
    assert worker.is_alive() and seeds == [1, 2] and finished == [1, 2]
    other.release()
    worker.join(60)
    assert not worker.is_alive() and seeds == [1, 2, 0] and sorted(set(finished)) == [0, 1, 2]


def test_what_was_found_out_is_kept_under_the_same_conditions(tmp_path):
    run, calls = recipe().trained(Setting(), tmp_path), []

    def work():
        calls.append(1)
        return {"mean": 0.1 + 0.2, "rows": [1, 2]}

    found = [run.kept("tested", work, starts=4) for _ in range(2)]
    assert found[0] == found[1] == {"mean": 0.1 + 0.2, "rows": [1, 2]} and len(calls) == 1
    run.kept("tested", work, starts=5)
    assert len(calls) == 2


def test_what_is_finished_is_told_without_training(tmp_path):
    seeds, settings = [], [Setting(seed) for seed in range(3)]
    recipe().trained(settings[1], tmp_path)
    killed = recipe().trained(settings[2], tmp_path).folder.metrics
    killed.write_text("".join(killed.read_text().splitlines(keepends=True)[:-1]))
    assert [run.setting.seed for run in recipe(seeds).finished(settings, tmp_path)] == [1] and not seeds
    assert not (tmp_path / recipe().name_of(settings[0])).exists()


def test_a_folder_of_another_setting_is_not_read(tmp_path):
    run = recipe().trained(Setting(), tmp_path)
    RunFolder.create(tmp_path / "other", {"learner": "toy", "seed": 7})
    shutil.copy(tmp_path / "other" / "config.yaml", run.folder.config)
    with pytest.raises(CostogoError, match="seed: 7 there, 0 here"):
        recipe().trained(Setting(), tmp_path)
