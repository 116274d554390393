"""Shows pictures and sliders in notebooks, and says the same in words in scripts.

Every picture has an alt text, which is what a script prints. Figures are drawn on
`matplotlib.figure.Figure`, never through pyplot. Nothing but notebooks imports this.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure


def in_notebook() -> bool:
    """Whether output goes to a notebook rather than to a terminal."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return type(get_ipython()).__name__ in ("ZMQInteractiveShell", "Shell")  # Shell: Colab


def png(figure: Figure, alt: str) -> bytes:
    """The figure as a PNG of at most 64 colours that carries its alt text."""
    from PIL import Image, PngImagePlugin

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=80, facecolor="white")
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", alt)
    small = io.BytesIO()
    picture = Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True, pnginfo=info)
    return small.getvalue()


def show(figure: Figure, alt: str, name: str = "") -> None:
    """Show a figure. `alt` says what a sighted reader sees; a script prints it.

    With a `name`, and DREAMER_LITE_FIGURES set to a folder, it is saved there too: that is how
    `notebooks/build.py run` makes the pictures of what a reader should see.
    """
    live()(figure, alt, name)


def live() -> Callable[..., None]:
    """A place in a cell for a figure that changes: call what this returns as you call `show`.

    The last picture stays, and is what the notebook keeps. In a script every call prints its alt
    text, which should say how far things are.
    """
    handle = None

    def draw(figure: Figure, alt: str, name: str = "") -> None:
        nonlocal handle
        folder = os.environ.get("DREAMER_LITE_FIGURES")
        if name and folder:
            (Path(folder) / f"{name}.png").write_bytes(png(figure, alt))
        if not in_notebook():
            print(f"[picture] {alt}", flush=True)
            return
        from IPython.display import Image, display

        picture = Image(png(figure, alt), alt=alt)
        if handle is None:
            handle = display(picture, display_id=True)
        else:
            handle.update(picture)

    return draw


def slide(draw: Callable[[float], None], low: float, high: float, start: float, label: str) -> None:
    """A slider that calls `draw(value)` when it is let go. In a script: one call at `start`."""
    if not in_notebook():
        draw(start)
        return
    import ipywidgets as widgets

    slider = widgets.FloatSlider(
        value=start, min=low, max=high, step=(high - low) / 200, description=label,
        continuous_update=False, style={"description_width": "initial"},
    )  # fmt: skip
    widgets.interact(lambda value: draw(value), value=slider)


def buttons(labels: Sequence[str], press: Callable[[str], tuple[Figure, str]]) -> None:
    """A row of buttons; pressing one shows the figure of `press(label)`, its alt text below.

    In a script: every label is pressed once, in order, and the alt text printed.
    """
    if not in_notebook():
        for label in labels:
            print(f"[{label}] {press(label)[1]}", flush=True)
        return
    import ipywidgets as widgets
    from IPython.display import display

    picture, words = widgets.Image(format="png"), widgets.Label("press a button")

    def pressed(button: widgets.Button) -> None:
        figure, alt = press(button.description)
        picture.value, words.value = png(figure, alt), alt

    row = [widgets.Button(description=label) for label in labels]
    for button in row:
        button.on_click(pressed)
    display(widgets.VBox([widgets.HBox(row), picture, words]))
