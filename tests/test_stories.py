"""Stored trainings of the single-file agent: it learns, and each planted bug is seen."""

import json

import numpy as np
import pytest

from dreamer_lite.course import bugs, parts, stories
from dreamer_lite.course.stories import EVIDENCE, HEALTHY, Stored, Story


def made_up() -> Stored:
    values = np.array([[0.5, 1.0], [1.5, np.nan]])
    names = ("return_mean", "imagined_return", "imagined_rewards", "critic", "kl_second")
    story = Story(
        np.array([50.0, 100]), np.array([6400.0, 12800]), np.array([1.5, 3]),
        {name: values + i for i, name in enumerate((*names, "loss/reward"))},
    )  # fmt: skip
    return Stored({HEALTHY: story, "a bug": story}, {"command": "python", "seeds": [0, 1]})


def test_a_story_survives_its_file(tmp_path, monkeypatch):
    file = tmp_path / "curves" / "small.json"
    file.parent.mkdir()
    file.write_text(stories.as_json(made_up()), encoding="utf-8")
    monkeypatch.setattr(stories.assets, "_FOLDER", tmp_path)
    again, right = stories.load("small"), made_up()
    assert again.about == right.about and list(again.stories) == [HEALTHY, "a bug"]
    for found, story in zip(again.stories.values(), right.stories.values()):
        for a, b in zip(found[:3], story[:3]):
            np.testing.assert_array_equal(a, b)
        for name, x in story.values.items():
            np.testing.assert_allclose(found.values[name], x, rtol=1e-3)


def test_the_picture_shows_both_agents_and_the_words_say_it():
    figure = stories.draw(made_up(), "a bug", "patient")
    assert [axes.get_ylabel() for axes in figure.axes] == list(EVIDENCE)
    assert figure.axes[0].get_legend_handles_labels()[1] == [HEALTHY, "patient"]
    words = stories.describe(stories.load("catch_bugs"), bugs.LOOP[0].name, "patient")
    assert "return: healthy " in words and "patient" in words and "nan" not in words


@pytest.mark.parametrize("name", ["breakout_own", "catch_bugs"])
def test_stored_stories_are_whole_and_say_how_they_were_made(name):
    stored = stories.load(name)
    study = stories.STUDIES[name.partition("_")[2]]
    assert list(stored.stories) == [HEALTHY, *(bug.name for bug in study.planted)]
    seeds = len(stored.about["seeds"])
    assert stored.about["world"] == study.world
    for story in stored.stories.values():
        assert (np.diff(story.updates) == 50).all() and (np.diff(story.seconds) > 0).all()
        assert all(x.shape == (len(story.updates), seeds) for x in story.values.values())
    command = f"stories {name.partition('_')[2]} --seeds {seeds} --updates {story.updates[-1]:.0f}"
    assert stored.about["command"].endswith(command)
    assert {"cores", "processor", "versions", "wall_seconds"} <= stored.about.keys()


def test_three_seeds_of_the_single_file_agent_learn_breakout():
    own = stories.load("breakout_own").stories[HEALTHY]
    returns = own.values["return_mean"]
    assert returns.shape[1] == 3 and (returns[:2] < 1).all()
    assert (returns[-4:].mean(0) > 3.5).all(), "random play has 0.4"
    final = {name: x[-4:].mean(0) for name, x in own.values.items()}
    assert (abs(final["critic"] - final["imagined_return"]) < 0.5).all()
    assert (final["loss/recon"] < 0.2 * own.values["loss/recon"][0]).all()


def check_bugs(found: dict[str, Story]) -> None:
    """Each bug shows in one metric, and none of the others does there."""
    reward, gradient, reset = (bug.name for bug in bugs.LOOP)
    last = {name: stories.at_the_end(story) for name, story in found.items()}
    for name, x in last.items():
        imagined, predicted = x["imagined return"], x["imagined rewards"]
        assert ((imagined < 0.2 * predicted) == (name == reward)).all(), name
        gap = abs(x["critic - imagined return"])
        assert ((gap > 1e4) == (name == gradient)).all() and (name == gradient or gap.max() < 0.2)
        assert ((x["KL at the second time step"] > 3) == (name == reset)).all(), name


def test_each_bug_is_seen_in_the_stored_evidence():
    found = stories.load("catch_bugs").stories
    check_bugs(found)
    last = {name: stories.at_the_end(story) for name, story in found.items()}
    reward, gradient, reset = (bug.name for bug in bugs.LOOP)
    for name in (reward, gradient):
        assert (last[name]["return"] < 0.15).all(), "random play has 0.1"
    assert last[HEALTHY]["return"].mean() > 0.15
    dyn = {name: story.values["loss/dyn"][-3:].mean() for name, story in found.items()}
    assert dyn[reset] < 3, "the mean of dyn alone does not show it"
    for name in (reward, reset):  # nothing explodes
        assert last[name]["reward loss"].max() < 3 * last[HEALTHY]["reward loss"].max()


def test_every_bug_says_where_it_shows():
    for bug in bugs.LOOP:
        text = bugs.plant(bug)[bug.part]
        assert bug.wrong in text and bug.right not in text
        assert "shows it" in bug.tell
    assert stories.EVIDENCE.keys() >= {"imagined return", "KL at the second time step"}


@pytest.mark.slow
def test_each_bug_is_seen_when_it_is_trained_again():
    texts = {HEALTHY: {}} | {bug.name: bugs.plant(bug) for bug in bugs.LOOP}
    check_bugs({
        name: stories.tell(parts.assemble(planted), "catch", 400, 1, say=lambda *x, **y: None)
        for name, planted in texts.items()
    })  # fmt: skip


def test_the_command_refuses_in_a_sentence(capsys):
    assert stories.main(["own", "--updates", "70"]) == 2
    assert "stories: updates is 70: it must be a multiple of 50." in capsys.readouterr().err


def test_the_command_stores_what_it_trained(tmp_path, monkeypatch, capsys):
    def told(dreamer, world, updates, seeds):
        assert (world, updates, seeds) == ("catch", 100, 2)
        return made_up().stories[HEALTHY]

    monkeypatch.setattr(stories, "tell", told)
    out = tmp_path / "x.json"
    assert stories.main(["bugs", "--updates", "100", "--seeds", "2", "--out", str(out)]) == 0
    stored = json.loads(out.read_text(encoding="utf-8"))
    assert len(stored["stories"]) == 4 and stored["seeds"] == [0, 1]
    assert stored["stories"][HEALTHY]["values"]["critic"][1] == [4.5, None]
