"""Training runs that the experiments share."""

from costogo.experiments.dmd_mpc.presets import build
from costogo.experiments.training_runs import Recipe

RUNS = Recipe(
    "dmd_mpc",
    build,
    told=lambda setting: {"task": setting.task, "method": setting.method},
    options=lambda setting, learner: {"epochs": setting.epochs, "checkpoint_every": 1, "metric": "return"},
)
