"""An imagined rollout (a dream) that is steered step by step, beside the real environment.

Every picture can also be had in words. Notebooks 00 and 10.
"""

from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import page, worlds
from dreamer_lite.agent.agent import embed_action
from dreamer_lite.agent.rssm import State
from dreamer_lite.course.notebook import in_notebook
from dreamer_lite.course.widgets.dream_step import (
    Imagined,
    choices,
    make_real_step,
    make_step,
    many_real_steps,
    many_steps,
)
from dreamer_lite.evaluation.dreams import OBSERVED, ages
from dreamer_lite.evaluation.open_loop import Signals
from dreamer_lite.evaluation.rollouts import Recording, action_name, record
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.show import images
from dreamer_lite.training import streams
from dreamer_lite.worlds.base import TimeStep, World

OWN = "agent decides"  # the choice that leaves the action to the agent's own policy
RECORDED = "as recorded"  # the choice of what the agent did in the recording
BEFORE, AFTER = 20, 24  # steps of its episode before and after the moment that is the default
END = 0.5  # below this probability of continuation, a rollout counts as ended
LARGEST = 5_000_000  # parameters of an agent whose page a notebook holds: 27 MB


class Dream:
    """An imagined rollout that starts at a moment of a recording, one action at a time.

    The same moment, seed, temperature and actions give the same rollout. With `reality`, the real
    environment takes the same actions beside it. While these are the recorded ones, that is the
    recording. An environment in JAX can be set to the moment, and takes any other actions too, with
    random numbers of its own.

    Raises:
      ValueError: the recording has no moment to start from.
    """

    def __init__(
        self,
        agent: LoadedAgent,
        recording: Recording | None = None,
        moment: int | None = None,
        seed: int = 0,
        reality: bool = False,
        temperature: float = 1.0,
    ):
        config = agent.config
        self.agent, self.world = agent, worlds.make(config.world)
        self.recording = recording or record(config, agent.params, self.world, seed=seed)
        self.moments = good_moments(self.recording)
        self.choices = choices(self.world.action_space, self.world.action_names)
        self._predict, self._step = make_step(config, self.world)
        self.draw = images.painter(self.world, [self.recording.obs])
        self.reality, self.temperature = reality, temperature
        self.begin(self.first_moment() if moment is None else moment, seed)

    def begin(self, moment: int | None = None, seed: int | None = None) -> None:
        """Start (again) from a time step of the recording with the noise of `seed`; None keeps."""
        if moment is not None:
            if moment not in self.moments:
                raise ValueError(
                    f"moment is {moment}: choose a time step from {self.moments[0]} to "
                    f"{self.moments[-1]} at which the episode goes on."
                )
            self.moment = int(moment)
        self.seed = self.seed if seed is None else seed
        self.steps, self.total, self.chosen = 0, 0.0, ""
        self.on_path = True  # were all actions so far those of the recording?
        self._real = self._recorded(self.moment)
        state = jax.tree.map(lambda x: x[0], self._states(np.array([self.moment])))
        predicted = jax.device_get(self._predict(self.agent.params, state))
        self.current = Imagined(state, *predicted, action=self.recording.action[self.moment])

    def first_moment(self) -> int:
        """The first with BEFORE steps before it and AFTER ahead; otherwise any."""
        age, left = episode_ages(self.recording)
        fit = (m for m in self.moments if age[m] >= BEFORE and left[m] >= AFTER)
        return next(fit, self.moments[0])

    def step(self, choice: str | np.ndarray) -> None:
        """Imagine one step, by a label of `choices`, by OWN, RECORDED, or by an action itself.

        Raises:
          ValueError: an unknown label; the sentence has the valid ones. RECORDED, where the
            recording has no further action.
        """
        own, recorded = (isinstance(choice, str) and choice == x for x in (OWN, RECORDED))
        chosen = self._action(choice) if isinstance(choice, str) else choice
        action = embed_action(jnp.asarray(chosen), self.world.action_space)
        key = jax.random.fold_in(streams.key("dream", self.seed), self.steps)
        state, *predicted = self._step(
            self.agent.params, self.current.state, action, own, self.temperature, key
        )
        self.current = Imagined(state, *jax.device_get(predicted))
        self.steps += 1
        self.total += float(self.current.signals.reward)
        self.chosen = action_name(self.world, self.current.action)
        self.chosen += " (chosen by the agent)" if own else ""
        self.on_path &= recorded
        if self.reality:
            self._real = self._real_step()

    def _action(self, choice: str) -> np.ndarray:
        """The action behind a label; for OWN any, because it is ignored."""
        if choice == RECORDED:
            t = self.moment + self.steps
            if not self.on_path or self.recording.is_last[t] or self._at_the_end():
                raise ValueError(
                    f"The recording cannot go on at step {self.steps}: its episode is over, or "
                    "other actions than its own were taken; begin again."
                )
            return self.recording.action[t]
        if choice == OWN:
            return np.zeros_like(self.recording.action[self.moment])
        if choice not in self.choices:
            raise ValueError(f"There is no action {choice!r}: {', '.join(self.choices)}, {OWN}.")
        return self.choices[choice]

    # The real environment beside it

    def _at_the_end(self) -> bool:
        return self.moment + self.steps + 1 >= len(self.recording.reward)

    def _recorded(self, t: Any) -> tuple[Any, TimeStep]:
        """(the environment's own state or None, the time step) of the recording; t () or (M,)."""
        kept: Any = self.recording
        found = TimeStep({key: x[t] for key, x in kept.obs.items()}, *(x[t] for x in kept[1:5]))
        return jax.tree.map(lambda x: x[t], kept.world), found

    def _real_step(self) -> tuple[Any, TimeStep] | None:
        """The real environment after the action that was imagined; None if it is unknown."""
        if self.on_path:
            return self._recorded(self.moment + self.steps)
        if self._real is None or self._real[1].is_last:
            return self._real
        if self._real[0] is None:
            return None
        key = jax.random.fold_in(streams.key("reality", self.seed), self.steps)
        return jax.device_get(make_real_step(self.world)(*self._real, self.current.action, key))

    @property
    def real(self) -> TimeStep | None:
        """The real time step at this step, or the last of its episode; None if it is unknown."""
        return self._real[1] if self.reality and self._real else None

    def beside_reality(self, steps: int, choice: str = RECORDED) -> np.ndarray:
        """Begin again and imagine `steps` steps; until reality's episode ends.

        A film (n, h, w, 3) uint8 of reality, imagined rollout and difference.

        Raises:
          ValueError: a choice other than RECORDED, in an environment that cannot be set to a
            moment.
        """
        if choice != RECORDED and self.recording.world is None:
            raise ValueError(
                f"{self.agent.config.world} cannot be set to a moment: its imagined rollouts can "
                f"only be compared with the recording, by {RECORDED!r}."
            )
        before, self.reality = self.reality, True
        self.begin()
        film = [self._triptych(0)]
        while self.steps < steps and self.real is not None and not self.real.is_last:
            if self.on_path and self._at_the_end():
                break
            self.step(choice)
            film.append(self._triptych(self.steps / steps))
        self.reality = before
        return np.stack(film)

    # Pictures and words

    def _triptych(self, done: float) -> np.ndarray:
        """The real time step beside what is imagined."""
        real = self.real
        assert real is not None
        frames, imagining = (self.draw(real.obs), self.draw(self.current.obs)), self.steps > 0
        return images.triptych(
            panels=[*frames, images.difference(frames[1], frames[0])],
            titles=["reality", "imagined" if imagining else "reconstruction", "difference"],
            notes=[
                f"reward {real.reward:g}   {'terminal' if real.is_terminal else 'continues'}",
                self._note(),
            ],
            observing=not imagining,
            header=f"open loop, step {self.steps}" if imagining else "observing; open loop follows",
            corner=f"action {self.chosen}" if imagining else "",
            done=done,
            closing=0.0,
        )

    def _note(self) -> str:
        signals = self.current.signals
        return f"reward {signals.reward:z.2f}   continues: {signals.cont:.0%}"

    def recorded_image(self, t: int) -> np.ndarray:
        """Time step t of the recording as an image, (h, w, 3) uint8."""
        return self.draw({key: x[t] for key, x in self.recording.obs.items()})

    def words(self) -> str:
        """The current step in words."""
        if self.steps == 0:
            return (
                f"Observing, time step {self.moment} of the recording. "
                "Choose an action to imagine the next step."
            )
        reward, cont, value = map(float, self.current.signals)
        notes = ["The dream has ended; what follows means little."] if cont < END else []
        if (real := self.real) is not None:
            end = "the episode has ended" if real.is_last else "the episode goes on"
            notes.append(f"In reality: reward {real.reward:g}, and {end}.")
        elif self.reality:
            notes.append("What happens in reality is unknown: the environment cannot be set.")
        return " ".join([
            f"Dream step {self.steps}, action {self.chosen}. Predicted reward {reward:z.2f}, in "
            f"all {self.total:z.1f}; probability of continuation {cont:.0%}; value by the critic "
            f"{value:z.1f}; latent entropy {self.current.entropy:.1f} nats.",
            *notes,
        ])  # fmt: skip

    # Many at once

    def _states(self, moments: np.ndarray) -> State:
        """The agent's states (M, 1, ...) at moments (M,) of the recording."""
        assert self.recording.deter is not None and self.recording.stoch is not None
        kept = self.recording.deter, self.recording.stoch
        return State(*(jnp.asarray(x)[moments, None] for x in kept))

    def many(
        self, moments: np.ndarray, seeds: np.ndarray, horizon: int, temperature: float = 1.0,
        actions: np.ndarray | None = None,
    ) -> tuple[dict[str, np.ndarray], Signals]:  # fmt: skip
        """Imagined rollouts from M moments (M,) with the noise of seeds (M,), `horizon` steps each.

        Each is the rollout that `begin(moment, seed)` and as many `step` of the recorded actions
        give, or of `actions` (horizon, M, ...). Observations and signals (horizon, M, ...); time
        steps beyond an episode's end mean nothing.
        """
        times = np.minimum(moments + np.arange(horizon)[:, None], len(self.recording.reward) - 1)
        taken = self.recording.action[times] if actions is None else actions
        states = self._states(moments)
        keys = jax.vmap(lambda seed: streams.key("dream", seed))(jnp.asarray(seeds))
        step = many_steps(self.agent.config, self.world)
        predicted = []
        for h in range(horizon):
            states, *found = step(self.agent.params, states, taken[h], temperature, keys, h)
            predicted.append(jax.device_get(found))
        obs, signals = jax.tree.map(lambda *parts: np.stack(parts), *predicted)
        return obs, signals

    def many_real(
        self,
        moments: np.ndarray,
        seeds: np.ndarray,
        horizon: int,
        actions: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """The real environment, run again from M moments (M,) with random numbers of seeds (M,).

        It takes the actions of the recording, or `actions` (horizon, M, ...). With those of the
        recording, what differs from it is due to stochasticity alone. Observations (horizon, M,
        ...); an episode that ends stands still. Each is what reality is beside
        `begin(moment, seed)` and as many actions.

        Raises:
          ValueError: the environment cannot be set to a moment.
        """
        if self.recording.world is None:
            raise ValueError(
                f"{self.agent.config.world} cannot be set to a moment, so it cannot be run again "
                "from one: choose an environment in JAX."
            )
        times = np.minimum(moments + np.arange(horizon)[:, None], len(self.recording.reward) - 1)
        taken = self.recording.action[times] if actions is None else actions
        keys = jax.vmap(lambda seed: streams.key("reality", seed))(jnp.asarray(seeds))
        real, found = self._recorded(moments), []
        step = many_real_steps(cast(World, self.world))
        for h in range(horizon):
            real = step(*real, taken[h], keys, h + 1)
            found.append(jax.device_get(real[1].obs))
        return jax.tree.map(lambda *parts: np.stack(parts), *found)


def episode_ages(recording: Recording) -> list[np.ndarray]:
    """Steps of its episode before, and after, each time step of a recording; (T,) twice."""
    return [x[:, 0] for x in ages(recording.is_first[:, None], recording.is_last[:, None])]


def good_moments(recording: Recording) -> list[int]:
    """Time steps at which the posterior has seen enough, and the episode goes on."""
    age, _ = episode_ages(recording)
    found = np.flatnonzero((age >= OBSERVED - 1) & ~recording.is_last).tolist()
    if recording.deter is None or not found:
        raise ValueError(
            f"There is no moment to start from: record an agent whose episode lasts more than "
            f"{OBSERVED} time steps."
        )
    return found


def steer_in_page(dream: Dream, plan: Sequence[str]) -> None:
    """The page of the dream's agent, in a notebook; it goes on without a kernel.

    It has moments of its own to start from. Of an agent that is too large for a notebook, a
    sentence says how to write the page to a file. In a script, the actions of `plan` one by one, in
    words.

    Raises ValueError for an unknown action, in a script.
    """
    if in_notebook():
        count = sum(x.size for x in jax.tree.leaves(dream.agent.params))
        if count <= LARGEST:
            page.show(page.collect(dream.agent, dream.seed))
        else:
            print(
                f"The agent has {count:,} parameters, too many for a page in a notebook: write it "
                "to a file with `dreamer-lite page --agent AGENT --out dream.html`."
            )
        return
    dream.begin()
    print(dream.words())
    for choice in plan:
        dream.step(choice)
        print(dream.words())
