"""Figures: labelled, told apart without colour, and with a twin in words."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dreamer_lite.evaluation import dream_plots
from dreamer_lite.evaluation.dreams import Clips, Comparison
from dreamer_lite.evaluation.open_loop import Signals
from dreamer_lite.show import plots


def run(points: int, slope: float) -> list[dict]:
    """Records as `progress.make_record` makes them; the return grows by `slope` a record."""
    return [
        {
            "updates": 1 + 50 * i,
            "agent_steps": 1600 + 1600 * i,
            "episodes": 10 * i,
            "return_mean": slope * i,
            "return_stderr": 0.1,
            "seconds": 20.0 + 6 * i,
            "updates_per_second": 8.0,
            "loss/image": 100 / (1 + i),
            "loss/dyn": 1 + 3 / (1 + i),
            "loss/reward": 4 / (1 + i),
            "loss/cont": 0.5 / (1 + i),
            "loss/rep": 1 + 3 / (1 + i),
            "loss/policy": -0.1,
            "loss/value": 3.0,
            "loss/replay_value": 3.0,
            "loss/total": 100.0,
            "entropy": 1.0,
        }
        for i in range(points)
    ]


@pytest.fixture
def comparison() -> Comparison:
    """Six horizons at four moments; the dream beats the last frame but at horizon 5; 6 is empty."""
    rng = np.random.default_rng(0)
    horizon = np.arange(1, 7)
    valid = horizon[:, None] <= np.array([5, 5, 3, 2])

    def signals(*shape: int) -> Signals:
        return Signals(*rng.random((3, *shape)).astype(np.float32))

    gone = np.where(horizon < 6, 1.0, np.nan)
    step = np.arange(-3, 6)
    obs = {"image": np.zeros((9, 2, 10, 10, 2), np.float32)}
    clips = Clips(
        step,
        step[:, None] <= np.array([5, 3]),
        np.zeros((9, 2), bool),
        np.zeros((9, 2), np.int32),
        obs,
        obs,
        signals(9, 2),
        signals(9, 2),
    )
    return Comparison(
        horizon=horizon,
        moments=valid.sum(1),
        model=gone * np.array([0.01, 0.02, 0.03, 0.04, 0.32, 0.0]),
        average=gone * 0.01 * horizon,
        copy_last=gone * (0.2 + 0.01 * horizon),
        mean_frame=gone * 0.15,
        valid=valid,
        real=signals(6, 4),
        dream=signals(6, 4),
        clips=clips,
    )


def check(figure: Figure) -> None:
    """Every panel has a labelled y axis or stands in a row that has, and lines tell apart."""
    figure.canvas.draw()
    for axes in figure.axes:
        kinds = [
            (line.get_color(), line.get_linestyle(), line.get_marker())
            for line in axes.lines
            if line.get_marker() != "None"
        ]
        for parts in zip(*kinds, strict=True):
            assert len(set(map(str, parts))) == len(kinds), "colour, dashes and marker all differ"
        assert axes.get_ylabel() or axes.get_subplotspec().colspan.start > 0
        assert axes.get_xlabel() or axes.get_subplotspec().rowspan.stop < 3


def test_curves_of_one_run_have_its_losses_and_the_free_nats() -> None:
    figure = plots.curves([("seed 0", run(30, 0.2))])
    check(figure)
    by_steps, by_time, losses = figure.axes
    assert "agent steps" in by_steps.get_xlabel() and "minutes" in by_time.get_xlabel()
    assert "return" in by_steps.get_ylabel() and "updates" in losses.get_xlabel()
    labels = losses.get_legend_handles_labels()[1]
    assert set(labels) == {"image", "dyn", "reward", "cont", "free nats: 1"}
    assert losses.get_yscale() == "log"
    x, y = by_time.lines[0].get_data()
    assert (len(x), y[-1], x[-1]) == (29, pytest.approx(5.8), pytest.approx((20 + 6 * 29) / 60))


def test_curves_of_several_runs_share_two_panels_and_a_legend() -> None:
    runs = [(f"seed {i}", run(5 + 40 * i, 0.1 * i)) for i in range(4)]
    figure = plots.curves(runs)
    check(figure)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_legend_handles_labels()[1] == [label for label, _ in runs]


def test_one_record_is_enough() -> None:
    check(plots.curves([("new", run(1, 1.0))]))
    check(plots.losses("new", run(1, 1.0), free_nats=0.5))
    assert "after 1,600 agent steps" in plots.describe_curves([("new", run(1, 1.0))])


def test_curves_in_words() -> None:
    words = plots.describe_curves([("seed 0", run(31, 0.2)), ("seed 1", run(11, 0.5))])
    first, second = words.splitlines()
    assert first.startswith("seed 0: return 6.00 ± 0.10 after 49,600 agent steps, 1,501 updates")
    assert "3.3 minutes" in first and second.startswith("seed 1: return 5.00")


def test_returns_before_the_first_episode_has_ended_do_not_count() -> None:
    """Where rewards are losses, 0 would be the best of all."""
    records = [record | {"return_mean": record["return_mean"] - 100} for record in run(5, 1.0)]
    records[0] |= {"episodes": 0, "return_mean": 0.0}
    words = plots.describe_curves([("pendulum", records)])
    assert f"began at {records[1]['return_mean']:.2f}" in words and "best was -9" in words
    figure = plots.curves([("pendulum", records)])
    assert max(figure.axes[0].lines[0].get_ydata()) < 0


def test_without_a_whole_episode_no_return_is_drawn_or_told() -> None:
    records = [record | {"episodes": 0, "return_mean": 0.0} for record in run(3, 1.0)]
    for runs in ([("new", records)], [("new", records), ("old", run(3, 1.0))]):
        figure = plots.curves(runs)
        check(figure)
        assert not len(figure.axes[0].lines[0].get_ydata())
        words = plots.describe_curves(runs).splitlines()[0]
        assert words.startswith("new: no episode has ended yet after 4,800 agent steps, 101")
    assert figure.axes[0].get_legend_handles_labels()[1][0] == "new (no episode has ended yet)"
    assert plots.as_csv([("new", records)]).splitlines()[-1].endswith(",0,,")


def test_no_runs_and_empty_runs_get_one_sentence() -> None:
    for function in (plots.curves, plots.describe_curves):
        with pytest.raises(ValueError, match="no runs"):
            function([])
        with pytest.raises(ValueError, match="seed 1 has no records"):
            function([("seed 0", run(3, 1.0)), ("seed 1", [])])


def test_errors_against_horizon(comparison) -> None:
    figure = dream_plots.horizon_errors(comparison)
    check(figure)
    large, *small = figure.axes
    assert "horizon" in large.get_xlabel() and "squared error" in large.get_ylabel()
    assert len(large.lines) == 4 and len(small) == 3
    np.testing.assert_array_equal(large.lines[0].get_ydata(), comparison.model)
    assert [axes.get_title().split(",")[0] for axes in small] == [
        "reward",
        "probability to go on",
        "value",
    ]


def test_errors_of_signals_leave_out_what_is_over(comparison) -> None:
    wrong, spread = dream_plots.signal_errors(comparison, "reward")
    real, dream = comparison.real.reward, comparison.dream.reward
    assert wrong[2] == pytest.approx(((dream - real)[2, :3] ** 2).mean(), rel=1e-5)
    assert spread[2] == pytest.approx(real[2, :3].var(), rel=1e-5)
    assert np.isnan(wrong[5]) and np.isnan(spread[5])


def test_imagined_against_real_signals(comparison) -> None:
    figure = dream_plots.signals(comparison)
    check(figure)
    assert len(figure.axes) == 6 and figure.axes[0].get_title() == "moment 1"
    y = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_array_equal(np.isnan(y), ~comparison.clips.valid[:, 1])


def test_a_comparison_in_words(comparison) -> None:
    verdict, head, *table = dream_plots.describe_horizon(comparison).splitlines()
    assert "over 4 moments" in verdict and "not below it at 5." in verdict
    assert head.split() == "horizon moments dream average repeat mean image".split()
    assert len(table) == 5 and table[0].split() == "1 4 0.0100 0.0100 0.2100 0.1500".split()
    better = comparison._replace(model=comparison.average)
    assert "below it at each horizon from 1 to 5." in dream_plots.describe_horizon(better)
