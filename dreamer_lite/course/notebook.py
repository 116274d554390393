"""Shows pictures, films and sliders in notebooks, and prints the same in words in scripts.

Every picture has an alt text, which is what a script prints. Figures are drawn on
`matplotlib.figure.Figure`, never through pyplot. Nothing but notebooks imports this.
"""

import base64
import html
import io
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamer_lite.show import video


def in_notebook() -> bool:
    """Whether output goes to a notebook, not to a terminal."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return type(get_ipython()).__name__ in ("ZMQInteractiveShell", "Shell")  # Shell: Colab


def png(figure: Figure, alt: str) -> bytes:
    """The figure as a PNG of at most 64 colours that carries its alt text."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=80, facecolor="white")
    return with_alt(Image.open(raw), alt, any(axes.images for axes in figure.axes))


def with_alt(picture: Any, alt: str, colourful: bool) -> bytes:
    """A picture of Pillow's as a PNG of 64 colours that carries its alt text.

    If `colourful`, rare colours (a ball) are kept at the cost of fine shades (a grey line).
    """
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", alt)
    small = io.BytesIO()
    way = Image.Quantize.FASTOCTREE if colourful else Image.Quantize.MEDIANCUT
    picture = picture.convert("RGB").quantize(64, way, dither=Image.Dither.NONE)
    picture.save(small, "PNG", optimize=True, pnginfo=info)
    return small.getvalue()


def moving_png(frames: np.ndarray, alt: str, fps: float) -> bytes:
    """Frames (n, h, w, 3) uint8 as an animated PNG of 64 colours that carries its alt text.

    It plays three times and stops, because what moves for ever distracts from reading.
    """
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", alt)
    every = Image.fromarray(np.concatenate(list(frames)))
    palette = every.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    small = io.BytesIO()
    pictures[0].save(
        small, "PNG", save_all=True, append_images=pictures[1:], duration=1000 / fps, loop=3,
        optimize=True, pnginfo=info,
    )  # fmt: skip
    return small.getvalue()


def as_html(data: bytes, alt: str, style: str = "max-width:100%") -> str:
    """A PNG as an <img> with its data, for widgets.HTML: unlike widgets.Image, it has an alt text.

    Text, because binary messages to widgets get lost on Colab.
    """
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{html.escape(alt)}" src="{source}" style="{style}">'


class Picture:
    """A PNG for `display`, as an image and as HTML.

    JupyterLab and nbconvert read the alt text of an image from HTML only. Notebooks that are stored
    keep the image, because GitHub shows it.
    """

    def __init__(self, data: bytes, alt: str):
        self.data, self.alt = data, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        image = base64.b64encode(self.data).decode()
        data = {"image/png": image, "text/html": as_html(self.data, self.alt)}
        return data, {"image/png": {"alt": self.alt}}


def show(figure: Figure, alt: str, name: str = "") -> None:
    """Show a figure. `alt` describes what a sighted reader sees; a script prints it.

    With a `name`, and DREAMER_LITE_FIGURES set to a folder, it is saved there too: that is how
    `notebooks/build.py run` makes the pictures of what a reader should see.
    """
    live()(figure, alt, name)


def present(build: Callable[[], Any], words: Callable[[], str]) -> None:
    """Display the widget that `build` makes; in a script, print its words."""
    if not in_notebook():
        print(words())
        return
    from IPython.display import display

    display(build())


def live() -> Callable[..., None]:
    """A place in a cell for a figure that changes: call the result as you call `show`.

    The last picture remains, and is stored in the notebook. In a script every call prints its alt
    text, which should describe the progress.
    """
    handle = None

    def draw(figure: Figure, alt: str, name: str = "") -> None:
        nonlocal handle
        keep(lambda: png(figure, alt), name)
        if not in_notebook():
            print(f"[picture] {alt}", flush=True)
            return
        from IPython.display import display

        picture = Picture(png(figure, alt), alt)
        if handle is None:
            handle = display(picture, display_id=True)
        else:
            handle.update(picture)

    return draw


def keep(draw: Callable[[], bytes], name: str) -> None:
    """Save a picture as NAME.png in the folder DREAMER_LITE_FIGURES, if both are given."""
    folder = os.environ.get("DREAMER_LITE_FIGURES")
    if name and folder:
        (Path(folder) / f"{name}.png").write_bytes(draw())


def show_film(
    frames: np.ndarray,
    alt: str,
    name: str = "",
    fps: float = 8,
    columns: int = 4,
    rows: int = 1,
    moving: bool = False,
) -> None:
    """Play frames (n, h, w, 3) uint8, and show some as a picture for pages that play no films.

    `alt`, `name` and scripts as in `show`. If `moving`, the whole film is saved as well, as
    NAME_film.png: `![](figure:NAME_film)` in a text cell then moves before anything has run.
    """
    from PIL import Image as Pillow

    def still() -> bytes:
        strip = Pillow.fromarray(video.strip(frames, columns * rows, columns))
        strip.thumbnail((960, 960))
        return with_alt(strip, alt, colourful=True)

    keep(still, name)
    if moving:
        keep(lambda: moving_png(frames, alt, fps), name and f"{name}_film")
    if not in_notebook():
        print(f"[picture] {alt}", flush=True)
        return
    from IPython.display import HTML, display

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film.mp4"
        video.write(file, frames, fps)
        data = base64.b64encode(file.read_bytes()).decode()
    display(
        HTML(
            f'<video controls autoplay loop muted playsinline style="max-width:100%" '
            f'aria-label="{html.escape(alt)}" src="data:video/mp4;base64,{data}"></video>'
        ),
        Picture(still(), alt),
    )


