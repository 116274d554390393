"""What notebook 04 measures with the reader's RSSM: switches, probes, planted bugs, the stepper."""

import html
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.course import bugs, data, parts, probe_rssm
from dreamer_lite.course.ablate_rssm import (
    VARIANTS,
    Switches,
    WorldModel,
    ball_row,
    last_seen,
    outcome,
    wrong_paddles,
)
from dreamer_lite.course.fit import trainer
from dreamer_lite.course.widgets.stepper import BUTTONS, SCRIPT, Stepper, describe
from dreamer_lite.show import latents

WORLD = worlds.make("catch/hidden-kink")
SMALL = dict(length=12, batch=4, deter=16, stoch=3, classes=4, hidden=8, units=8)
KEY = jax.random.key(2)
BUGS = {bug.name: bug for bug in bugs.RSSM}
LATE, LOST, OWN = BUGS.values()


@pytest.fixture(scope="module")
def dreamer():
    return parts.assemble({})


@pytest.fixture(scope="module")
def model(dreamer):
    return WorldModel(dreamer, WORLD, **SMALL)


@pytest.fixture(scope="module")
def crossing():
    """One sequence, with a reset at time steps 0 and 10."""
    return data.random_play(WORLD, 14, 1, jax.random.key(5))


@pytest.fixture(scope="module")
def episodes():
    return data.random_play(WORLD, 10, 8, jax.random.key(6))


def sick(bug: bugs.Bug) -> WorldModel:
    return WorldModel(parts.assemble(bugs.plant(bug)), WORLD, **SMALL)


def test_switches_are_data_of_the_networks_like_their_parameters(model):
    """Flax refuses traced numbers in static fields, but sees them only from Python 3.12 on."""
    networks = model.merge(model.params, Switches(jnp.float32(0.25), jnp.float32(0.75)))
    numbers = [float(leaf) for leaf in jax.tree.leaves(networks) if not jnp.ndim(leaf)]
    assert sorted(numbers) == [0.25, 0.25, 0.75, 0.75]  # of the RSSM and of the decoder


def test_with_all_switches_on_it_is_the_readers_rssm(model, dreamer, episodes):
    networks = model.merge(model.params)
    plain = dreamer.RSSM(model.c, model.c.units, 3, np.random.default_rng(0))
    for name in vars(plain):
        if hasattr(networks.rssm, name) and name != "c":
            setattr(plain, name, getattr(networks.rssm, name))
    embed = networks.encoder.embed(episodes.steps.obs)
    inputs = plain.initial(8), embed, episodes.action, episodes.steps.is_first, KEY
    expected = jax.jit(lambda: plain.observe(*inputs))()
    found = model.observe(model.params, episodes, KEY)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found)):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_switches_take_away_memory_and_sampling(model, episodes):
    def rest(switches: Switches, state):
        networks = model.merge(model.params, switches)
        return networks.rssm.core(state, episodes.action[3])

    state, post = jax.tree.map(lambda x: x[2], model.observe(model.params, episodes, KEY))
    other = state._replace(deter=state.deter + 1)
    none = VARIANTS["stochastic only"]
    assert (rest(none, state) == rest(none, other)).all(), "h is not passed on"
    assert (rest(VARIANTS["RSSM"], state) != rest(VARIANTS["RSSM"], other)).any()
    states, post = model.observe(model.params, episodes, KEY, VARIANTS["deterministic only"])
    np.testing.assert_allclose(states.stoch, jnp.exp(post), atol=1e-6)
    blind = VARIANTS["deterministic only"]
    swapped = states._replace(stoch=jnp.roll(states.stoch, 1, -1))
    frames = [model.decode(model.params, s, blind) for s in (states, swapped)]
    assert (frames[0] == frames[1]).all(), "the decoder sees h alone"


def test_resets_and_causality_by_perturbation(model, crossing):
    for what in ("embed", "action"):
        changes = probe_rssm.influence(model, model.params, crossing, what, KEY)
        assert np.triu(changes, 1).max() == 0, "nothing depends on the future"
        assert changes[10:, :10].max() == 0, "nothing passes the reset"
        here = changes.diagonal() > 0
        reset = np.isin(np.arange(14), [0, 10])
        assert (here == (~reset if what == "action" else np.ones(14, bool))).all()
    with pytest.raises(ValueError, match="must be 'embed' or 'action'"):
        probe_rssm.influence(model, model.params, crossing, "reward", KEY)


def test_a_zero_derivative_is_no_independence(model, crossing):
    signal = probe_rssm.learning_signal(model, model.params, crossing, KEY)
    blocked = probe_rssm.learning_signal(model, model.params, crossing, KEY, through=False)
    changes = probe_rssm.influence(model, model.params, crossing, "embed", KEY)
    assert (signal.diagonal() > 0).all() and signal[10:, :10].max() == 0
    assert blocked.max() == 0 < changes.diagonal().min()


def test_a_late_reset_shows_in_the_map_of_embeddings(crossing):
    broken = sick(LATE)
    changes = probe_rssm.influence(broken, broken.params, crossing, "embed", KEY)
    assert changes[10, 9] > 0 and changes[11:, :11].max() == 0


