"""A dream that is steered step by step from a real moment, beside the real world if that can be.

A plain object; `player` puts buttons on one. Every picture has a twin in words. Notebooks 00 and
09.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.agent.agent import Params, embed_action, make_agent
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import Rssm, State
from dreamer_lite.config import Config
from dreamer_lite.evaluation.dreams import AWAKE, ages
from dreamer_lite.evaluation.open_loop import Signals, decode, foreseen
from dreamer_lite.evaluation.rollouts import Recording, action_name, record
from dreamer_lite.runs.checkpoints import LoadedAgent
from dreamer_lite.show import pictures
from dreamer_lite.training import streams
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.base import Space, TimeStep, World, next_timestep

OWN = "agent decides"  # the choice that leaves the action to the dreaming agent's own policy
RECORDED = "as it went"  # the choice of what the agent did in the recording
YOUNG, FILM = 20, 24  # rows of its episode before and after the moment that is taken by default
END = 0.5  # below this chance to go on, a dream counts as ended
COLDEST = 1e-3  # a temperature of 0 means this: always the likeliest class


class Dreamt(NamedTuple):
    """What is dreamt at one moment."""

    state: State  # (1, ...)
    obs: dict[str, np.ndarray]  # (...) the decoder's mean
    signals: Signals  # numbers
    entropy: float  # nats, of the prior from which the latent came: how unsure the model is
    action: np.ndarray  # as the world takes it, what led here


@functools.lru_cache(maxsize=8)
def make_step(config: Config, world: AnyWorld) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(look, step), compiled for one dream.

    look(params, state) -> (observation, signals, entropy). step(params, state, action, own,
    temperature, key) -> (state, observation, signals, entropy, action), where `action` is embedded,
    (A,), and ignored if `own` is true: then the agent's policy chooses. The key is consumed.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    def seen(agent, state: State):
        """What one dreamt state (1, ...) looks like and promises, without the leading axis."""
        entropy = agent.model.rssm.prior(state.deter).entropy().sum(-1)
        shown = decode(agent, state), foreseen(agent, state, config), entropy
        return jax.tree.map(lambda x: x[0], shown)

    @jax.jit
    def look(params: Params, state: State):
        agent = graph.merge(params)
        return seen(agent, state.astype(agent.model.rssm.dtype))

    @jax.jit
    def step(params: Params, state: State, action: jax.Array, own, temperature, key: jax.Array):
        agent = graph.merge(params)
        act_key, noise_key = jax.random.split(key)
        state = state.astype(agent.model.rssm.dtype)
        chosen = agent.actor(state.feature).sample(act_key)[0]
        action = jnp.where(own, chosen, action)
        u = jax.random.uniform(noise_key, state.stoch.shape[:-1])
        state = imagine_step(agent.model.rssm, state, action[None], u, temperature)
        if world.action_space.is_discrete:
            action = jnp.argmax(action, -1)
        return (state.astype(jnp.float32), *seen(agent, state), action)

    return look, step


def imagine_step(rssm: Rssm, state: State, action: jax.Array, u, temperature) -> State:
    """`rssm.imagine_step`, with the prior's logits divided by `temperature`.

    1 is the model's own dream; towards 0 it takes what it holds likeliest, above 1 it dares more.
    """
    deter = rssm.core(state, action)
    logits = rssm.prior(deter).logits
    other = jax.nn.log_softmax(logits / jnp.maximum(temperature, COLDEST))
    drawn = OneHot(jnp.where(temperature == 1, logits, other))
    return State(deter, drawn.quantile(u).astype(deter.dtype))


@functools.lru_cache(maxsize=8)
def make_real_step(world: World) -> Callable[..., tuple[Any, TimeStep]]:
    """step(state, row, action, key) -> (state, row): one world, one row on, compiled."""
    return jax.jit(functools.partial(next_timestep, world))


def choices(space: Space, names: Sequence[str]) -> dict[str, np.ndarray]:
    """What a reader may choose: {label: action as the world takes it}.

    All actions of a discrete space; of a continuous one nothing at all, and each number alone at
    either end.
    """
    if space.is_discrete:
        return {name: np.int32(i) for i, name in enumerate(names)}  # pyright: ignore
    rest = np.zeros(space.shape, np.float32)
    found = {"nothing": rest}
    for i, name in enumerate(names):
        for sign, value in (("-", -1.0), ("+", 1.0)):
            action = rest.copy()
            action[i] = value
            found[f"{name} {sign}"] = action
    return found


class Dream:
    """A dream that begins at a real moment and goes on by one action at a time.

    The same moment, dice, temperature and actions give the same dream. With `reality`, the real
    world goes on beside it under the same actions: as it was recorded while these are followed; a
    world in JAX can be set to the moment, and goes on under any other actions too, with dice of its
    own.

    Raises:
      ValueError: the recording has no moment to dream from.
    """

    def __init__(
        self,
        agent: LoadedAgent,
        play: Recording | None = None,
        moment: int | None = None,
        dice: int = 0,
        reality: bool = False,
        temperature: float = 1.0,
    ):
        config = agent.config
        self.agent, self.world = agent, worlds.make(config.world)
        self.play = play or record(config, agent.params, self.world, seed=dice)
        self.moments = good_moments(self.play)
        self.choices = choices(self.world.action_space, self.world.action_names)
        self.look, self.step_on = make_step(config, self.world)
        self.draw = pictures.painter(self.world, [self.play.obs])
        self.reality, self.temperature = reality, temperature
        latents = config.stoch, config.classes
        self.most_entropy = latents[0] * float(np.log(latents[1]))  # nats
        self.begin(self.first_moment() if moment is None else moment, dice)

    def begin(self, moment: int | None = None, dice: int | None = None) -> None:
        """Start (again) from row `moment` of the recording, with these dice; None keeps them."""
        if moment is not None:
            if moment not in self.moments:
                raise ValueError(
                    f"moment is {moment}: choose a row from {self.moments[0]} to "
                    f"{self.moments[-1]} at which the episode goes on."
                )
            self.moment = int(moment)
        self.dice = self.dice if dice is None else dice
        self.steps, self.total, self.chosen = 0, 0.0, ""
        self.on_path = True  # were all actions so far those of the recording?
        self._live = self._recorded(self.moment)
        assert self.play.deter is not None and self.play.stoch is not None
        state = State(self.play.deter[self.moment][None], self.play.stoch[self.moment][None])
        seen = jax.device_get(self.look(self.agent.params, state))
        self.now = Dreamt(state, *seen, action=self.play.action[self.moment])

    def first_moment(self) -> int:
        """The first of the recording that has YOUNG rows before it and FILM ahead; else any."""
        age, left = (x[:, 0] for x in ages(self.play.is_first[:, None], self.play.is_last[:, None]))
        return next(
            (m for m in self.moments if age[m] >= YOUNG and left[m] >= FILM), self.moments[0]
        )

    def step(self, choice: str | np.ndarray) -> None:
        """Dream one step on, by a label of `choices`, by OWN, RECORDED, or by an action itself.

        Raises:
          ValueError: an unknown label; the sentence has the valid ones. RECORDED, where the
            recording has nothing more to say.
        """
        own = isinstance(choice, str) and choice == OWN
        recorded = isinstance(choice, str) and choice == RECORDED
        chosen = self._action(choice) if isinstance(choice, str) else choice
        action = embed_action(jnp.asarray(chosen), self.world.action_space)
        key = jax.random.fold_in(streams.key("dream", self.dice), self.steps)
        state, *seen = self.step_on(
            self.agent.params, self.now.state, action, own, self.temperature, key
        )
        self.now = Dreamt(state, *jax.device_get(seen))
        self.steps += 1
        self.total += float(self.now.signals.reward)
        self.chosen = action_name(self.world, self.now.action)
        self.chosen += " (chosen by the agent)" if own else ""
        self.on_path &= recorded
        if self.reality:
            self._live = self._real_step()

    def _action(self, choice: str) -> np.ndarray:
        """The action behind a label; for OWN any, for it is not looked at."""
        if choice == RECORDED:
            row = self.moment + self.steps
            if not self.on_path or self.play.is_last[row] or row + 1 >= len(self.play.reward):
                raise ValueError(
                    f"The recording cannot go on at step {self.steps}: its episode is over, or "
                    "other actions than its own were taken; begin again."
                )
            return self.play.action[row]
        if choice == OWN:
            return np.zeros_like(self.play.action[self.moment])
        if choice not in self.choices:
            raise ValueError(f"There is no action {choice!r}: {', '.join(self.choices)}, {OWN}.")
        return self.choices[choice]

    # The real world beside it

    def _recorded(self, row: int) -> tuple[Any, TimeStep]:
        """(the world's own state or None, the row) of the recording."""
        play = self.play
        found = TimeStep({key: x[row] for key, x in play.obs.items()}, *(x[row] for x in play[1:5]))
        return jax.tree.map(lambda x: x[row], play.world), found

    def _real_step(self) -> tuple[Any, TimeStep] | None:
        """The real world after the action that was dreamt with; None if nobody can tell."""
        if self.on_path:
            return self._recorded(self.moment + self.steps)
        if self._live is None or self._live[0] is None or self._live[1].is_last:
            return self._live if self._live and self._live[1].is_last else None
        key = jax.random.fold_in(streams.key("reality", self.dice), self.steps)
        return jax.device_get(make_real_step(self.world)(*self._live, self.now.action, key))

    @property
    def real_now(self) -> TimeStep | None:
        """The row of the real world at this step, or its last one; None if nobody can tell."""
        return self._live[1] if self.reality and self._live else None

    def beside_reality(self, steps: int, choice: str = RECORDED) -> np.ndarray:
        """Begin again and dream `steps` on, by default as it went; until reality's episode ends.

        A film (n, h, w, 3) uint8 of reality, dream and difference.

        Raises:
          ValueError: another choice, in a world that cannot be set to a moment.
        """
        if choice != RECORDED and self.play.world is None:
            raise ValueError(
                f"{self.agent.config.world} cannot be set to a moment: beside its dreams stands "
                f"only what was recorded, by {RECORDED!r}."
            )
        before, self.reality = self.reality, True
        self.begin()
        film = [self._triptych(0)]
        while self.steps < steps and self.real_now is not None and not self.real_now.is_last:
            if self.on_path and self.moment + self.steps + 1 >= len(self.play.reward):
                break
            self.step(choice)
            film.append(self._triptych(self.steps / steps))
        self.reality = before
        return np.stack(film)

    def _triptych(self, done: float) -> np.ndarray:
        """The real row of this step beside what is dreamt."""
        row = self.real_now
        assert row is not None
        real, dream = self.draw(row.obs), self.draw(self.now.obs)
        asleep = self.steps > 0
        ends = "the end" if row.is_terminal else "goes on"
        signals = self.now.signals
        return pictures.triptych(
            panels=[real, dream, pictures.difference(dream, real)],
            titles=["reality", "what it dreams" if asleep else "what it sees", "difference"],
            notes=[
                f"reward {row.reward:g}   {ends}",
                f"reward {signals.reward:z.2f}   goes on: {signals.cont:.0%}",
            ],
            awake=not asleep,
            header=f"dreaming, step {self.steps}" if asleep else "awake, eyes close now",
            corner=f"action {self.chosen}" if asleep else "",
            done=done,
            closing=0.0,
        )

    def real(self, row: int) -> np.ndarray:
        """The picture of a row of the recording, (h, w, 3) uint8."""
        return self.draw({key: x[row] for key, x in self.play.obs.items()})

    def picture(self) -> np.ndarray:
        """The moment it began at, or reality now, and what is dreamt now, (h, w, 3) uint8."""
        dreaming, row = self.steps > 0, self.real_now
        if row is None or not dreaming:
            real, title = self.real(self.moment), "real: here it began"
            note = f"row {self.moment} of the game"
        else:
            real, title = self.draw(row.obs), f"reality, step {self.steps}"
            note = "it has ended" if row.is_last else f"reward {row.reward:g}   goes on"
        return pictures.pad_to_even(
            pictures.side_by_side(
                panels=[real, self.draw(self.now.obs)],
                titles=[title, f"dream, step {self.steps}"],
                notes=[
                    note,
                    f"reward {self.now.signals.reward:z.2f}   goes on: {self.now.signals.cont:.0%}",
                ],
                borders=[(pictures.GREEN, False), (pictures.PURPLE, dreaming)],
            )
        )

    def readings(self) -> list[tuple[str, str, str]]:
        """What the dream says and what reality says: [(what, dream, reality)]; "" is unknown."""
        signals, row = self.now.signals, self.real_now
        real = ("", "") if row is None else (f"{row.reward:g}", "no" if row.is_terminal else "yes")
        return [
            ("reward", f"{signals.reward:z.2f}", real[0]),
            ("goes on", f"{signals.cont:.0%}", real[1]),
            ("value, by the critic", f"{signals.value:z.1f}", ""),
            ("latent entropy", f"{self.now.entropy:.1f} of {self.most_entropy:.1f} nats", ""),
        ]

    def words(self) -> str:
        """The same in words."""
        if self.steps == 0:
            return (
                f"Awake, row {self.moment} of the game. The right picture is what the agent sees. "
                "Choose an action, and it dreams on."
            )
        reward, cont, value = map(float, self.now.signals)
        verdict = "The dream has ended; what follows means little. " if cont < END else ""
        if (row := self.real_now) is not None:
            verdict += f"In reality: reward {row.reward:g}"
            verdict += ", and the episode has ended." if row.is_last else ", and it goes on."
        elif self.reality:
            verdict += "What reality would do now, this world cannot tell."
        return (
            f"Dream step {self.steps}, action {self.chosen}. Dreamt reward {reward:z.2f}, in all "
            f"{self.total:z.1f}; chance to go on {cont:.0%}; the critic expects {value:z.1f}; "
            f"latent entropy {self.now.entropy:.1f} nats. {verdict}"
        ).strip()

    # Many at once

    def many(
        self, moments: np.ndarray, dice: np.ndarray, horizon: int, temperature: float = 1.0,
        actions: np.ndarray | None = None,
    ) -> tuple[dict[str, np.ndarray], Signals]:  # fmt: skip
        """Dreams from M moments (M,) with these dice (M,), `horizon` steps each, side by side.

        Each is the dream that `begin(moment, dice)` and as many `step` of the recorded actions
        give, or of `actions` (horizon, M, ...). Observations and signals (horizon, M, ...); rows
        beyond an episode's end mean nothing.
        """
        assert self.play.deter is not None and self.play.stoch is not None
        rows = moments + np.arange(horizon)[:, None]
        rows = np.minimum(rows, len(self.play.reward) - 1)
        taken = self.play.action[rows] if actions is None else actions
        deter, stoch = (jnp.asarray(x)[moments, None] for x in (self.play.deter, self.play.stoch))
        state = State(deter, stoch)
        keys = jax.vmap(lambda dice: streams.key("dream", dice))(jnp.asarray(dice))
        step = many_steps(self.agent.config, self.world)
        seen = []
        for h in range(horizon):
            state, *found = step(self.agent.params, state, taken[h], temperature, keys, h)
            seen.append(jax.device_get(found))
        obs, signals = jax.tree.map(lambda *parts: np.stack(parts), *seen)
        return obs, signals


@functools.lru_cache(maxsize=8)
def many_steps(config: Config, world: AnyWorld) -> Callable[..., Any]:
    """step(params, states (M, 1, ...), actions (M, ...), temperature, keys (M,), h), compiled.

    Returns (states, observations (M, ...), signals (M,)).
    """
    _, step = make_step(config, world)

    @jax.jit
    def steps(params: Params, states: State, actions: jax.Array, temperature, keys, h):
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, h)
        actions = embed_action(actions, world.action_space)
        go = jax.vmap(step, (None, 0, 0, None, None, 0))
        states, obs, signals, *_ = go(params, states, actions, False, temperature, keys)
        return states, obs, signals

    return steps


def good_moments(play: Recording) -> list[int]:
    """Rows at which the agent has seen enough to dream on, and the episode goes on."""
    age = ages(play.is_first[:, None], play.is_last[:, None])[0][:, 0]
    found = np.flatnonzero((age >= AWAKE - 1) & ~play.is_last).tolist()
    if play.deter is None or not found:
        raise ValueError(
            f"There is no moment to dream from: record an agent whose episode lasts more than "
            f"{AWAKE} rows."
        )
    return found
