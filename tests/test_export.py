"""Exported policies: the same numbers as in JAX, in files that stand alone, and no file where that fails."""

import ctypes
import dataclasses
import subprocess
import sys
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo import CostogoError
from costogo.core.errors import MissingExtraError
from costogo.io import ExportReport, export, load_numpy
from costogo.io.exporters import FORMATS, c_format, c_trial, describe, numpy_runner, onnx_format
from costogo.io.exporters.api import _identifier
from costogo.io.exporters.description import KINDS
from costogo.io.exporters.parity import compare, draw_observations
from costogo.nn import MLP, MixtureOfExperts, RecurrentPolicy

onnxruntime = pytest.importorskip("onnxruntime")
KEY = jax.random.PRNGKey(0)
COMPILER = pytest.mark.skipif(c_trial.find_compiler() is None, reason="no C compiler")
STRICT = ("-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wdouble-promotion", "-Wshadow")


def cast(policy, dtype):
    return jax.tree.map(lambda a: a.astype(dtype), policy)


def mlp(sizes, activation, dtype):
    return cast(MLP(sizes, key=KEY, activation=activation), dtype)


def closed(gating, level, dtype=jnp.float32):
    """All gates, or all but one, are far out."""
    policy = MixtureOfExperts(5, 3, key=KEY, experts=4, latent=(6,), gating=gating, dtype=dtype)
    level = jnp.broadcast_to(jnp.asarray(level, dtype), (4,))
    return eqx.tree_at(lambda p: p.gate.bias, policy, level)


SCALED = {"input_mean": 0.3, "input_std": 2.0, "output_offset": 5.0, "output_scale": 40.0}
POLICIES = {
    "legged": lambda: MixtureOfExperts(36, 24, key=KEY, **SCALED),
    "deep_softmax": lambda: MixtureOfExperts(6, 2, key=KEY, experts=3, latent=(16, 5, 9), gating="softmax"),
    "double_sigmoid": lambda: MixtureOfExperts(7, 3, key=KEY, experts=2, latent=(9,), dtype=jnp.float64, **SCALED),
    "double_softmax": lambda: MixtureOfExperts(7, 3, key=KEY, gating="softmax", dtype=jnp.float64),
    "one_expert": lambda: MixtureOfExperts(4, 2, key=KEY, experts=1, output_scale=[2.0, -3.0]),
    "smallest": lambda: MixtureOfExperts(1, 1, key=KEY, experts=2, latent=(1,), input_mean=1e3),
    "closed_sigmoid": lambda: closed("sigmoid", -200.0),
    "closed_double": lambda: closed("sigmoid", -2000.0, jnp.float64),
    "open_softmax": lambda: closed("softmax", 200.0),
    "far_apart": lambda: closed("sigmoid", [-200.0, -90.0, 300.0, 0.0]),
    "relu_mlp": lambda: mlp((7, 16, 12, 3), jax.nn.relu, jnp.float32),
    "tanh_mlp": lambda: mlp((3, 8, 1), jnp.tanh, jnp.float64),
    "linear": lambda: mlp((4, 2), jax.nn.relu, jnp.float32),
}


def reference(policy, observations):
    return np.asarray(jax.vmap(policy)(observations))


def observations(policy, samples=50):
    """Other ones than the export itself looks at."""
    return draw_observations(describe(policy, "policy"), samples, seed=99)


@pytest.mark.parametrize("suffix", [".onnx", ".npz", ".py", pytest.param(".h", marks=COMPILER)])
@pytest.mark.parametrize("name", POLICIES)
def test_every_format_agrees_with_jax(tmp_path, name, suffix):
    policy, path = POLICIES[name](), tmp_path / f"{name}{suffix}"
    report = export(policy, path, samples=60)
    assert isinstance(report, ExportReport) and report.checked and report.samples == 60 and report.path == path
    assert report.relative <= (1e-12 if describe(policy, name).dtype == np.float64 else 1e-5)
    assert report.difference >= 0 and report.latency > 0
    assert str(path) in str(report) and "60 samples" in str(report)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["legged", "deep_softmax", "double_sigmoid", "closed_sigmoid", "relu_mlp", "tanh_mlp"])
