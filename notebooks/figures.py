"""Draws the diagrams of assets/figures: agent_*.svg and .png, diagram_*, with_and_without.

    python notebooks/figures.py

The SVG is for pages, the PNG is what `build.py` puts into notebooks. Both carry their alt text. In
agent_NAME the block NAME is lit: it differs in colour and in its border, so that it can be told in
grey too; `agent_whole` has no block lit. `diagrams.py` draws the single concepts.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import diagrams  # noqa: E402
from drawing import (  # noqa: E402
    BLUE,
    DASHES,
    FOCUS,
    GREY,
    INK,
    LARGE,
    LINE,
    PALE_AMBER,
    RED,
    SMALL,
    WHITE,
    Canvas,
    same_bytes_each_time,
    sharp_png,
)

FOLDER = HERE.parent / "assets" / "figures"

# name: (x, y of the middle, width, title, role with the notebook that builds it)
BLOCKS = {
    "environment": (1.45, 5.3, 2.2, "Environment", "02 · time steps"),
    "replay": (4.4, 5.3, 2.2, "Replay buffer", "02 · sequences"),
    "encoder": (7.2, 5.3, 1.9, "Encoder", "05"),
    "rssm": (9.75, 5.3, 1.9, "RSSM", "04 · state $h, z$"),
    "heads": (12.5, 5.3, 2.6, "Decoder, heads", "05 · predictions"),
    "actor": (4.4, 2.9, 2.2, "Actor", "07 · policy"),
    "imagination": (9.75, 2.9, 1.9, "Imagination", "06 · rollouts"),
    "critic": (12.5, 2.9, 2.6, "Critic", "07 · values"),
    "predictions": (3.7, 0.85, 6.7, "Predicting anything", "03 · symlog, two-hot, categorical"),
    "loop": (10.45, 0.85, 6.5, "Optimizer and training loop", "08 · one update of every part"),
}
# lit in agent_NAME
LIT = {name: [name] for name in BLOCKS if name not in ("environment", "replay")}
LIT |= {"world": ["environment", "replay"], "actor": ["actor", "critic"], "whole": []}
TALL = 0.95


def alt(name: str) -> str:
    """The overview in words."""
    words = (
        "The agent's parts. The environment's time steps go to the replay buffer, from there as "
        "sequences to the encoder, the RSSM, and the decoder and heads. While acting, an "
        "observation goes from the environment directly to the encoder. The RSSM's state h and z "
        "goes to the actor, whose action goes back to the environment. For learning, imagination "
        "starts at a state of the RSSM and exchanges states and actions with the actor; the critic "
        "values the imagined states, and with the heads' rewards and continue probabilities this "
        "gives the advantage, which is all that the actor gets from the critic. Below: how numbers "
        "and categories are predicted, and the optimizer and training loop."
    )
    lit = " and ".join(BLOCKS[block][3] for block in LIT[name])
    return f"{words} Lit, with a thick border: {lit}." if lit else words


def overview(name: str) -> Figure:
    """The whole agent, with the blocks of `LIT[name]` in colour."""
    c = Canvas(14.0, 6.9)
    for block, (x, y, width, title, role) in BLOCKS.items():
        on = block in LIT[name]
        c.box((x, y), (width, TALL), title, role, FOCUS if on else WHITE, INK if on else LINE,
              3 if on else 1.2)  # fmt: skip
    low, high = 5.3 - TALL / 2, 5.3 + TALL / 2  # of the upper line of blocks
    for x, end in ((2.55, 3.3), (5.5, 6.25), (8.15, 8.8), (10.7, 11.2)):
        c.arrow((x, 5.3), (end, 5.3))
    c.path([(1.45, high), (1.45, 6.45), (7.2, 6.45), (7.2, high)], BLUE, 1.8)
    c.text((4.3, 6.45), "while acting: observation $x_t$", SMALL, clear=True)
    c.arrow((9.0, low), (5.5, 3.25), BLUE, 1.8)
    c.text((7.1, 4.2), "$h_t, z_t$", clear=True)
    c.path([(3.3, 2.9), (1.45, 2.9), (1.45, low)], BLUE, 1.8)
    c.text((1.45, 3.75), "action $a_t$", clear=True)
    c.arrow((9.75, low), (9.75, 3.38))
    c.text((9.85, 4.1), "start", SMALL, ha="left")
    c.arrow((8.8, 3.02), (5.5, 3.02))
    c.arrow((5.5, 2.74), (8.8, 2.74))
    c.text((7.15, 3.22), "imagined states", SMALL)
    c.text((7.15, 2.52), "actions", SMALL)
    c.arrow((10.7, 2.9), (11.2, 2.9))
    c.arrow((12.5, low), (12.5, 3.38))
    c.text((12.5, 4.12), "rewards,\ncontinues", SMALL, clear=True)
    c.path([(12.5, 2.42), (12.5, 1.8), (4.4, 1.8), (4.4, 2.42)], RED, 1.8)
    c.text((8.5, 1.8), "advantage (for learning)", SMALL, clear=True)
    if LIT[name]:
        c.box((11.3, 6.5), (0.4, 0.3), "", "", FOCUS, INK, 2)
        c.text((11.65, 6.49), "this notebook", SMALL, ha="left")
    return c.figure


WAYS_ALT = (
    "Two diagrams. Left, model-free: the environment gives observations and rewards to policy and "
    "value, which give actions back; the same experience updates policy and value directly. Right, "
    "model-based, as in Dreamer: the environment's observations and rewards go to a world model, "
    "which is lit and learns from them by way of a replay buffer. The world model gives policy and "
    "value the state inferred from the observation, for acting, and many imagined states, for "
    "learning, and gets imagined actions back. The policy's actions also go to the environment."
)


def ways() -> Figure:
    """Learning without and with a model of the environment."""
    c = Canvas(14.0, 6.0)
    size = (2.2, 0.9)
    c.area((0.1, 0.1), (6.3, 5.9), GREY)
    c.area((6.5, 0.1), (13.9, 5.9), PALE_AMBER)
    c.text((0.3, 5.55), "Model-free", LARGE, ha="left", weight="bold")
    c.text((6.7, 5.55), "Model-based: Dreamer", LARGE, ha="left", weight="bold")
    c.box((3.2, 4.5), size, "environment")
    c.box((3.2, 1.7), size, "policy, value")
    c.arrow((2.5, 4.05), (2.5, 2.15))
    c.text((2.4, 3.1), "observations,\nrewards", SMALL, ha="right")
    c.arrow((3.9, 2.15), (3.9, 4.05))
    c.text((4.0, 3.1), "actions", SMALL, ha="left")
    c.text((3.2, 0.65), "Real experience updates\nthe policy directly.", SMALL, style="italic")
    c.box((7.75, 4.5), size, "environment")
    c.box((12.0, 4.5), size, "world model", colour=FOCUS, edge=INK, thick=3)
    c.box((12.0, 1.7), size, "policy, value")
    c.arrow((8.85, 4.5), (10.88, 4.5))
    c.text((9.85, 4.9), "observations,\nrewards", SMALL)
    c.text((9.85, 4.22), "(replayed)", SMALL)
    c.arrow((11.7, 4.05), (11.7, 2.15))
    c.text((11.6, 3.1), "inferred and\nimagined states", SMALL, ha="right")
    c.arrow((12.4, 2.15), (12.4, 4.05), dashes=DASHES)
    c.text((12.5, 3.1), "imagined\nactions", SMALL, ha="left")
    c.path([(10.9, 1.7), (7.75, 1.7), (7.75, 4.05)])
    c.text((7.85, 3.1), "actions", SMALL, ha="left")
    words = "Real experience trains the model;\nthe policy learns from imagined rollouts."
    c.text((10.2, 0.65), words, SMALL, style="italic")
    return c.figure


def main() -> None:
    """Write every figure; the same bytes each time."""
    same_bytes_each_time()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in LIT:
        title = "The parts of the agent"
        write(f"agent_{name}", title, alt(name), lambda name=name: overview(name))
    write("with_and_without", "Learning with and without a model", WAYS_ALT, ways)
    for name, (title, words, draw) in diagrams.DIAGRAMS.items():
        write(f"diagram_{name}", title, words, draw)


def write(name: str, title: str, words: str, draw: Callable[[], Figure]) -> None:
    """Save a figure as SVG and PNG, each with its words."""
    about = {"Title": title, "Description": words, "Date": None, "Creator": None}
    draw().savefig(FOLDER / f"{name}.svg", metadata=about)
    (FOLDER / f"{name}.png").write_bytes(sharp_png(draw(), words))


if __name__ == "__main__":
    main()
