"""Figures, drawings, videos and reports: looked at by their pixels and bytes."""

import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from costogo import CostogoError
from costogo.core.errors import MissingExtraError
from costogo.systems import Ballbot, CartPole, DoubleIntegrator, LinearSystem, Pendulum, PointMass
from costogo.systems.legged import PlanarWalker
from costogo.viz import COLOURS, Recording, Report, draw_seeds, draw_trajectory, figure, film, save, write_video

ORANGE = np.array([0xD5, 0x5E, 0x00])
GREEN = np.array([0x00, 0x9E, 0x73])
OBSTACLE = np.array([0xD9, 0xDD, 0xE2])
SYSTEMS = {"cartpole": CartPole(), "pendulum": Pendulum(), "double_integrator": DoubleIntegrator()}


def recording(system, steps=4, angle=2.0, push=1.0, title="expert"):
    states = np.zeros((steps + 1, system.nx))
    if system.nx == 5:
        states[:, 2:4] = np.cos(angle), np.sin(angle)
    if system.nx == 3:
        states[:, :2] = np.cos(angle), np.sin(angle)
    return Recording(title, states, np.full((steps, 1), push))


def near(frame, colour):
    """Columns of the pixels close to a colour."""
    return np.nonzero(np.abs(frame.astype(int) - colour).sum(axis=2) < 30)[1]


def body(frame):
    return near(frame, [int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])


# Figures


def test_figures_leave_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    fig, axes = figure(1, 2, size=(2.0, 1.5), sharex=True)
    draw_seeds(axes[0, 0], range(3), np.ones((2, 3)), "a")
    axes[0, 0].set_title("losses")
    axes[0, 0].legend()
    path = save(fig, tmp_path / "new" / "f.png", dpi=100)
    assert Image.open(path).size == (400, 150)
    assert dict(matplotlib.rcParams) == before
    assert axes[0, 0].get_title(loc="left") == "losses"
    assert not axes[0, 0].get_legend().get_frame_on()


def test_mean_and_band_over_seeds():
    _, axes = figure()
    values = np.array([[1.0, 2.0, np.nan, np.nan], [3.0, np.inf, np.nan, 5.0]])
    draw_seeds(axes[0, 0], [0, 1, 2, 3], values, "loss", COLOURS[1])
    (line,) = axes[0, 0].lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 3])
    np.testing.assert_array_equal(line.get_ydata(), [2.0, 2.0, 5.0])
    assert len(axes[0, 0].collections) == 1
    draw_seeds(axes[0, 0], [0, 1], [1.0, 2.0])
    assert len(axes[0, 0].collections) == 1  # one seed has no band


def test_trajectories_show_bounds():
    fig = draw_trajectory(
        np.arange(4), np.zeros((4, 2)), np.ones((3, 1)), "ab", "u", (np.array([-1]), np.array([np.inf]))
    )
    above, below = fig.axes
    assert len(above.lines) == 2
    assert len(below.lines) == 2  # the control and its one finite bound


def test_a_figure_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CostogoError, match="could not write"):
        save(figure()[0], tmp_path / "file" / "f.png")


# Drawings


@pytest.mark.parametrize("name", SYSTEMS)
def test_frames_show_the_system_and_the_control(name):
    system = SYSTEMS[name]
    frames = list(film(system, [recording(system), recording(system, 2, title="learner")], size=(200, 160)))
    assert len(frames) == 5
    assert all(frame.shape == (160, 400, 3) and frame.dtype == np.uint8 for frame in frames)
    first, last = frames[0], frames[-1]
    assert len(body(first[:, :200])) > 30 and len(body(first[:, 200:])) > 30
    assert len(near(first[:, :200], ORANGE)) > 20
    assert len(near(frames[2][:, 200:], ORANGE)) == 0  # the learner's recording has ended
    assert len(near(last, ORANGE)) == 0  # no control at the last state


@pytest.mark.parametrize("name", ["cartpole", "double_integrator"])
def test_the_arrow_points_where_the_force_does(name):
    system = SYSTEMS[name]
    middle = {push: near(next(film(system, [recording(system, push=push)])), ORANGE).mean() for push in (1.0, -1.0)}
    assert middle[-1.0] < 210 < middle[1.0]


