"""Frames to files: H.264 video, GIF, and a strip of a few frames as PNG for pages that play none.

Encoding is mediapy's, by the ffmpeg of imageio-ffmpeg: nothing has to be installed on the system.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import mediapy
import numpy as np

from dreamer_lite.show import images

CODECS = {".mp4": "h264", ".gif": "gif"}


def write(
    path: str | os.PathLike, frames: np.ndarray | Sequence[np.ndarray], fps: float = 10
) -> None:
    """Write frames (n, h, w, 3) uint8 as .mp4 (H.264, yuv420p: plays everywhere) or .gif.

    Makes the folder if it is missing; odd heights and widths get one dark row or column.

    Raises:
      ValueError: another suffix, or no frames.
      OSError: the file cannot be written.
    """
    path = check_suffix(path, CODECS)
    if len(frames) == 0:
        raise ValueError(f"There are no frames to write to {path}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("ab").close()  # raises at once, in one sentence, if it cannot be written
    mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
    codec = CODECS[path.suffix]
    quality = {"crf": 20, "encoded_format": "yuv420p"} if codec == "h264" else {}
    even = (images.pad_to_even(np.asarray(frame)) for frame in frames)
    try:
        # An absolute path, for ffmpeg takes `-x` for an option and `x:` for a protocol.
        mediapy.write_video(path.absolute(), even, codec=codec, fps=fps, **quality)
    except RuntimeError as error:  # ffmpeg's own message has many lines
        full = "No space left" in str(error)
        why = "no space left on device" if full else str(error).splitlines()[0][:200].rstrip(". ")
        raise OSError(f"Cannot write {path} ({why}).") from error


def write_strip(
    path: str | os.PathLike,
    frames: np.ndarray | Sequence[np.ndarray],
    count: int = 4,
    columns: int = 1,
) -> None:
    """Write `count` frames, evenly spread over all, as one PNG with `columns` of them in a row.

    Raises:
      ValueError: another suffix than .png, no frames, or a count or columns below 1.
      OSError: the file cannot be written.
    """
    path = check_suffix(path, {".png": "png"})
    if len(frames) == 0 or min(count, columns) < 1:
        raise ValueError(
            f"A strip needs at least one frame, count and column, not {len(frames)} frames, "
            f"count={count} and columns={columns}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    mediapy.write_image(path, strip(frames, count, columns))


def strip(frames: np.ndarray | Sequence[np.ndarray], count: int, columns: int = 1) -> np.ndarray:
    """`count` frames, evenly spread, first and last included, as one image (h, w, 3) uint8."""
    picked = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    chosen = [np.asarray(frames[i]) for i in picked]
    blank = np.broadcast_to(np.array(images.GROUND, np.uint8), chosen[0].shape)
    chosen += [blank] * (-len(chosen) % columns)
    rows = [np.concatenate(chosen[i : i + columns], 1) for i in range(0, len(chosen), columns)]
    return np.concatenate(rows)


def check_suffix(path: str | os.PathLike, valid: dict[str, str]) -> Path:
    """The path, if its suffix is one of `valid`; else a ValueError that lists them."""
    path = Path(path)
    if path.suffix not in valid:
        raise ValueError(f"{path} must end in {' or '.join(valid)}, not in {path.suffix!r}.")
    return path
