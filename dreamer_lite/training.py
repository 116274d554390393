"""The loop: act, store, sample, learn, as one jitted program; and a generator of progress records.

For JAX worlds everything, world included, runs inside one compiled and donated program
(`make_driver`). `train` calls it again and again and yields what happened; whoever listens draws a
bar, a curve, or saves. Nothing here knows who watches. Put together in notebook 07.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dreamer_lite import replay as rp
from dreamer_lite.agent import Graph, Params, act, blank_mind, make_agent
from dreamer_lite.config import Config
from dreamer_lite.learner import Learner, LearnerState, Metrics, make_learner
from dreamer_lite.replay import Replay
from dreamer_lite.world_model import Batch
from dreamer_lite.worlds.base import Row, Space, World, next_row

EPISODES = 100  # `return_mean` is over this many of the latest training episodes

SPREAD = "devices"  # the one axis of a mesh


class Actors(NamedTuple):
    """W worlds in progress, and what their agents remember."""

    world: Any  # (W, ...) the worlds' own states; None where they are on the host
    row: Any  # Row (W, ...) that was not yet acted on; None where the worlds are on the host
    mind: Any  # Mind; None for an agent that remembers nothing
    score: jax.Array  # (W,) return of the running episodes so far
    scores: jax.Array  # (EPISODES,) ring of the latest finished episodes' returns
    episodes: jax.Array  # () int32, finished episodes


class RunState(NamedTuple):
    """All that a run is: save it and the run can go on from here, bit for bit.

    With `seeds` = N > 1 every array has a leading axis (N, ...), one agent each.
    """

    learner: LearnerState
    replay: Replay
    actors: Actors
    key: jax.Array  # never changes; every step folds its own number in
    rows: jax.Array  # () int32, rows lived by each world
    updates: jax.Array  # () int32


class Progress(NamedTuple):
    """What `train` yields: the news, and the run as it stands."""

    record: dict[str, Any]  # plain numbers, see `make_record`
    state: RunState  # donated when the generator goes on: save it before, or never touch it


class Limits(NamedTuple):
    """When training stops: totals that include earlier starts; None means no limit."""

    minutes: float | None = None  # wall time
    steps: int | None = None  # agent steps
    updates: int | None = None

    def reached(self, seconds: float, steps: int, updates: int) -> bool:
        return (
            (self.minutes is not None and seconds >= 60 * self.minutes)
            or (self.steps is not None and steps >= self.steps)
            or (self.updates is not None and updates >= self.updates)
        )


class Driver(NamedTuple):
    """The two functions that move a run."""

    init: Callable[[int], RunState]  # seed -> state
    # (state, times, rows, updates) -> (state, metrics): `times` times, live `rows` rows and then
    # learn `updates` times. One program for every count. The state is donated.
    advance: Callable[[RunState, int, int, int], tuple[RunState, Metrics]]
    close: Callable[[], None] = lambda: None  # let go of worlds on the host


def make_driver(config: Config, world: World, mesh: Mesh | None = None) -> Driver:
    """The fused driver: one program that lives in a JAX world and learns from it.

    With `seeds` = N > 1 it is mapped over N agents, each of which does what it would do alone.
    With a mesh, see `make_mesh`, the work is spread over its devices.

    Raises:
      ValueError: as `make_agent`.
    """
    spaces = world.obs_space, world.action_space
    graph, learner = make_agent(config, *spaces), make_learner(config, *spaces)
    learn = make_learn(config, learner, world.action_space, mesh if config.seeds == 1 else None)

    def begin(learning: LearnerState, key: jax.Array) -> RunState:
        world_key, run_key = jax.random.split(key)
        states, row = jax.vmap(world.reset)(jax.random.split(world_key, config.worlds))
        state = first_state(config, graph, learning, spaces, run_key)
        return state._replace(actors=state.actors._replace(world=states, row=row))

    def live(state: RunState) -> RunState:
        """One row of every world: look, act, store, step."""
        row = state.actors.row
        params = state.learner.params
        state, action, world_key = look_and_act(
            config, graph, world.action_space, params, state, row
        )
        keys = jax.random.split(world_key, config.worlds)
        worlds, row = jax.vmap(next_row, (None, 0, 0, 0, 0))(
            world, state.actors.world, row, action, keys
        )
        actors = keep_score(state.actors._replace(world=worlds, row=row))
        return state._replace(actors=actors)

    def advance(state: RunState, times: jax.Array, rows: jax.Array, updates: jax.Array):
        def once(_, carry):
            state, sums = carry
            state = jax.lax.fori_loop(0, rows, lambda _, s: live(s), state)
            return learn_times(learn, (state, sums), updates)

        state, sums = jax.lax.fori_loop(0, times, once, (state, no_metrics(learn, state)))
        count = jnp.maximum(1, times * updates)
        return state, jax.tree.map(lambda x: x / count, sums)

    # One program to begin with, for speed of starting; and no two outputs share a buffer.
    where = places(config, mesh)
    starting = jax.jit(begin if config.seeds == 1 else jax.vmap(begin), out_shardings=where)
    going = jax.jit(
        advance if config.seeds == 1 else jax.vmap(advance, (0, None, None, None)),
        donate_argnums=0,
        out_shardings=None if mesh is None else (where, NamedSharding(mesh, P())),
        compiler_options=compiler_options() if mesh is None else None,
    )

    def init(seed: int) -> RunState:
        if config.seeds == 1:
            return starting(learner.init(seed), jax.random.key(seed))
        begun = [(learner.init(s), jax.random.key(s)) for s in range(seed, seed + config.seeds)]
        return starting(*jax.tree.map(lambda *agents: jnp.stack(agents), *begun))

    return Driver(init, going)


def make_mesh(config: Config) -> Mesh | None:
    """All local devices in a row, to spread a run over; None if there is only one.

    One agent has its batch (B) and its worlds (W) spread: each device works on a part of every
    batch with a copy of the parameters, and the gradients are summed. Several agents (`seeds`) are
    spread whole.

    Raises:
      ValueError: what is to be spread cannot be shared out evenly.
    """
    devices = jax.local_devices()
    names = ("batch", "worlds") if config.seeds == 1 else ("seeds",)
    odd = [f"{n}={getattr(config, n)}" for n in names if getattr(config, n) % len(devices)]
    if odd:
        raise ValueError(
            f"{len(devices)} devices cannot share {' and '.join(odd)} evenly: choose multiples of "
            f"{len(devices)}, or --devices 1."
        )
    return Mesh(np.array(devices), (SPREAD,)) if len(devices) > 1 else None


def places(config: Config, mesh: Mesh | None) -> Any:
    """Where each array of a RunState lies on the mesh: a prefix tree of shardings."""
    if mesh is None:
        return None
    whole, first, second = axes_spread(mesh)
    if config.seeds > 1:
        return first
    replay = Replay(second, second, second, second, added=whole, queued=whole)  # (L, W, ...)
    actors = Actors(first, first, first, first, scores=whole, episodes=whole)  # (W, ...)
    return RunState(whole, replay, actors, key=whole, rows=whole, updates=whole)


def axes_spread(mesh: Mesh) -> list[Any]:
    """Shardings that spread no axis, the first, and the second."""
    return [NamedSharding(mesh, P(*axes)) for axes in ((), (SPREAD,), (None, SPREAD))]


def batch_places(mesh: Mesh) -> Any:
    """Where each array of a Batch lies on the mesh: its sequences are shared out."""
    _, first, second = axes_spread(mesh)
    return Batch(second, second, second, second, second, second, context=first)


def first_state(
    config: Config,
    graph: Graph,
    learning: LearnerState,
    spaces: tuple[dict[str, Space], Space],
    key: jax.Array,
) -> RunState:
    """The state before anything was lived; `world` and `row` of its actors are still None."""
    mind = blank_mind(graph.merge(learning.params), spaces[1], config.worlds)
    zero = jnp.int32(0)
    actors = Actors(None, None, mind, jnp.zeros(config.worlds), jnp.zeros(EPISODES), zero)
    return RunState(learning, rp.init(config, *spaces), actors, key, zero, zero)


def look_and_act(
    config: Config,
    graph: Graph,
    action_space: Space,
    params: Params,
    state: RunState,
    row: Row,
) -> tuple[RunState, jax.Array, jax.Array]:
    """Choose an action for a row of W worlds and store both.

    Returns the state, the actions as worlds take them, and a key for the worlds' own chance.
    """
    key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.rows)
    act_key, world_key = jax.random.split(key)
    agent = graph.merge(params)
    action, mind = act(agent, state.actors.mind, row, action_space, act_key)
    replay = rp.add(state.replay, row, action, mind)
    actors = state.actors._replace(mind=mind)
    return state._replace(replay=replay, actors=actors, rows=state.rows + 1), action, world_key


def make_learn(
    config: Config, learner: Learner, action_space: Space, mesh: Mesh | None = None
) -> Callable[[RunState], tuple[RunState, Metrics]]:
    """The function that makes one update from one batch of the replay, spread over a mesh."""

    @jax.jit  # so that it is traced once for its metrics' shapes and for the loop
    def learn(state: RunState) -> tuple[RunState, Metrics]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
        sample_key, learn_key = jax.random.split(key)
        replay, chosen = rp.sample(state.replay, config, sample_key)
        batch = rp.gather(replay, chosen, config, action_space)
        with (
            contextlib.nullcontext()
            if mesh is None
            else jax.sharding.use_abstract_mesh(mesh.abstract_mesh)
        ):
            if mesh is not None:
                batch = jax.lax.with_sharding_constraint(batch, batch_places(mesh))
            learning, latents, metrics = learner.update(state.learner, batch, learn_key)
        replay = rp.write_latents(replay, chosen, latents, config)
        return state._replace(learner=learning, replay=replay, updates=state.updates + 1), metrics

    return learn


def learn_times(
    learn: Callable[[RunState], tuple[RunState, Metrics]], carry: tuple[RunState, Metrics], times
) -> tuple[RunState, Metrics]:
    """Learn `times` times, adding the metrics up; carry: (state, sums so far)."""

    def once(_, carry):
        state, metrics = learn(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    return jax.lax.fori_loop(0, times, once, carry)


def no_metrics(learn: Callable[[RunState], tuple[RunState, Metrics]], state: RunState) -> Metrics:
    """Sums of metrics before the first update."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(learn, state)[1])


