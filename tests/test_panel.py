"""The panel: controls from the config's metadata, and the same settings as command and as code."""

import dataclasses
import html
import json
import math
import shlex

import ipywidgets as widgets
import numpy as np
import pytest
import small_run

from dreamer_lite.commands.parser import make_parser
from dreamer_lite.commands.settings import settings
from dreamer_lite.config import Config
from dreamer_lite.course.widgets import Beside, Panel, panel
from dreamer_lite.presets import SIZES, make_config


@pytest.fixture
def breakout() -> Panel:
    made = Panel(make_config("minatar/breakout", seed=3), updates=6000)
    made.build()
    return made


def as_parameters(made: Panel) -> Config:
    """What the cell of parameters builds."""
    names: dict = {}
    exec(made.parameters(), names)
    assert names["updates"] == made.updates
    return make_config(made.config.world, seed=names["seed"], **names["changes"])


def as_command(made: Panel) -> Config:
    """What the command builds."""
    args = make_parser().parse_args(shlex.split(made.command())[1:])
    assert args.updates == made.updates
    return make_config(args.world, args.size, seed=args.seed, **settings(args.set))


def test_every_setting_has_a_control_that_says_range_and_unit(breakout):
    names = {field.name for field in dataclasses.fields(Config)} - set(panel.LEFT_OUT)
    assert set(breakout.controls) == names
    for field in dataclasses.fields(Config):
        if field.name not in names:
            continue
        control = breakout.controls[field.name]
        assert control.value == getattr(breakout.config, field.name)
        assert control.description == field.name
        if "low" in field.metadata:
            assert (control.min, control.max) == (field.metadata["low"], field.metadata["high"])
            form = "," if field.type is int else "g"
            assert f"to {field.metadata['high']:{form}}<" in panel.about(field)
            assert html.escape(field.metadata["unit"]) in panel.about(field)


def test_kinds_of_controls(breakout):
    kinds = {
        "size": widgets.Dropdown,
        "image_net": widgets.Dropdown,
        "online_queue": widgets.Checkbox,
        "horizon": widgets.BoundedIntText,
        "lam": widgets.BoundedFloatText,
        "learning_rate": widgets.BoundedFloatText,
        "capacity": widgets.BoundedIntText,
    }
    for name, kind in kinds.items():
        assert type(breakout.controls[name]) is kind, name
    assert list(breakout.controls["size"].options) == list(SIZES)


def test_a_range_of_several_powers_of_ten_has_a_logarithmic_slider():
    """Of `horizon`, 1 to 333, the preset's 10 lies near the middle, and is kept as it is."""
    for name, value in (("horizon", 10), ("discount_horizon", 333.0), ("train_ratio", 512.0)):
        field = Config.__dataclass_fields__[name]
        box, row = panel.make_control(field, value)
        slider = row.children[1]
        assert isinstance(slider, widgets.FloatLogSlider) and box.value == value
        assert 10**slider.min == pytest.approx(field.metadata["low"])
        assert 10**slider.max == pytest.approx(field.metadata["high"])
        low, high = (math.log10(field.metadata[end]) for end in ("low", "high"))
        assert 0.2 < (math.log10(value) - low) / (high - low) < 0.8
    box, row = panel.make_control(Config.__dataclass_fields__["horizon"], 10)
    row.children[1].value = 14.7
    assert box.value == 15
    box.value = 123
    assert box.value == 123 and row.children[1].value == 123
    unit = panel.make_control(Config.__dataclass_fields__["lam"], 0.95)[1]
    assert isinstance(unit.children[1], widgets.FloatSlider)


def test_turning_a_control_changes_config_command_and_parameters(breakout):
    breakout.controls["horizon"].value = 12
    breakout.controls["learning_rate"].value = 1e-3
    breakout.controls["online_queue"].value = False
    wanted = make_config(
        "minatar/breakout", seed=3, horizon=12, learning_rate=1e-3, online_queue=False
    )
    assert breakout.config == wanted
    assert as_parameters(breakout) == as_command(breakout) == wanted
    assert "--set horizon=12" in breakout.report.value
    assert "horizon&#x27;: 12" in breakout.report.value


