"""Videos: H.264 in MP4 by PyAV, or GIF by Pillow."""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from costogo.core.errors import CostogoError, MissingExtraError, known
from costogo.core.validate import require


def write_video(frames: Iterable[np.ndarray], path: Path | str, fps: float = 20.0) -> Path:
    """Write frames (height, width, 3) of uint8 as `.mp4` or `.gif`, by the ending of the path; makes its folder.

    Frames are taken one at a time. MP4 plays in every browser (yuv420p: an odd last row or column is cut off); a GIF
    shows in any README, at 100/n frames per second for whole n.
    """
    path = Path(path)
    writer = WRITERS[known("video format", path.suffix, WRITERS)]
    require(0 < fps <= 240, f"fps is {fps}; pass a number in (0, 240]")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise CostogoError("frames is empty; pass at least one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(_checked(itertools.chain([first], frames)), path, fps)
    except OSError as error:
        raise CostogoError(f"could not write {path}: {error}; choose another folder with --out") from error
    return path


def _checked(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    shape = None
    for frame in images:
        shape = shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
            raise CostogoError(f"a frame is {frame.dtype}{list(frame.shape)}; pass uint8 (height, width, 3), all alike")
        yield frame


def _write_mp4(images: Iterator[np.ndarray], path: Path, fps: float) -> None:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("MP4 needs PyAV: pip install 'costogo[viz]'; or write a .gif") from error
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "medium"}
        for number, frame in enumerate(images):
            even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
            if number == 0:
                stream.height, stream.width = even.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


def _write_gif(images: Iterator[np.ndarray], path: Path, fps: float) -> None:
    first, *rest = [Image.fromarray(image) for image in images]
    # One palette, from the first, a middle and the last frame: colours do not flicker, and the file stays small.
    sample = np.concatenate(
        [np.asarray(image) for image in (first, [first, *rest][len(rest) // 2], [first, *rest][-1])]
    )
    palette = Image.fromarray(sample).quantize(128, method=Image.Quantize.FASTOCTREE)
    palette.putpalette([255 if level > 250 else level for level in palette.getpalette() or ()])  # keep paper white
    shown = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in (first, *rest)]
    duration = max(10 * round(100 / fps), 20)  # ms, in steps of 10; browsers slow down anything faster than 20
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=duration, loop=0, optimize=True)


WRITERS = {".mp4": _write_mp4, ".gif": _write_gif}
