"""The DeepMind Control Suite: `dmc/walker-walk` gives numbers, `dmc/walker-walk/pixels` images.

Every task of dm_control's suite, `dmc/<domain>-<task>`. An action is repeated twice, as in
the runs behind the published scores; the released code now has `repeat: 1`
(`dreamerv3/configs.yaml`). An episode is terminal only where the task sets a discount of 0, as
`embodied/envs/from_dm.py` has it; the common tasks never do.

Images are 64x64x3, drawn as fast as a CPU can: without shadows, reflections and anti-aliasing, and
round limbs have 16 corners instead of 28. Compare scores from
pixels with published ones on these terms. Without pixels nothing is drawn in training.
"""

import dataclasses
import difflib
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dreamer_lite.worlds import checks, hosted, rendering
from dreamer_lite.worlds.base import Space

REPEAT = 2  # physics steps per agent step
SIDE = 64  # pixels of an observation
HEIGHT, WIDTH = 240, 320  # pixels of a film
CAMERAS = {"quadruped": 2}  # else 0, as in DMC of `embodied/envs/dmc.py`


@dataclasses.dataclass(frozen=True)
class ControlWorld(hosted.Description):
    """One task of the suite."""

    domain: str
    task: str
    pixels: bool

    @property
    def camera(self) -> int:
        return CAMERAS.get(self.domain, 0)

    def start(self, worlds: int, seed: int) -> hosted.Loop:
        """Makes W environments. Raises ValueError if pixels are wanted and nothing can draw."""
        if self.pixels:
            rendering.require()
        return hosted.Loop(self, functools.partial(ControlEnvironment, self), worlds, seed)

    def render(self, obs: dict[str, np.ndarray]) -> np.ndarray | None:
        """Images as they are; numbers as the body that they describe, (..., 240, 320, 3) uint8.

        None for domains whose numbers do not determine the body's pose (see `POSES`), and, with a
        warning, where nothing can draw.
        """
        if self.pixels:
            return hosted.as_rgb(obs["image"])
        if self.domain not in POSES or not can_draw(self.name):
            return None
        return body(self.domain, self.task).draw({key: np.asarray(x) for key, x in obs.items()})


class ControlEnvironment:
    """One environment in a `Loop`."""

    def __init__(self, world: ControlWorld) -> None:
        self.world = world
        self.env = self.camera = self.film_camera = None

    def reset(self, seed: int | None) -> dict[str, np.ndarray]:
        """Starts an episode; a seed makes a new environment, since the suite takes it only then."""
        if seed is not None:
            self.close()
            self.env = load(self.world.domain, self.world.task, seed)
            self.free = rendering.free_with(self, self.env.physics)
            if self.world.pixels:
                self.camera = rendering.on_thread(fast_camera, self.env.physics, self.world.camera)
            spec = self.env.action_spec()
            self.action = hosted.bounds_map(spec.minimum, spec.maximum)
        return self._observe(self.env.reset())  # type: ignore

    def step(self, action: np.ndarray) -> hosted.Transition:
        """Repeats the action, adds up the rewards, and stops early where the episode ends."""
        action, reward, moment = self.action(action), 0.0, None
        for _ in range(self.world.repeat):
            moment = self.env.step(action)  # type: ignore
            reward += moment.reward
            if moment.last():
                break
        assert moment is not None
        over = moment.last()
        terminated = over and moment.discount == 0
        return hosted.Transition(self._observe(moment), reward, terminated, over and not terminated)

    def frame(self) -> np.ndarray | None:
        """The scene at 240x320; None, with a warning, where nothing can draw."""
        if not can_draw(self.world.name):
            return None
        if self.film_camera is None:
            physics = self.env.physics  # type: ignore
            self.film_camera = rendering.on_thread(film_camera, physics, self.world.camera)
        return rendering.on_thread(self.film_camera.render)

    def close(self) -> None:
        if self.env is not None:
            self.free()
        self.env = self.camera = self.film_camera = None

    def _observe(self, moment: Any) -> dict[str, np.ndarray]:
        if self.camera is not None:
            return {"image": rendering.on_thread(self.camera.render)}
        name = self.world.name
        return {
            key: checks.as_array(
                name, f"observation {key!r}", np.reshape(value, -1), space.shape, space.dtype
            )
            for (key, space), value in zip(self.world.spaces, moment.observation.values())
        }


def make(name: str) -> ControlWorld:
    """The world of `walker-walk` or `walker-walk/pixels`.

    Raises:
      ValueError: unknown task, a dm_control that does not work here, or pixels where nothing can
        draw; one sentence.
    """
    words, slash, option = name.partition("/")
    domain, _, task = words.partition("-")
    if (domain, task) not in suite().ALL_TASKS or (slash and option != "pixels"):
        raise ValueError(unknown(name))
    pixels = option == "pixels"
    if pixels:
        rendering.require()
    env = load(domain, task, 0)
    spec, model = env.action_spec(), env.physics.model
    if pixels:
        spaces = {"image": Space((SIDE, SIDE, 3), "uint8")}
    else:
        sizes = {key: int(np.prod(x.shape)) for key, x in env.observation_spec().items()}
        spaces = {key: Space((size,), "float32") for key, size in sizes.items()}
    size = spec.shape[0]
    world = ControlWorld(
        name=f"dmc/{name}",
        spaces=tuple(spaces.items()),
        action_space=Space((size,), "float32"),
        action_names=tuple(model.id2name(i, "actuator") or str(i) for i in range(size)),
        repeat=REPEAT,
        domain=domain,
        task=task,
        pixels=pixels,
    )
    env.physics.free()
    return world