def test_an_own_action_shows_in_the_map_of_actions(crossing):
    broken = sick(OWN)
    changes = probe_rssm.influence(broken, broken.params, crossing, "action", KEY)
    assert (changes.diagonal(1)[1:9] > 0).all(), "it acts one step before it can"
    embeds = probe_rssm.influence(broken, broken.params, crossing, "embed", KEY)
    assert np.triu(embeds, 1).max() == 0 == embeds[10:, :10].max()


def test_an_action_lost_while_imagining_shows_only_in_the_open_loop(model, crossing, episodes):
    broken = sick(LOST)
    switches = VARIANTS["RSSM"]
    params, losses = model.train(model.params, 60, KEY, switches)
    others, same = broken.train(broken.params, 60, KEY, switches)
    assert all((losses[name] == same[name]).all() for name in losses)
    for what in ("embed", "action"):
        maps = [probe_rssm.influence(m, params, crossing, what, KEY) for m in (model, broken)]
        assert (maps[0] == maps[1]).all()
    states, _ = model.observe(params, episodes, KEY)
    frames = []
    for m in (model, broken):
        start = m.dreamer.State(*(x[2] for x in states))
        frames.append(m.imagine(params, start, episodes.action[3:], KEY)[1])
    assert np.abs(frames[0] - frames[1]).max() > 0.01


def test_a_wrong_part_changes_what_is_trained(model, tmp_path, monkeypatch, capsys):
    """A forced part reaches the training: the reader's own code is what learns."""
    monkeypatch.setenv("DREAMER_LITE_PARTS", str(tmp_path))
    wrong = "def gru(self, deter, x):\n    return deter\n"
    forced = WorldModel(parts.load(force={"RSSM.gru": wrong}), WORLD, **SMALL)
    assert "0 of" in capsys.readouterr().out
    _, right = model.train(model.params, 50, KEY, VARIANTS["RSSM"])
    _, other = forced.train(forced.params, 50, KEY, VARIANTS["RSSM"])
    assert np.abs(right["recon"][-10:] - other["recon"][-10:]).max() > 1e-3


@pytest.mark.slow
def test_each_bug_is_visible_in_the_evidence_of_the_notebook():
    """Trained as in fast mode: the tell of each bug, which the others do not show."""
    switches, updates = VARIANTS["RSSM"], 600
    healthy = WorldModel(parts.assemble({}), WORLD, length=10, batch=16)
    test = data.random_play(WORLD, 10, 256, jax.random.key(99))
    long = data.random_play(WORLD, 20, 256, jax.random.key(98))
    found = {}
    params = {}
    for name, bug in {"healthy": None, **BUGS}.items():
        model = healthy if bug is None else WorldModel(
            parts.assemble(bugs.plant(bug)), WORLD, length=10, batch=16
        )  # fmt: skip
        if bug is LOST:  # trains as the healthy one, bit by bit: see above
            params[name] = params["healthy"]
        else:
            params[name], _ = model.train(model.params, updates, jax.random.key(0), switches)
        states, _ = model.observe(params[name], test, jax.random.key(1))
        start = jax.tree.map(lambda x: x[2], states)
        frames = model.imagine(params[name], start, test.action[3:], jax.random.key(2))[1]
        kl = np.asarray(model.kl_by_step(params[name], long, jax.random.key(1)))
        found[name] = kl, wrong_paddles(frames, test)
    kl, paddle = ({name: x[i] for name, x in found.items()} for i in (0, 1))
    assert kl[LATE.name][11] > kl["healthy"][11] + 0.5
    assert paddle["healthy"].max() < 0.1 > paddle[LATE.name].max()
    assert paddle[LOST.name].min() > 0.5
    assert paddle[OWN.name][0] < 0.1 and paddle[OWN.name][1:].min() > 0.5  # one step late


def test_outcomes_by_hand():
    rows = jnp.zeros((2, 10)).at[0, 3].set(0.5).at[0, 7].set(0.5).at[1, 0].set(0.9)
    right, fullest = outcome(rows, jnp.array([5, 5]))
    assert right == pytest.approx(0.5) and fullest == pytest.approx(0.7)
    play = data.random_play(WORLD, 10, 5, KEY)
    frames = play.steps.obs["image"] / 255
    assert outcome(ball_row(frames, 0), last_seen(play)).right == pytest.approx(1)
    assert wrong_paddles(frames[3:], play).tolist() == [0] * 7
    assert wrong_paddles(jnp.roll(frames[3:], 1, -2), play).min() == 1


def test_the_trainer_refuses_no_updates_and_counts_them():
    def loss(params, key):
        return params**2, {"square": params**2}

    import optax

    train = trainer(loss, optax.sgd(0.1), chunk=4)
    params, losses = train(jnp.float32(1), 6, KEY, label="square")
    assert len(losses["square"]) == 8 and losses["square"][0] == 1
    assert losses["total"][5] == pytest.approx(0.8**10, rel=1e-4)
    with pytest.raises(ValueError, match="it must be at least 1"):
        train(jnp.float32(1), 0, KEY)


