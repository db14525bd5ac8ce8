"""Frames of several models: what is seen on them, arrows and their length, films side by side."""

import mujoco
import numpy as np
import pytest

from costogo.core.errors import CostogoError
from costogo.sim import Terrain, anymal_model, quadruped_positions, render, standing_state, swimmer_model, walker_model
from costogo.sim.mujoco_model import keyframe_state

SIZE = {"width": 160, "height": 120}
SCENE = """<mujoco><visual><global offwidth="800" offheight="400"/></visual><statistic extent="10"/><worldbody>
<camera name="far" pos="1 -114.59 0" xyaxes="1 0 0 0 0 1" fovy="1"/>
<body name="box" pos="2 0 0.3"><geom type="box" size="0.5 0.1 0.1" rgba="0 0 1 1"/><joint/></body>
</worldbody></mujoco>"""


def reddish(frame):
    return (frame[..., 0] > 100) & (frame[..., 1] < 60) & (frame[..., 2] < 60)


@pytest.mark.parametrize("model", [swimmer_model(), walker_model(), walker_model(terrain=Terrain.random([0, 1]))])
def test_renders_planar_models(model):
    states = np.stack([keyframe_state(model, None), keyframe_state(model, None) + 0.3])
    frames = list(render(model, states[:, : model.nq], **SIZE))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((120, 160, 3), np.uint8)] * 2
    orange = (frames[0][..., 0] > 150) & (frames[0][..., 2] < 80)
    assert orange.mean() > 0.002  # a link
    assert not np.array_equal(*frames)


def test_arrows_are_as_long_as_they_should_be():
    """Seen from far away with 200 pixels to the metre: 400 N make 1 m, from a point or from the centre of a body."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    arrows = [((0.0, 0.0, -0.3), (400.0, 0.0, 0.0)), ((1.0, 0.0, 0.0), [-200.0, 0.0, 0.0]), ("box", (0.0, 0.0, 240.0))]
    still, pushed, zero = render(
        model, np.zeros((3, 1)), camera="far", width=800, height=400, forces=[[], arrows, [("box", np.zeros(3))]]
    )
    seen = np.abs(pushed.astype(int) - still).max(-1) > 20
    for row, start, end in ((260, 0.0, 1.0), (200, 0.5, 1.0)):
        columns = np.flatnonzero(seen[row]) / 200.0 - 1.0  # 4 m are seen, from x = -1 m
        np.testing.assert_allclose([columns[0], columns[-1]], [start, end], atol=0.03)
    rows = np.flatnonzero(seen[:199, 600])
    np.testing.assert_allclose((200.0 - rows[0]) / 200.0, 0.9, atol=0.03)
    np.testing.assert_array_equal(zero, still)


def test_pushes_are_red():
    model = walker_model()
    positions = keyframe_state(model, "stand")[:9]
    still, pushed = render(model, np.stack([positions] * 2), forces=[[], [("torso", (400.0, 0.0, 0.0))]], **SIZE)
    assert not reddish(still).any() and reddish(pushed).mean() > 0.001


def test_films_side_by_side():
    """Frames taken in turn are those of films taken one after the other, also when one is given up."""
    models = (walker_model(), anymal_model())
    standing = np.stack([standing_state(), standing_state(1.0)])
    positions = (
        np.stack([keyframe_state(models[0], "stand")[:9] + s for s in (0.0, 0.2)]),
        quadruped_positions(standing),
    )
    alone = [list(render(m, p, **SIZE)) for m, p in zip(models, positions, strict=True)]
    given_up = render(models[0], positions[0], **SIZE)
    next(given_up)
    films = [render(m, p, **SIZE) for m, p in zip(models, positions, strict=True)]
    together = [next(films[0]), next(films[1])]
    given_up.close()
    together += [next(films[0]), next(films[1])]
    for frame, (film, k) in zip(together, [(0, 0), (1, 0), (0, 1), (1, 1)], strict=True):
        np.testing.assert_array_equal(frame, alone[film][k])


def test_quadruped_positions():
    x = standing_state()
    rows = quadruped_positions(np.stack([x, x]))
    assert rows.shape == (2, 19)
    np.testing.assert_array_equal(rows[0], [*x[3:6], 1.0, 0.0, 0.0, 0.0, *x[12:]])
    with pytest.raises(CostogoError, match="states has shape"):
        quadruped_positions(np.zeros((2, 18)))


def test_mistakes_are_told_at_once():
    model, q = walker_model(), np.zeros((2, 9))
    for options, message in (
        (
            {"positions": np.zeros((2, 18))},
            r"positions has shape \(2, 18\), expected \(2, 9\); .* states\[:, : model.nq\]",
        ),
        ({"positions": np.zeros((1, 2, 9))}, "positions has shape"),
        ({"positions": np.full((2, 9), np.nan)}, "positions is nan at row 0, column 0; pass finite"),
        ({"width": 0}, "width and height are 0 and 480; pass"),
        ({"camera": "top"}, "camera"),
        ({"forces": [[]]}, "forces has 1 lists for 2 frames; pass"),
        ({"forces": [[], [("tail", (0.0, 0.0, 1.0))]]}, "body"),
        ({"forces": [[], [("torso", (0.0, 1.0))]]}, "force has shape"),
        ({"forces": [[], [((0.0, 1.0), (0.0, 0.0, 1.0))]]}, "point has shape"),
    ):
        with pytest.raises(CostogoError, match=message):
            render(model, **{"positions": q, **options})
