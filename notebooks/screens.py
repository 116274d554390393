"""Colab's screens, as sketches: where to click, and in which order.

`figures.py` writes the file. A sketch does not show what Colab looks like, which changes, but where
the words are that the reader looks for. What is to be clicked is amber with a thick border.
"""

from drawing import AMBER, FOCUS, GREY, INK, LARGE, LINE, SMALL, WHITE, Canvas, Point
from matplotlib.figure import Figure

FIVE_CLICKS_ALT = (
    "Six sketches of a browser window, numbered, with the place to click marked. 1: the badge Open "
    "in Colab at the top of the notebook's page. 2: the menu Runtime with its entry Change runtime "
    "type; in the dialogue T4 GPU is chosen, then Save. 3: the form What to choose, with the three "
    "fields world_name, minutes and use_drive. 4: the menu Runtime with its entry Run all. 5: the "
    "dialogue that asks to permit access to Google Drive, with the button Connect to Google Drive. "
    "The sixth has no number: the tab stays open, a bar shows the progress of the training, and "
    "Drive holds run, agent and films."
)
WIDE, TALL = 4.5, 3.5  # of a window


def five_clicks() -> Figure:
    """Six windows, three side by side."""
    c = Canvas(14.2, 8.1)

    def window(place: int, title: str) -> Point:
        """The lower left corner of window number `place`, from 0."""
        x, y = 0.2 + (WIDE + 0.15) * (place % 3), 4.15 - 4.0 * (place // 3)
        c.box((x + WIDE / 2, y + TALL / 2), (WIDE, TALL), "")
        if place < 5:
            c.circle((x + 0.4, y + TALL - 0.36), 0.24, str(place + 1), WHITE, INK, text=LARGE)
        c.text((x + (0.8 if place < 5 else 0.3), y + TALL - 0.36), title, ha="left", zorder=6)
        return x, y

    def button(at: Point, words: str, wide: float, chosen: bool = True) -> None:
        looks = {"colour": FOCUS, "edge": AMBER, "thick": 2.2} if chosen else {}
        c.box(at, (wide, 0.5), words, text=SMALL, **looks)

    def line(at: Point, words: str, **how) -> None:
        c.text(at, words, SMALL, ha="left", **how)

    def bar(left: Point, wide: float, colour: str = GREY) -> None:
        c.box((left[0] + wide / 2, left[1]), (wide, 0.24), "", colour=colour, edge=colour)

    def menu(corner: Point, entries: list[str], chosen: str) -> None:
        """Colab's menu bar, with Runtime open; a window has room for four entries."""
        x, y = corner
        for name, shift in (("File", 0.25), ("Edit", 0.95), ("View", 1.7)):
            line((x + shift, y + 2.5), name)
        button((x + 3.05, y + 2.5), "Runtime", 1.25)
        for row, entry in enumerate(entries):
            button((x + 2.75, y + 1.85 - 0.58 * row), entry, 3.1, entry == chosen)

    x, y = window(0, "The notebook's page")
    button((x + 1.5, y + 2.4), "Open in Colab", 2.3)
    line((x + 0.3, y + 1.65), "09 · A full run", weight="bold")
    for row, length in enumerate((3.8, 3.4, 3.6)):
        bar((x + 0.3, y + 1.15 - 0.35 * row), length)

    x, y = window(1, "The processor")
    button((x + 0.9, y + 2.5), "Runtime", 1.3)
    button((x + 3.0, y + 2.5), "Change runtime type", 2.7)
    line((x + 0.3, y + 1.8), "Hardware accelerator")
    for name, shift, chosen in (
        ("CPU", 0.85, False),
        ("T4 GPU", 2.2, True),
        ("L4 GPU", 3.6, False),
    ):
        button((x + shift, y + 1.2), name, 1.15, chosen)
    button((x + 3.65, y + 0.45), "Save", 1.1)

    x, y = window(2, "What to choose")
    fields = ("world_name", "dmc/walker-walk"), ("minutes", "0"), ("use_drive", "✓")
    for row, (name, value) in enumerate(fields):
        line((x + 0.25, y + 2.4 - 0.72 * row), name)
        button((x + 3.1, y + 2.4 - 0.72 * row), value, 2.4)
    line((x + 0.25, y + 0.35), "0: the minutes of the table", color=LINE)

    menu(window(3, "Start"), ["Run all", "Run before", "Interrupt execution"], "Run all")

    x, y = window(4, "Google Drive")
    line((x + 0.3, y + 2.2), "Permit this notebook to access\nyour Google Drive files?")
    button((x + 1.9, y + 1.35), "Connect to Google Drive", 3.2)
    line((x + 0.3, y + 0.7), "then Allow, in the next window", color=LINE)

    x, y = window(5, "Leave the tab open")
    bar((x + 0.3, y + 2.4), 3.9)
    bar((x + 0.3, y + 2.4), 1.6, LINE)
    line((x + 0.3, y + 1.9), "progress, with the time left")
    line((x + 0.3, y + 1.0), "On Drive, every five minutes: the\nrun and its agent; then the films")
    return c.figure
