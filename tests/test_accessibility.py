"""Readable by everybody: contrast, colour blindness, a second cue for colour, and named controls.

Contrast is WCAG 2.2's: 4.5 to 1 for text, 3 to 1 for what a graphic is understood by (1.4.3 and
1.4.11). Alt texts and the order of headings are lint's, see test_notebooks.
"""

import itertools
import re

import ipywidgets as widgets
import nbformat
import numpy as np
import pytest
from browser import ROOT, Lab, browser, needs_browser, wait
from matplotlib.colors import to_rgb

from dreamer_lite.course import notebook
from dreamer_lite.course.widgets import Dashboard, Panel
from dreamer_lite.presets import make_config
from dreamer_lite.show import images, plots

TEXT, GRAPHIC = 4.5, 3.0
APART = 15.0  # CIELAB distance; about 2 is just noticeable side by side
WHITE = (1.0, 1.0, 1.0)
# What dichromats see of linear RGB: G. Machado, M. Oliveira, L. Fernandes, A physiologically-based
# model for simulation of color vision deficiency (2009), severity 1.0.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# Linear sRGB to CIE XYZ, and the white of D65 (IEC 61966-2-1).
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
D65 = XYZ.sum(1)


def linear(colour) -> np.ndarray:
    """A matplotlib colour, or 0 to 255, as linear RGB."""
    numbers = not isinstance(colour, str) and max(colour) > 1
    c = np.array(colour) / 255 if numbers else np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(one, other) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    dark, light = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB."""
    t = XYZ @ np.clip(rgb, 0, 1) / D65
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one, other, sight: str) -> float:
    """How far two colours are apart in CIELAB, as somebody with this sight sees them."""
    a, b = (lab(SIGHT[sight] @ linear(c)) for c in (one, other))
    return float(np.linalg.norm(a - b))


def test_the_measures_agree_with_published_numbers():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.005)  # WebAIM's grey
    assert lab(linear("red")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)  # Lindbloom
    for sight in SIGHT.values():  # greys stay grey
        assert sight.sum(1) == pytest.approx(np.ones(3), abs=2e-3)
    # Red and green of one lightness: the confusion that deuteranopia is known for.
    assert distance("#C06000", "#7D8200", "deuteranopia") < 0.35 * distance(
        "#C06000", "#7D8200", "usual"
    )


def test_curves_stand_out_from_white():
    for colour in plots.COLOURS:
        assert contrast(colour, WHITE) >= GRAPHIC, colour


@pytest.mark.parametrize("sight", SIGHT)
def test_curves_can_be_told_apart(sight):
    for one, other in itertools.combinations(plots.COLOURS, 2):
        assert distance(one, other, sight) >= APART, (one, other)


def test_curves_differ_in_dashes_and_markers_too():
    count = len(plots.COLOURS)
    styles = [plots.style(i, 100) for i in range(count)]
    for cue in ("linestyle", "marker", "color"):
        assert len({str(s[cue]) for s in styles}) == count, cue


def test_films_can_be_read_on_their_dark_ground():
    for name in ("TEXT", "FAINT", "GREEN", "PURPLE"):  # the last two write what the header says
        assert contrast(getattr(images, name), images.GROUND) >= TEXT, name
    for name in ("LINE", "ORANGE", "SKY"):
        assert contrast(getattr(images, name), images.GROUND) >= GRAPHIC, name
    missing = np.unique(images.key_to_difference(320)[12:24, 170:182].reshape(-1, 3), axis=0)
    assert len(missing) == 2, "two blues"
    assert contrast(*missing) >= GRAPHIC, "stripes are what tells blue from orange"


@pytest.mark.parametrize("sight", SIGHT)
def test_what_films_tell_by_colour_is_told_by_more(sight):
    """Only dreamt and only real: colours, and stripes. Awake and dreaming: colours, and dashes."""
    assert distance(images.ORANGE, images.SKY, sight) >= APART
    assert distance(images.GREEN, images.PURPLE, sight) >= APART
    dark, light = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    dreamt, real = images.difference(light, dark), images.difference(dark, light)
    assert len(np.unique(dreamt.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(real.reshape(-1, 3), axis=0)) == 2
    plain, dashed = (images.frame(dark, images.GREEN, 8, x)[0] for x in (False, True))
    assert len(np.unique(plain, axis=0)) == 1 and len(np.unique(dashed, axis=0)) == 2


def lines_differ(figure) -> int:
    """How many figures' axes have several curves, all of which differ in dashes or in markers."""
    several = 0
    for axes in figure.axes:
        curves = [line for line in axes.lines if len(line.get_xdata()) > 2]
        cues = {(str(c.get_linestyle()), str(c._dash_pattern), c.get_marker()) for c in curves}
        assert len(cues) == len(curves), axes.get_title()
        several += len(curves) > 1
    return several


