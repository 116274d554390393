"""The replay ring against plain Python lists, over several times round."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite.agent.agent import PolicyCarry
from dreamer_lite.agent.rssm import State
from dreamer_lite.config import Config
from dreamer_lite.training import replay as rp
from dreamer_lite.worlds.base import Space, TimeStep

W, B, T, D, S, C = 3, 5, 4, 2, 2, 3
CONFIG = Config(
    worlds=W, batch=B, length=T, deter=D, blocks=1, image_blocks=1, stoch=S, classes=C, capacity=65
)
WINDOW = T + 1
OBS, ACTION = {"x": Space((2,), "float32"), "i": Space((1, 1, 1), "uint8")}, Space((), "int32", 4)
ENDS = [4, 2, 7, 1, 5]  # lengths of episodes, over and over, later in each world

add = jax.jit(rp.add)
sample = jax.jit(rp.sample, static_argnums=1)
gather = jax.jit(rp.gather, static_argnums=(2, 3))
write = jax.jit(rp.write_latents, static_argnums=3)


def first_rows(world: int, count: int) -> np.ndarray:
    """Which rows of a world's stream begin an episode."""
    first, row = np.zeros(count, bool), 0
    for length in itertools.cycle(ENDS):
        if row >= count:
            return first
        first[row], row = True, row + length + world


COUNT = 90
FIRST = np.stack([first_rows(world, COUNT) for world in range(W)], 1)
# World 2 starts some episodes without having ended the one before: a stream that was cut.
LAST = np.concatenate([FIRST[1:], np.zeros((1, W), bool)]) & ~(
    (np.arange(COUNT)[:, None] > 40) & (np.arange(W) == 2)
)
TERMINAL = LAST & (np.arange(COUNT)[:, None] % 2 == 0)


def lived(t: int) -> tuple[TimeStep, jax.Array, PolicyCarry]:
    """Row t of all worlds: every entry says which world and row it is."""
    world = np.arange(W, dtype=np.float32)
    obs = {
        "x": jnp.stack([jnp.full(W, float(t)), jnp.array(world)], 1),
        "i": jnp.array((3 * t + np.arange(W)) % 256, jnp.uint8).reshape(W, 1, 1, 1),
    }
    row = TimeStep(
        obs, jnp.array(100 * world + t), *(jnp.array(x[t]) for x in (FIRST, LAST, TERMINAL))
    )
    action = jnp.array((t + 2 * np.arange(W)) % 4, jnp.int32)
    deter, stoch = latents(np.full(W, t), np.arange(W), 0)
    return row, action, PolicyCarry(State(deter, stoch), jnp.zeros((W, 4)))


def latents(t: np.ndarray, world: np.ndarray, stamp: int) -> tuple[jax.Array, jax.Array]:
    """Latents that tell row, world and when they were computed; (...) -> (..., D), (..., S, C)."""
    deter = np.stack([t + 1000.0 * world, np.full(np.shape(t), float(stamp))], -1)
    classes = np.stack([(t + world) % C, (t + stamp) % C], -1)
    return jnp.array(deter, jnp.float32), jnp.array(np.eye(C)[classes], jnp.float32)


def filled(rows: int) -> rp.Replay:
    replay = rp.init(CONFIG, OBS, ACTION)
    for t in range(rows):
        replay = add(replay, *lived(t))
    return replay


