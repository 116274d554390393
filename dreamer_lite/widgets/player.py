"""The dream player: buttons steer a dream, shown beside the real moment at which it began.

A `Dream` is steered step by step; a `DreamPlayer` puts buttons on one. Every picture has a twin in
words. Notebooks 00 and 09.
"""

import base64
import functools
import html
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dreamer_lite import pictures, worlds
from dreamer_lite.agent import Params, embed_action, make_agent
from dreamer_lite.checkpoints import LoadedAgent
from dreamer_lite.config import Config
from dreamer_lite.dreams import AWAKE, ages
from dreamer_lite.notebook import in_notebook
from dreamer_lite.open_loop import Signals, decode, foreseen
from dreamer_lite.rollouts import Recording, action_name, record
from dreamer_lite.rssm import State
from dreamer_lite.worlds import AnyWorld
from dreamer_lite.worlds.base import Space

OWN = "agent decides"  # the choice that leaves the action to the dreaming agent's own policy
YOUNG, FILM = 20, 24  # rows of its episode before and after the moment that is taken by default
END = 0.5  # below this chance to go on, a dream counts as ended


class Dreamt(NamedTuple):
    """What is dreamt at one moment."""

    state: State  # (1, ...)
    obs: dict[str, np.ndarray]  # (...) the decoder's mean
    signals: Signals  # numbers
    action: np.ndarray  # as the world takes it, what led here