def records(slope: float) -> list[dict]:
    base = {"episodes": 9, "return_stderr": 0.1, "seconds": 60.0, "updates_per_second": 8.0}
    names = ("image", "dyn", "reward", "cont", "vector", "action", "extra")
    losses = {f"loss/{name}": 1.0 + i for i, name in enumerate(names)}
    return [
        base | losses | {"updates": 1 + i, "agent_steps": 100 * i, "return_mean": slope * i}
        for i in range(5)
    ]


def test_no_figure_tells_curves_apart_by_colour_alone():
    runs = [(f"run {i}", records(i)) for i in range(7)]
    assert lines_differ(plots.curves(runs)) == 2
    assert plots.curves(runs).axes[0].get_legend() is not None
    assert lines_differ(plots.losses("run", records(1.0))) == 1
    assert plots.losses("run", records(1.0)).axes[0].get_legend() is not None


def test_colours_that_notebooks_name_stand_out_from_white_or_are_hatched():
    found = set()
    for source in (ROOT / "notebooks" / "src").glob("*.py"):
        for line in source.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#") and 'hatch="' not in line:
                pale = [c for c in re.findall(r'"(#[0-9a-fA-F]{6})"', line)
                        if contrast(c, WHITE) < GRAPHIC]  # fmt: skip
                found |= {(source.stem, colour) for colour in pale}
    assert not found


# Controls


def views() -> dict[str, widgets.Widget]:
    """Every view of the package."""
    config = make_config("minatar/breakout")
    return {
        "panel": Panel(config, 100).build(),
        "dashboard": Dashboard(config, 10, background=True).view,
        "dial": notebook.dial("symlog(y)", 0.5, -1.0, 1.0, 0.1)[1],
    }


def shown(widget: widgets.Widget):
    """A view and all that it shows; folded boxes are opened by a button, so they count."""
    if widget.layout.display == "none" and not isinstance(widget, widgets.Box):
        return
    yield widget
    for child in getattr(widget, "children", ()):
        yield from shown(child)


# Those whose labels belong to what takes the focus, in ipywidgets 7 and 8.
NAMED = (
    widgets.Button, widgets.ToggleButton, widgets.Checkbox, widgets.Dropdown,
    widgets.BoundedIntText, widgets.BoundedFloatText,
)  # fmt: skip
SILENT = (widgets.Box, widgets.HTML)


def test_every_control_is_reached_by_keys_and_has_a_name():
    for where, view in views().items():
        parts = list(shown(view))
        for part in parts:
            if isinstance(part, NAMED):
                assert part.description.strip(), f"{where}: {part}"
                assert getattr(part, "tabbable", None) is not False
            elif isinstance(part, widgets.IntSlider | widgets.FloatSlider | widgets.FloatLogSlider):
                row = next(p for p in parts if part in getattr(p, "children", ()))
                box = row.children[0]
                assert isinstance(box, NAMED), f"{where}: it needs a named twin"
                ends = part.min, part.max
                if isinstance(part, widgets.FloatLogSlider):
                    ends = part.base**part.min, part.base**part.max
                assert ends == pytest.approx((box.min, box.max)) and not part.description
            else:
                assert isinstance(part, SILENT), f"{where}: {type(part).__name__} has no name"
        names = [part.description for part in parts if isinstance(part, NAMED)]
        assert len(set(names)) == len(names), f"{where}: {names}"


