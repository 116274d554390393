"""Training of the reader's own agent, with what the dashboard of notebook 08 shows of it.

`dreamer` is the reader's agent as a module, `parts.load()`: it is trained by its own compiled
program, and saved by its own function, so that `python my_dreamer.py --out FOLDER` goes on with a
run, and the other way round. `stories` stores the curves of such trainings.
"""

import copy
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.runs import disk
from dreamer_lite.training.progress import mean_and_error
from dreamer_lite.worlds.base import next_timestep

EVERY = 50  # updates between two records
SAVE_EVERY = 60.0  # seconds
SEQUENCES = 128  # replayed, for the KL by time step
LONGEST = 1000  # time steps of an episode that is evaluated
RECORDS, RUN = "metrics.jsonl", "run.npz"
Record = dict[str, Any]


class OwnRun:
    """A training of the agent `dreamer` up to `updates` updates in an environment.

    `changes` are hyperparameters that differ from the agent's preset. With a `folder` the run is
    saved there, and goes on from what it holds.

    Raises:
      ValueError: an environment without a preset, a hyperparameter that does not exist, or updates
        that are no multiple of EVERY.
    """

    def __init__(
        self,
        dreamer: Any,
        world: str,
        updates: int,
        seed: int = 0,
        folder: str | Path = "",
        changes: dict[str, Any] | None = None,
    ):
        if world not in dreamer.PRESETS:
            raise ValueError(f"{world!r} has no preset: valid are {', '.join(dreamer.PRESETS)}.")
        if strange := sorted(set(changes or {}) - set(dreamer.DEFAULTS)):
            raise ValueError(
                f"There is no hyperparameter {strange[0]!r}: valid are "
                f"{', '.join(dreamer.DEFAULTS)}."
            )
        if updates < EVERY or updates % EVERY:
            raise ValueError(f"updates is {updates}: it must be a multiple of {EVERY}.")
        self.dreamer, self.updates, self.seed = dreamer, updates, seed
        self.folder = Path(folder) if folder else None
        self.c = dreamer.Config(**(dreamer.PRESETS[world] | (changes or {})))
        self.name, self.world = world, worlds.make(world)
        self.init, self.advance = dreamer.make_program(self.c, self.world)
        self.graph = nnx.graphdef(dreamer.Dreamer(self.c, self.world, 0))
        self.run: Any = None  # what it came to; None before `load`
        self.history: list[Record] = []

    def done(self, run: Any) -> int:
        """Updates that a run has made: it counts time steps, of which some come before each."""
        c = self.c
        between = round(c.batch * c.length / (c.worlds * c.train_ratio))
        return (int(run.replay.added) - 2 * c.length) // between

    def load(self) -> None:
        """Begin the run, or read what the folder holds."""
        self.run = self.init(self.seed)
        if self.folder is not None and (self.folder / RUN).exists():
            self.run = self.dreamer.restore(self.run, self.folder / RUN)
            records = self.folder / RECORDS  # none if the command of the single file began the run
            text = records.read_text(encoding="utf-8") if records.exists() else ""
            read = [json.loads(line) for line in text.splitlines()]
            # A kill between two writes leaves records that the saved run has not come to.
            self.history = [record for record in read if record["updates"] <= self.done(self.run)]

    def anew(self, seed: int) -> "OwnRun":
        """The same training from another seed, without a folder; it is compiled already."""
        other = copy.copy(self)
        other.seed, other.folder, other.run, other.history = seed, None, None, []
        return other

    def records(
        self,
        stop: Callable[[], bool] = lambda: False,
        watch: Callable[[Any], None] = lambda run: None,
    ) -> Generator[Record, None, None]:
        """Train until `updates`, or until `stop()`; yields a record after every EVERY updates.

        `watch` is called with the run before each record is yielded, and must not keep it. The run
        is saved every SAVE_EVERY seconds, and at the end.
        Raises FloatingPointError when a loss is no longer finite; what was saved before stays.
        """
        if self.run is None:
            self.load()
        began = saved = time.perf_counter()
        before = self.history[-1]["seconds"] if self.history else 0.0
        while self.done(self.run) < self.updates and not stop():
            record = self._advance()
            record["seconds"] = before + time.perf_counter() - began
            self.history.append(record)
            if time.perf_counter() > saved + SAVE_EVERY:
                self._save()
                saved = time.perf_counter()
            watch(self.run)
            yield record
        self._save()

    def _advance(self) -> Record:
        """EVERY updates more, and their record."""
        begun = time.perf_counter()
        run, news = self.advance(self.run, EVERY)  # which takes the old run's memory
        losses = {k: float(x) for k, x in jax.device_get(news).items() if k != "return"}
        speed = EVERY / (time.perf_counter() - begun)
        self.run, done = run, self.done(run)
        for name, value in losses.items():
            if not np.isfinite(value):
                raise FloatingPointError(f"The loss {name} became {value} before update {done}.")
        more = jax.device_get(self.measure(run, jax.random.key(done)))
        latest = np.asarray(run.latest)
        mean, error = mean_and_error(latest[np.isfinite(latest)])
        return {
            "updates": done,
            "agent_steps": int(run.replay.added) * self.c.worlds,
            "episodes": int(np.isfinite(latest).sum()),
            "return_mean": mean,
            "return_stderr": error,
            "updates_per_second": speed,
            **{f"loss/{name}": value for name, value in losses.items()},
            **{name: float(x) for name, x in more.items()},
        }

    def _save(self) -> None:
        """Records first: those behind the saved run are dropped when it goes on."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(record) + "\n" for record in self.history)
        disk.replace(self.folder / RECORDS, text.encode())
        self.dreamer.save(self.run, self.folder / RUN)

    def agent(self) -> Any:
        """The agent as it is now, a `Dreamer`. Raises ValueError before anything was trained."""
        if self.run is None:
            raise ValueError("Nothing is trained yet: ask for its records first.")
        return nnx.merge(self.graph, self.run.learner.params)

    # What is measured, once for each record

    @functools.cached_property
    def measure(self) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
        """measure(run, key) -> numbers of imagined rollouts and of the KL divergence; compiled."""
        d, c = self.dreamer, self.c
        bare = dataclasses.replace(c, free_nats=0.0)

        @jax.jit
        def measure(run: Any, key: jax.Array) -> dict[str, jax.Array]:
            agent = nnx.merge(self.graph, run.learner.params)
            slow = nnx.merge(nnx.graphdef(agent.critic), run.learner.slow)
            imagine_key, sample_key, key = jax.random.split(key, 3)
            states, actions = d.imagine(agent, run.state, c.horizon, imagine_key)
            _, returns, _ = d.dream_losses(agent, slow, c, states, actions, run.learner.range)
            feat = d.feature(states)
            cont = jax.nn.sigmoid(agent.cont(feat)[..., 0])
            live = cont[0] / cont[0].sum()  # from a terminal state nothing counts
            alive = jnp.cumprod(cont.at[0].set(1.0), 0)[:-1]
            rewards = d.two_hot_mean(agent.reward(feat))[1:]
            place, env = d.sample(run.replay, SEQUENCES, c.length, sample_key)
            batch = d.cut(run.replay, place, env, c.classes)
            kl = d.world_model_loss(agent, bare, batch, key)[0]["dyn"]
            first = batch.steps.is_first.at[0].set(True)  # what came before is not known
            second = jnp.concatenate([jnp.zeros_like(first[:1]), batch.steps.is_first[:-1]])
            later = ~(first | second)
            return {
                "imagined_return": returns[0] @ live,
                "imagined_rewards": (alive * rewards).sum(0) @ live,
                "critic": d.two_hot_mean(agent.critic(feat[0])) @ live,
                "entropy": agent.actor.policy(feat[:-1]).entropy().mean(),
                "kl_second": jnp.sum(kl * second) / jnp.maximum(1, second.sum()),
                "kl_later": jnp.sum(kl * later) / later.sum(),
            }

        return measure

    @functools.cached_property
    def preview(self) -> Callable[..., dict[str, jax.Array]]:
        """preview(run, key, steps): environment 0 now, then imagined steps, decoded; compiled."""
        d = self.dreamer

        @functools.partial(jax.jit, static_argnums=2)
        def preview(run: Any, key: jax.Array, ahead: int) -> dict[str, jax.Array]:
            agent = nnx.merge(self.graph, run.learner.params)
            start = jax.tree.map(lambda x: x[:1], run.state)
            states, _ = d.imagine(agent, start, ahead, key)
            raw, spaces = agent.decoder.predict(d.feature(states)), self.world.obs_space
            return {
                name: (jax.nn.sigmoid(x) if spaces[name].is_image else d.symexp(x))[:, 0]
                for name, x in raw.items()
            }

        return preview

    def returns(self, episodes: int, world: Any = None, seed: int = 0) -> np.ndarray:
        """Returns (episodes,) of the agent as it is now, in new episodes that run side by side.

        Its actions are sampled, as in training. `world` is another environment of the same spaces.
        An episode that is not over after LONGEST time steps counts as it stands.

        Raises ValueError before anything was trained.
        """
        if self.run is None:
            raise ValueError("Nothing is trained yet: ask for its records first.")
        d, world = self.dreamer, world or self.world
        size = world.action_space.classes or world.action_space.size

        def step(carry: tuple) -> tuple:
            inside, steps, state, action, score, over, time = carry
            keys = jax.random.split(
                jax.random.fold_in(jax.random.key(seed + 1), time), episodes + 1
            )
            agent = nnx.merge(self.graph, self.run.learner.params)
            state, action = d.act(agent, state, action, steps, keys[0])
            choice = action.argmax(-1) if world.action_space.is_discrete else action
            move = jax.vmap(functools.partial(next_timestep, world))
            inside, steps = move(inside, steps, choice, keys[1:])
            score = jnp.where(over, score, score + steps.reward)
            return inside, steps, state, action, score, over | steps.is_last, time + 1

        @jax.jit
        def play() -> jax.Array:
            keys = jax.random.split(jax.random.key(seed), episodes)
            inside, steps = jax.vmap(world.reset)(keys)
            blank = jnp.zeros((episodes, size)), jnp.zeros(episodes), jnp.zeros(episodes, bool)
            agent = nnx.merge(self.graph, self.run.learner.params)
            start = inside, steps, agent.rssm.initial(episodes), *blank, 0
            going = lambda carry: ~carry[-2].all() & (carry[-1] < LONGEST)  # noqa: E731
            return jax.lax.while_loop(going, step, start)[-3]

        return np.asarray(play())
