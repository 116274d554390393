"""The loop around worlds on the host: it does what the fused one does, and worlds may break."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from test_training import CONFIG, WORLD, Dice, assert_same, go, host

from dreamer_lite.evaluation import players, rollouts
from dreamer_lite.training import hosted
from dreamer_lite.training.loop import make_driver
from dreamer_lite.training.progress import Limits
from dreamer_lite.worlds.base import TimeStep, next_timestep
from dreamer_lite.worlds.hosted import WorldError

SEED = 3  # of `go`


@dataclasses.dataclass(frozen=True)
class OnTheHost(Dice):
    """Dice, stepped on the host with the keys that the fused driver would use."""

    repeat = 4
    spoil: Callable[[int, TimeStep], TimeStep] = lambda step, row: row

    def start(self, worlds: int, seed: int) -> "Steps":
        return Steps(self, worlds, seed)

    def render(self, obs: dict[str, np.ndarray]) -> None:
        return None


STARTED: list["Steps"] = []


class Steps:
    """A stepper that can be asked what happened to it."""

    def __init__(self, world: OnTheHost, worlds: int, seed: int):
        self.spoil, self.worlds, self.seed = world.spoil, worlds, seed
        self.steps, self.closed = 0, False
        self.move = jax.jit(jax.vmap(lambda *x: next_timestep(WORLD, *x)))  # type: ignore
        STARTED.append(self)

    def reset(self) -> TimeStep:
        world_key, self.key = jax.random.split(jax.random.key(SEED))
        keys = jax.random.split(world_key, self.worlds)
        self.states, self.timestep = jax.vmap(WORLD.reset)(keys)
        return host(self.timestep)

    def step(self, action: np.ndarray) -> TimeStep:
        assert isinstance(action, np.ndarray) and not self.closed
        key = jax.random.fold_in(jax.random.fold_in(self.key, 0), self.steps)
        keys = jax.random.split(jax.random.split(key)[1], self.worlds)
        self.states, self.timestep = self.move(self.states, self.timestep, action, keys)
        self.steps += 1
        return self.spoil(self.steps, host(self.timestep))

    def frames(self) -> np.ndarray:
        return np.full((self.worlds, 6, 8, 3), self.steps, np.uint8)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def driver():
    return hosted.make_driver(CONFIG, OnTheHost())


@pytest.fixture(autouse=True)
def forget() -> None:
    STARTED.clear()


def test_it_lives_and_learns_as_the_fused_driver(driver) -> None:
    """Same keys, same worlds: the same rows, and the same learning to float accuracy."""
    driver.close()
    ours, state = go(driver, Limits(updates=16))
    theirs, fused = go(make_driver(CONFIG, WORLD), Limits(updates=16))
    assert_same(state.replay.timesteps, fused.replay.timesteps)
    assert_same(state.replay.action, fused.replay.action)
    counters = lambda s: (s.steps, s.updates, s.key, s.replay.added, s.replay.queued)  # noqa: E731
    assert_same(counters(state), counters(fused))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)  # noqa: E731
    jax.tree.map(close, host(state.learner.params), host(fused.learner.params))
    for left, right in zip(ours, theirs, strict=True):
        assert left["loss/total"] == pytest.approx(right["loss/total"], rel=1e-4)
    assert ours[-1]["episodes"] <= theirs[-1]["episodes"]  # the newest row is counted when seen


def test_the_worlds_are_started_once_and_closed(driver) -> None:
    driver.close()
    _, state = go(driver, Limits(updates=4))
    _, state = go(driver, Limits(updates=8), state)
    assert [s.worlds for s in STARTED] == [CONFIG.worlds] and not STARTED[0].closed
    driver.close()
    assert STARTED[0].closed
    driver.close()  # twice does no harm


def test_a_run_that_goes_on_starts_worlds_of_another_seed(driver) -> None:
    driver.close()
    _, state = go(driver, Limits(updates=4))
    driver.close()
    at = int(state.replay.added)
    _, state = go(driver, Limits(updates=8), state)
    assert len({s.seed for s in STARTED}) == 2
    assert host(state.replay.timesteps.is_first)[at].all(), "the new worlds begin with a reset"


def test_a_world_that_breaks_ends_the_run_with_its_sentence() -> None:
    def spoil(step: int, row: TimeStep) -> TimeStep:
        if step == 12:
            raise WorldError("dice: step raised OSError: the table is gone.")
        return row

    driver = hosted.make_driver(CONFIG, OnTheHost(spoil=spoil))
    with pytest.raises(WorldError, match=r"^dice: step raised OSError: the table is gone\.$"):
        go(driver, Limits(updates=100))


@pytest.mark.parametrize("params", [None, "agent"])
def test_returns_are_those_of_first_episodes(driver, params: Any) -> None:
    world = OnTheHost()
    if params:
        params = driver.init(0).learner.params
    scores = rollouts.evaluate(CONFIG, params, world, episodes=5, seed=1)
    steps = STARTED[-1]
    assert scores.shape == (5,) and steps.closed
    player = players.make_player(CONFIG, world)
    _, trace = player.play(params, player.start(params, 1, 5, "evaluate"), steps.steps + 1)
    rows = trace.timestep
    for w in range(5):
        end = int(np.argmax(rows.is_last[:, w]))
        assert rows.is_last[end, w] and scores[w] == rows.reward[: end + 1, w].sum()


def test_a_recording_holds_the_worlds_own_pictures() -> None:
    recording = rollouts.record(CONFIG, None, OnTheHost(), seed=0, episodes=2)
    count = len(recording.reward)
    assert recording.is_last.sum() == 2 and recording.is_last[-1] and recording.is_first[0]
    assert recording.frame is not None
    np.testing.assert_array_equal(recording.frame[:, 0, 0, 0], np.arange(count))
    frames = rollouts.annotated_frames(OnTheHost(), recording)
    assert len(frames) == count and frames.shape[1] > 6 and frames.dtype == np.uint8
