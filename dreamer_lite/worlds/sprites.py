"""Grid observations as images: sprites in the cells of a grid, in numpy, outside of training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CELL = 32  # pixels per grid cell
BACKGROUND = (15, 18, 28)
# Okabe and Ito's palette, readable with every common kind of colour blindness.
WHITE, ORANGE, SKY, GREEN = (250, 250, 245), (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, BLUE, VERMILION, PURPLE = (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)


class Sprite(NamedTuple):
    """How one plane of a grid observation is drawn in each cell where it is on."""

    plane: int
    mask: np.ndarray  # (CELL, CELL) float32, opacity in [0, 1]
    colours: np.ndarray  # (rows, 3) or (1, 3) float32, one colour per grid row or one for all


def sprite(plane: int, mask: np.ndarray, *colours: tuple[int, int, int]) -> Sprite:
    """Makes a sprite from one colour, or from one colour per grid row."""
    return Sprite(plane, mask.astype(np.float32), np.array(colours, np.float32))


def box(top: float, bottom: float, left: float, right: float, radius: float = 4.0) -> np.ndarray:
    """Opacity (CELL, CELL) of a smooth-edged rectangle with round corners, borders in pixels."""
    y, x = np.mgrid[:CELL, :CELL] + 0.5
    dy = np.maximum(np.abs(y - (top + bottom) / 2) - (bottom - top) / 2 + radius, 0)
    dx = np.maximum(np.abs(x - (left + right) / 2) - (right - left) / 2 + radius, 0)
    return np.clip(radius + 0.5 - np.hypot(dy, dx), 0, 1)


def disc(radius: float) -> np.ndarray:
    """Opacity (CELL, CELL) of a smooth-edged disc in the middle of a cell."""
    return box(CELL / 2 - radius, CELL / 2 + radius, CELL / 2 - radius, CELL / 2 + radius, radius)


def ball(radius: float) -> np.ndarray:
    """Opacity (CELL, CELL) of a disc that glows a little."""
    return np.maximum(disc(radius), 0.25 * np.maximum(disc(radius + 2), 0.4 * disc(radius + 5)))


def bevel() -> np.ndarray:
    """A factor (CELL, 1) for opacities that shades the lower edge of a brick."""
    return np.clip((CELL - np.arange(CELL)[:, None]) / 10, 0.7, 1)


def paint(image: np.ndarray, sprites: Sequence[Sprite], ground: np.ndarray) -> np.ndarray:
    """Draws grid observations, later sprites over earlier ones.

    A plane's value is the opacity of its sprite, so an imagined frame that is uncertain of the
    ball's position shows a faint ball in several cells.

    Args:
      image: (..., rows, columns, C), uint8 in [0, 255] or float in [0, 1].
      sprites: bottom layer first.
      ground: (rows, columns, CELL, CELL, 3) uint8, shown where all planes are 0.
    Returns:
      (..., rows * CELL, columns * CELL, 3) uint8.
    """
    image = np.asarray(image)
    values = image / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    lead, (rows, columns) = values.shape[:-3], values.shape[-3:-1]
    values = np.clip(values.reshape(-1, *values.shape[-3:]), 0, 1)
    frames = np.empty((len(values), rows * CELL, columns * CELL, 3), np.uint8)
    for number, value in enumerate(values):  # one by one: float frames are large
        cells = ground.astype(np.float32)
        for plane, mask, colours in sprites:
            row, column = np.nonzero(value[..., plane] > 1 / 512)  # most cells are empty
            alpha = value[row, column, plane, None, None, None] * mask[..., None]
            colour = colours[row % len(colours), None, None]
            cells[row, column] += alpha * (colour - cells[row, column])
        frames[number] = np.round(cells.transpose(0, 2, 1, 3, 4).reshape(frames.shape[1:]))
    return frames.reshape(*lead, *frames.shape[1:])


def empty_ground(rows: int, columns: int) -> np.ndarray:
    """A dark grid (rows, columns, CELL, CELL, 3) uint8 whose cells are barely visible."""
    tile = box(1, CELL - 1, 1, CELL - 1, 3)[..., None] * 9 + np.array(BACKGROUND)
    return np.broadcast_to(tile.astype(np.uint8), (rows, columns, CELL, CELL, 3))
