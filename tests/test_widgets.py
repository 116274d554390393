"""The dream player: what its buttons dream is what the model dreams, and it says it in words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_agent import Stroll, tiny

from dreamer_lite import rollouts, runs, worlds
from dreamer_lite.agent import make_agent
from dreamer_lite.checkpoints import LoadedAgent
from dreamer_lite.rssm import State
from dreamer_lite.widgets import Dream, DreamPlayer, steer
from dreamer_lite.widgets.player import OWN, choices, good_moments
from dreamer_lite.worlds.base import Space

PLAN = ["left", "stay", "right", "right", "left"]


@pytest.fixture(scope="module")
def agent() -> LoadedAgent:
    config, params = tiny(worlds.make("minatar/breakout"))
    return LoadedAgent(config, params, {})


@pytest.fixture(scope="module")
def game(agent):
    return rollouts.record(agent.config, agent.params, worlds.make("minatar/breakout"), 3, 4)


@pytest.fixture
def dream(agent, game) -> Dream:
    return Dream(agent, game, dice=7)


def test_steps_are_the_scan_of_imagine_step_under_the_same_dice(agent, dream):
    """Stepwise and scanned imagination agree: state, picture, reward, continuation."""
    world, config = dream.world, agent.config
    actions = jax.nn.one_hot(jnp.array([world.action_names.index(name) for name in PLAN]), 3)
    keys = [jax.random.fold_in(jax.random.key(7), i) for i in range(len(PLAN))]
    noise = jnp.stack([jax.random.uniform(jax.random.split(k)[1], (1, config.stoch)) for k in keys])
    start = State(dream.play.deter[dream.moment][None], dream.play.stoch[dream.moment][None])

    @jax.jit
    def whole(params):
        model = make_agent(config, world.obs_space, world.action_space).merge(params).model

        def step(state, inputs):
            state = model.rssm.imagine_step(state, inputs[0][None], inputs[1])
            return state, state

        _, states = jax.lax.scan(step, start, (actions, noise))
        cont = jnp.minimum(1, model.cont(states.feature).mean() / config.discount)
        pictures = model.decoder(states.deter, states.stoch)["image"].mean()
        return states, pictures, model.reward(states.feature).mean(), cont

    states, pictures, rewards, cont = whole(agent.params)
    for i, name in enumerate(PLAN):
        dream.step(name)
        np.testing.assert_allclose(dream.now.state.deter, states.deter[i], atol=1e-5)
        np.testing.assert_array_equal(dream.now.state.stoch, states.stoch[i])
        np.testing.assert_allclose(dream.now.obs["image"], pictures[i, 0], atol=1e-5)
        np.testing.assert_allclose(dream.now.signals.reward, rewards[i, 0], atol=1e-5)
        np.testing.assert_allclose(dream.now.signals.cont, cont[i, 0], atol=1e-5)
    assert dream.steps == len(PLAN)
    np.testing.assert_allclose(dream.total, rewards.sum(), atol=1e-5)


def end_of(dream: Dream) -> np.ndarray:
    for name in PLAN:
        dream.step(name)
    return np.asarray(dream.now.state.deter)


def test_the_same_dice_and_actions_give_the_same_dream_and_others_do_not(dream):
    first = end_of(dream)
    dream.begin()
    assert dream.steps == 0 and dream.total == 0
    np.testing.assert_array_equal(end_of(dream), first)
    dream.begin(dice=8)
    assert (end_of(dream) != first).any()
    dream.begin(dice=7)
    np.testing.assert_array_equal(end_of(dream), first)
    dream.begin()
    dream.step("left")
    left = np.asarray(dream.now.state.deter)
    dream.begin()
    dream.step("right")
    assert (np.asarray(dream.now.state.deter) != left).any()


def test_the_agents_own_choice_is_its_policy_in_the_dreamt_state(agent, dream):
    key = jax.random.fold_in(jax.random.key(7), 0)
    graph = make_agent(agent.config, dream.world.obs_space, dream.world.action_space)
    policy = graph.merge(agent.params).actor(dream.now.state.feature)
    expected = int(policy.sample(jax.random.split(key)[0])[0].argmax())
    dream.step(OWN)
    assert int(dream.now.action) == expected
    own = np.asarray(dream.now.state.deter)
    assert "(chosen by the agent)" in dream.words()
    dream.begin()
    dream.step(dream.world.action_names[expected])
    np.testing.assert_array_equal(dream.now.state.deter, own)
    assert "chosen by the agent" not in dream.words()


def test_the_words_say_step_action_reward_and_continuation(dream):
    assert "Awake" in dream.words()
    dream.step("left")
    dream.step("right")
    found = re.match(
        r"Dream step 2, action right\. Dreamt reward (\S+), in all (\S+); chance to go on (\d+)%",
        dream.words(),
    )
    assert found, dream.words()
    assert float(found[1]) == pytest.approx(float(dream.now.signals.reward), abs=0.006)
    assert float(found[2]) == pytest.approx(dream.total, abs=0.06)
    assert int(found[3]) == pytest.approx(100 * float(dream.now.signals.cont), abs=0.6)


def test_the_picture_has_the_real_moment_on_the_left_and_the_dream_on_the_right(dream):
    before = dream.picture()
    dream.step("left")
    after = dream.picture()
    middle = before.shape[1] // 2
    panel = dream.real(dream.moment)
    h, w = panel.shape[:2]
    np.testing.assert_array_equal(after[40 : 40 + h, 24 : 24 + w], panel)
    np.testing.assert_array_equal(after[:, : middle - 10], before[:, : middle - 10])
    assert (after[:, middle:] != before[:, middle:]).any()
    assert after.shape[0] % 2 == after.shape[1] % 2 == 0


def test_beside_reality_follows_the_real_actions_until_the_episode_ends(dream, game):
    last = int(np.flatnonzero(game.is_last)[0])
    dream.begin(last - 3)
    film = dream.beside_reality(10)
    assert len(film) == 4 and dream.steps == 3
    dreamt = np.asarray(dream.now.state.deter)
    dream.begin()
    for row in range(last - 3, last):
        dream.step(dream.world.action_names[int(game.action[row])])
    np.testing.assert_array_equal(dream.now.state.deter, dreamt)


def test_buttons_do_what_they_say(dream):
    player = DreamPlayer(dream)
    labels = ["stay", "left", "right", OWN, "restart", "new dice", "another moment"]
    assert list(player.buttons) == labels
    assert all(button.description == label for label, button in player.buttons.items())
    assert all(button.tooltip for button in player.buttons.values())
    first = player.screen.value
    player.buttons["left"].click()
    player.buttons["right"].click()
    assert dream.steps == 2 and player.screen.value != first
    assert "Dream step 2, action right" in player.report.value
    assert re.search(
        r'<img alt="Dream step 2, [^"]+" src="data:image/png;base64,', player.screen.value
    )
    moment = dream.moment
    player.buttons["restart"].click()
    assert (dream.steps, dream.moment, dream.dice) == (0, moment, 7)
    assert player.screen.value == first
    player.buttons["new dice"].click()
    assert (dream.steps, dream.moment, dream.dice) == (0, moment, 8)
    player.buttons["another moment"].click()
    assert dream.moment != moment and dream.moment in dream.moments


def test_in_a_script_a_plan_is_played_in_words(dream, capsys):
    steer(dream, ["left", OWN])
    out = capsys.readouterr().out
    assert "Awake" in out and "Dream step 1, action left" in out and "chosen by the agent" in out


def test_what_is_not_there_is_said_in_a_sentence(agent, dream, game):
    with pytest.raises(ValueError, match=r"no action 'jump': stay, left, right, agent decides\."):
        dream.step("jump")
    last = int(np.flatnonzero(game.is_last)[0])
    with pytest.raises(ValueError, match=f"moment is {last}: choose a row from"):
        dream.begin(last)
    with pytest.raises(ValueError, match="no moment to dream from"):
        good_moments(game._replace(is_first=np.ones_like(game.is_first)))
    assert all(not game.is_last[m] for m in good_moments(game))


def test_continuous_actions_are_steered_one_number_at_a_time():
    found = choices(Space((2,), "float32"), ("hip", "knee"))
    assert list(found) == ["nothing", "hip -", "hip +", "knee -", "knee +"]
    np.testing.assert_array_equal(found["knee -"], [0, -1])
    np.testing.assert_array_equal(found["nothing"], [0, 0])


def test_a_dream_of_a_continuous_world_can_be_steered(monkeypatch):
    world = Stroll(ends=0.02)
    config, params = tiny(world)
    monkeypatch.setattr(worlds, "make", lambda name: world)
    dream = Dream(LoadedAgent(config, params, {}))
    dream.step("y +")
    assert "action +0.0 +1.0 +0.0" in dream.words()
    dream.step(OWN)
    assert dream.picture().ndim == 3 and dream.now.action.shape == (3,)


def test_the_shipped_breakout_agent_is_found_by_its_name():
    found = runs.load("minatar-breakout")
    assert found.config.world == "minatar/breakout" and found.info["return_mean"] > 4
    with pytest.raises(ValueError, match=r"a shipped agent .*minatar-breakout"):
        runs.load("no-such-agent")