def test_a_dial_and_its_slider_are_one_number():
    box, row = notebook.dial("x", 0.5, 0.0, 1.0, 0.1)
    _, slider = row.children
    slider.value = 0.1 + 0.2
    assert box.value == 0.3  # without the dust of floats
    box.value = 0.72
    assert slider.value == 0.72
    whole, _ = notebook.dial("n", 3, 1, 9, 1)
    assert isinstance(whole, widgets.BoundedIntText) and whole.value == 3


def test_pictures_in_widgets_have_words_and_no_colours_of_their_own():
    """Text takes the theme's colours, so it is as readable as the theme, light or dark."""
    for where, view in views().items():
        for part in shown(view):
            if isinstance(part, widgets.HTML):
                assert not re.search(r"[^-]color\s*:|background|<font", part.value), where
                for tag in re.findall(r"<img\b[^>]*>", part.value):
                    assert re.search(r'alt="[^"]{20,}"', tag), where


def test_what_changes_is_announced():
    """Screen readers read a status aloud when it changes."""
    panel = Panel(make_config("catch"), 100)
    panel.build()
    panel.controls["horizon"].value = 12
    assert 'role="status"' in panel.report.value and "horizon=12" in panel.report.value


CELLS = (
    """from dreamer_lite.course import notebook
from dreamer_lite.presets import make_config
from dreamer_lite.course.widgets import Dashboard, Panel""",
    "Panel(make_config('catch'), 100).show()",
    "Dashboard(make_config('catch'), 10).view",
    "notebook.slide(lambda y: print('y is', y), -1.0, 1.0, 0.5, 'symlog(y)')",
)
# What the Tab key reaches in outputs, by tag, with the name that a screen reader would say.
REACHED = """() => [...document.querySelectorAll(
    '.jp-OutputArea-output button, .jp-OutputArea-output input, .jp-OutputArea-output select, '
    + '.jp-OutputArea-output [tabindex="0"]')]
  .filter(e => e.offsetParent !== null && e.tabIndex >= 0 && !e.disabled)
  .filter(e => !e.classList.contains('jp-OutputArea-output'))
  .map(e => [
    e.getAttribute('role') || e.tagName.toLowerCase(),
    (e.getAttribute('aria-label') || (e.labels && [...e.labels].map(l => l.textContent).join(' '))
      || e.textContent || e.title || '').trim(),
  ])"""


@needs_browser
@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_in_a_browser_every_control_has_its_name(tmp_path):
    cells = [nbformat.v4.new_code_cell(code) for code in CELLS]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook_of = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    nbformat.write(notebook_of, tmp_path / "controls.ipynb")
    lab = Lab(tmp_path)
    try:
        with browser(lab, tmp_path) as student:
            student.visit("controls.ipynb")
            student.run_all(240)
            for group in ("The run", "World model (05)", "Imagination, actor and critic (06, 07)"):
                student.press(group)
            student.page.get_by_label("horizon", exact=True).wait_for(state="visible")
            reached = student.page.evaluate(REACHED)
            assert len(reached) > 30
            # A slider's handle, which ipywidgets leaves without a name, stands beside its box.
            nameless = [kind for kind, name in reached if not name]
            assert set(nameless) <= {"slider"}, reached
            names = {name for _, name in reached}
            assert names >= {"horizon", "symlog(y)", "free_nats"}
            # The preset's horizon of 10 lies near the middle of 1 to 333, and a key moves it.
            horizon = student.page.locator(".widget-hbox:has(label:text-is('horizon'))").last
            handle, track = horizon.locator(".noUi-handle"), horizon.locator(".noUi-target")
            place, whole = (part.bounding_box() for part in (handle, track))
            assert place and whole
            assert 0.3 < (place["x"] + place["width"] / 2 - whole["x"]) / whole["width"] < 0.6
            before = horizon.locator("input").input_value()
            handle.focus()
            for _ in range(12):
                student.page.keyboard.press("ArrowRight")
            wait(lambda: horizon.locator("input").input_value() != before, 30, lambda: before)
            student.look("panel")
            box = student.page.get_by_label("symlog(y)", exact=True)
            box.fill("0.25")
            box.press("Enter")
            student.page.get_by_text("y is 0.25").wait_for()
            student.check()
    finally:
        lab.close()