def compiler_options() -> dict[str, str | int | bool] | None:
    """XLA settings for `advance`, whose many small products are not what XLA is tuned for on CPUs.

    None, XLA's own, on other devices and where JAX_DISABLE_MOST_OPTIMIZATIONS asks for no tuning.

    Measured on 2 cores with `minatar/breakout tiny`: the two matrix libraries that XLA prefers for
    small products (YNNPACK, XNNPACK) and its tree reduction made an update slower, a schedule for
    concurrency makes it a tenth faster, and LLVM's highest optimisation level compiled 5 s longer
    for nothing.
    """
    if jax.default_backend() != "cpu" or jax.__version_info__ < (0, 10):
        return None  # older compilers do not know these names
    if jax.config.values["jax_disable_most_optimizations"]:
        return None
    return {
        "xla_cpu_experimental_ynn_fusion_type": "",
        "xla_cpu_use_xnnpack": False,
        "xla_disable_hlo_passes": "tree_reduction_rewriter",
        "xla_backend_optimization_level": 1,
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED",
    }


def keep_score(actors: Actors) -> Actors:
    """Add the new row's reward; move finished episodes' returns into the ring."""
    row = actors.row
    score = jnp.where(row.is_first, 0.0, actors.score) + row.reward
    place = (actors.episodes + jnp.cumsum(row.is_last) - 1) % EPISODES
    place = jnp.where(row.is_last, place, EPISODES)  # out of range: dropped
    return actors._replace(
        score=score,
        scores=actors.scores.at[place].set(score, mode="drop"),
        episodes=actors.episodes + row.is_last.sum(),
    )