def test_loaded_files_agree_with_jax(tmp_path, name):
    """The comparison again, by other means than those of the export."""
    policy = POLICIES[name]()
    o = observations(policy)
    expected = reference(policy, o)
    tolerance = (1e-12 if o.dtype == np.float64 else 1e-5) * max(1.0, np.abs(expected).max())
    for suffix in (".npz", ".onnx", ".py"):
        export(policy, tmp_path / f"p{suffix}", samples=4)
    runner = load_numpy(tmp_path / "p.npz")
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    scope = {}
    exec((tmp_path / "p.py").read_text(), scope)
    for run in (runner, scope["policy"], lambda v: session.run(["control"], {"observation": v})[0]):
        assert run(o).dtype == o.dtype
        np.testing.assert_allclose(run(o), expected, atol=tolerance)
        np.testing.assert_allclose(run(o[:1]), expected[:1], atol=tolerance)
        assert run(o[:0]).shape == (0, expected.shape[1])
    np.testing.assert_allclose(runner(o[3]), expected[3], atol=tolerance)
    np.testing.assert_allclose(runner(o.reshape(5, 10, -1)), expected.reshape(5, 10, -1), atol=tolerance)


def test_closed_gates_against_the_formula():
    """All gates at -200 in float32, where sigmoid is zero: the weights are ratios of exponentials."""
    policy = closed("sigmoid", -200.0)
    description = describe(policy, "policy")
    operations = [(operation.kind, operation.arrays) for operation in description.operations]
    o = observations(policy)
    z = np.tanh(o @ np.asarray(policy.layers[0].weight).T + np.asarray(policy.layers[0].bias)).astype(float)
    logits = z @ np.asarray(policy.gate.weight, float).T
    controls = (z @ np.asarray(policy.experts.weight, float).T + np.asarray(policy.experts.bias)).reshape(-1, 4, 3)
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    blend = np.einsum("si,sij->sj", weights, controls)
    # Logits near -200 are rounded to 1e-5 in float32.
    np.testing.assert_allclose(numpy_runner.NumpyPolicy(operations, 5, "float32")(o), blend, atol=1e-4)


def compiled(folder, header, name, type_, language):
    """The header's function as compiled by a pedantic compiler, through ctypes."""
    (folder / "wrap.c").write_text(
        f'#include "{header}"\n#ifdef __cplusplus\nextern "C"\n#endif\n'
        f"void call(const {type_} *o, {type_} *u);\nvoid call(const {type_} *o, {type_} *u) {{ {name}(o, u); }}\n"
        f'#ifdef __cplusplus\nextern "C"\n#endif\nint sizes(void);\n'
        f"int sizes(void) {{ return 1000 * {name.upper()}_OBSERVATION_SIZE + {name.upper()}_CONTROL_SIZE; }}\n"
    )
    library = folder / f"{name}.so"
    command = [*c_trial.find_compiler(), *language, *STRICT, "-shared", "-fPIC", "wrap.c", "-o", str(library), "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


@COMPILER
@pytest.mark.parametrize("language", [("-std=c99",), ("-std=c11",), ("-x", "c++", "-std=c++98"), ("-x", "c++")])
@pytest.mark.parametrize("name", ["legged", "deep_softmax", "double_sigmoid", "relu_mlp"])
def test_header_compiles_without_a_warning_as_c_and_cpp(tmp_path, name, language):
    policy = POLICIES[name]()
    export(policy, tmp_path / "my-policy.h", samples=2)
    o = observations(policy, 20)
    expected, controls = reference(policy, o), np.zeros((20, 64), o.dtype)
    library = compiled(tmp_path, "my-policy.h", "my_policy", c_format.C_TYPES[str(o.dtype)], language)
    assert library.sizes() == 1000 * o.shape[1] + expected.shape[1]
    for row, control in zip(o, controls, strict=True):
        library.call(row.ctypes.data_as(ctypes.c_void_p), control.ctypes.data_as(ctypes.c_void_p))
    scale = np.maximum(1.0, np.abs(expected).max())
    np.testing.assert_allclose(controls[:, : expected.shape[1]], expected, atol=1e-5 * scale)
    assert not controls[:, expected.shape[1] :].any()


@COMPILER
def test_two_headers_fit_in_one_program(tmp_path):
    for name in ("walk", "stand"):
        export(POLICIES["one_expert"](), tmp_path / f"{name}.h", samples=2)
    (tmp_path / "both.c").write_text('#include "walk.h"\n#include "stand.h"\n#include "walk.h"\nint both = 1;\n')
    command = [*c_trial.find_compiler(), "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "both.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_header_allocates_nothing_and_keeps_no_state(tmp_path):
    text = c_format.write_header(describe(POLICIES["legged"](), "walk")).decode()
    assert "malloc" not in text
    assert all("const" in line or "inline" in line for line in text.splitlines() if line.startswith("static"))
    assert max(map(len, text.splitlines())) <= 160


@COMPILER
@pytest.mark.parametrize("name", ["controls", "observation", "sweeps", "i", "v0"])
def test_names_do_not_collide_with_those_in_the_header(tmp_path, name):
    assert export(POLICIES["closed_sigmoid"](), tmp_path / "p.h", samples=2, name=name).checked


@COMPILER
def test_a_name_that_math_h_has_taken_is_an_error(tmp_path):
    with pytest.raises(CostogoError, match=r"(?s)pass another name.*tanh"):
        export(POLICIES["linear"](), tmp_path / "tanh.h", samples=2)


def test_header_is_not_checked_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    report = export(POLICIES["linear"](), tmp_path / "p.h")
    assert not report.checked and report.latency is None and report.samples == 0 and "no C compiler" in str(report)
    assert (tmp_path / "p.h").exists()


def test_a_compiler_that_fails_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f'"{sys.executable}" -c "import sys; sys.exit(\'broken\')"')
    with pytest.raises(CostogoError, match=r"does not compile.*broken"):
        export(POLICIES["linear"](), tmp_path / "p.h")
    assert not list(tmp_path.iterdir())


def test_onnx_graph_states_its_opset_and_a_dynamic_batch(tmp_path):
    import onnx

    export(POLICIES["legged"](), tmp_path / "walk.onnx", samples=2)
    model = onnx.load(tmp_path / "walk.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", onnx_format.OPSET)]
    for end, name, size in ((model.graph.input[0], "observation", 36), (model.graph.output[0], "control", 24)):
        batch, width = end.type.tensor_type.shape.dim
        assert (end.name, batch.dim_param, width.dim_value) == (name, "batch", size)
    assert "36 -> 32 -> 24, 8 experts" in model.doc_string


