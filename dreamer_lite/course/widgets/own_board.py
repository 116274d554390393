"""The dashboard of the reader's own agent: the same buttons, and curves of actor and critic too.

`MEANINGS` says of each curve what it is, its healthy range, and what it means outside. Notebook 08.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
from matplotlib.figure import Figure

from dreamer_lite.course.own_run import RUN, OwnRun
from dreamer_lite.course.widgets.dashboard import Dashboard
from dreamer_lite.course.widgets.progress import AHEAD, Beside, draw_return, draw_strip
from dreamer_lite.presets import make_config
from dreamer_lite.runs.records import Record
from dreamer_lite.show import plots
from dreamer_lite.training import streams


class Meaning(NamedTuple):
    """What a curve of the dashboard says."""

    what: str
    healthy: str
    otherwise: str


MEANINGS = {
    "return": Meaning(
        "mean return of the latest episode of each environment, with its standard error",
        "rises in steps; flat for the first 200 updates or so",
        "flat for long: look at the other curves, from top to bottom",
    ),
    "recon": Meaning(
        "reconstruction loss of an observation, in nats, summed over its cells",
        "falls fast, then slowly; small rises when the agent sees something new",
        "stays high: encoder, decoder or the scaling of observations is wrong",
    ),
    "reward": Meaning(
        "cross-entropy of the predicted reward",
        "falls below that of a constant prediction",
        "stays: rewards are misaligned with observations, or cannot be predicted",
    ),
    "cont": Meaning(
        "cross-entropy of the predicted continuation; its target is γ, not 1",
        "falls to a floor above 0, the entropy of the target: 0.056 nats with γ = 0.99",
        "stays: episode ends are unpredictable, or is_terminal is misaligned",
    ),
    "dyn": Meaning(
        "KL divergence of posterior and prior: nats of an observation that were not predicted",
        "above the line of the free nats: rises to a few nats, then falls",
        "on the line for hundreds of updates: z carries nothing. Rising without end: the prior "
        "does not learn, or the state is lost at wrong moments",
    ),
    "imagined return": Meaning(
        "mean λ-return at the start of imagined rollouts from where the agent is now",
        "rises together with the return",
        "rises alone: the policy exploits the model. Near 0 while rewards are predicted: the "
        "returns are computed wrongly",
    ),
    "critic": Meaning(
        "the critic's prediction for the same states",
        "follows the imagined return closely",
        "stays away from it: the critic has another teacher than the returns",
    ),
    "entropy": Meaning(
        "entropy of the policy, in nats",
        "begins at the logarithm of the number of actions, falls when the return takes off, and "
        "stays well above 0",
        "falls to 0 at once: η is too small; stays at the top: η is too large, or the advantage "
        "says nothing",
    ),
}


class OwnDashboard(Dashboard):
    """The dashboard of an `OwnRun`. `beside` is a stored curve to draw beside the return.

    A run without a folder is saved in a temporary one.
    """

    written = RUN

    def __init__(self, own: OwnRun, beside: Beside | None = None, background: bool | None = None):
        folder = own.folder or ""
        super().__init__(
            make_config(own.name), own.updates, folder, background=background, beside=beside
        )
        self.own, self.free_nats = own, own.c.free_nats

    def agent(self) -> Any:
        """The trained agent, a `Dreamer` of the reader's parts. Raises ValueError before it is."""
        return self.own.agent()

    def _train(self, stop: Callable[[], bool]) -> Generator[Record, None, None]:
        self.own.folder = self.folder
        self.own.folder.mkdir(parents=True, exist_ok=True)
        return self.own.records(stop, self._watch)

    def _earlier(self) -> list[Record]:
        if self.own.run is None:
            self.own.load()
        return list(self.own.history)

    def _finished(self) -> bool:
        return self.own.history[-1]["updates"] >= self.own.updates

    def _imagine(self, state: Any) -> dict[str, jax.Array]:
        return self.own.preview(state, streams.key("glimpse", len(self.records)), AHEAD)

    def _draw(self, title: str, frames: Sequence[Any]) -> Figure:
        return draw(title, self.records, self.free_nats, frames, self.beside)


def draw(
    title: str,
    records: Sequence[Record],
    free_nats: float,
    images: Sequence[Any],
    beside: Beside | None = None,
) -> Figure:
    """Return, losses of the world model, actor and critic; below the images of a preview."""
    figure = Figure(figsize=(11.5, 5.6), layout="constrained")
    figure.suptitle(plots.plain(title), fontsize=10)
    grid = figure.add_gridspec(2, 1, height_ratios=(2.3, 1))
    left, middle, right = (figure.add_subplot(cell) for cell in grid[0].subgridspec(1, 3))
    draw_return(left, records, beside)
    plots.draw_losses(middle, records, free_nats)
    middle.legend(frameon=False, ncols=2, fontsize=8, loc="best")
    updates = plots.column(records, "updates")
    for number, name in enumerate(("imagined_return", "critic", "entropy")):
        look = plots.style(number, len(updates))
        right.plot(updates, plots.column(records, name), label=name.replace("_", " "), **look)
    right.legend(frameon=False, fontsize=8, loc="best")
    plots.decorate(right, "updates", "return, value, nats")
    draw_strip(figure, grid[1], images)
    return figure


def meanings() -> str:
    """MEANINGS as a table in Markdown."""
    rows = [
        f"| **{name}** | {m.what} | {m.healthy} | {m.otherwise} |" for name, m in MEANINGS.items()
    ]
    head = ["| curve | what it is | healthy | if not |", "|---|---|---|---|"]
    return "\n".join(head + rows)
