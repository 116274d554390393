"""Real episodes: how good an agent is, and what it observed, as arrays and as images.

Environments and player run inside one compiled scan; numpy arrays come out, time first. The
player is an agent's policy, or, without parameters, a uniformly random one. Built on by `dreams`
and notebook 10.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent.agent import Agent, Params, PolicyCarry, act, initial_carry, make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.show import images
from dreamer_lite.training import memory, streams
from dreamer_lite.training.hosted import EnvPool
from dreamer_lite.worlds import AnyWorld, is_hosted
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep
from dreamer_lite.worlds.hosted import HostedWorld, TooMany, WorldError

CHUNK = 128  # time steps of `record` between two checks whether its episodes are over
LONGEST = 100_000  # time steps after which an episode counts as endless
MOST = 10_000  # episodes at once, side by side in memory


class RolloutState(NamedTuple):
    """W environments in progress, and what their player carries."""

    world: Any  # (W, ...) the environments' own states
    timestep: TimeStep  # (W, ...) the time step that was not yet acted on
    carry: PolicyCarry | None  # None for the random player
    key: jax.Array  # never changes; every time step folds its own number in
    steps: jax.Array  # () int32, time steps acted on


class Trace(NamedTuple):
    """Time steps of W environments, the actions taken, and the posterior states."""

    timestep: TimeStep  # (T, W, ...)
    action: jax.Array  # (T, W) int32 or (T, W, A) float32, 0 at is_last
    state: State | None  # (T, W, ...) posterior after the step; None for the random player
    frame: np.ndarray | None = None  # (T, W, h, w, 3) uint8, what an environment on the host drew
    world: Any = None  # (T, W, ...) the environments' own states at the step; None on the host


class Player(NamedTuple):
    """Compiled functions that act; with `params` None at random."""

    start: Callable[..., RolloutState]  # (params, seed, W, use="play"); see `streams` for uses
    play: Callable[
        [Params | None, RolloutState, int], tuple[RolloutState, Trace]
    ]  # (params, stage, T)
    score: Callable[[Params | None, RolloutState], tuple[Any, Any]]  # first returns (W,), ended


class Recording(NamedTuple):
    """Consecutive episodes of one world as numpy arrays: one entry per time step."""

    obs: dict[str, np.ndarray]  # (n, ...)
    reward: np.ndarray  # (n,) float32, arrived with obs
    is_first: np.ndarray  # (n,) bool
    is_last: np.ndarray  # (n,) bool
    is_terminal: np.ndarray  # (n,) bool
    action: np.ndarray  # (n,) or (n, A), chosen after seeing obs; 0 at is_last
    deter: np.ndarray | None  # (n, D) what the agent then knew; None for the random player
    stoch: np.ndarray | None  # (n, S, C)
    score: np.ndarray  # (n,) float32, return of the episode up to and with this step
    frame: np.ndarray | None  # (n, h, w, 3) uint8 from a world on the host; None: draw obs
    world: Any = None  # (n, ...) the world's own state at each step; None for one on the host


@functools.lru_cache(maxsize=16)
def make_player(config: Config, world: AnyWorld, film: bool = False) -> Player:
    """The player of this config in this world; made once for each combination.

    With `film` its traces hold what a world on the host looks like, at watchable size; JAX worlds
    are drawn from what they observe.

    Raises:
      ValueError: as `make_agent`, from the first call with parameters.
    """
    if is_hosted(world):
        return make_hosted_player(config, world, film)
    world = cast(World, world)
    graph = LateGraph(config, world)

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def start(params: Params | None, seed: int, worlds: int, use: str = "play") -> RolloutState:
        world_key, key = jax.random.split(streams.key(use, seed))
        states, timestep = jax.vmap(world.reset)(jax.random.split(world_key, worlds))
        carry = None
        if params is not None:
            carry = initial_carry(graph.merge(params), world.action_space, worlds)
        return RolloutState(states, timestep, carry, key, jnp.int32(0))

    def step_all(params: Params | None, stage: RolloutState) -> tuple[RolloutState, Trace]:
        """One time step of every environment: act, step."""
        act_key, world_key = jax.random.split(jax.random.fold_in(stage.key, stage.steps))
        timestep, carry = stage.timestep, None
        if stage.carry is None or params is None:
            action = random_action(world.action_space, timestep.is_last, act_key)
        else:
            agent = graph.merge(params)
            action, carry = act(agent, stage.carry, timestep, world.action_space, act_key)
        trace = Trace(timestep, action, None if carry is None else carry.state, world=stage.world)
        keys = jax.random.split(world_key, timestep.is_last.shape[0])
        worlds, timestep = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
            world, stage.world, timestep, action, keys
        )
        return RolloutState(worlds, timestep, carry, stage.key, stage.steps + 1), trace

    @functools.partial(jax.jit, static_argnums=2)
    def play(params: Params | None, stage: RolloutState, steps: int) -> tuple[RolloutState, Trace]:
        return jax.lax.scan(lambda stage, _: step_all(params, stage), stage, None, steps)

    @jax.jit
    def score(params: Params | None, stage: RolloutState) -> tuple[jax.Array, jax.Array]:
        def unfinished(carry):
            stage, _, ended = carry
            return ~jnp.all(ended) & (stage.steps < LONGEST)

        def once(carry):
            stage, total, ended = carry
            total = total + jnp.where(ended, 0.0, stage.timestep.reward)
            ended = ended | stage.timestep.is_last
            return step_all(params, stage)[0], total, ended

        nothing = jnp.zeros_like(stage.timestep.reward)
        _, total, ended = jax.lax.while_loop(unfinished, once, (stage, nothing, nothing > 0))
        return total, ended

    return Player(start, play, score)


class LateGraph:
    """An agent's structure that is built when it is first needed: random play needs no network."""

    def __init__(self, config: Config, world: AnyWorld) -> None:
        self.build = functools.cache(
            lambda: make_agent(config, world.obs_space, world.action_space)
        )

    def merge(self, params: Params) -> Agent:
        return self.build().merge(params)