def test_python_file_needs_numpy_alone(tmp_path):
    export(POLICIES["legged"](), tmp_path / "walk.py", samples=2)
    probe = (
        "import sys; from walk import policy; u = policy([0.1] * 36); print(u.shape, u.dtype, "
        "[m for m in ('jax', 'equinox', 'costogo', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(24,) float32 []"


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_policies_give_equal_files(suffix):
    first, second = (FORMATS[suffix].write(describe(POLICIES["legged"](), "walk")) for _ in range(2))
    assert first == second


def test_archive_carries_no_date(tmp_path):
    export(POLICIES["linear"](), tmp_path / "p.npz", samples=1)
    assert {entry.date_time[0] for entry in zipfile.ZipFile(tmp_path / "p.npz").infolist()} == {1980}


def test_runner_says_what_is_wrong(tmp_path):
    export(POLICIES["legged"](), tmp_path / "p.npz", samples=1)
    runner = load_numpy(tmp_path / "p.npz")
    for shape in ((35,), (1,), (), (36, 1)):
        with pytest.raises(ValueError, match="last axis must have length 36"):
            runner(np.zeros(shape))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:500])
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("cut", "other"):
        with pytest.raises(ValueError, match="damaged or not an exported policy"):
            load_numpy(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        load_numpy(tmp_path / "none.npz")


def test_runner_refuses_another_version(tmp_path, monkeypatch):
    export(POLICIES["linear"](), tmp_path / "p.npz", samples=1)
    monkeypatch.setattr(numpy_runner, "VERSION", 2)
    with pytest.raises(ValueError, match="version 1"):
        load_numpy(tmp_path / "p.npz")


def test_every_format_knows_every_operation():
    assert set(numpy_runner.RULES) == set(c_format.RULES) == set(onnx_format.RULES) == set(KINDS)


class Policy(eqx.Module):
    def __call__(self, o):
        return o


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (lambda: Policy(), "cannot export a Policy; supported: MixtureOfExperts.*MLP"),
        (lambda: RecurrentPolicy(2, 1, 3, key=KEY, width=4), "cannot export a RecurrentPolicy"),
        (lambda: np.tanh, "cannot export a ufunc"),
        (lambda: MLP((2, 3, 1), key=KEY, activation=jax.nn.gelu), "activation gelu; supported"),
        (lambda: mlp((2, 3, 1), jnp.tanh, jnp.bfloat16), "are bfloat16; cast"),
        (lambda: eqx.tree_at(lambda p: p.gate.bias, closed("softmax", 0.0), jnp.zeros(4)), "float32, float64; cast"),
        (lambda: closed("softmax", jnp.nan), r"policy.gate.bias has entries that are not finite"),
        (lambda: eqx.filter_vmap(lambda k: MLP((2, 3), key=k))(jax.random.split(KEY, 5)), "choose one"),
    ],
)
def test_unsupported_policies(tmp_path, policy, message):
    with pytest.raises(CostogoError, match=message):
        export(policy(), tmp_path / "p.npz")
    assert not list(tmp_path.iterdir())