def unknown(name: str) -> str:
    """A sentence with the nearest tasks."""
    tasks = [f"{domain}-{task}" for domain, task in suite().ALL_TASKS]
    base = name.partition("/")[0].lower()
    near = difflib.get_close_matches(base, tasks, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(f'dmc/{x}' for x in near)}?" if near else "."
    return (
        f"The control suite has no dmc/{name}{hint} Names are dmc/DOMAIN-TASK, such as "
        "dmc/walker-walk, and dmc/DOMAIN-TASK/pixels."
    )


@functools.cache
def suite() -> Any:
    """dm_control.suite, imported after the choice of what draws.

    Raises:
      ValueError: it cannot be imported, for example by a wrong MUJOCO_GL; one sentence.
    """
    rendering.choose()
    try:
        from dm_control import suite
    except Exception as error:  # a RuntimeError or ImportError of many kinds
        raise ValueError(f"dm_control does not work: {checks.in_one_line(error)}.") from error
    return suite


def load(domain: str, task: str, seed: int) -> Any:
    """One environment of the suite. Raises ValueError where mujoco is too new for dm_control."""
    try:
        return suite().load(domain, task, task_kwargs={"random": seed})
    except AttributeError as error:
        raise ValueError(
            f"dm_control does not work with this mujoco ({checks.in_one_line(error)}): make a new "
            'environment, by `pip install dm_control "mujoco>=3.17,<4"`.'
        ) from error


# Images


@functools.cache
def can_draw(name: str) -> bool:
    """Whether something can draw; if not, warns once with what to install."""
    choice = rendering.choose()
    if choice.backend is None:
        warnings.warn(f"{name} is not drawn: {choice.reason}", stacklevel=2)
    return choice.backend is not None


def fast_camera(physics: Any, camera: int) -> Any:
    """A camera of 64x64, several times as fast as the usual one.

    Quality is settled when the first camera of a physics draws, so this one has to come first.
    """
    from dm_control.mujoco import engine
    from mujoco import mjtRndFlag  # type: ignore

    quality = physics.model.vis.quality
    quality.shadowsize = quality.offsamples = 0
    quality.numslices, quality.numstacks = 16, 8
    room = max(200, 2 * physics.model.ngeom)  # bodies and what decorates them
    made = engine.Camera(physics, SIDE, SIDE, camera_id=camera, max_geom=room)
    for flag in (mjtRndFlag.mjRND_SHADOW, mjtRndFlag.mjRND_REFLECTION):
        made.scene.flags[flag] = 0
    return opened(made, physics)


def film_camera(physics: Any, camera: int) -> Any:
    """A camera of 240x320."""
    from dm_control.mujoco import engine

    return opened(engine.Camera(physics, HEIGHT, WIDTH, camera_id=camera), physics)


def opened(camera: Any, physics: Any) -> Any:
    """The camera, after a first frame, which makes the OpenGL context of its physics."""
    camera.render()
    rendering.free_before_dm_control(physics)
    return camera


def walker_pose(obs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Joint positions (9,) of a walker from its height (1,) and orientations (14,).

    `orientations` are (cos, sin) of the absolute angle of torso, right thigh, leg and foot, left
    thigh, leg and foot. Its position along x is not observed: the camera moves with it.
    """
    cos, sin = obs["orientations"].reshape(7, 2).T
    torso, *limbs = np.arctan2(sin, cos)
    pose = [obs["height"][0] - 1.3, 0, torso]  # the torso begins at a height of 1.3 m
    for leg in (limbs[:3], limbs[3:]):
        above = torso
        for angle in leg:  # these joints turn against the angle
            pose.append((above - angle + np.pi) % (2 * np.pi) - np.pi)
            above = angle
    return np.array(pose)


def all_but_x(obs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Joint positions where only the position along x is not observed."""
    return np.concatenate([[0], obs["position"]])


POSES: dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
    "walker": walker_pose,
    "cheetah": all_but_x,
    "hopper": all_but_x,
}


class Body:
    """Draws the poses of one domain with a physics of its own."""

    def __init__(self, domain: str, task: str) -> None:
        self.pose = POSES[domain]
        self.physics = load(domain, task, 0).physics
        rendering.free_with(self, self.physics)
        self.camera = rendering.on_thread(film_camera, self.physics, CAMERAS.get(domain, 0))

    def draw(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Observations (..., n) as (..., 240, 320, 3) uint8."""
        return rendering.on_thread(self._draw, obs)

    def _draw(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        lead = next(iter(obs.values())).shape[:-1]
        frames = np.empty((*lead, HEIGHT, WIDTH, 3), np.uint8)
        for index in np.ndindex(*lead):
            pose = self.pose({key: x[index] for key, x in obs.items()})
            self.physics.data.qpos[:] = np.nan_to_num(pose)
            self.physics.forward()
            frames[index] = self.camera.render()
        return frames


body = functools.lru_cache(maxsize=2)(Body)  # (domain, task) -> Body, made once