def test_the_ring_takes_what_it_says() -> None:
    """Latents cost 4 D + S bytes a row: classes are stored as one byte, not as one-hot floats."""
    replay = rp.init(CONFIG, OBS, ACTION)
    assert replay.deter.shape == (65 // W, W, D) and replay.stoch.dtype == jnp.uint8
    row = (4 * 2 + 1) + 4 + 3 + 4 + (4 * D + S)  # observations, reward, flags, action, latents
    counters = 2 * 4
    assert rp.bytes_needed(CONFIG, OBS, ACTION) == 65 // W * W * row + counters
    assert sum(x.nbytes for x in jax.tree.leaves(replay)) == 65 // W * W * row + counters
    big = Config(deter=2048, classes=16, blocks=8, capacity=100_000, worlds=1)
    pong = {"image": Space((64, 64, 3), "uint8")}
    per_step = rp.bytes_needed(big, pong, Space((), "int32", 6)) / 100_000
    assert per_step == pytest.approx(12_288 + 4 * 2048 + 32 + 4 + 4 + 3, abs=0.001)


def test_batches_are_what_was_lived() -> None:
    """Add, sample, write back, several times round: windows, flags, actions and latents."""
    replay, length = rp.init(CONFIG, OBS, ACTION), CONFIG.capacity // W
    stamps = np.zeros((COUNT, W), int)  # which update last refreshed a row's latents
    queue: list[tuple[int, int]] = []
    crossed = 0
    for t in range(COUNT):
        replay = add(replay, *lived(t))
        added, oldest = t + 1, max(0, t + 1 - length)
        if t > 0 and t % WINDOW == 0:
            queue += [(added - WINDOW, world) for world in range(W)]
        if added < WINDOW + 3 or t % 4 == 3 or 50 < t < 75:  # no updates for a while: some are lost
            continue
        replay, places = sample(replay, CONFIG, jax.random.key(t))
        start, world = np.asarray(places.start), np.asarray(places.world)
        queue = [place for place in queue if place[0] >= oldest]
        fresh, queue = queue[:B], queue[B:]
        assert list(zip(start, world))[: len(fresh)] == fresh
        assert (start >= oldest).all() and (start + WINDOW <= added).all()
        assert ((world >= 0) & (world < W)).all()

        batch = gather(replay, places, CONFIG, ACTION)
        index = start + np.arange(WINDOW)[:, None]  # (T + 1, B)
        rows, context = index[1:], index[0]
        crossed += (rows // length > context // length).any()
        np.testing.assert_array_equal(batch.obs["x"][..., 0], rows)
        np.testing.assert_array_equal(batch.obs["x"][..., 1], np.broadcast_to(world, (T, B)))
        np.testing.assert_array_equal(batch.obs["i"][..., 0, 0, 0], (3 * rows + world) % 256)
        np.testing.assert_array_equal(batch.reward, 100 * world + rows)
        np.testing.assert_array_equal(batch.is_first, FIRST[rows, world])
        np.testing.assert_array_equal(batch.is_terminal, TERMINAL[rows, world])
        last = LAST[rows, world]
        last[:-1] |= FIRST[rows[1:], world]
        np.testing.assert_array_equal(batch.is_last, last)
        before = (index[:-1] + 2 * world) % 4
        np.testing.assert_array_equal(batch.previous_action, np.eye(4)[before])
        deter = np.stack([context + 1000.0 * world, stamps[context, world]], -1)
        classes = np.stack([(context + world) % C, (context + stamps[context, world]) % C], -1)
        np.testing.assert_array_equal(batch.context.deter, deter)
        np.testing.assert_array_equal(batch.context.stoch, np.eye(C)[classes])

        wide = np.broadcast_to(world, rows.shape)
        replay = write(replay, places, State(*latents(rows, wide, t)), CONFIG)
        stamps[rows, world] = t
    assert crossed > 5 and int(replay.added) == COUNT > 4 * length
    kept = np.arange(COUNT - length, COUNT)
    np.testing.assert_array_equal(np.asarray(replay.deter)[kept % length, :, 1], stamps[kept])
    rows = np.asarray(replay.deter)[kept % length, :, 0] % 1000
    np.testing.assert_array_equal(rows, np.broadcast_to(kept[:, None], rows.shape))


def stream(config: Config, length: int) -> rp.Replay:
    """A ring of `length` rows of which only the counters matter."""
    deter = jnp.zeros((length, config.worlds, 1))
    return rp.Replay(None, None, deter, None, jnp.int32(0), jnp.int32(0))


@pytest.mark.parametrize(("added", "starts"), [(5, []), (6, [1]), (11, [1, 6]), (16, [1, 6, 11])])
def test_online_queue_of_window_five(added: int, starts: list[int]) -> None:
    """The reference's queue gives these starts for one world."""
    config = Config(worlds=1, batch=8, length=4, capacity=64)
    replay = stream(config, 64)._replace(added=jnp.int32(added))
    replay, places = sample(replay, config, jax.random.key(0))
    assert int(replay.queued) == len(starts)
    assert list(np.asarray(places.start[: len(starts)])) == starts
    again, _ = sample(replay, config, jax.random.key(1))
    assert again.queued == replay.queued, "each window is taken once"


@pytest.mark.parametrize("ratio", [1, 2, 8])
def test_share_of_new_windows(ratio: float) -> None:
    """About 1 / train_ratio of what is learnt from is new, whatever ratio is set."""
    config = Config(worlds=4, batch=4, length=8, train_ratio=ratio, capacity=10_000)
    rows, updates = config.schedule
    replay, drawn = stream(config, 1000), 0
    for added in range(config.steps_before_learning, 600, rows):
        replay = replay._replace(added=jnp.int32(added))
        for update in range(updates):
            replay, _ = sample(replay, config, jax.random.key(update))
            drawn += config.batch
    window = config.length + 1
    most = (added - 1) // window * config.worlds
    assert replay.queued <= most
    share = int(replay.queued) / drawn
    assert share == pytest.approx(config.length / window / ratio, rel=0.15 if ratio > 1 else 0.2)


@pytest.mark.parametrize("added", [6, 25, 70])
def test_every_whole_window_is_as_likely(added: int) -> None:
    config = Config(worlds=3, batch=4096, length=4, online_queue=False)
    replay = stream(config, 20)._replace(added=jnp.int32(added))
    after, places = sample(replay, config, jax.random.key(added))
    assert after.queued == 0
    oldest, newest = max(0, added - 20), added - 5
    counts = np.zeros((newest - oldest + 1, 3))
    np.add.at(counts, (np.asarray(places.start) - oldest, np.asarray(places.world)), 1)
    expected = 4096 / counts.size
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_continuous_actions_and_one_context() -> None:
    """Actions are stored as they were sampled, beyond [-1, 1] too."""
    config, space = CONFIG, Space((2,), "float32")
    replay = rp.init(config, OBS, space)
    for t in range(6):
        row, _, carry = lived(t)
        replay = add(replay, row, jnp.full((W, 2), 3.5 * t), carry)
    places = rp.Windows(jnp.array([0, 1, 0, 1, 0]), jnp.array([0, 1, 2, 0, 1]))
    batch = gather(replay, places, config, space)
    np.testing.assert_array_equal(
        batch.previous_action[..., 0], 3.5 * (np.arange(T)[:, None] + np.array([0, 1, 0, 1, 0]))
    )
    np.testing.assert_array_equal(batch.context.deter[:, 0], [0, 1001, 2000, 1, 1000])


@pytest.mark.parametrize("seed", range(4))
def test_overlapping_windows_write_each_row_once(seed: int) -> None:
    """The window that began first wins, of equal ones the last, for both latents together.

    That is the order of the plain loop over steps and then windows, which a CPU keeps anyway.
    """
    config = CONFIG.__class__(**(CONFIG.__dict__ | dict(batch=12, capacity=150)))
    rng, length = np.random.default_rng(seed), config.capacity // W
    replay = rp.init(config, OBS, ACTION)
    start, world = rng.integers(90, 100, 12), rng.integers(0, W, 12)
    places = rp.Windows(jnp.array(start), jnp.array(world))
    deter = rng.normal(size=(T, 12, D)).astype(np.float32)
    classes = rng.integers(0, C, (T, 12, S))
    kept = np.asarray(rp.is_kept(places, config))
    rows = (start + np.arange(1, T + 1)[:, None]) % length
    written = [(row, w) for row, w, k in zip(rows.T, world, kept.T) for row in row[k]]
    everything = {(row, w) for column, w in zip(rows.T, world) for row in column}
    assert len(written) == len(set(written)) and set(written) == everything
    assert len(everything) < rows.size, "some overlap"
    after = write(replay, places, State(jnp.array(deter), jnp.eye(C)[classes]), config)
    expected = np.zeros((length, W, D), np.float32), np.zeros((length, W, S), int)
    for t in range(T):
        for b in range(12):
            expected[0][rows[t, b], world[b]] = deter[t, b]
            expected[1][rows[t, b], world[b]] = classes[t, b]
    np.testing.assert_array_equal(after.deter, expected[0])
    np.testing.assert_array_equal(after.stoch, expected[1])


def test_the_online_queue_goes_on_beyond_what_32_bits_count() -> None:
    """4,096 worlds pass 2^31 windows after some hours on an accelerator."""
    config = Config(worlds=4096, batch=64, length=8, train_ratio=8, capacity=10**6)
    rounds = 2**31 // 4096
    for late in (0, rounds, 10 * rounds):
        replay = stream(config, 200)._replace(
            added=jnp.int32(9 * (late + 5) + 1),
            queued=jnp.int32(np.int64(4096 * (late + 4) + 4000).astype(np.int32)),
        )
        taken = []
        for key in range(3):
            replay, places = sample(replay, config, jax.random.key(key))
            taken += list(zip(np.asarray(places.start), np.asarray(places.world)))
        tickets = 4000 + np.arange(192)
        expected = [(1 + 9 * (late + 4 + t // 4096), t % 4096) for t in tickets]
        assert taken[:96] == expected[:96] and len(set(taken[:96])) == 96
        assert int(replay.queued) == np.int64(4096 * (late + 5)).astype(np.int32)


def test_shapes_that_would_be_stretched_are_refused() -> None:
    replay = rp.init(CONFIG, OBS, ACTION)
    row, action, carry = lived(0)
    with pytest.raises(AssertionError):
        rp.add(replay, row._replace(reward=row.reward[:1]), action, carry)
    with pytest.raises(AssertionError):
        rp.add(replay, row, action[:1], carry)
    places = rp.Windows(jnp.zeros(B, int), jnp.zeros(B, int))
    with pytest.raises(AssertionError):
        rp.write_latents(
            replay, places, State(jnp.zeros((1, B, D)), jnp.zeros((1, B, S, C))), CONFIG
        )