def train(
    config: Config,
    driver: Driver,
    state: RunState,
    limits: Limits,
    seconds: float = 0.0,
) -> Iterator[Progress]:
    """Train on from `state` until a limit is reached, yielding news about every K updates.

    The first yield comes after the first update. Calls end at the same numbers of updates however
    often a run is stopped and resumed, so a resumed run computes exactly what the other would have.
    `seconds` is the wall time of earlier starts. Raises FloatingPointError when a loss is no longer
    finite, or a reward was not; the state that came with the last yield is then the last good one.
    """
    start = time.perf_counter() - seconds
    rows, updates = config.schedule
    live_rows, learnt = (int(x.flat[0]) for x in jax.device_get((state.rows, state.updates)))
    while not limits.reached(time.perf_counter() - start, live_rows * config.worlds, learnt):
        if live_rows < config.rows_before_learning - rows:
            waiting = config.rows_before_learning - rows - live_rows
            state, _ = driver.advance(state, 1, waiting, 0)
            live_rows += waiting
        before = time.perf_counter()
        times = calls_until_news(config, limits, live_rows, learnt)
        state, metrics = driver.advance(state, times, rows, updates)
        metrics = jax.device_get(metrics)
        live_rows, learnt = live_rows + times * rows, learnt + times * updates
        speed = times * updates / (time.perf_counter() - before)
        check_finite(metrics, learnt, config)
        check_returns(state.actors, learnt, config)
        record = make_record(config, state, metrics, time.perf_counter() - start, speed)
        yield Progress(record, state)


