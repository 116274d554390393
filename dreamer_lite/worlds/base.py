"""What a JAX world is: spaces, the row that a time step gives, autoreset, and how it is drawn.

A world is a frozen dataclass of plain numbers with two pure functions, `reset` and `step`, over a
state that the caller carries. It remembers nothing itself, so it can be jitted, vmapped over many
copies and put inside the training scan. The worlds beside this file, replay, training and
notebook 01 build on it; it imports none of them.

What may be changed: the drawing below, freely. The fields of `TimeStep` are those of a stored time
step (SPEC 1.1); replay and training rely on their names and dtypes.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Space:
    """Shape and kind of one observation or action.

    An image is (height, width, channels) uint8, a vector (n,) float32, a discrete value () int32
    with `classes` > 0. A board or another array of symbols is an array of classes, of any shape,
    mostly uint8. A continuous action is a vector (A,) in [-1, 1].
    """

    shape: tuple[int, ...]
    dtype: str  # "uint8", "float32" or "int32"
    classes: int = 0  # number of values of a discrete space, else 0

    @property
    def size(self) -> int:
        """How many numbers one value is when it is written flat, classes as one-hot."""
        return math.prod(self.shape) * max(1, self.classes)

    @property
    def is_image(self) -> bool:
        return self.dtype == "uint8" and not self.classes

    @property
    def is_discrete(self) -> bool:
        return self.classes > 0


class TimeStep(NamedTuple):
    """What a world contributes to one stored time step (SPEC 1.1).

    The reward arrived together with the observation; the action is chosen after seeing both and is
    not part of the row. `is_terminal` implies `is_last`; a time limit sets `is_last` alone.
    """

    obs: dict[str, jax.Array]  # as the world's obs_space says
    reward: jax.Array  # () float32, 0 on the first row
    is_first: jax.Array  # () bool, obs came from a reset
    is_last: jax.Array  # () bool, the episode ends here
    is_terminal: jax.Array  # () bool, a true end: no future reward


class Described(Protocol):
    """What any world, in JAX or on the host, says of itself."""

    @property
    def name(self) -> str: ...
    @property
    def obs_space(self) -> dict[str, Space]: ...
    @property
    def action_space(self) -> Space: ...
    @property
    def action_names(self) -> tuple[str, ...]: ...


class World(Described, Protocol):
    """A world as two pure functions; hashable, no arrays inside. Batches come from `jax.vmap`."""

    def reset(self, key: jax.Array) -> tuple[Any, TimeStep]:
        """Starts an episode. The key is consumed."""
        ...

    def step(self, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, TimeStep]:
        """Moves on by one action and never resets by itself. The key is consumed.

        What follows an `is_last` row without a reset is undefined; see `next_timestep`.
        """
        ...

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Draws observations, real or dreamt, as (..., height, width, 3) uint8.

        The leading axes (...) are kept. Images may be uint8 in [0, 255] or float in [0, 1].
        """
        ...


def first_row(obs: dict[str, jax.Array]) -> TimeStep:
    """The row of a reset: no reward, nothing has ended."""
    return TimeStep(obs, jnp.float32(0), jnp.array(True), jnp.array(False), jnp.array(False))


def next_timestep(
    world: World, state: Any, row: TimeStep, action: jax.Array, key: jax.Array
) -> tuple[Any, TimeStep]:
    """Gives the next row of ONE world: a reset if `row` was the last of its episode, else a step.

    So a reset has a row of its own, which ignores the action: an episode of L actions gives L + 1
    rows (SPEC 1.1). The key is consumed.
    """
    # Only one of the two results survives, so one key may serve both. `vmap` would turn a branch
    # into this select anyway.
    begun, stepped = world.reset(key), world.step(state, action, key)
    return jax.tree.map(lambda new, old: jnp.where(row.is_last, new, old), begun, stepped)


# Drawing, in numpy: it happens outside of the training scan.

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

    A plane's value is the opacity of its sprite, so a dream that is unsure where the ball is shows
    a faint ball in several cells.

    Args:
      image: (..., rows, columns, C), uint8 in [0, 255] or float in [0, 1].
      sprites: bottom layer first.
      ground: (rows, columns, CELL, CELL, 3) uint8, what is seen where all planes are 0.
    Returns:
      (..., rows * CELL, columns * CELL, 3) uint8.
    """
    image = np.asarray(image)
    values = image / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    lead, (rows, columns) = values.shape[:-3], values.shape[-3:-1]
    values = np.clip(values.reshape(-1, *values.shape[-3:]), 0, 1)
    frames = np.empty((len(values), rows * CELL, columns * CELL, 3), np.uint8)
    for number, value in enumerate(values):  # frame by frame, to keep the float pictures few
        cells = ground.astype(np.float32)
        for plane, mask, colours in sprites:
            row, column = np.nonzero(value[..., plane] > 1 / 512)  # most cells are empty
            alpha = value[row, column, plane, None, None, None] * mask[..., None]
            colour = colours[row % len(colours), None, None]
            cells[row, column] += alpha * (colour - cells[row, column])
        picture = cells.transpose(0, 2, 1, 3, 4).reshape(frames.shape[1:])
        frames[number] = np.round(picture)
    return frames.reshape(*lead, *frames.shape[1:])


def empty_ground(rows: int, columns: int) -> np.ndarray:
    """A dark grid (rows, columns, CELL, CELL, 3) uint8 whose cells can just be made out."""
    tile = box(1, CELL - 1, 1, CELL - 1, 3)[..., None] * 9 + np.array(BACKGROUND)
    return np.broadcast_to(tile.astype(np.uint8), (rows, columns, CELL, CELL, 3))
