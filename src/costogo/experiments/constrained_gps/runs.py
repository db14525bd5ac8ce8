"""Training runs that the experiments of guided policy search share."""

from costogo.experiments.constrained_gps.presets import build
from costogo.experiments.training_runs import Recipe

RUNS = Recipe(
    "constrained_gps",
    build,
    told=lambda setting: {
        "system": setting.system, "method": setting.method, "hidden": f"{setting.hidden}units",
    },
    options=lambda setting, learner: {
        "epochs": setting.iterations, "evaluate_every": setting.iterations, "checkpoint_every": 5, "metric": "cost",
    },
    shown=("method", "hidden", "conditions", "seed"),
)  # fmt: skip