def make_hosted_player(config: Config, world: HostedWorld, film: bool) -> Player:
    """The player for worlds on the host; see `make_player`. `film` fills `Trace.frame`.

    A stage holds the running worlds themselves: playing on from the same stage twice plays on.
    """
    graph = LateGraph(config, world)

    def start(params: Params | None, seed: int, worlds: int, use: str = "play") -> RolloutState:
        pool = EnvPool(world, worlds)
        pool.begin(streams.host_seed(use, seed))
        carry = None
        if params is not None:
            carry = initial_carry(graph.merge(params), world.action_space, worlds)
        return RolloutState(pool, pool.timestep, carry, streams.key(use, seed), jnp.int32(0))

    @jax.jit
    def choose(
        params: Params | None,
        carry: PolicyCarry | None,
        timestep: TimeStep,
        key: jax.Array,
        steps: jax.Array,
    ) -> tuple[jax.Array, PolicyCarry | None]:
        key = jax.random.fold_in(key, steps)
        if carry is None or params is None:
            return random_action(world.action_space, timestep.is_last, key), None
        return act(graph.merge(params), carry, timestep, world.action_space, key)

    def step_all(params: Params | None, stage: RolloutState) -> tuple[RolloutState, Trace]:
        """One time step of every environment: act, step."""
        action, carry = choose(params, stage.carry, stage.timestep, stage.key, stage.steps)
        frame = stage.world.stepper.frames() if film else None
        trace = Trace(stage.timestep, action, None if carry is None else carry.state, frame)
        stage.world.step(np.asarray(action))
        return stage._replace(
            timestep=stage.world.timestep, carry=carry, steps=stage.steps + 1
        ), trace

    def play(params: Params | None, stage: RolloutState, steps: int) -> tuple[RolloutState, Trace]:
        traces = []
        for _ in range(steps):
            stage, trace = step_all(params, stage)
            traces.append(trace)
        return stage, jax.tree.map(lambda *parts: np.stack(parts), *traces)

    def score(params: Params | None, stage: RolloutState) -> tuple[np.ndarray, np.ndarray]:
        total = np.zeros_like(stage.timestep.reward)
        ended = np.zeros_like(stage.timestep.is_last)
        while True:
            total += np.where(ended, 0, stage.timestep.reward)
            ended |= stage.timestep.is_last
            if ended.all() or stage.steps >= LONGEST:
                stage.world.close()
                return total, ended
            stage, _ = step_all(params, stage)

    return Player(start, play, score)


def random_action(space: Space, is_last: jax.Array, key: jax.Array) -> jax.Array:
    """Uniform over the actions, or over [-1, 1]; 0 where is_last (W,). The key is consumed."""
    if space.is_discrete:
        return jnp.where(is_last, 0, jax.random.randint(key, is_last.shape, 0, space.classes))
    action = jax.random.uniform(key, (*is_last.shape, *space.shape), minval=-1.0)
    return jnp.where(is_last[:, None], 0.0, action)


def evaluate(
    config: Config, params: Params | None, world: AnyWorld, episodes: int, seed: int
) -> np.ndarray:
    """Undiscounted returns (episodes,) float32 of the first episode of each of as many worlds.

    One whole episode from every world, however long: taking the first `episodes` that end would
    prefer the short ones. The policy samples, as everywhere. The episodes are others than those of
    a training with the same seed.

    Raises:
      ValueError: `episodes` is not between 1 and MOST.
      WorldError: an episode that does not end within LONGEST steps.
    """
    check_episodes(episodes)
    player = make_player(config, world)
    returns, at_once = np.zeros(0, np.float32), episodes
    while len(returns) < episodes:
        use = f"evaluate from {len(returns)}" if len(returns) else "evaluate"
        stage = start_as_many(player, params, seed, min(at_once, episodes - len(returns)), use)
        at_once = len(stage.timestep.is_last)
        total, ended = player.score(params, stage)
        if not ended.all():
            raise WorldError(endless(world))
        returns = np.concatenate([returns, total])
    return returns


