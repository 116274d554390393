"""What notebooks 05 and 06 do with a world model: data, moments, training, gradient maps, bugs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.course import bugs, data, parts
from dreamer_lite.course import world_models as wm
from dreamer_lite.course.checks.exercise import solved_agent

WORLD = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
SMALL = dict(batch=4, length=4, deter=16, stoch=2, classes=4, hidden=8, units=8, layers=1, warmup=1)


@pytest.fixture(scope="module")
def play() -> data.Play:
    return data.random_play(WORLD, 40, 24, jax.random.key(0))


def test_a_play_in_the_replay_buffer_comes_out_as_it_was(play):
    d = solved_agent()
    c = d.Config(**SMALL)
    replay = data.store(d, c, play)
    place, env = d.sample(replay, 5, 6, jax.random.key(1))
    batch = d.cut(replay, place, env, c.classes)
    assert int(replay.added) == 40 and not np.asarray(batch.start.deter).any()
    assert (batch.action == play.action[place[1:], env]).all()
    assert (batch.steps.obs["image"] == play.steps.obs["image"][place[1:], env]).all()


def test_moments_are_of_different_environments_and_within_an_episode(play):
    at = data.moments(play, 4, 6)
    assert len(set(at.world)) == len(at.world) > 5
    first = data.at_offsets(play.steps.is_first, at, range(-3, 7))
    assert first.shape == (10, len(at.time)) and not np.asarray(first[1:]).any()
    assert (data.moments(play, 4, 6, 1).time != at.time).any()
    with pytest.raises(ValueError, match=r"No episode has 4 \+ 39 time steps"):
        data.moments(play, 4, 39)


def test_the_actions_of_an_open_loop_begin_after_the_moment(play):
    at = data.moments(play, 2, 5)
    actions = wm.taken(play, at, 5)
    assert actions.shape == (5, len(at.time), 3) and (np.asarray(actions).sum(-1) == 1).all()
    assert (actions[0] == play.action[at.time + 1, at.world]).all()


def train(dreamer, c, play, updates: int = 4):
    net = wm.networks(dreamer, c, WORLD, 0)
    training = wm.Training(dreamer, c, net.graph, net.params, data.store(dreamer, c, play))
    return net, training, training.run(updates, 2, keep=2)


def test_training_uses_the_parts_that_it_is_given(play, capsys, tmp_path, monkeypatch):
    """A part that is forced in changes what is trained: without its loss the decoder stays."""
    monkeypatch.setenv("DREAMER_LITE_PARTS", str(tmp_path))
    text = "def weighted_sum(losses, c):\n    return losses['dyn'].mean()"
    forced = parts.load(force={"weighted_sum": text})
    right = solved_agent()
    c, wrong_c = right.Config(**SMALL), forced.Config(**SMALL)
    net, training, params = train(right, c, play)
    _, _, wrong = train(forced, wrong_c, play)

    def moved(params, name):
        pairs = zip(jax.tree.leaves(params[name]), jax.tree.leaves(net.params[name]), strict=True)
        return sum(float(jnp.abs(a - b).sum()) for a, b in pairs)

    assert moved(params, "decoder") > 0 and moved(wrong, "decoder") == 0 < moved(wrong, "rssm")
    assert moved(params, "actor") == 0
    assert training.updates == [2, 4] and set(training.history) == set(wm.LOSSES)
    assert 0 < moved(training.kept, "decoder") != moved(params, "decoder")
    states = jax.tree.leaves(training.replay.deter)
    assert any(np.asarray(x).any() for x in states), "inferred states are written back"
    assert "update 4 of 4: " in capsys.readouterr().out
    with pytest.raises(ValueError, match="updates is 3, chunk 0: both must be at least 1"):
        training.run(3, 0)


def zeros(dreamer, params, graph, c, batch) -> set[tuple[str, str]]:
    norms = wm.gradients(dreamer, c, graph)(params, wm.each_alone(batch), jax.random.key(2)).norms
    names = list(wm.NETWORKS)
    return {(wm.LOSSES[i], names[j]) for i, j in np.argwhere(norms == 0)}


def test_bugs_of_the_kl_are_visible_in_the_gradient_map(play):
    """Each moves the exact zeros of a healthy model; the bug in the data does not."""
    d = solved_agent()
    c = d.Config(**SMALL)
    net, training, params = train(d, c, play, 2)
    place, env = d.sample(training.replay, c.batch, c.length, jax.random.key(3))
    batch = d.cut(training.replay, place, env, c.classes)
    healthy = zeros(d, params, net.graph, c, batch)
    stops = {("dyn", "encoder"), ("dyn", "posterior"), ("rep", "prior")}
    assert stops < healthy
    own, swapped, missing = (parts.assemble(bugs.plant(bug)) for bug in bugs.WORLD_MODEL)
    # Networks and batch are those of `d`: only the loss is another's.
    assert zeros(own, params, net.graph, c, batch) == healthy
    found = zeros(swapped, params, net.graph, c, batch)
    assert ("dyn", "prior") in found and ("rep", "encoder") in found and not stops & found
    assert healthy - zeros(missing, params, net.graph, c, batch) == {
        ("dyn", "encoder"), ("dyn", "posterior"),
    }  # fmt: skip
    every = parts.assemble(bugs.plant(bugs.NO_STOPS))
    assert healthy - zeros(every, params, net.graph, c, batch) == stops


def test_a_bug_that_does_not_fit_the_solution_is_refused():
    with pytest.raises(ValueError, match="cut has 'no such text' 0 times, not once"):
        bugs.plant(bugs.WORLD_MODEL[0]._replace(right="no such text"))
    with pytest.raises(ValueError, match="case is 4: it must be one of 1 to 3"):
        bugs.of_case(bugs.WORLD_MODEL, 4)
    assert len({bug.name for bug in bugs.WORLD_MODEL}) == 3


@pytest.mark.slow
def test_the_evidence_tells_every_bug_from_a_healthy_model():
    """As in the notebook, on shorter training: curves, gradient map, errors of the paddle."""
    play = data.random_play(WORLD, 400, 128, jax.random.key(0))
    test = data.random_play(WORLD, 400, 128, jax.random.key(1000))
    at = data.moments(test, wm.OBSERVED, wm.HORIZON)
    found, curves = {}, {}
    for bug in (None, *bugs.WORLD_MODEL):
        d = parts.assemble(bugs.plant(bug) if bug else {})
        c = d.Config(batch=16, length=16)
        net = wm.networks(d, c, WORLD, 0)
        training = wm.Training(d, c, net.graph, net.params, data.store(d, c, play))
        params = training.run(600, 150)
        name = bug.name if bug else ""
        found[name] = wm.evidence(d, c, net.graph, params, training.replay, test, at)
        curves[name] = {k: v[-1] for k, v in training.history.items()}
        print(name, curves[name], wm.in_words(found[name]))
    healthy = found.pop("")
    own, swapped, missing = found.values()
    assert healthy.taken < 0.7 * healthy.others
    assert own.taken > 0.8 * own.others, "the paddle moves one step late"
    dyn, rep = wm.LOSSES.index("dyn"), wm.LOSSES.index("rep")
    encoder, prior = list(wm.NETWORKS).index("encoder"), list(wm.NETWORKS).index("prior")
    assert healthy.norms[dyn, encoder] == own.norms[dyn, encoder] == 0 < missing.norms[dyn, encoder]
    assert swapped.norms[dyn, prior] == 0 < healthy.norms[dyn, prior]
    assert healthy.norms[rep, prior] == 0 < swapped.norms[rep, prior]