def test_size_sets_the_widths_and_keeps_other_changes(breakout):
    breakout.controls["horizon"].value = 12
    breakout.controls["units"].value = 80
    breakout.controls["size"].value = "1m"
    wanted = make_config("minatar/breakout", "1m", seed=3, horizon=12)
    assert breakout.config == wanted
    assert breakout.controls["deter"].value == 512 and breakout.controls["units"].value == 64
    assert as_parameters(breakout) == as_command(breakout) == wanted
    breakout.set(size="tiny", horizon=breakout.before.horizon)
    assert breakout.config == breakout.before and breakout.changes() == {"seed": 3}


def test_what_is_invalid_is_said_and_not_taken(breakout):
    breakout.controls["starts"].value = 1
    assert breakout.config == breakout.before
    assert "Not applied: starts is 1: it must be 0" in breakout.words()
    breakout.controls["starts"].value = 2
    assert breakout.config.starts == 2 and "Not applied" not in breakout.words()
    breakout.set(blocks=7)
    assert "deter is 128: it must be a multiple of blocks=7" in breakout.report.value


def test_a_script_prints_the_same(capsys):
    made = Panel(make_config("catch"), 100)
    made.set(horizon=5)
    made.show()
    out = capsys.readouterr().out
    assert "dreamer-lite train --world catch" in out and "changes = {'horizon': 5}" in out


def test_timing_runs_updates_and_says_what_they_cost():
    made = Panel(small_run.config(), updates=600)
    sentence = made.time()
    assert sentence in made.words() and "20 updates were timed on " in sentence


def test_a_change_is_timed_beside_what_was_before(monkeypatch):
    monkeypatch.setattr(panel, "seconds_per_update", lambda config: 0.1 * config.horizon)
    made = Panel(small_run.config(horizon=5), updates=600)
    made.set(horizon=10)
    assert "before the change 2.0 updates/s" in made.time()


def test_cost_is_seconds_times_updates():
    made = Panel(small_run.config(), updates=600)
    assert "2.0 updates/s, 600 updates in 5.0 minutes" in made.cost(0.5, 0.25)
    made.set(horizon=3)
    words = made.cost(0.5, 0.25)
    assert "before the change 4.0 updates/s, 2.5 minutes: 2.00 times the cost." in words


def test_settings_that_cannot_run_are_said_in_a_sentence(monkeypatch):
    def refuse(config):
        raise ValueError("This device has no bfloat16: choose float32.")

    monkeypatch.setattr(panel, "seconds_per_update", refuse)
    made = Panel(small_run.config(), updates=600)
    made.build()
    made.button.click()
    assert "choose float32." in made.report.value


BESIDE = Beside("stored", np.array([1.0, 10]), np.array([[0.0, 0.1], [0.2, 0.3]]))


def test_in_a_script_it_trains_with_the_chosen_settings(capsys):
    made = Panel(small_run.config(), 10, BESIDE)
    made.set(horizon=3)
    board = made.train()
    assert board.state == "finished" and board.config == made.config
    assert board.config.horizon == 3 and board.beside is BESIDE
    assert "finished, update 10 of 10" in capsys.readouterr().out
    saved = json.loads((board.folder / "config.json").read_text(encoding="utf-8"))
    assert saved["horizon"] == 3


def test_its_button_trains_below_it_beside_the_stored_curve(monkeypatch):
    monkeypatch.setattr("dreamer_lite.course.widgets.dashboard.in_notebook", lambda: True)
    made = Panel(small_run.config(), 10, BESIDE)
    made.build()
    made.start.click()
    board = made.board
    assert board is not None
    board.join(300)
    (box,) = made.place.children
    view, picture = box.children
    assert view is board.view and board.state == "finished"
    assert 'alt="finished, update 10 of 10' in picture.value
    figure = board.figure()
    assert figure.axes[0].get_legend_handles_labels()[1] == ["stored"]
