"""Catch: a ball falls, a paddle has to be under it; a JAX world of ten time steps per episode.

It is the smallest environment that separates memory from stochasticity (notebook 04). `hidden`
blanks the ball in mid-flight: to predict where it reappears takes memory. `kink` moves it sideways
there at random: no memory can predict the side. The game is that of Mnih et al.
2014 (arXiv:1406.6247), the options are ours.

What may be changed: the fields and the constants, as long as every ball can still be caught
(tests/test_worlds.py proves it for the present ones).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.worlds import sprites
from dreamer_lite.worlds.base import Space, TimeStep, first_timestep

SIZE = 10  # rows and columns
STAY, LEFT, RIGHT = range(3)
PADDLE, BALL = range(2)  # planes of the observation
FLOOR = SIZE - 1  # the paddle's row
HIDDEN_ROWS = range(3, 7)  # where a hidden ball is not seen
KINK_ROW = 5  # the ball enters this row in a new column
# From row 7, where a hidden ball reappears, two actions are left before it lands: just enough for a
# player who waited below the old column, too few for one on the wrong side.
KINK = 2  # columns

_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE]


class State(NamedTuple):
    """All of Catch at one moment; int32 scalars."""

    row: jax.Array  # () ball, 0 at the top; also the number of actions so far
    column: jax.Array  # () ball
    paddle: jax.Array  # () column


@dataclasses.dataclass(frozen=True)
class Catch:
    """Catch: reward 1 if the paddle is below the ball when it lands, else 0; then it ends."""

    hidden: bool = False  # the ball is not seen in rows 3 to 6
    kink: bool = False  # with equal probability it jumps 2 columns left or right, into row 5

    @property
    def name(self) -> str:
        options = [word for word in ("hidden", "kink") if getattr(self, word)]
        return "catch/" + "-".join(options) if options else "catch"

    obs_space = {"image": Space((SIZE, SIZE, 2), "uint8")}  # noqa: RUF012
    action_space = Space((), "int32", classes=3)
    action_names = ("stay", "left", "right")

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Starts with the ball in a random column of row 0 and the paddle in column 5."""
        # Not nearer to a wall than a kink is wide: there the side could be predicted.
        margin = KINK if self.kink else 0
        # One draw, where `randint` would take three: this runs at every step (`next_timestep`).
        column = margin + jnp.int32(jax.random.uniform(key) * (SIZE - 2 * margin))
        state = State(jnp.int32(0), column, jnp.int32(5))
        return state, first_timestep(self._observe(state))

    def step(self, state: State, action: jax.Array, key: jax.Array) -> tuple[State, TimeStep]:
        """Moves the paddle by one column and drops the ball by one row; 0 stay, 1 left, 2 right."""
        move = 1 * (action == RIGHT) - 1 * (action == LEFT)
        paddle = jnp.clip(state.paddle + move, 0, SIZE - 1)
        row, column = state.row + 1, state.column
        if self.kink:  # drawn now, not at the reset: the same state has two futures
            jump = jnp.where(jax.random.bernoulli(key), KINK, -KINK)
            column = column + jump * (row == KINK_ROW)
        state = State(row, column, paddle)
        lands = row == FLOOR
        reward = (lands & (column == paddle)).astype(jnp.float32)
        return state, TimeStep(self._observe(state), reward, jnp.array(False), lands, lands)

    def _observe(self, state: State) -> dict[str, jax.Array]:
        """The two planes, {"image": (10, 10, 2) uint8, 0 or 255}."""
        paddle = (_ROWS == FLOOR) & (_COLUMNS == state.paddle)
        ball = (_ROWS == state.row) & (_COLUMNS == state.column)
        if self.hidden:
            ball &= ~_CURTAIN
        return {"image": jnp.uint8(255) * jnp.stack((paddle, ball), axis=-1)}

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Draws (..., 10, 10, 2) as (..., 320, 320, 3) uint8; a hidden ball's rows are hatched."""
        return sprites.paint(obs["image"], _SPRITES, _CURTAINED if self.hidden else _GROUND)


_CURTAIN = (_ROWS >= HIDDEN_ROWS.start) & (_ROWS < HIDDEN_ROWS.stop)
_SPRITES = (
    sprites.sprite(PADDLE, sprites.box(12, 28, 0, 32, 6), sprites.SKY),
    sprites.sprite(BALL, sprites.ball(10), sprites.WHITE),
)
_GROUND = sprites.empty_ground(SIZE, SIZE)
_HATCH = (np.add(*np.mgrid[: sprites.CELL, : sprites.CELL]) // 8 % 2)[..., None] * np.uint8(14)
_CURTAINED = _GROUND + _CURTAIN[..., None, None, None] * _HATCH
