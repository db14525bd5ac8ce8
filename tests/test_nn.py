"""Networks against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo import CostogoError
from costogo.nn import MLP, RecurrentPolicy

KEY = jax.random.PRNGKey(0)


def numpy_mlp(mlp, x):
    for layer in mlp.layers[:-1]:
        x = np.maximum(np.asarray(layer.weight) @ x + np.asarray(layer.bias), 0)
    return np.asarray(mlp.layers[-1].weight) @ x + np.asarray(mlp.layers[-1].bias)


def numpy_recurrent(policy, x0):
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    cell = policy.cell
    given = numpy_mlp(policy.embed_state, x0)
    hidden = memory = np.zeros_like(given)
    controls = []
    for _ in range(policy.horizon):
        gates = np.asarray(cell.weight_ih) @ given + np.asarray(cell.weight_hh) @ hidden + np.asarray(cell.bias)
        i, f, g, o = np.split(gates, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        controls.append(numpy_mlp(policy.decode, memory))
        given = numpy_mlp(policy.embed_control, controls[-1])
    return np.array(controls)


def test_mlp_against_numpy():
    mlp = MLP((3, 8, 7, 2), key=KEY)
    x = np.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(mlp(jnp.array(x)), numpy_mlp(mlp, x), atol=1e-13)
    assert [layer.weight.shape for layer in mlp.layers] == [(8, 3), (7, 8), (2, 7)]


def test_mlp_needs_two_sizes():
    with pytest.raises(CostogoError, match="at least two"):
        MLP((3,), key=KEY)


def test_recurrent_policy_against_numpy():
    policy = RecurrentPolicy(nx=3, nu=2, horizon=5, key=KEY, width=16)
    x0s = np.random.default_rng(0).standard_normal((4, 3))
    controls = jax.jit(jax.vmap(policy))(jnp.array(x0s))
    np.testing.assert_allclose(controls, [numpy_recurrent(policy, x0) for x0 in x0s], atol=1e-13)


def test_recurrent_policy_has_the_sizes_of_the_specification():
    shapes = jax.eval_shape(lambda key: RecurrentPolicy(3, 1, 20, key=key), KEY)
    assert [layer.weight.shape for layer in shapes.embed_state.layers] == [(256, 3), (256, 256), (256, 256)]
    assert [layer.weight.shape for layer in shapes.embed_control.layers] == [(256, 1), (256, 256), (256, 256)]
    assert [layer.weight.shape for layer in shapes.decode.layers] == [(256, 256), (256, 256), (1, 256)]
    assert shapes.cell.weight_ih.shape == shapes.cell.weight_hh.shape == (1024, 256)


def test_recurrent_policy_stays_in_single_precision():
    policy = RecurrentPolicy(nx=3, nu=1, horizon=4, key=KEY, width=8)
    single = jax.tree.map(lambda a: a.astype(jnp.float32), policy)
    x0 = jnp.array([1.0, 0.0, 0.2], jnp.float32)
    assert jax.eval_shape(single, x0).dtype == jnp.float32
    gradient = jax.jit(jax.grad(lambda network: jnp.sum(network(x0) ** 2)))(single)
    assert all(leaf.dtype == jnp.float32 and np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    # Every weight takes part: the embedding of controls through the next step, the state's through the first.
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
