"""Ablations: which stored curves stand beside the preset's, on ticks as in words."""

import numpy as np
import pytest

from dreamer_lite import assets
from dreamer_lite.course import curves
from dreamer_lite.course.curves import AGENTS, Curve
from dreamer_lite.course.widgets import Ablations, ablations
from dreamer_lite.course.widgets.ablations import MOST, NAMES, PRESET


def stored(agent: str, high: float) -> str:
    """A made-up curve file of two seeds, 4 records, 2 seconds an update of both together."""
    updates = np.array([1.0, 50, 100, 200])
    returns = np.array([[0.0, 0], [high / 2, high / 2], [high, high - 1], [high, high + 2]])
    about = {"agent": agent, "command": f"make {agent}", "seeds": [0, 1]}
    return curves.as_json(Curve(agent, updates, 128 * updates, 2 * updates, returns, about))


@pytest.fixture
def made(tmp_path, monkeypatch) -> Ablations:
    (tmp_path / "curves").mkdir()
    for number, agent in enumerate(NAMES.values()):
        if agent != "horizon_15":  # one that nobody has made yet
            file = tmp_path / "curves" / f"breakout_{agent}.json"
            file.write_text(stored(agent, 10.0 + number), encoding="utf-8")
    monkeypatch.setattr(assets, "_FOLDER", tmp_path)
    made = Ablations()
    made.build()
    return made


def lines(made: Ablations) -> list[str]:
    """The labels in the picture."""
    return [line.get_label() for line in made.figure().axes[0].lines]


def test_a_tick_shows_a_curve_and_takes_it_away(made):
    assert list(made.ticks) == [name for name in NAMES if name not in (PRESET, "horizon 15")]
    assert lines(made) == [PRESET]
    before = made.picture.value
    made.ticks["horizon 30"].value = True
    made.ticks["no free nats"].value = True
    assert lines(made) == [PRESET, "no free nats", "horizon 30"]  # in the order of the ticks
    assert made.picture.value != before and "make horizon_30" in made.report.value
    made.ticks["horizon 30"].value = False
    assert lines(made) == [PRESET, "no free nats"] and "horizon_30" not in made.report.value


def test_lines_and_bands_are_those_of_the_files(made):
    made.toggle("no two-hot", True)
    axes = made.figure().axes[0]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0, 5.5, 10.5, 12])
    low, high = (f(axes.collections[1].get_paths()[0].vertices[:, 1]) for f in (np.min, np.max))
    assert (low, high) == (0, 13)


@pytest.mark.parametrize(
    "against, x",
    [("updates", [1, 50, 100, 200]), ("agent steps", [128, 6400, 12800, 25600]),
     ("seconds", [1, 50, 100, 200])],
)  # fmt: skip
def test_the_axis_can_be_changed(made, against, x):
    made.axis.value = against
    axes = made.figure().axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), x)
    assert against in axes.get_xlabel()


def test_seconds_of_another_processor_are_not_compared(made):
    made.curves["horizon 5"].about["processor"] = "another"
    for label in ("horizon 5", "horizon 30"):
        made.toggle(label, True)
    assert lines(made) == [PRESET, "horizon 5", "horizon 30"]
    row = next(line for line in made.words().splitlines() if line.startswith("horizon 5 "))
    assert row.split()[-1] == "-"
    made.set_axis("seconds")
    assert lines(made) == [PRESET, "horizon 30"] and "horizon 5" not in made.sentence()
    assert "not drawn against seconds: horizon 5." in made.report.value


def test_words_say_what_the_picture_shows(made):
    made.toggle("horizon 1", True)
    row = next(line for line in made.words().splitlines() if line.startswith("horizon 1 "))
    # 16 and 18 at the end, their mean; 15.5 at half time; half of two seconds an update
    assert row.split() == ["horizon", "1", "15.5", "17.0", "16.0,", "18.0", "1000"]


def test_no_more_than_can_be_told_apart(made):
    for label in list(made.ticks)[: MOST + 1]:
        made.ticks[label].value = True
    left_out = list(made.ticks)[MOST]
    assert len(made.shown) == MOST and left_out not in made.shown
    assert not made.ticks[left_out].value
    assert f"{left_out} is left out: 6 fit" in made.report.value
    made.ticks[made.shown[0]].value = False
    assert "left out" not in made.report.value


def test_bad_input_is_one_sentence(made, tmp_path):
    with pytest.raises(ValueError, match="no ablation 'horizon 2': valid are no two-hot, "):
        made.toggle("horizon 2", True)
    with pytest.raises(ValueError, match="no axis 'weeks': valid are updates, agent steps, "):
        made.set_axis("weeks")
    (tmp_path / "curves" / "breakout_dreamer.json").unlink()
    with pytest.raises(ValueError, match="no stored curve 'breakout_dreamer'"):
        Ablations()


def test_a_script_prints_the_words(made, capsys):
    made.view = None
    made.toggle("no unimix", True)
    made.show()
    assert capsys.readouterr().out.strip() == made.words().strip()


def test_what_is_shipped_was_made_by_the_agents_of_that_name():
    shipped = Ablations()
    for label, curve in shipped.curves.items():
        name = NAMES[label]
        assert curve.agent == name and curve.about["changes"] == AGENTS[name].changes, label
        assert curve.returns.shape[1] >= 3 and curve.updates[-1] >= 4000
    assert set(NAMES.values()) <= AGENTS.keys()
    assert ablations.MOST <= len(ablations.COLOURS)


def test_a_sentence_says_where_each_line_ends(made):
    made.toggle("horizon 1", True)
    said = made.sentence()
    assert "\n" not in said and "against updates" in said
    for label in (PRESET, "horizon 1"):
        assert f"{label} {made.curves[label].returns[-1].mean():.1f}" in said
