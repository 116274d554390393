"""Draws assets/figures/agent_*.svg and .png: the agent's diagram with one block lit, and others.

    python notebooks/figures.py

The SVG is for pages, the PNG is what `build.py` puts into notebooks. Both carry their alt text,
which is made here from the same list of blocks. The lit block differs in colour, border and a
label, so that it can be told in grey too; the ground is light in dark themes as well. `agent_whole`
has no block lit; `with_and_without` shows how the two ways of learning use what was lived.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from dreamer_lite.course.notebook import png  # noqa: E402

FOLDER = HERE.parent / "assets" / "figures"
INK, PALE, LINE, LIT = "#1a1d29", "#ffffff", "#5c6270", "#ffd07a"
WIDTH, HEIGHT = 1.5, 0.62

# name: (x, y of the middle, title, what it does)
BLOCKS = {
    "world": (1.0, 3.0, "World, replay", "rows, windows"),
    "encoder": (3.1, 3.0, "Encoder", "sees"),
    "rssm": (5.2, 3.0, "RSSM", "remembers, guesses"),
    "heads": (7.3, 3.0, "Decoder, heads", "explain"),
    "predictions": (9.4, 2.25, "Predictions", "symlog, two-hot"),
    "actor": (3.1, 1.5, "Actor", "acts"),
    "imagination": (5.2, 1.5, "Imagination", "dreams"),
    "critic": (7.3, 1.5, "Critic", "judges"),
    "loop": (5.2, 0.45, "Optimiser and loop", "one update of everything, again and again"),
}
# (from, to, bend)
ARROWS = [
    ("world", "encoder", 0), ("encoder", "rssm", 0), ("rssm", "heads", 0),
    ("rssm", "imagination", 0), ("actor", "imagination", 0), ("imagination", "critic", 0),
    ("predictions", "heads", 0), ("predictions", "critic", 0), ("actor", "world", 0),
    ("critic", "actor", -0.2),
]  # fmt: skip


def width(name: str) -> float:
    return 9.2 if name == "loop" else WIDTH


def alt(lit: str) -> str:
    """The diagram in words; `lit` may be none of the blocks."""
    words = (
        "The agent's blocks. The world and its replay feed the encoder, which feeds the RSSM; "
        "from the RSSM come the decoder and heads, and imagination. The actor acts in imagination "
        "and in the world, the critic judges the dreams and teaches the actor. Predictions are how "
        "heads and critic say numbers. The optimiser and the loop lie below all."
    )
    return f"{words} Lit, with a thick border: {BLOCKS[lit][2]}." if lit in BLOCKS else words


def diagram(lit: str) -> Figure:
    """The whole agent with the block `lit` in colour."""
    figure = Figure(figsize=(9.2, 3.5), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10.4), ylim=(0, 3.85))
    axes.axis("off")
    boxes = {}
    for name, (x, y, title, role) in BLOCKS.items():
        on = name == lit
        w = width(name)
        boxes[name] = FancyBboxPatch(
            (x - w / 2, y - HEIGHT / 2), w, HEIGHT,
            boxstyle="round,pad=0.05,rounding_size=0.12", zorder=2,
            facecolor=LIT if on else PALE, edgecolor=INK if on else LINE,
            linewidth=3 if on else 1.2,
        )  # fmt: skip
        axes.add_patch(boxes[name])
        weight = "bold" if on else "normal"
        axes.text(x, y + 0.11, title, ha="center", va="center", color=INK, size=11, weight=weight)
        axes.text(x, y - 0.17, role, ha="center", va="center", color=INK, size=8.5, style="italic")
        if on:
            axes.text(x, y + 0.53, "▼ this notebook", ha="center", va="center", color=INK, size=9)
    for start, end, bend in ARROWS:
        (x0, y0), (x1, y1) = BLOCKS[start][:2], BLOCKS[end][:2]
        arrow = FancyArrowPatch(
            (x0, y0), (x1, y1), patchA=boxes[start], patchB=boxes[end],
            connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>,head_width=4,head_length=6",
            color=LINE, linewidth=1.4, shrinkA=2, shrinkB=2, zorder=1,
        )  # fmt: skip
        axes.add_patch(arrow)
    return figure


# The two ways of learning: title, boxes (x, y, text, lit), arrows (from, to, text, bend)
WAYS = [
    (
        "without a model",
        [(1.2, 1.9, "world", False), (4.2, 1.9, "policy, value", False)],
        [
            (0, 1, "real rows", -0.25),
            (1, 0, "actions", -0.25),
        ],
        "Each real row teaches the policy itself, once or a few times.",
    ),
    (
        "with a model: Dreamer",
        [
            (1.2, 2.6, "world", False),
            (4.2, 2.6, "world model", True),
            (4.2, 0.9, "policy, value", False),
        ],
        [
            (0, 1, "real rows", -0.2),
            (1, 2, "dreamt rows,\nmany", -0.35),
            (2, 1, "dreamt\nactions", -0.35),
            (2, 0, "actions", -0.2),
        ],
        "Real rows teach the model; the policy learns in dreams.",
    ),
]
WAYS_ALT = (
    "Two diagrams. Left, without a model: the world gives real rows to policy and value, which "
    "give actions back; each real row teaches the policy itself. Right, with a model, as in "
    "Dreamer: the world gives real rows to a world model, which is lit; between it and policy and "
    "value runs a loop of its own, of many dreamt rows and dreamt actions; the policy's actions "
    "also go to the world."
)


def ways() -> Figure:
    """Learning without and with a model of the world."""
    figure = Figure(figsize=(9.2, 3.3), facecolor="white")
    for number, (title, boxes, arrows, words) in enumerate(WAYS):
        axes = figure.add_axes((0.5 * number, 0, 0.5, 1), xlim=(0, 5.6), ylim=(-0.2, 3.75))
        axes.axis("off")
        axes.text(2.8, 3.5, title, ha="center", va="center", size=12, weight="bold", color=INK)
        axes.text(2.8, 0.05, words, ha="center", va="center", size=9.5, style="italic", color=INK)
        drawn = []
        for x, y, text, on in boxes:
            drawn.append(
                FancyBboxPatch(
                    (x - 0.75, y - 0.25), 1.5, 0.5, boxstyle="round,pad=0.05,rounding_size=0.12",
                    facecolor=LIT if on else PALE, edgecolor=INK if on else LINE,
                    linewidth=3 if on else 1.2, zorder=2,
                )
            )  # fmt: skip
            axes.add_patch(drawn[-1])
            axes.text(x, y, text, ha="center", va="center", size=11, color=INK, zorder=3)
        for start, end, text, bend in arrows:
            (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
            axes.add_patch(
                FancyArrowPatch(
                    (x0, y0), (x1, y1), patchA=drawn[start], patchB=drawn[end],
                    connectionstyle=f"arc3,rad={bend}", color=LINE, linewidth=1.4,
                    arrowstyle="-|>,head_width=4,head_length=6", shrinkA=3, shrinkB=3, zorder=1,
                )
            )  # fmt: skip
            # Beside the middle of the arc, on its outer side.
            x = (x0 + x1) / 2 + bend * (y1 - y0) * 0.5
            y = (y0 + y1) / 2 - bend * (x1 - x0) * 0.5
            x += 0.6 * (x1 == x0) * (1 if bend * (y1 - y0) > 0 else -1)
            y += 0.2 * (y1 == y0) * (1 if bend * (x1 - x0) < 0 else -1)
            axes.text(x, y, text, ha="center", va="center", size=9, color=INK, zorder=3,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    return figure


def main() -> None:
    """Write every figure; the same bytes each time."""
    matplotlib.rcParams |= {"svg.hashsalt": "dreamer_lite", "svg.fonttype": "path"}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in (*BLOCKS, "whole"):
        title = BLOCKS[name][2] if name in BLOCKS else "The agent"
        write(f"agent_{name}", title, alt(name), lambda name=name: diagram(name))
    write("with_and_without", "Learning with and without a model", WAYS_ALT, ways)


def write(name: str, title: str, words: str, draw: Callable[[], Figure]) -> None:
    """Save a figure as SVG and PNG, each with its words."""
    about = {"Title": title, "Description": words, "Date": None, "Creator": None}
    draw().savefig(FOLDER / f"{name}.svg", metadata=about)
    (FOLDER / f"{name}.png").write_bytes(png(draw(), words))


if __name__ == "__main__":
    main()