def test_arguments_are_checked(tmp_path):
    policy = POLICIES["linear"]()
    with pytest.raises(CostogoError, match=r"unknown export format '.onx'; did you mean '.onnx'"):
        export(policy, tmp_path / "p.onx")
    with pytest.raises(CostogoError, match="samples is 0"):
        export(policy, tmp_path / "p.npz", samples=0)
    for name in ("2walk", "a b", "double", "class", "", "gang_ä", "_walk"):
        with pytest.raises(CostogoError, match="name is"):
            export(policy, tmp_path / "p.npz", name=name)
    assert [_identifier(stem) for stem in ("walk", "2-trot", "my policy.v2", "Ä", "_x_")] == [
        "walk", "policy_2_trot", "my_policy_v2", "policy", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "suffix"), [("onnx", ".onnx"), ("onnxruntime", ".onnx")])
def test_missing_extra(tmp_path, monkeypatch, module, suffix):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"needs {module}: pip install 'costogo\[export\]'"):
        export(POLICIES["linear"](), tmp_path / f"p{suffix}")
    assert not list(tmp_path.iterdir())


def test_importing_io_does_not_import_onnx():
    probe = "import sys, costogo.io; print([m for m in ('onnx', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", [".onnx", ".npz", ".py", pytest.param(".h", marks=COMPILER)])
def test_a_corrupted_weight_leaves_no_file(tmp_path, monkeypatch, suffix):
    """One weight of 6,144 off by a thousandth."""
    form = FORMATS[suffix]

    def corrupted(description):
        operations = list(description.operations)
        mixture = next(i for i, operation in enumerate(operations) if operation.kind == "sigmoid_mixture")
        weight = operations[mixture].arrays["weight"].copy()
        weight[77, 3] += 1e-3
        operations[mixture] = dataclasses.replace(
            operations[mixture], arrays=operations[mixture].arrays | {"weight": weight}
        )
        return form.write(dataclasses.replace(description, operations=tuple(operations)))

    policy = POLICIES["legged"]()
    monkeypatch.setitem(FORMATS, suffix, dataclasses.replace(form, write=corrupted))
    with pytest.raises(CostogoError, match=r"differs from JAX by .* in control 5 .*nothing was written"):
        export(policy, tmp_path / "new" / f"p{suffix}", samples=50)
    assert not list(tmp_path.iterdir())
    (tmp_path / f"p{suffix}").write_text("an earlier export")
    with pytest.raises(CostogoError, match="differs from JAX"):
        export(policy, tmp_path / f"p{suffix}", samples=50)
    assert (tmp_path / f"p{suffix}").read_text() == "an earlier export"


def test_a_nan_is_a_difference():
    expected = np.ones((3, 2), np.float32)
    with pytest.raises(CostogoError, match="nan in control 1"):
        compare(expected * [1.0, np.nan], expected, "it")
    assert compare(expected, expected, "it") == (0.0, 0.0)


def test_unwritable_path(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    for path in (tmp_path / "file" / "p.npz", tmp_path / "folder.npz"):
        with pytest.raises(CostogoError, match=r"could not write .*choose another path"):
            export(POLICIES["linear"](), path, samples=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_observations_are_in_the_units_of_the_policy():
    policy = MixtureOfExperts(3, 1, key=KEY, input_mean=[0.0, 10.0, -5.0], input_std=[1.0, 0.1, 7.0])
    o = observations(policy, 4000)
    near = np.arange(4000) % 4 != 3
    np.testing.assert_allclose(o[near].mean(0), [0.0, 10.0, -5.0], atol=0.3)
    np.testing.assert_allclose(o[near].std(0), [1.0, 0.1, 7.0], rtol=0.05)
    np.testing.assert_allclose(o[~near].std(0), [10.0, 1.0, 70.0], rtol=0.1)
    assert (observations(policy) == observations(policy)).all()