def test_a_positive_angle_leans_right_and_a_moving_cart_stays_in_the_picture():
    system = SYSTEMS["pendulum"]
    leaning = [next(film(system, [recording(system, angle=angle, push=0.0)])) for angle in (0.7, -0.7)]
    assert body(leaning[1]).mean() < 210 < body(leaning[0]).mean()
    system = SYSTEMS["cartpole"]
    moving = recording(system)
    moving.states[:, 0] = np.linspace(0, 7, 5)
    for frame in film(system, [moving]):
        columns = body(frame)
        assert len(columns) > 30 and columns.min() > 0 and columns.max() < 419


ROBOTS = {"point_mass": (PointMass(), 0), "ballbot": (Ballbot(), 0), "walker": (PlanarWalker(), 1)}


def robot_recording(name, distance=0.0, steps=4, **entries):
    """The robot goes to the right; `entries` are those of the state that are not standing still at the origin."""
    system, sideways = ROBOTS[name]
    states = np.zeros((steps + 1, system.nx)) + (system.standing() if name == "walker" else 0.0)
    for entry, value in entries.items():
        states[:, int(entry[1:])] = value
    states[:, sideways] += np.linspace(0.0, distance, steps + 1)
    controls = np.ones((steps, system.nu))
    controls[:, -1] = -1.0  # three equal torques would only turn the ballbot
    return Recording("MPC", states, controls)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_moves_across_the_frames(name):
    recordings = [robot_recording(name, 0.6), robot_recording(name, 0.6, steps=2)]
    frames = list(film(ROBOTS[name][0], recordings, dt=0.1, size=(200, 160)))
    assert len(frames) == 5
    assert all(frame.shape == (160, 400, 3) and frame.dtype == np.uint8 for frame in frames)
    assert np.all(np.diff([np.median(body(frame[:, :200])) for frame in frames]) > 2)
    assert all(len(near(frame[:, :200], ORANGE)) > 10 for frame in frames[:-1])
    assert len(near(frames[2][:, 200:], ORANGE)) == len(near(frames[-1], ORANGE)) == 0  # no control at the last state


def test_a_pitching_robot_tips_to_the_right():
    low = [body(next(film(PlanarWalker(), [robot_recording("walker", x0=x)], dt=0.1)))[-1] for x in (-0.3, 0.3)]
    assert low[0] + 20 < low[1]  # lowest point of the trunk
    pitch, yaw = (0.3, -0.3, 0.3), (0.0, 0.0, np.pi)
    top = [
        body(next(film(Ballbot(), [robot_recording("ballbot", x2=y, x3=p)])))[0]
        for p, y in zip(pitch, yaw, strict=True)
    ]
    assert top[1] + 20 < top[0]  # tip of the mast
    assert top[2] + 20 < top[0]  # turned around, it leans the other way


def test_goal_and_obstacle_are_drawn():
    frame = next(film(PointMass(), [robot_recording("point_mass", x0=-1.0)]))
    disc, cross = near(frame, OBSTACLE), near(frame, GREEN)
    radius, distance = np.sqrt(len(disc) / np.pi), cross.mean() - np.median(disc)
    assert radius / distance == pytest.approx(0.5 / 2.0, rel=0.05)
    frame = next(film(Ballbot(), [robot_recording("ballbot", x0=1.0)]))
    assert len(near(frame, GREEN)) > 50
    assert near(frame, GREEN).max() < body(frame).min()


def test_the_arrows_are_contact_forces_at_the_feet():
    columns = []
    for foot in (0, 1):
        standing = robot_recording("walker", x6=1.1)  # the left foot is behind
        standing.controls[:, :4] = 0.0  # joint velocities remain, which are no forces
        standing.controls[:, 2 * foot + 1] = 250.0
        columns.append(near(next(film(PlanarWalker(), [standing], dt=0.025)), ORANGE))
    assert np.ptp(columns[0]) < 20 and np.ptp(columns[1]) < 20  # upright
    assert columns[0].mean() + 40 < columns[1].mean()


