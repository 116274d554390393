"""The diagrams: every text is legible, inside, and apart from others; files carry alt texts."""

import itertools
import sys
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import diagrams  # noqa: E402
import figures  # noqa: E402
from drawing import SMALL, Canvas  # noqa: E402

DRAWN = {f"agent_{name}": (figures.alt(name), figures.overview, name) for name in figures.LIT}
DRAWN |= {f"diagram_{name}": (x[1], x[2], None) for name, x in diagrams.DIAGRAMS.items()}
DRAWN["with_and_without"] = figures.WAYS_ALT, figures.ways, None


def trouble(figure: Figure) -> list[str]:
    """What is wrong with the texts of a figure, in words."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    found = [f"{t.get_text()!r} is too small" for t in texts if t.get_fontsize() < SMALL]
    for text, box in boxes:
        if not (0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= figure.bbox.y1):
            found.append(f"{text!r} leaves the figure")
    # A title ends, and the role below it begins, with an empty line: the two are one text.
    alone = [x for x in boxes if not (x[0].startswith("\n") or x[0].endswith("\n"))]
    for (a, one), (b, other) in itertools.combinations(alone, 2):
        if one.overlaps(other):
            found.append(f"{a!r} overlaps {b!r}")
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_every_text_can_be_read(name):
    _, draw, argument = DRAWN[name]
    assert trouble(draw(argument) if argument else draw()) == []


def test_the_test_sees_what_is_wrong():
    canvas = Canvas(10, 5)
    canvas.text((5, 2), "one")
    assert trouble(canvas.figure) == []
    canvas.text((5.1, 2), "two")
    canvas.text((9.9, 4), "outside")
    canvas.text((2, 4), "tiny", 5)
    words = ["'tiny' is too small", "'outside' leaves the figure", "'one' overlaps 'two'"]
    assert trouble(canvas.figure) == words


@pytest.mark.parametrize("name", DRAWN)
def test_files_carry_their_alt_text(name):
    words = DRAWN[name][0]
    assert Image.open(figures.FOLDER / f"{name}.png").info["Description"] == words
    assert words in (figures.FOLDER / f"{name}.svg").read_text(encoding="utf-8").replace(
        "&gt;", ">"
    )


def test_the_overview_says_which_parts_are_lit():
    assert figures.alt("rssm").endswith("Lit, with a thick border: RSSM.")
    assert figures.alt("world").endswith("Environment and Replay buffer.")
    assert "Lit" not in figures.alt("whole")
