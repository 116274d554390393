"""Pendulum: swing a rod up and hold it there; a JAX world with a continuous action.

The equations, the random start and the time limit are those of Gymnasium's Pendulum-v1 (MIT
licence), so returns can be compared: -1200 is random play, better than -200 is solved. It is the
environment of the continuous actor in notebook 07.

What may be changed: the time limit and the drawing. With other equations, returns can no longer be
compared with those of others.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.worlds import sprites
from dreamer_lite.worlds.base import Space, TimeStep, first_timestep

GRAVITY = 10.0  # m/s²; the rod has a mass of 1 kg and a length of 1 m
STEP = 0.05  # s
TORQUE = 2.0  # N m, what an action of 1 stands for
MAX_SPEED = 8.0  # rad/s


class State(NamedTuple):
    """All of the pendulum at one moment."""

    angle: jax.Array  # () float32, rad, 0 upright, grows anticlockwise and is never wrapped
    speed: jax.Array  # () float32, rad/s
    time: jax.Array  # () int32, actions so far


@dataclasses.dataclass(frozen=True)
class Pendulum:
    """Pendulum-v1: reward -(angle² + 0.1 speed² + 0.001 torque²), no end but the time limit."""

    time_limit: int = 200  # actions, after which an episode is cut (not terminal)

    name = "pendulum"
    obs_space = {"vector": Space((3,), "float32")}  # noqa: RUF012
    action_space = Space((1,), "float32")
    action_names = ("torque",)

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Starts at any angle, with a speed of up to 1 rad/s either way."""
        draws = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        state = State(jnp.pi * draws[0], draws[1], jnp.int32(0))
        return state, first_timestep(_observe(state))

    def step(self, state: State, action: jax.Array, key: jax.Array) -> tuple[State, TimeStep]:
        """Turns the joint with the torque 2 * action (1,) for 0.05 s. The key is not used.

        speed' = speed + (3g/2 sin angle + 3 torque) dt;  angle' = angle + speed' dt
        The reward is that of the state in which the action was chosen.
        """
        torque = TORQUE * jnp.clip(action[0], -1, 1)
        wrapped = (state.angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
        cost = wrapped**2 + 0.1 * state.speed**2 + 0.001 * torque**2
        push = 1.5 * GRAVITY * jnp.sin(state.angle) + 3 * torque
        speed = jnp.clip(state.speed + push * STEP, -MAX_SPEED, MAX_SPEED)
        state = State(state.angle + speed * STEP, speed, state.time + 1)
        last = state.time >= self.time_limit
        return state, TimeStep(_observe(state), -cost, jnp.array(False), last, jnp.array(False))

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Draws (..., 3) as (..., 320, 320, 3) uint8: the rod, and an arc that shows its speed.

        A rod shorter than the circle is an imagined frame that is uncertain of the angle.
        """
        vector = np.nan_to_num(np.asarray(obs["vector"], np.float32))
        flat = vector.reshape(-1, 3)
        frames = np.empty((len(flat), SIDE, SIDE, 3), np.uint8)
        for i, (cos, sin, speed) in enumerate(flat):
            frames[i] = _draw(float(cos), float(sin), float(speed))
        return frames.reshape(*vector.shape[:-1], SIDE, SIDE, 3)


def _observe(state: State) -> dict[str, jax.Array]:
    return {"vector": jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed])}


# The image. Lengths are pixels, x to the right and y upwards from the joint.

SIDE = 320
ROD, RING = 112.0, 138.0  # length of the rod, radius of the circle on which the arc lies
AHEAD = 0.25  # s, the arc ends where the tip would be after this time at this speed

_ALONG = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
_X, _Y = np.meshgrid(_ALONG, -_ALONG)
_RADIUS = np.hypot(_X, _Y)
_ANGLE = np.arctan2(-_X, _Y)  # of every pixel, measured as the rod's


def _cover(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Opacity of a shape of half width `width` whose middle is `distance` away; smooth edges."""
    return np.clip(width + 0.5 - distance, 0, 1)


def _layer(image: np.ndarray, opacity: np.ndarray, colour: tuple[int, int, int]) -> None:
    image += opacity[..., None] * (np.array(colour, np.float32) - image)


def _ground() -> np.ndarray:
    """The background: the circle of the tip, and a mark where it should be."""
    image = np.full((SIDE, SIDE, 3), sprites.BACKGROUND, np.float32)
    _layer(image, 0.12 * _cover(np.abs(_RADIUS - ROD), 1), sprites.WHITE)
    _layer(image, _cover(np.hypot(_X, _Y - RING - 12), 5), sprites.GREEN)
    return image


_GROUND = _ground()


def _draw(cos: float, sin: float, speed: float) -> np.ndarray:
    """One frame (320, 320, 3) uint8 of an observation."""
    image = _GROUND.copy()
    angle = math.atan2(sin, cos)
    length = ROD * min(math.hypot(cos, sin), 1.1)
    x, y = -length * math.sin(angle), length * math.cos(angle)

    sweep = AHEAD * max(-MAX_SPEED, min(speed, MAX_SPEED))
    ahead = (_ANGLE - angle if sweep > 0 else angle - _ANGLE) % (2 * math.pi)
    inside = np.clip((abs(sweep) - ahead) * RING, 0, 1)
    thins = 1 - 0.7 * ahead / max(abs(sweep), 1e-6)  # a tail that points where the rod goes
    _layer(image, inside * _cover(np.abs(_RADIUS - RING), 5 * np.clip(thins, 0, 1)), sprites.SKY)

    along = np.clip((_X * x + _Y * y) / max(length**2, 1e-6), 0, 1)
    _layer(image, _cover(np.hypot(_X - along * x, _Y - along * y), 8), sprites.ORANGE)
    _layer(image, _cover(np.hypot(_X - x, _Y - y), 14), sprites.WHITE)
    _layer(image, _cover(_RADIUS, 5), sprites.BACKGROUND)
    return np.round(image).astype(np.uint8)