@functools.lru_cache(maxsize=8)
def make_step(config: Config, world: AnyWorld) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(look, step), compiled for one dream.

    look(params, state) -> (observation, signals). step(params, state, action, own, key) -> (state,
    observation, signals, action), where `action` is embedded, (A,), and ignored if `own` is true:
    then the agent's policy chooses. The key is consumed.
    """
    graph = make_agent(config, world.obs_space, world.action_space)

    def seen(agent, state: State):
        """What one dreamt state (1, ...) looks like and promises, without the leading axis."""
        return jax.tree.map(lambda x: x[0], (decode(agent, state), foreseen(agent, state, config)))

    @jax.jit
    def look(params: Params, state: State):
        agent = graph.merge(params)
        return seen(agent, state.astype(agent.model.rssm.dtype))

    @jax.jit
    def step(params: Params, state: State, action: jax.Array, own: bool, key: jax.Array):
        agent = graph.merge(params)
        act_key, noise_key = jax.random.split(key)
        state = state.astype(agent.model.rssm.dtype)
        chosen = agent.actor(state.feature).sample(act_key)[0]
        action = jnp.where(own, chosen, action)
        u = jax.random.uniform(noise_key, state.stoch.shape[:-1])
        state = agent.model.rssm.imagine_step(state, action[None], u)
        if world.action_space.is_discrete:
            action = jnp.argmax(action, -1)
        return (state.astype(jnp.float32), *seen(agent, state), action)

    return look, step


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

    The same moment, dice and actions give the same dream.

    Raises:
      ValueError: the recording has no moment to dream from.
    """

    def __init__(
        self, agent: LoadedAgent, play: Recording | None = None, moment: int | None = None,
        dice: int = 0,
    ):  # fmt: skip
        config = agent.config
        self.agent, self.world = agent, worlds.make(config.world)
        self.play = play or record(config, agent.params, self.world, seed=dice)
        self.moments = good_moments(self.play)
        self.choices = choices(self.world.action_space, self.world.action_names)
        self.look, self.step_on = make_step(config, self.world)
        self.draw = pictures.painter(self.world, [self.play.obs])
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
        """Dream one step on, by a label of `choices`, by OWN, or by an action itself.

        Raises:
          ValueError: an unknown label; the sentence has the valid ones.
        """
        own = isinstance(choice, str) and choice == OWN
        if isinstance(choice, str) and not own and choice not in self.choices:
            raise ValueError(f"There is no action {choice!r}: {', '.join(self.choices)}, {OWN}.")
        chosen = self.choices.get(choice, self.now.action) if isinstance(choice, str) else choice
        action = embed_action(jnp.asarray(chosen), self.world.action_space)
        key = jax.random.fold_in(jax.random.key(self.dice), self.steps)
        state, obs, signals, action = self.step_on(
            self.agent.params, self.now.state, action, own, key
        )
        self.now = Dreamt(state, *jax.device_get((obs, signals, action)))
        self.steps += 1
        self.total += float(self.now.signals.reward)
        self.chosen = action_name(self.world, self.now.action)
        self.chosen += " (chosen by the agent)" if own else ""

    def beside_reality(self, steps: int) -> np.ndarray:
        """Begin again and dream `steps` on under the actions that reality took; until its end.

        A film (n, h, w, 3) uint8 of reality, dream and difference.
        """
        self.begin()
        film = []
        for row in range(self.moment, min(self.moment + steps + 1, len(self.play.reward))):
            if row > self.moment:
                self.step(self.play.action[row - 1])
            film.append(self._triptych(row, self.steps / steps))
            if self.play.is_last[row]:
                break
        return np.stack(film)

    def _triptych(self, row: int, done: float) -> np.ndarray:
        """Row `row` of the recording beside what is dreamt now."""
        real, dream = self.real(row), self.draw(self.now.obs)
        asleep = self.steps > 0
        ends = "the end" if self.play.is_terminal[row] else "goes on"
        signals = self.now.signals
        return pictures.triptych(
            panels=[real, dream, pictures.difference(dream, real)],
            titles=["reality", "what it dreams" if asleep else "what it sees", "difference"],
            notes=[
                f"reward {self.play.reward[row]:g}   {ends}",
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
        """The moment it began at and what is dreamt now, side by side, (h, w, 3) uint8."""
        dreaming = self.steps > 0
        return pictures.pad_to_even(
            pictures.side_by_side(
                panels=[self.real(self.moment), self.draw(self.now.obs)],
                titles=["real: here it began", f"dream, step {self.steps}"],
                notes=[
                    f"row {self.moment} of the game",
                    f"reward {self.now.signals.reward:z.2f}   goes on: {self.now.signals.cont:.0%}",
                ],
                borders=[(pictures.GREEN, False), (pictures.PURPLE, dreaming)],
            )
        )

    def words(self) -> str:
        """The same in words."""
        if self.steps == 0:
            return (
                f"Awake, row {self.moment} of the game. The right picture is what the agent sees. "
                "Choose an action, and it dreams on."
            )
        reward, cont, value = map(float, self.now.signals)
        verdict = "The dream has ended; what follows means little. " if cont < END else ""
        return (
            f"Dream step {self.steps}, action {self.chosen}. Dreamt reward {reward:z.2f}, in all "
            f"{self.total:z.1f}; chance to go on {cont:.0%}; the critic expects {value:z.1f}. "
            f"{verdict}"
        ).strip()


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


class DreamPlayer:
    """Buttons on a dream. `show` displays them; every button is a plain HTML one, so that the Tab
    key reaches it and the space bar presses it.
    """

    def __init__(self, dream: Dream):
        import ipywidgets as widgets

        self.dream = dream
        self.screen, self.report = widgets.HTML(), widgets.HTML()
        self.buttons: dict[str, Any] = {}
        for label in [*dream.choices, OWN]:
            about = "the agent's own policy chooses" if label == OWN else f"dream on: {label}"
            self._add(label, about, lambda label=label: dream.step(label))
        self._add("restart", "from the same moment, with the same dice", lambda: dream.begin())
        self._add("new dice", "from the same moment", lambda: dream.begin(dice=dream.dice + 1))
        self._add("another moment", "of the same game", self._move)
        steer = [self.buttons[label] for label in [*dream.choices, OWN]]
        begin = [self.buttons[label] for label in ("restart", "new dice", "another moment")]
        wrap = widgets.Layout(flex_flow="row wrap")
        self.view = widgets.VBox(
            [self.screen, self.report, widgets.HBox(steer, layout=wrap),
             widgets.HBox(begin, layout=wrap)]
        )  # fmt: skip
        self.redraw()

    def _add(self, label: str, about: str, do: Callable[[], None]) -> None:
        import ipywidgets as widgets

        button = widgets.Button(
            description=label, tooltip=about, layout=widgets.Layout(width="auto", min_width="5em")
        )

        def clicked(_: Any) -> None:
            do()
            self.redraw()

        button.on_click(clicked)
        self.buttons[label] = button

    def _move(self) -> None:
        """To a moment a fifth of the game later, round and round."""
        moments = self.dream.moments
        here = moments.index(self.dream.moment)
        self.dream.begin(moments[(here + max(1, len(moments) // 5)) % len(moments)])

    def redraw(self) -> None:
        """Show how the dream stands."""
        words = self.dream.words()
        self.screen.value = as_html(self.dream.picture(), words)
        self.report.value = f'<p role="status">{html.escape(words)}</p>'

    def show(self) -> None:
        """Display picture and buttons."""
        from IPython.display import display

        display(self.view)


def steer(dream: Dream, plan: Sequence[str]) -> None:
    """Buttons on the dream in a notebook; in a script, the actions of `plan` one by one, in words.

    Raises ValueError for an unknown action, in a script.
    """
    if in_notebook():
        DreamPlayer(dream).show()
        return
    dream.begin()
    print(dream.words())
    for choice in plan:
        dream.step(choice)
        print(dream.words())


def as_html(picture: np.ndarray, alt: str) -> str:
    """A picture (h, w, 3) uint8 as an <img> that carries itself, for widgets.HTML.

    Text, because binary messages to widgets get lost on Colab.
    """
    raw = io.BytesIO()
    Image.fromarray(picture).save(raw, "PNG", compress_level=1)
    data = base64.b64encode(raw.getvalue()).decode()
    style = f"width:100%;max-width:{picture.shape[1]}px"
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}" style="{style}">'
