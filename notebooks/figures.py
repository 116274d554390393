"""Draws assets/figures/agent_*.svg and .png: the agent's diagram with one block lit.

    python notebooks/figures.py

The SVG is for pages, the PNG is what `build.py` puts into notebooks. Both carry their alt text,
which is made here from the same list of blocks. The lit block differs in colour, border and a
label, so that it can be told in grey too; the ground is light in dark themes as well.
"""

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from dreamer_lite.notebook import png  # noqa: E402

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
    """The diagram in words."""
    return (
        "The agent's blocks. The world and its replay feed the encoder, which feeds the RSSM; "
        "from the RSSM come the decoder and heads, and imagination. The actor acts in imagination "
        "and in the world, the critic judges the dreams and teaches the actor. Predictions are how "
        "heads and critic say numbers. The optimiser and the loop lie below all. Lit, with a thick "
        f"border: {BLOCKS[lit][2]}."
    )


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


def main() -> None:
    """Write every figure; the same bytes each time."""
    matplotlib.rcParams |= {"svg.hashsalt": "dreamer_lite", "svg.fonttype": "path"}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in BLOCKS:
        words = alt(name)
        svg = FOLDER / f"agent_{name}.svg"
        about = {"Title": BLOCKS[name][2], "Description": words, "Date": None, "Creator": None}
        diagram(name).savefig(svg, metadata=about)
        (FOLDER / f"agent_{name}.png").write_bytes(png(diagram(name), words))


if __name__ == "__main__":
    main()
