"""Step through an RSSM: observe or imagine one time step at a time, and see what it holds.

    stepper = Stepper(model, params, play)
    stepper.observe()      # a step with the observation: z from the posterior
    stepper.imagine()      # a step without it: z from the prior
    stepper.show()         # buttons in a notebook; a script prints a few steps in words

It follows one recorded episode of Catch, whose actions it takes. Shown are the frame of the
environment, the decoded frame, h as a strip, the probabilities of prior and posterior with the
sampled classes, and the KL of each group. Notebook 04.
"""

import html
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite.course import data
from dreamer_lite.course.ablate_rssm import WorldModel
from dreamer_lite.course.notebook import as_html, in_notebook, png
from dreamer_lite.show import latents

SCRIPT = ("observe", "observe", "observe", "imagine", "imagine", "imagine", "imagine", "imagine")
BUTTONS = {
    "observe": "one step with the observation: z is sampled from the posterior",
    "imagine": "one step without the observation: z is sampled from the prior",
    "other sample": "the same step again with other sampling noise",
    "restart": "back to the start of the episode",
}


class Stepper:
    """One episode, step by step. All methods do the same with and without a front end."""

    def __init__(
        self, model: WorldModel, params: Any, play: data.Play, episode: int = 0, seed: int = 0
    ):
        """`play` (T, B, ...) holds whole episodes, `episode` is one of its B.

        Raises:
          ValueError: an episode that does not exist.
        """
        count = play.action.shape[1]
        if episode not in range(count):
            raise ValueError(f"episode is {episode}: it must be one of 0 to {count - 1}.")
        self.model, self.params, self.seed = model, params, seed
        self.play = jax.tree.map(lambda x: x[:, episode : episode + 1], play)
        self.image: Any = None  # the widgets, where they are shown
        self.status: Any = None
        self.restart()

    @property
    def length(self) -> int:
        """Time steps of the episode."""
        return len(self.play.action)

    @property
    def over(self) -> bool:
        """Whether the last time step was taken."""
        return self.taken == self.length

    def restart(self) -> None:
        """Back to the state before the first observation."""
        self.taken, self.draw = 0, 0  # time steps taken; redraws of the last
        self.past = [self.model.merge(self.params).rssm.initial(1)]  # states
        self.observed: list[bool] = []
        self.current: dict[str, np.ndarray] = {}
        self.message = "Press observe: the episode begins."
        self._refresh()

    def observe(self) -> None:
        """Take a step with the observation."""
        self._take(True)

    def imagine(self) -> None:
        """Take a step without the observation."""
        if not self.taken:
            self.message = "Observe the first step: there is nothing to imagine from yet."
            self._refresh()
            return
        self._take(False)

    def resample(self) -> None:
        """Take the last step again with other noise."""
        if self.taken:
            self.taken -= 1
            self.past.pop()
            self.draw += 1
            self._take(self.observed.pop(), again=True)

    def press(self, label: str) -> None:
        """Do what the button with this label does. Raises ValueError for another label."""
        actions = dict(zip(BUTTONS, (self.observe, self.imagine, self.resample, self.restart)))
        if label not in actions:
            raise ValueError(f"{label!r} is no button: choose one of {', '.join(BUTTONS)}.")
        actions[label]()

    def _take(self, seen: bool, again: bool = False) -> None:
        if self.over:
            self.message = "The episode is over: press restart."
            self._refresh()
            return
        self.draw = self.draw if again else 0
        key = jax.random.fold_in(jax.random.key(self.seed), 1000 * self.taken + self.draw)
        now = jax.tree.map(lambda x: x[self.taken], self.play)
        state, found = self.model.step(self.params, self.past[-1], now, seen, key)
        self.current = {name: np.asarray(x)[0] for name, x in found.items()}
        self.past.append(state)
        self.observed.append(seen)
        self.taken += 1
        self.message = ""
        self._refresh()

    # What is shown

    def words(self) -> str:
        """The last step in words: what was done, prior and posterior, the decoded frame."""
        if not self.taken or self.message:
            return self.message
        now, seen, t = self.current, self.observed[-1], self.taken - 1
        name = self.model.world.action_names[int(np.asarray(self.play.action[t, 0]).argmax())]
        first = bool(self.play.steps.is_first[t, 0])
        action = "at the start" if first else f"after the action {name}"
        text = [f"Step {t}, {'observed' if seen else 'imagined'}, {action}."]
        text.append(f"Entropy of the prior {entropy(now['prior']):.2f} nats")
        if seen:
            kl = latents.divergence(now["posterior"], now["prior"]).sum()
            text[-1] += f", of the posterior {entropy(now['posterior']):.2f}; KL {kl:.2f} nats"
        classes = " ".join(map(str, now["sampled"]))
        text[-1] += f". Sampled classes: {classes}."
        text.append(f"Environment: {describe(now['real'] / 255)}.")
        text.append(f"Decoder: {describe(now['decoded'])}.")
        return " ".join(text)

    def step(self) -> latents.Step:
        """The last step, to be drawn."""
        now, seen, t = self.current, self.observed[-1], self.taken - 1
        render = self.model.world.render
        return latents.Step(
            f"Step {t}: {'observe' if seen else 'imagine'}",
            render({"image": now["real"]}),
            render({"image": now["decoded"]}),
            now["deter"],
            now["prior"],
            now["posterior"] if seen else None,
            now["sampled"],
        )

    def figure(self) -> Figure:
        """The last step as a figure; empty before the first."""
        return latents.draw_step(self.step()) if self.taken else Figure(figsize=(9.6, 0.4))

    def film(self, labels: Sequence[str]) -> np.ndarray:
        """Frames (n, h, w, 3) uint8 of these button presses, from the start of the episode."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.restart()
        frames = []
        for label in labels:
            self.press(label)
            canvas = FigureCanvasAgg(self.figure())
            canvas.figure.set_dpi(80)
            canvas.draw()
            frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        return np.stack(frames)

    # Widgets

    def show(self) -> None:
        """Display the buttons in a notebook; in a script, take the steps of SCRIPT in words."""
        if not in_notebook():
            self.restart()
            for label in SCRIPT:
                self.press(label)
                print(f"[{label}] {self.words()}", flush=True)
            return
        from IPython.display import display

        display(self.build())

    def build(self) -> Any:
        """The buttons above the figure and its words. Tab and Enter are enough to use them."""
        import ipywidgets as widgets

        self.image, self.status = widgets.HTML(), widgets.HTML()
        row = []
        for label, tip in BUTTONS.items():
            button = widgets.Button(description=label, tooltip=tip)
            button.on_click(lambda button: self.press(button.description))
            row.append(button)
        self._refresh()
        return widgets.VBox([widgets.HBox(row), self.image, self.status])

    def _refresh(self) -> None:
        if self.image is None:
            return
        words = self.words()
        if not self.taken:
            self.image.value = ""
        elif not self.message:
            self.image.value = as_html(png(self.figure(), words), words)
        self.status.value = f'<p role="status">{html.escape(words)}</p>'


def entropy(probs: np.ndarray) -> float:
    """Entropy in nats of all groups (S, C) together."""
    return float(-np.sum(probs * np.log(np.maximum(probs, 1e-20))))


def describe(frame: np.ndarray) -> str:
    """A frame of Catch (10, 10, 2) in [0, 1], in words: where paddle and ball are."""
    paddle, ball = frame[-1, :, 0], frame[..., 1]
    text = f"paddle in column {paddle.argmax()} ({paddle.max():.2f})"
    order = np.argsort(ball, axis=None)[::-1][:2]
    places = [np.unravel_index(i, ball.shape) for i in order]
    clear = [(r, c, ball[r, c]) for r, c in places if ball[r, c] > 0.15]
    if not clear:
        return f"{text}, no ball"
    return text + ", ball in " + " and ".join(f"row {r}, column {c} ({p:.2f})" for r, c, p in clear)
