"""A canvas for diagrams: boxes, circles, arrows and stop-gradient marks, in few colours.

The colours are those of Okabe and Ito, which people with colour vision deficiencies can tell apart;
what a colour says, a shape or a dash pattern says as well. A diagram is seven inches wide, so that
its smallest text has about 12 pixels when the diagram is shown 700 pixels wide.
"""

import io
import math
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from PIL import Image, PngImagePlugin

INK, LINE, WHITE = "#1a1d29", "#5c6270", "#ffffff"
BLUE, AMBER, RED, GREEN = "#0072b2", "#e69f00", "#d55e00", "#009e73"
FOCUS = "#ffd07a"
PALE_BLUE, PALE_AMBER, PALE_GREEN, GREY = "#dcecf7", "#fdf0d2", "#d9f0e8", "#eceef1"
SMALL, NORMAL, LARGE = 8.5, 9.5, 11
INCHES = 7.0
DASHES = (2, 1)  # in widths of the line

Point = tuple[float, float]


class Canvas:
    """A figure of `width` by `height` units; everything is placed in these units."""

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(INCHES, INCHES * height / width), facecolor=WHITE)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def text(self, at: Point, words: str, size: float = NORMAL, **how) -> None:
        """Words, centred unless `ha` or `va` say otherwise; a white ground if `clear`."""
        if how.pop("clear", False):
            how["bbox"] = {"facecolor": how.pop("ground", WHITE), "edgecolor": "none", "pad": 1.2}
        how = {"ha": "center", "va": "center", "color": INK, "zorder": 5, "linespacing": 1.25} | how
        self.axes.text(*at, words, size=size, **how)

    def area(self, low: Point, high: Point, colour: str, words: str = "", **how) -> None:
        """A coloured ground; `words` inside it at the top left."""
        size = high[0] - low[0], high[1] - low[1]
        self.axes.add_patch(Rectangle(low, *size, facecolor=colour, edgecolor="none", zorder=0))
        if words:
            at = low[0] + 0.15, high[1] - 0.12
            self.text(at, words, ha="left", va="top", **how)

    def box(
        self, at: Point, size: Point, title: str, role: str = "", colour: str = WHITE,
        edge: str = LINE, thick: float = 1.2, dashes: str = "-", text: float = NORMAL,
    ) -> FancyBboxPatch:  # fmt: skip
        """A rounded box around `at` with a title and, below it, a smaller role."""
        (x, y), (w, h) = at, size
        patch = FancyBboxPatch(
            (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=colour, edgecolor=edge, linewidth=thick, linestyle=dashes, zorder=3,
        )  # fmt: skip
        self.axes.add_patch(patch)
        if role:
            self.text((x, y), f"{title}\n", text, linespacing=1.3)
            self.text((x, y), f"\n{role}", SMALL, linespacing=1.3)
        else:
            self.text(at, title, text)
        return patch

    def circle(
        self, at: Point, radius: float, title: str, colour: str = WHITE, edge: str = LINE,
        dashes: str = "-", text: float = NORMAL, thick: float = 1.4,
    ) -> Circle:  # fmt: skip
        patch = Circle(
            at, radius, facecolor=colour, edgecolor=edge, linewidth=thick, linestyle=dashes,
            zorder=3,
        )  # fmt: skip
        self.axes.add_patch(patch)
        self.text(at, title, text)
        return patch

    def arrow(
        self, start: Point, end: Point, colour: str = LINE, thick: float = 1.3, dashes=None
    ) -> None:
        """An arrow between two points; `dashes` are lengths in points, on and off."""
        if dashes:  # the head stays solid: the shaft ends below it
            x, y = zip(start, end)
            self.axes.plot(x, y, color=colour, linewidth=thick, dashes=dashes, zorder=2,
                           dash_capstyle="butt", gapcolor=None)  # fmt: skip
            length = math.dist(start, end)
            start = tuple(e - 0.02 * (e - s) / length for s, e in zip(start, end))
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, color=colour, linewidth=thick, shrinkA=0, shrinkB=0, zorder=2,
                arrowstyle="-|>,head_width=2.6,head_length=4.5", joinstyle="miter",
            )
        )  # fmt: skip

    def path(self, points: Sequence[Point], colour: str = LINE, thick: float = 1.3):
        """Straight lines through the points, with an arrow's head at the last one."""
        if len(points) > 2:
            line = PathPatch(
                Path(list(points[:-1])), facecolor="none", edgecolor=colour, linewidth=thick,
                zorder=2, capstyle="projecting", joinstyle="miter",
            )  # fmt: skip
            self.axes.add_patch(line)
        self.arrow(points[-2], points[-1], colour, thick)

    def stop(self, start: Point, end: Point, where: float = 0.5, colour: str = RED) -> None:
        """A dashed edge that a stop-gradient cuts: two bars across it."""
        self.axes.plot(
            [start[0], end[0]], [start[1], end[1]], color=colour, linewidth=1.4,
            dashes=(3, 2), zorder=2,
        )  # fmt: skip
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = (dx**2 + dy**2) ** 0.5
        dx, dy = dx / length, dy / length
        middle = start[0] + where * (end[0] - start[0]), start[1] + where * (end[1] - start[1])
        for shift in (-0.05, 0.05):
            x, y = middle[0] + shift * dx, middle[1] + shift * dy
            self.axes.plot(
                [x - 0.17 * dy, x + 0.17 * dy], [y + 0.17 * dx, y - 0.17 * dx], color=colour,
                linewidth=2, zorder=4, solid_capstyle="butt",
            )  # fmt: skip


def sharp_png(figure: Figure, alt: str) -> bytes:
    """The figure as a PNG with its alt text, fine enough for screens of two pixels a point."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=180, facecolor=WHITE)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", alt)
    picture = Image.open(raw).convert("RGB")
    # 128 colours by an octree, which keeps the colour of a single thin line.
    picture = picture.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True, pnginfo=info)
    return small.getvalue()


def same_bytes_each_time() -> None:
    """Settings under which an SVG does not differ from run to run."""
    matplotlib.rcParams |= {"svg.hashsalt": "dreamer_lite", "svg.fonttype": "path"}