def start_as_many(
    player: Player, params: Params | None, seed: int, worlds: int, use: str
) -> RolloutState:
    """`worlds` of them side by side, or as many as can exist at a time, with a warning."""
    try:
        return player.start(params, seed, worlds, use)
    except TooMany as error:
        warnings.warn(f"{error} Here {error.made} is taken at a time.", stacklevel=2)
        return player.start(params, seed, error.made, use)


def record(
    config: Config,
    params: Params | None,
    world: AnyWorld,
    seed: int,
    episodes: int = 1,
    film: bool = True,
) -> Recording:
    """Play `episodes` whole episodes in one world, one after the other, and keep every time step.

    Without `film`, pictures of a world on the host are drawn from what it observes, if they are.

    Raises:
      ValueError: `episodes` is not between 1 and MOST, or they do not fit in memory.
      WorldError: an episode that does not end within LONGEST steps.
    """
    check_episodes(episodes)
    player = make_player(config, world, film)
    stage = player.start(params, seed, 1, "record")
    chunks, ends, length = [], 0, 0
    while ends < episodes:
        if length >= LONGEST * (ends + 1):
            raise WorldError(endless(world))
        stage, trace = player.play(params, stage, CHUNK)
        chunks.append(jax.tree.map(lambda x: np.asarray(x[:, 0]), trace))
        ends += int(chunks[-1].timestep.is_last.sum())
        length += CHUNK
        check_memory(len(chunks) * sum(x.nbytes for x in jax.tree.leaves(chunks[-1])), episodes)
    whole: Any = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    count = np.flatnonzero(whole.timestep.is_last)[episodes - 1] + 1
    whole = jax.tree.map(lambda x: x[:count], whole)
    deter, stoch = (None, None) if whole.state is None else whole.state
    score = running_return(whole.timestep.reward, whole.timestep.is_first)
    return Recording(
        *whole.timestep,
        action=whole.action,
        deter=deter,
        stoch=stoch,
        score=score,
        frame=whole.frame,
        world=whole.world,
    )


def running_return(reward: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """Sum of the rewards since the episode began, (n,), (n,) -> (n,) float32."""
    total = np.cumsum(reward, dtype=np.float64)
    before = np.where(is_first, total - reward, -np.inf)  # total when the episode began
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(reward)), 0))
    return (total - before[starts]).astype(np.float32)


def check_episodes(episodes: int) -> None:
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}: it must be at least 1.")
    if episodes > MOST:
        raise ValueError(f"episodes is {episodes}: it must be at most {MOST}.")


def check_memory(needed: int, episodes: int) -> None:
    """Raise ValueError if as many bytes again, in which all is put together, are not free."""
    free = memory.free_host_bytes()
    if free is not None and needed > memory.SPARE * free:
        raise ValueError(
            f"{episodes} episodes need more memory than the {free / 2**30:.1f} GiB that are free: "
            "choose fewer."
        )


def endless(world: AnyWorld) -> str:
    return f"An episode of {world.name} did not end within {LONGEST} steps."


def annotated_frames(world: AnyWorld, recording: Recording) -> np.ndarray:
    """The world's pictures of a recording, each over a line of text: (n, h, w, 3) uint8.

    The text gives the step in the episode (with the episode's number if there are several), the
    action chosen there, and the return so far; height and width are even.
    """
    count = len(recording.reward)
    episode = np.cumsum(recording.is_first)
    starts = np.maximum.accumulate(np.where(recording.is_first, np.arange(count), 0))
    frames = np.empty(0)
    picture_of = make_picture_of(world, recording)
    for i in range(count):  # one by one, to hold only one set of large pictures
        picture = picture_of(i)
        words = [f"step {i - starts[i]}"]
        if episode[-1] > 1:
            words.insert(0, f"episode {episode[i]}")
        if recording.is_last[i]:
            words.append("the end" if recording.is_terminal[i] else "time is up")
        else:
            words.append(action_name(world, recording.action[i]))
        strip = images.caption(
            picture.shape[1], 32, "   ".join(words), f"return {in_short(recording.score[i])}"
        )
        picture = images.pad_to_even(np.concatenate([picture, strip]))
        if i == 0:
            check_memory(count * picture.nbytes, int(episode[-1]))
            frames = np.empty((count, *picture.shape), np.uint8)
        frames[i] = picture
    return frames


def make_picture_of(world: AnyWorld, recording: Recording) -> Callable[[int], np.ndarray]:
    """A function from a step of a recording to its image: the environment's own, else from obs."""
    frame = recording.frame
    if frame is not None:
        return lambda i: images.enlarge(frame[i])
    draw = images.painter(world, [recording.obs])
    return lambda i: draw({key: x[i] for key, x in recording.obs.items()})


def in_short(number: float) -> str:
    """Whole numbers whole, others to one decimal."""
    return f"{number:.0f}" if number == round(number) else f"{number:.1f}"


def action_name(world: AnyWorld, action: np.ndarray) -> str:
    """A real action in a word; numbers if it is continuous."""
    if world.action_space.is_discrete:
        return world.action_names[int(action)]
    return " ".join(f"{x:+.1f}" for x in action[:3])