def slide(draw: Callable[[float], None], low: float, high: float, start: float, label: str) -> None:
    """A slider that calls `draw(value)` when it is released. In a script: one call at `start`."""
    if not in_notebook():
        draw(start)
        return
    import ipywidgets as widgets
    from IPython.display import display

    box, row = dial(label, start, float(low), high, (high - low) / 200)
    display(row, widgets.interactive_output(lambda value: draw(value), {"value": box}))


def dial(
    label: str,
    value: float,
    low: float,
    high: float,
    step: float,
    width: str = "initial",
    logarithmic: bool = False,
) -> tuple[Any, Any]:
    """A box for a number, and the box beside a slider that follows it; integers if `low` is one.

    Screen readers find no name on a slider's handle, and ipywidgets cannot give it one; the box has
    `label`, and arrow keys change it as well. `width` is that of the label. A `logarithmic` slider,
    of a range above 0, has as much room for each power of ten; it sets two significant digits.
    """
    import ipywidgets as widgets

    whole = isinstance(low, int)
    box = (widgets.BoundedIntText if whole else widgets.BoundedFloatText)(
        value=value, min=low, max=high, step=step, description=label,
        style={"description_width": width}, layout=widgets.Layout(width="20em"),
    )  # fmt: skip
    common: dict[str, Any] = dict(
        value=value, readout=False, continuous_update=False, layout=widgets.Layout(width="14em")
    )
    if logarithmic:
        low, high, step = math.log10(low), math.log10(high), 0.01  # of powers of ten
        slider = widgets.FloatLogSlider(min=low, max=high, step=step, **common)
    else:
        linear = widgets.IntSlider if whole else widgets.FloatSlider
        slider = linear(min=low, max=high, step=step, **common)

    def to_box(x: float) -> float:
        digits = float(f"{x:.{2 if logarithmic else 6}g}")
        return round(digits) if whole else digits

    widgets.link((box, "value"), (slider, "value"), transform=(lambda x: x, to_box))
    return box, widgets.HBox([box, slider])


def buttons(labels: Sequence[str], press: Callable[[str], tuple[Figure, str]]) -> None:
    """Buttons side by side; pressing one shows the figure of `press(label)`, its alt text below.

    In a script: every label is pressed once, in order, and the alt text printed.
    """
    if not in_notebook():
        for label in labels:
            print(f"[{label}] {press(label)[1]}", flush=True)
        return
    import ipywidgets as widgets
    from IPython.display import display

    picture, words = widgets.HTML(), widgets.HTML("press a button")

    def pressed(button: widgets.Button) -> None:
        figure, alt = press(button.description)
        picture.value = as_html(png(figure, alt), alt)
        words.value = f'<p role="status">{html.escape(alt)}</p>'

    row = [widgets.Button(description=label) for label in labels]
    for button in row:
        button.on_click(pressed)
    display(widgets.VBox([widgets.HBox(row), picture, words]))


class Prediction:
    """A question that the reader answers before a cell is run, and its explanation afterwards."""

    def __init__(self, question: str, options: Sequence[str]):
        self.question, self.options, self.answer = question, list(options), ""

    def explain(self, text: str) -> None:
        """What happened and why, folded, under the reader's own prediction; Markdown without HTML.

        A script prints the text.
        """
        yours = f"You predicted: {self.answer}." if self.answer else "You made no prediction."
        if not in_notebook():
            print(f"{self.question} {text}")
            return
        from IPython.display import Markdown, display

        fold = f"<details><summary>What happened, and why</summary>\n\n{text}\n\n</details>"
        display(Markdown(f"{yours}\n\n{fold}"))


def predict(question: str, options: Sequence[str] = ()) -> Prediction:
    """Ask the reader for a prediction: a button for each option, or without any a text field.

    A script prints the question and its options.
    """
    prediction = Prediction(question, options)
    if not in_notebook():
        print(f"Predict first: {question}", *([f"({'; '.join(options)})"] if options else []))
        return prediction
    import ipywidgets as widgets
    from IPython.display import Markdown, display

    heard = widgets.HTML()

    def record(answer: str) -> None:
        prediction.answer = answer
        heard.value = f'<p role="status">Your prediction: {html.escape(answer)}. Run on.</p>'

    display(Markdown(f"**Predict first.** {question}"))
    if options:
        row = [widgets.Button(description=o, layout=widgets.Layout(width="auto")) for o in options]
        for button in row:
            button.on_click(lambda button: record(button.description))
        box: Any = widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap"))
    else:
        box = widgets.Text(description="prediction", continuous_update=False)
        box.observe(lambda change: record(change["new"]), "value")
    display(widgets.VBox([box, heard]))
    return prediction
