"""Uneven ground: heights against ray casts, feet that touch it where they should, and walking on it."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from costogo.core.errors import CostogoError
from costogo.sim import MujocoDynamics, Simbicon, Terrain, walker_model
from costogo.sim.models.terrain import RUN_UP


@pytest.fixture(scope="module")
def terrain():
    return Terrain.random([0, 1, 2, 3])


def slopes(terrain):
    return np.rad2deg(np.arctan(np.diff(terrain.heights) / np.diff(terrain.knots)))


def cast(model, x, y=0.05):
    """Height of what a ray from above hits first, the walker being elsewhere."""
    data = mujoco.MjData(model)
    data.qpos[0] = -500.0
    mujoco.mj_forward(model, data)
    hit, down = np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0])
    distance = mujoco.mj_ray(model, data, np.array([x, y, 20.0]), down, None, 1, -1, hit)
    return 20.0 - distance, model.geom(hit[0]).name


@pytest.mark.parametrize("options", [{}, {"segment": 0.1, "slope_degrees": 44.0}, {"length": 15.0, "flat": 0.0}])
def test_heights_are_those_of_the_boxes(options):
    """Steep and short segments too: there a box that went too far below its neighbour would come out again."""
    terrain = Terrain.random([5, 6], **options)
    model = walker_model(terrain=terrain)
    first, last = float(terrain.knots[0]), float(terrain.knots[-1])
    xs = np.random.default_rng(0).uniform(first, last, 2000)
    found = [cast(model, x) for x in xs]
    assert all(name.startswith("ground") for _, name in found)
    np.testing.assert_allclose([z for z, _ in found], terrain.height(xs), atol=1e-6)


def test_there_are_no_clefts(terrain):
    """Just inside of the ground, also beside and below the kinks, every point is in some box."""
    model = walker_model(terrain=terrain)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    boxes = [i for i in range(model.ngeom) if model.geom(i).name.startswith("ground")]
    rotation = data.geom_xmat[boxes].reshape(-1, 3, 3)
    knots = np.asarray(terrain.knots)
    xs = np.concatenate([knots + offset for offset in (-1e-2, -1e-4, 0.0, 1e-4, 1e-2)])
    xs = np.clip(xs, knots[0] + 1e-6, knots[-1] - 1e-6)
    for depth in (1e-6, 1e-3, 0.1, 0.3, 0.45):
        points = np.stack([xs, 0.0 * xs, np.asarray(terrain.height(xs)) - depth], axis=1)
        local = np.einsum("bji,pbj->pbi", rotation, points[:, None] - data.geom_xpos[boxes])
        assert np.all((np.abs(local) <= model.geom_size[boxes] + 1e-9).all(-1).any(-1))


def test_slopes_and_flat_start(terrain):
    assert np.all(np.abs(slopes(terrain)) <= 10.0 + 1e-9)
    long = Terrain.random(range(6), length=40.0, slope_degrees=40.0)  # with what joins the lanes
    assert np.all(np.abs(slopes(long)) <= 40.0 + 1e-9)
    assert np.abs(slopes(Terrain.random(range(40)))).max() > 9.5
    for i in range(4):
        assert terrain.lane(i) == 30.0 * i
        np.testing.assert_array_equal(terrain.height(terrain.lane(i) + np.linspace(-RUN_UP, 2.0, 50)), 0.0)
        ground = terrain.height(terrain.lane(i) + np.linspace(2.0, 12.0, 50))
        assert np.ptp(ground) > 0.05


def test_the_seed_makes_the_ground(terrain):
    xs = np.linspace(-RUN_UP, 12.0 + RUN_UP, 200)
    again = Terrain.random([2, 7])
    np.testing.assert_allclose(again.height(xs), terrain.height(terrain.lane(2) + xs), atol=1e-12)
    assert np.abs(again.height(again.lane(1) + xs) - again.height(xs)).max() > 0.05


def test_height_in_jax(terrain):
    xs = jnp.linspace(-5.0, 110.0, 300).reshape(3, 100)
    expected = np.interp(xs, terrain.knots, terrain.heights)
    np.testing.assert_allclose(jax.jit(lambda t, x: t.height(x))(terrain, xs), expected, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(jax.vmap(terrain.height))(xs), expected, atol=1e-12)
    gradient = jax.grad(lambda x: terrain.height(x))(5.5)
    assert np.rad2deg(np.arctan(gradient)) == pytest.approx(slopes(terrain)[np.searchsorted(terrain.knots, 5.5) - 1])


@pytest.mark.parametrize("at", [3.5, 64.4, 97.6])
def test_a_foot_touches_where_it_should(terrain, at):
    """A capsule that lies along a slope of angle a touches when its axis is `radius / cos(a)` above the ground."""
    model = walker_model(terrain=terrain)
    data = mujoco.MjData(model)
    slope = np.arctan(float(jax.grad(terrain.height)(at)))
    data.qpos[:] = 0.0
    data.qpos[[5, 6]] = slope, 1.5  # the right foot along the slope, the left leg out of the way
    mujoco.mj_kinematics(model, data)
    ankle = data.body("right_foot").xpos[[0, 2]].copy()
    expected = float(terrain.height(at)) + 0.06 / np.cos(slope)
    for above, count in ((1e-7, 0), (-1e-7, 2)):
        data.qpos[:2] = np.array([at, expected + above]) - ankle
        mujoco.mj_forward(model, data)
        assert data.ncon == count
    friction, solref = data.contact.friction[:, 0], data.contact.solref[:, 0]
    np.testing.assert_allclose(friction, 0.9)  # the floor's parameters
    np.testing.assert_allclose(solref, 0.05)
    np.testing.assert_allclose(np.abs(data.contact.frame[:, 2]), np.cos(slope), rtol=1e-9)


def walk(terrain, lane, steps=300):
    dynamics = MujocoDynamics(walker_model(terrain=terrain), substeps=5)
    start = Simbicon().demonstrate(MujocoDynamics(walker_model(), substeps=5), 1).states[0]
    start[0] = 0.0 if terrain is None else terrain.lane(lane)
    states = Simbicon().demonstrate(dynamics, steps, start=start).states
    states[:, 0] -= start[0]
    return states


def test_walks_on_flat_lanes_as_on_the_plane():
    level = Terrain.random([0, 1, 2], slope_degrees=0.0)
    plane = walk(None, 0)
    assert plane[-1, 0] > 3.0
    for lane in (0, 2):
        np.testing.assert_allclose(walk(level, lane)[:, :9], plane[:, :9], atol=1e-6)


def test_walks_on_the_ground(terrain):
    """The same ground in another lane is walked on alike, and the feet do not sink into it."""
    here, there = walk(terrain, 1, 150), walk(Terrain.random([1]), 0, 150)
    np.testing.assert_allclose(here[:, :9], there[:, :9], atol=1e-6)
    model = walker_model(terrain=terrain)
    data = mujoco.MjData(model)
    for x in here[::10]:
        data.qpos[:] = x[:9]
        data.qpos[0] += terrain.lane(1)
        mujoco.mj_kinematics(model, data)
        for side in ("right", "left"):
            ankle = data.body(f"{side}_foot").xpos
            assert ankle[2] - terrain.height(ankle[0]) > 0.0  # soft ground: less than the radius of 6 cm


def test_the_walker_is_the_same(terrain):
    model, plain = walker_model(terrain=terrain), walker_model()
    assert (model.nq, model.nu, model.nbody) == (plain.nq, plain.nu, plain.nbody)
    np.testing.assert_array_equal(model.body_mass, plain.body_mass)
    np.testing.assert_array_equal(model.body_inertia, plain.body_inertia)
    assert "ground" not in [plain.geom(i).name[:6] for i in range(plain.ngeom)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "seeds is"),
        ({"seeds": [0.5]}, "seeds is .0.5.; pass"),
        ({"seeds": [-1]}, "seeds is"),
        ({"seeds": 3}, "seeds is 3; pass a list"),
        ({"segment": 0.0}, "segment is 0.0; pass positive"),
        ({"flat": -1.0}, "flat is -1.0; pass"),
        ({"length": 1.0}, "length is 1.0"),
        ({"length": 12.5}, "whole number of segments"),
        ({"slope_degrees": 46.0}, "slope_degrees is 46.0; pass degrees from 0 to 45"),
        ({"slope_degrees": float("nan")}, "slope_degrees is nan"),
        ({"length": float("inf")}, "length is inf"),
    ],
)
def test_mistakes_of_random(options, message):
    with pytest.raises(CostogoError, match=message):
        Terrain.random(options.pop("seeds", [0]), **options)


def test_mistakes(terrain):
    with pytest.raises(CostogoError, match="i is 4; pass the number of a lane, 0 to 3"):
        terrain.lane(4)
    for arguments, message in (
        (([0.0], [0.0]), "knots has shape"),
        (([0.0, 1.0], [0.0]), "heights has shape"),
        (([0.0, 0.0], [0.0, 1.0]), "pass numbers that rise"),
        (([0.0, 1.0], [0.0, np.nan]), "pass finite numbers"),
        (([0.0, 1.0], [0.0, 2.0]), "slope of 63.4 degrees; pass 45"),
        (([0.0, 1.0], [0.0, 0.0], [2.0]), "starts is"),
    ):
        with pytest.raises(CostogoError, match=message):
            Terrain(*arguments)
    with pytest.raises(CostogoError, match="terrain is a str; pass"):
        walker_model(terrain="hills")