def calls_until_news(config: Config, limits: Limits, rows: int, updates: int) -> int:
    """Repetitions of the schedule up to the next multiple of K updates, or to a limit."""
    rows_each, updates_each = config.schedule
    if updates == 0:
        return 1  # the first update alone: somebody has waited for a sign of life
    ends = [-(-(config.updates_per_call - updates % config.updates_per_call) // updates_each)]
    if limits.updates is not None:
        ends.append(-(-(limits.updates - updates) // updates_each))
    if limits.steps is not None:
        ends.append(-(-(limits.steps - rows * config.worlds) // (rows_each * config.worlds)))
    return max(1, min(ends))


def check_finite(
    metrics: Mapping[str, jax.typing.ArrayLike], updates: int, config: Config | None = None
) -> None:
    """Raise FloatingPointError that names the first loss that is not finite, and whose it is."""
    for name, values in metrics.items():
        for agent, value in enumerate(np.ravel(values)):
            if name.startswith("loss/") and not np.isfinite(value):
                whose = f" of seed {config.seed + agent}" if config and config.seeds > 1 else ""
                raise FloatingPointError(f"{name}{whose} became {value} before update {updates}.")


def check_returns(actors: Actors, updates: int, config: Config) -> None:
    """Raise FloatingPointError if a world gave a reward that is not finite: its return tells.

    An infinite reward need not show in a loss, but it would stay in the replay and in checkpoints.
    """
    for name in ("score", "scores"):
        for agent in np.argwhere(~np.isfinite(np.asarray(getattr(actors, name))))[:1, 0]:
            whose = f" of seed {config.seed + agent}" if config.seeds > 1 else ""
            raise FloatingPointError(
                f"A reward of {config.world}{whose} was not finite before update {updates}."
            )


def make_record(
    config: Config, state: RunState, metrics: Metrics, seconds: float, speed: float
) -> dict[str, Any]:
    """One line of `metrics.jsonl`: counters, the return of the latest episodes, mean metrics.

    Of several agents, each number is the mean, `return_stderr` the standard error of that mean, and
    "seeds" has every agent's own: {name: [N numbers]}. Steps and updates are those of one agent.
    """
    counters = jax.device_get((state.rows, state.updates, state.actors.episodes))
    rows, updates, episodes = (np.ravel(x) for x in counters)
    rings = np.asarray(state.actors.scores).reshape(-1, EPISODES)
    latest = [ring[: min(count, EPISODES)] for ring, count in zip(rings, episodes)]
    means, errors = map(list, zip(*map(mean_and_error, latest)))
    mean, error = mean_and_error(np.array(means)) if config.seeds > 1 else (means[0], errors[0])
    record = {
        "updates": int(updates[0]),
        "agent_steps": int(rows[0]) * config.worlds,
        "episodes": round(float(episodes.mean())),
        "return_mean": mean,
        "return_stderr": error,
        "seconds": seconds,
        "updates_per_second": speed,
        **{name: float(np.mean(x)) for name, x in metrics.items()},
    }
    if config.seeds > 1:
        own = {"episodes": episodes.tolist(), "return_mean": means, "return_stderr": errors}
        record["seeds"] = own | {name: np.asarray(x).tolist() for name, x in metrics.items()}
    return record


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of values (n,); 0 where there are too few."""
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return float(values.mean()) if len(values) else 0.0, float(error)