# The stepper


@pytest.fixture
def stepper(model, episodes) -> Stepper:
    return Stepper(model, model.params, episodes, episode=3, seed=1)


def test_steps_are_the_rssms_own(stepper, model, episodes):
    play = jax.tree.map(lambda x: x[:, 3:4], episodes)
    networks = model.merge(model.params)
    embed = networks.encoder.embed(play.steps.obs)
    state = networks.rssm.initial(1)
    for t, seen in enumerate([True, True, False, False, True]):
        key = jax.random.fold_in(jax.random.key(1), 1000 * t)
        u = jax.random.uniform(key, (1, 3))
        if seen:
            stepper.observe()
            state, post = networks.rssm.observe_step(
                state, embed[t], play.action[t], play.steps.is_first[t], u
            )
            np.testing.assert_allclose(stepper.current["posterior"], jnp.exp(post[0]), atol=1e-5)
        else:
            stepper.imagine()
            state = networks.rssm.imagine_step(state, play.action[t], u)
        np.testing.assert_allclose(stepper.current["deter"], state.deter[0], atol=1e-5)
        assert (stepper.current["sampled"] == state.stoch[0].argmax(-1)).all()
        prior = jnp.exp(networks.rssm.prior(state.deter))[0]
        np.testing.assert_allclose(stepper.current["prior"], prior, atol=1e-5)
        assert (stepper.step().posterior is not None) == seen


def test_its_ends_are_said_in_a_sentence(stepper):
    assert "Press observe" in stepper.words()
    stepper.imagine()
    assert "nothing to imagine from" in stepper.words() and stepper.taken == 0
    stepper.resample()
    assert stepper.taken == 0
    for _ in range(10):
        stepper.observe()
    assert stepper.over and "Step 9, observed" in stepper.words()
    stepper.observe()
    assert "over: press restart" in stepper.words() and stepper.taken == 10
    stepper.press("restart")
    assert stepper.taken == 0
    with pytest.raises(ValueError, match="choose one of observe, imagine, other sample, restart"):
        stepper.press("sleep")


def test_another_sample_keeps_h_and_the_step(stepper):
    stepper.observe()
    stepper.observe()
    deter, sampled = stepper.current["deter"], set()
    for _ in range(6):
        stepper.resample()
        sampled.add(tuple(stepper.current["sampled"]))
        assert (stepper.current["deter"] == deter).all() and stepper.taken == 2
    assert len(sampled) > 1


def test_an_episode_must_exist(model, episodes):
    with pytest.raises(ValueError, match="it must be one of 0 to 7"):
        Stepper(model, model.params, episodes, episode=8)


def test_buttons_do_it_with_alt_text_and_words(stepper):
    box = stepper.build()
    row, image, status = box.children
    assert [button.description for button in row.children] == list(BUTTONS)
    assert all(button.tooltip for button in row.children)
    for button, done in zip(row.children, ("Step 0, observed", "Step 1, imagined")):
        button.click()
        assert done in status.value and 'role="status"' in status.value
        alt = html.unescape(re.search(r'alt="([^"]+)"', image.value)[1])
        assert alt == stepper.words() and "Decoder: paddle in column" in alt
    row.children[3].click()
    assert image.value == ""


def test_a_script_prints_the_steps(stepper, capsys):
    stepper.show()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SCRIPT)
    for t, (label, line) in enumerate(zip(SCRIPT, lines)):
        done = {"observe": "observed", "imagine": "imagined"}[label]
        assert line.startswith(f"[{label}] Step {t}, {done}")
        assert ("KL" in line) == (label == "observe")


def test_films_and_figures(stepper, crossing):
    film = stepper.film(["observe", "imagine"])
    assert film.shape[0] == 2 and film.shape[-1] == 3 and film.dtype == np.uint8
    assert film[0].std() > 10 and (film[0] != film[1]).any()
    maps = {"a": np.eye(3), "b": np.zeros((3, 3))}
    assert len(latents.draw_maps(maps, [1], "log10").axes) == 3
    strips = latents.draw_strips({"x": np.zeros((3, 4, 4, 3), np.uint8)}, [5, 7], first=5)
    assert len(strips.axes) == 2
    bars = latents.draw_outcomes({"x": (0.1, 0.2), "y": (0.3, 0.4)}, ["a", "b"])
    assert len(bars.axes[0].patches) == 4
    line = {"x": np.linspace(2, 1, 40)}
    assert len(latents.draw_evidence(line, line, line).axes) == 3


def test_the_words_of_a_frame():
    frame = np.zeros((10, 10, 2))
    frame[9, 4, 0] = 0.9
    assert describe(frame) == "paddle in column 4 (0.90), no ball"
    frame[7, 2, 1], frame[7, 6, 1] = 0.4, 0.5
    assert describe(frame).endswith("ball in row 7, column 6 (0.50) and row 7, column 2 (0.40)")


def test_kl_by_hand():
    q, p = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert latents.divergence(q, p) == pytest.approx(expected)