def test_a_robot_without_a_time_step_needs_one():
    with pytest.raises(CostogoError, match="PlanarWalker has no time step of its own; pass dt"):
        film(PlanarWalker(), [robot_recording("walker")])


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(CostogoError, match=r"LinearSystem has no drawing. Known: CartPole"):
        film(LinearSystem(), [])
    with pytest.raises(CostogoError, match="recordings is empty"):
        film(Pendulum(), [])
    with pytest.raises(CostogoError, match=r"'late' has states \(4, 3\) and controls \(4, 1\)"):
        Recording("late", np.zeros((4, 3)), np.zeros((4, 1)))


# Videos


def moving_square(n=6, size=(46, 61)):
    for i in range(n):
        frame = np.full((*size, 3), 255, np.uint8)
        frame[10:20, 5 * i : 5 * i + 10] = ORANGE
        yield frame


def test_a_gif_holds_every_frame(tmp_path):
    path = write_video(moving_square(), tmp_path / "new" / "a.gif", fps=20)
    image = Image.open(path)
    assert image.n_frames == 6 and image.size == (61, 46) and image.info["duration"] == 50
    image.seek(5)
    np.testing.assert_allclose(np.asarray(image.convert("RGB"))[15, 30], ORANGE, atol=3)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[40, 5], 255)


def test_an_mp4_is_h264_that_browsers_play(tmp_path):
    av = pytest.importorskip("av")
    path = write_video(moving_square(), tmp_path / "a.mp4", fps=20)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec.name == "h264" and stream.average_rate == 20
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6 and frames[0].shape == (46, 60, 3)  # even sizes
    assert np.abs(frames[5][15, 30].astype(int) - ORANGE).max() < 60


@pytest.mark.parametrize(
    ("frames", "name", "fps", "message"),
    [
        (moving_square(), "a.avi", 20, r"unknown video format '.avi'.*Known: .mp4, .gif"),
        ([], "a.gif", 20, "frames is empty"),
        (moving_square(), "a.gif", 0, "fps is 0"),
        ([np.zeros((4, 4))], "a.gif", 20, r"a frame is float64\[4, 4\]; pass uint8"),
        ([*moving_square(1), *moving_square(1, (8, 8))], "a.mp4", 20, r"a frame is uint8\[8, 8, 3\]"),
    ],
)
def test_wrong_video_arguments(tmp_path, frames, name, fps, message):
    with pytest.raises(CostogoError, match=message):
        write_video(frames, tmp_path / name, fps)


def test_mp4_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'costogo\[viz\]'; or write a .gif"):
        write_video(moving_square(), tmp_path / "a.mp4", 20)


# Reports


def test_a_report_stands_alone(tmp_path):
    picture = save(figure(size=(1.0, 1.0))[0], tmp_path / "f.png")
    video = write_video(moving_square(2), tmp_path / "v.gif", 10)
    report = Report("A <b>title</b> & more", "Summary.").heading("Results")
    report.table([{"claim": "1 < 2", "ours": 1.23456, "verdict": "reproduced"}, {"claim": "x", "verdict": "partly"}])
    report.table([]).media(picture, 'a "figure"').media(video).settings({"epochs": 3, "rate": 0.125})
    text = report.write(tmp_path / "new" / "report.html").read_text()
    picture.unlink()
    assert "A &lt;b&gt;title&lt;/b&gt; &amp; more" in text and "1 &lt; 2" in text
    assert "<td>1.235</td>" in text and '<td class="mark good">reproduced</td>' in text
    assert "data:image/png;base64,iVBOR" in text and "data:image/gif;base64,R0lGOD" in text
    assert "epochs: 3\nrate: 0.125" in text
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_a_report_names_what_it_cannot_embed(tmp_path):
    with pytest.raises(CostogoError, match="could not read"):
        Report("r").media(tmp_path / "absent.png")
    with pytest.raises(CostogoError, match=r"unknown media format '.bmp'"):
        Report("r").media(tmp_path / "a.bmp")
