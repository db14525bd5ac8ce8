"""Videos of pendulum and cart-pole."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle, FancyArrow, Rectangle

from costogo.core.errors import CostogoError, MissingExtraError, known
from costogo.viz.plots import COLOURS, new_figure


def draw_pendulum(ax: Axes, state: np.ndarray, control: np.ndarray) -> None:
    """A rod from its joint, upright at angle zero; an arc arrow shows sign and size of the torque."""
    cos, sin = state[0], state[1]
    ax.plot([0, sin], [0, cos], color=COLOURS[0], linewidth=7, solid_capstyle="round")
    ax.add_patch(Circle((0, 0), 0.06, color="0.2", zorder=3))
    torque = float(control[0])
    angles = np.linspace(np.pi / 2, np.pi / 2 - np.clip(torque / 2.0, -1, 1) * np.pi / 2, 20)
    ax.plot(0.35 * np.cos(angles), 0.35 * np.sin(angles), color=COLOURS[1], linewidth=2.5)
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))


def draw_cartpole(ax: Axes, state: np.ndarray, control: np.ndarray) -> None:
    """Cart on a track, pole, and the force as an arrow."""
    position, _, cos, sin, _ = state
    ax.axhline(0, color="0.6", linewidth=1)
    ax.add_patch(Rectangle((position - 0.3, -0.12), 0.6, 0.24, color="0.25"))
    ax.plot([position, position + sin], [0.05, 0.05 + cos], color=COLOURS[0], linewidth=6, solid_capstyle="round")
    force = float(np.clip(control[0] / 60.0, -1.2, 1.2))
    if abs(force) > 0.01:
        start = position + 0.32 * np.sign(force)
        ax.add_patch(FancyArrow(start, 0, force, 0, width=0.03, head_width=0.12, head_length=0.1, color=COLOURS[1]))
    centre = 4.0 * np.round(position / 4.0) if abs(position) > 2.6 else 0.0
    ax.set(xlim=(centre - 2.8, centre + 2.8), ylim=(-1.4, 1.4))


DRAWINGS = {"pendulum": draw_pendulum, "cartpole": draw_cartpole}


def frames(
    system: str, panels: dict[str, tuple[np.ndarray, np.ndarray]], dt: float, *, footer: Sequence[str] | None = None
) -> list[np.ndarray]:
    """RGB frames of trajectories `(states (n+1, nx), controls (n, nu))` side by side, one panel per name."""
    draw = DRAWINGS[known("drawing", system, DRAWINGS)]
    steps = min(len(controls) for _, controls in panels.values())
    images = []
    for k in range(steps):
        fig, axes = new_figure(1, len(panels), width=4.0, height=2.8 if system == "cartpole" else 4.0)
        for ax, (name, (states, controls)) in zip(axes.flat, panels.items(), strict=True):
            draw(ax, states[k], controls[k])
            ax.set_aspect("equal")
            ax.set(title=name, xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.grid(visible=False)
        fig.supxlabel(f"t = {k * dt:4.2f} s" + (f"   {footer[k]}" if footer else ""), fontsize=9)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        images.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return images


def write_video(images: Sequence[np.ndarray], path: Path | str, fps: float = 20.0) -> Path:
    """Write frames as `.mp4` (H.264, by PyAV) or `.gif` (by Pillow), chosen by the suffix of the path."""
    path = Path(path)
    known("video format", path.suffix, (".mp4", ".gif"))
    if not images:
        raise CostogoError("there are no frames to write; pass at least one")
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write_gif(images, path, fps) if path.suffix == ".gif" else _write_mp4(images, path, fps)


def _write_gif(images: Sequence[np.ndarray], path: Path, fps: float) -> Path:
    from PIL import Image

    pictures = [Image.fromarray(image).quantize(64) for image in images]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0)
    return path


def _write_mp4(images: Sequence[np.ndarray], path: Path, fps: float) -> Path:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("writing .mp4 needs PyAV: pip install 'costogo[viz]', or write a .gif") from error
    height, width = (size - size % 2 for size in images[0].shape[:2])  # H.264 wants even sizes
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=round(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
