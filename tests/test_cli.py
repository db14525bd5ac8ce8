"""The command line: help, mistakes in one line, and each command end to end on something small."""

import csv
import json
import subprocess
import sys
import types

import numpy as np
import pytest

from costogo.cli import main
from costogo.cli.main import COMMANDS, find
from costogo.experiments.claims import Claim, write_claims
from costogo.io import CheckpointFolder
from toy import regression


def run(capsys, line):
    code = main(line.split())
    out, err = capsys.readouterr()
    return code, out, err


def mistake(capsys, line):
    """What answers a mistake, in one line."""
    code, _, err = run(capsys, line)
    assert code == 2
    assert err.startswith("costogo: ") and err.count("\n") == 1
    return err


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# Help and mistakes


@pytest.mark.parametrize("words", ["", "--help", "-h"])
def test_the_overview_lists_every_command_with_examples(capsys, words):
    code, out, _ = run(capsys, words)
    assert code == 0
    assert all(name in out for name in COMMANDS)
    assert "costogo reproduce diff_mpc/x2 --quick" in out


def test_help_stays_light():
    check = "import sys, costogo.cli as c; c.main(['--help']); print({'matplotlib', 'tyro', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_python_runs_it_as_a_module():
    done = subprocess.run([sys.executable, "-m", "costogo", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("costogo ")
    done = subprocess.run([sys.executable, "-m", "costogo", "slove"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "did you mean 'solve'?" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(capsys, name):
    with pytest.raises(SystemExit) as exit:
        main([*name.split(), "--help"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert f"costogo {name}" in out and "--help" in out


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("slove", "unknown command 'slove'; did you mean 'solve'? Known: solve, train, evaluate"),
        ("train", "needs a learner first"),
        ("train diff_mcp", "unknown learner 'diff_mcp'; did you mean 'diff_mpc'?"),
        ("train diff_mpc --system pendlum", "unknown system 'pendlum'; did you mean 'pendulum'?"),
        ("train diff_mpc --mode mpc", "unknown mode 'mpc'"),
        ("train diff_mpc --train-size 0", "train_size is 0"),
        ("solve --system pendlum", "unknown system 'pendlum'; did you mean 'pendulum'?"),
        ("solve --subproblem clamp", "unknown subproblem 'clamp'; did you mean 'clamped'?"),
        ("solve --horizon 0", "horizon is 0"),
        ("solve --x0 1 2", "x0 has 2 numbers; pendulum has 3 states"),
        ("reproduce diff_mpc/x9", "unknown experiment 'diff_mpc/x9'"),
        ("reproduce diff_mpc/x1 --seeds 0", "seeds is 0"),
        ("reproduce mpc_net/e1 --task trot", "leave it out, or take one of constrained_gps/tuning"),
        ("reproduce dmd_mpc/d3 --task Swimmer", "unknown task 'Swimmer'. Known: Leg, LegLiteral."),
        ("evaluate nowhere", "nowhere is not a run folder"),
        ("export nowhere", "nowhere is not a run folder"),
        ("render --physics", "physics needs an anymal run"),
        ("train mpc_net --system balbot", "unknown system 'balbot'; did you mean 'ballbot'?"),
        ("train mpc_net --gait trot", "gait is 'trot', but ballbot has none"),
        ("train mpc_net --system anymal --gait gallop", "unknown gait 'gallop'"),
        ("train mpc_net --starts 0", "starts is 0"),
        ("demo --rounds 0", "rounds is 0"),
        ("render --system linear --steps 0", "steps is 0"),
        ("bench", "the benchmarks live in the repository"),
    ],
)
def test_mistakes_are_answered_in_one_line(capsys, words, answer):
    assert answer in mistake(capsys, words)


def test_an_unknown_option_ends_with_the_usage(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["solve", "--sistem", "pendulum"])
    assert exit.value.code == 2
    assert "--sistem" in capsys.readouterr().err


def test_an_output_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is not writable" in mistake(capsys, "solve --out file/x")
    assert "is not writable" in mistake(capsys, "train diff_mpc --out file/x")


def test_words_find_their_command():
    assert find(["solve", "--seed", "1"]) == ("solve", ["--seed", "1"])
    assert find(["train", "diff_mpc", "--resume"]) == ("train diff_mpc", ["--resume"])


# Commands


def test_bench_info(capsys):
    code, out, _ = run(capsys, "bench --info")
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(("  Riccati", "  can")))
    assert rows["precision"] == "float64" and rows["device"].startswith("cpu")
    assert "pure JAX" in out


def test_solve_writes_what_it_says(capsys, tmp_path):
    words = "solve --system double_integrator --x0 -1.5 0 --horizon 12 --subproblem clamped --video --out there"
    code, out, _ = run(capsys, words)
    assert code == 0
    assert "CONVERGED" in out and "-1.5 0" in out
    rows = list(csv.DictReader((tmp_path / "there" / "trajectory.csv").open()))
    assert len(rows) == 13
    assert rows[0]["position [m]"] == "-1.5" and rows[-1]["force [N]"] == ""
    assert float(rows[0]["force [N]"]) == pytest.approx(1.0)  # at its bound
    for name in ("trajectory.png", "trajectory.gif"):
        assert (tmp_path / "there" / name).stat().st_size > 1000
        assert name in out


def test_render_writes_a_video(capsys, tmp_path):
    code, out, _ = run(capsys, "render --system double_integrator --horizon 8 --steps 3 --out v/a.gif")
    assert code == 0 and "wrote v/a.gif" in out
    assert (tmp_path / "v" / "a.gif").read_bytes().startswith(b"GIF89a")


def test_a_network_controls_by_its_first_control():
    import jax.numpy as jnp

    from costogo.cli.render import NetworkController
    from costogo.mpc import simulate

    controller = NetworkController(lambda x: jnp.stack([x[:1], 2 * x[:1]]))
    u, state, _ = controller.step(controller.init(jnp.ones(2)), jnp.array([3.0, 4.0]), 0.0)
    assert u.dtype == jnp.float64 and state == ()
    np.testing.assert_array_equal(u, [3.0])
    run = simulate(controller, jnp.array([3.0, 4.0]), 2, dynamics=lambda x, u, t: x, dt=0.1, t0=1.0)
    np.testing.assert_array_equal(run.controls, [[3.0], [3.0]])


def test_train_resume_evaluate(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("costogo.experiments.diff_mpc.imitation.build", lambda config: regression())
    train = "train diff_mpc --seeds 2 --out r"
    code, out, _ = run(capsys, f"{train} --epochs 7")
    assert code == 0 and "costogo evaluate r" in out
    folder = tmp_path / "r"
    assert (folder / "report.html").read_text().count("data:image/png") == 1
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 0
    assert "learner: diff_mpc" in (folder / "config.yaml").read_text()

    assert "already holds a run; resume it with --resume" in mistake(capsys, f"{train} --epochs 7")
    error = mistake(capsys, f"{train} --epochs 9 --mode nn --resume")
    assert "mode: 'mpc.dx' there, 'nn' here" in error
    assert run(capsys, f"{train} --epochs 9 --resume")[0] == 0
    assert CheckpointFolder(folder / "checkpoints").paths()[-1].name == "epoch_00000009.npz"

    code, out, _ = run(capsys, "evaluate r")
    assert code == 0
    header, row = (line.split() for line in out.splitlines())
    assert header == ["metric", "seed", "0", "seed", "1"]
    last = list(csv.DictReader((folder / "metrics.csv").open()))[-1]
    np.testing.assert_allclose([float(v) for v in row[1:]], [float(last[f"test_loss[{i}]"]) for i in (0, 1)], rtol=1e-5)

    (folder / "config.yaml").write_text("learner: diff_mpc\nspeed: 3\n")
    assert "does not fit this version of costogo" in mistake(capsys, "evaluate r")


def test_a_distilled_run_end_to_end(capsys, tmp_path):
    """Train for one round, then evaluate, export and render what is there."""
    code, out, _ = run(capsys, "train mpc_net --system point_mass --rounds 1 --starts 5 --out r")
    assert code == 0 and "costogo export r" in out
    assert (tmp_path / "r" / "report.html").read_text().count("data:image/png") == 1
    rows = list(csv.DictReader((tmp_path / "r" / "comparison.csv").open()))
    assert [row["controller"] for row in rows] == ["teacher", "student", "student, noise"]
    assert float(rows[0]["survived"]) == 1.0

    code, out, _ = run(capsys, "evaluate r --starts 3")
    assert code == 0 and "teacher" in out and "above the teacher's" in out
    code, out, _ = run(capsys, "export r --out a/policy.npz a/policy.py --samples 10")
    assert code == 0 and out.count("of JAX over 10 samples") == 2
    assert (tmp_path / "a" / "policy.py").is_file()
    assert "unknown export format '.txt'" in mistake(capsys, "export r --out policy.txt")
    assert "physics needs an anymal run" in mistake(capsys, "render --run-folder r --physics")
    assert "physics needs an anymal run, this one is of point_mass" in mistake(capsys, "evaluate r --physics 2")
    for words in ("evaluate r --push 20 --mass-scale 1.2", "render --run-folder r --push 20 --mass-scale 1.2"):
        assert "--push, --mass-scale means something in MuJoCo only" in mistake(capsys, words)
    code, out, _ = run(capsys, "render --run-folder r --steps 3 --out v.gif")
    assert code == 0 and (tmp_path / "v.gif").read_bytes().startswith(b"GIF89a")


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("costogo.experiments.diff_mpc.imitation.build", interrupted)
    code, _, err = run(capsys, "train diff_mpc --mode nn")
    assert code == 130
    assert "saved in runs/diff_mpc-pendulum-nn; the same command with --resume goes on" in err


def test_a_task_that_is_not_there_leaves_no_folder(capsys, tmp_path):
    for name in ("constrained_gps/tuning", "dmd_mpc/d1"):
        assert "unknown task 'swimer'" in mistake(capsys, f"reproduce {name} --task swimer --out {tmp_path}")
    assert not list(tmp_path.iterdir())


def test_reproduce_runs_an_experiment_and_shows_its_verdicts(capsys, tmp_path, monkeypatch):
    def experiment(config, folder):
        assert config.quick and config.seeds == 3
        write_claims(folder, [Claim("water is wet", "wet", "wet", "reproduced", 3)])
        (folder / "task").mkdir()
        write_claims(folder / "task", [Claim("ice is cold", "cold", "cold", "reproduced", 3)])

    monkeypatch.setitem(sys.modules, "costogo.experiments.fake", types.ModuleType("fake"))
    module = types.ModuleType("x1")
    module.run = experiment
    monkeypatch.setitem(sys.modules, "costogo.experiments.fake.x1", module)
    monkeypatch.setattr("costogo.experiments.registry.EXPERIMENTS", {"fake/x1": "a fake"})
    monkeypatch.setattr("costogo.cli.experiments.EXPERIMENTS", {"fake/x1": "a fake"})

    assert "fake/x1" in run(capsys, "reproduce")[1]
    code, out, _ = run(capsys, "reproduce fake/x1 --quick --seeds 3")
    assert code == 0 and "| water is wet | wet | wet | reproduced | 3 |" in out and "| ice is cold | cold |" in out
    (row,) = csv.DictReader((tmp_path / "results" / "quick" / "fake" / "x1" / "claims.csv").open())
    assert row["verdict"] == "reproduced" and row["machine"] and row["date"]
