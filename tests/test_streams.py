"""One seed, many uses: what is drawn for one of them is not drawn for another."""

import itertools

import jax
import numpy as np
import pytest
import tiny_agent

from dreamer_lite import worlds
from dreamer_lite.evaluation import players
from dreamer_lite.presets import make_config
from dreamer_lite.training import hosted, streams
from dreamer_lite.training import loop as training

USES = ("play", "evaluate", "record", "compare", "moments", "measure", "film", "dream", "reality")


def numbers(key: jax.Array) -> bytes:
    return np.asarray(jax.random.key_data(key)).tobytes()


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1])
def test_streams_differ_by_use_and_seed(seed: int) -> None:
    """Also from what training draws: the key of a seed, what it splits into, and host seeds."""
    key = jax.random.key(seed)
    drawn = [numbers(key), *map(numbers, jax.random.split(key, 64))]
    host = [hosted.seed_from(seed, rows) for rows in range(64)]
    for use, s in itertools.product(USES, {seed, 3, 11}):
        drawn.append(numbers(streams.key(use, s)))
        drawn += map(numbers, jax.random.split(streams.key(use, s), 16))
        host.append(streams.host_seed(use, s))
    assert len(set(drawn)) == len(drawn) and len(set(host)) == len(host)
    assert all(0 <= x < 2**31 for x in host)
    first = [streams.generator(use, seed).random() for use in USES]
    assert len({*first, np.random.default_rng(seed).random()}) == len(USES) + 1


@pytest.mark.parametrize("seed", [0, 3])
def test_no_evaluation_starts_where_training_did(seed: int) -> None:
    world = worlds.make("pendulum")
    config = make_config("pendulum", seed=seed, **(tiny_agent.SMALL | {"worlds": 8}))
    trained = training.make_driver(config, world).init(seed).envs.timestep.obs["vector"]
    start = players.make_player(config, world).start
    seen = {np.asarray(x).tobytes() for x in trained}
    for use, count in (("play", 8), ("evaluate", 20), ("record", 1), ("compare", 16)):
        rows = start(None, seed, count, use).timestep.obs["vector"]
        seen |= {np.asarray(x).tobytes() for x in rows}
    assert len(seen) == 8 + 8 + 20 + 1 + 16


def test_no_evaluation_of_a_hosted_world_starts_where_training_did() -> None:
    world = worlds.make("gym/CartPole-v1")
    config = make_config("gym/CartPole-v1", seed=3, **tiny_agent.SMALL)
    trained = hosted.EnvPool(world, 4)
    trained.begin(hosted.seed_from(config.seed, 0))
    stages = [players.make_player(config, world).start(None, 3, 4, use) for use in USES[:4]]
    rows = np.concatenate(
        [trained.timestep.obs["vector"], *(s.timestep.obs["vector"] for s in stages)]
    )
    assert len({row.tobytes() for row in rows}) == 20
    for pool in (trained, *(s.world for s in stages)):
        pool.close()
