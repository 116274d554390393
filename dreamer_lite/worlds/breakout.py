"""Breakout on a 10x10 grid by MinAtar's rules, as a JAX world.

The rules are those of MinAtar (Young and Tian 2019, arXiv:1903.03176); the code is our own.
It is the environment of notebooks 02, 08 and 11: small enough to be learnt on a CPU in minutes, and
rich enough to need planning.

What may be changed: the two fields and the drawing. With other rules, returns can no longer be
compared with those of others.
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
PADDLE, BALL, TRAIL, BRICK = range(4)  # planes of the observation
FLOOR = SIZE - 1  # the paddle's row
BRICK_ROWS = slice(1, 4)

_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE]
_FULL = (_ROWS >= BRICK_ROWS.start) & (_ROWS < BRICK_ROWS.stop)  # the brick map of a new wall


class State(NamedTuple):
    """All of Breakout at one moment; int32 scalars unless said."""

    row: jax.Array  # () ball, 0 at the top
    column: jax.Array  # () ball
    down: jax.Array  # () vertical direction, 1 down, -1 up
    right: jax.Array  # () horizontal direction, 1 right, -1 left
    trail_row: jax.Array  # () where the ball was one step before
    trail_column: jax.Array  # ()
    paddle: jax.Array  # () column
    bricks: jax.Array  # (10, 10) bool
    strike: jax.Array  # () bool, the ball broke a brick and has not been in the open since
    action: jax.Array  # () last executed action
    time: jax.Array  # () actions so far


@dataclasses.dataclass(frozen=True)
class Breakout:
    """Breakout: reward 1 per brick; the three rows are refilled when the last is gone."""

    sticky: float = 0.1  # [0, 1], probability that the last executed action is repeated
    time_limit: int = 1000  # actions, after which an episode is cut (not terminal)

    name = "minatar/breakout"
    obs_space = {"image": Space((SIZE, SIZE, 4), "uint8")}  # noqa: RUF012
    action_space = Space((), "int32", classes=3)
    action_names = ("stay", "left", "right")

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Starts with a full wall and the ball in one of its lower corners, moving inwards."""
        from_left = jax.random.bernoulli(key)
        row = jnp.int32(3)
        column = jnp.where(from_left, jnp.int32(0), jnp.int32(SIZE - 1))
        state = State(
            row=row,
            column=column,
            down=jnp.int32(1),
            right=jnp.where(from_left, jnp.int32(1), jnp.int32(-1)),
            trail_row=row,
            trail_column=column,
            paddle=jnp.int32(4),
            bricks=jnp.asarray(_FULL),
            strike=jnp.array(False),
            action=jnp.int32(STAY),
            time=jnp.int32(0),
        )
        return state, first_timestep(_observe(state))

    def step(self, state: State, action: jax.Array, key: jax.Array) -> tuple[State, TimeStep]:
        """Moves paddle and ball by one cell; the action () is 0 stay, 1 left, 2 right."""
        repeat = jax.random.uniform(key) < self.sticky
        action = jnp.where(repeat, state.action, action).astype(jnp.int32)
        move = 1 * (action == RIGHT) - 1 * (action == LEFT)
        paddle = jnp.clip(state.paddle + move, 0, SIZE - 1)

        row, column = state.row + state.down, state.column + state.right
        wall = (column < 0) | (column >= SIZE)
        column = jnp.clip(column, 0, SIZE - 1)

        # MinAtar tests ceiling, brick and floor in this order. No two can hold at once: a cell
        # above the ceiling is outside of the grid, and row 9 never has a brick.
        top = row < 0
        cell = _cell(row, column)
        brick = jnp.any(state.bricks & cell)
        strikes = brick & ~state.strike
        floor = row == FLOOR
        caught = floor & (state.column == paddle)  # the paddle is where the ball came from
        edge = floor & ~caught & (column == paddle)  # where it was going to: back the way it came
        lost = floor & ~caught & ~edge

        bounce = strikes | caught | edge
        refill = floor & ~jnp.any(state.bricks)
        time = state.time + 1
        state = State(
            row=jnp.where(top, 0, jnp.where(bounce, state.row, row)),
            column=column,
            down=jnp.where(top | bounce, -state.down, state.down),
            right=jnp.where(wall ^ edge, -state.right, state.right),
            trail_row=state.row,
            trail_column=state.column,
            paddle=paddle,
            bricks=jnp.where(refill, _FULL, state.bricks & ~(cell & strikes)),
            strike=brick,  # stays on while the ball crosses bricks
            action=action,
            time=time,
        )
        last = lost | (time >= self.time_limit)
        reward = strikes.astype(jnp.float32)
        return state, TimeStep(_observe(state), reward, jnp.array(False), last, lost)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Draws (..., 10, 10, 4) as (..., 320, 320, 3) uint8."""
        return sprites.paint(obs["image"], _SPRITES, _GROUND)


def _cell(row: jax.Array, column: jax.Array) -> jax.Array:
    """A grid (10, 10) bool that is on in one cell, or nowhere if the cell is outside."""
    return (_ROWS == row) & (_COLUMNS == column)


def _observe(state: State) -> dict[str, jax.Array]:
    """The four planes, {"image": (10, 10, 4) uint8, 0 or 255}."""
    planes = (
        _cell(jnp.int32(FLOOR), state.paddle),
        _cell(state.row, state.column),
        _cell(state.trail_row, state.trail_column),
        state.bricks,
    )
    return {"image": jnp.uint8(255) * jnp.stack(planes, axis=-1)}


_ROW_COLOURS = [sprites.GREEN] * SIZE
_ROW_COLOURS[BRICK_ROWS] = sprites.VERMILION, sprites.ORANGE, sprites.GREEN
_SPRITES = (
    sprites.sprite(BRICK, sprites.bevel() * sprites.box(4, 28, 2, 30), *_ROW_COLOURS),
    sprites.sprite(TRAIL, 0.35 * sprites.disc(6), sprites.WHITE),
    sprites.sprite(PADDLE, sprites.box(6, 18, 0, 32, 6), sprites.SKY),
    sprites.sprite(BALL, sprites.ball(10), sprites.WHITE),
)
_GROUND = sprites.empty_ground(SIZE, SIZE)
