"""The steered dream: its steps are what the model imagines, and it says them in words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_agent import Stroll, tiny

from dreamer_lite import worlds
from dreamer_lite.agent.agent import make_agent
from dreamer_lite.agent.rssm import State
from dreamer_lite.course.widgets import Dream, steer_in_page
from dreamer_lite.course.widgets import dream as dream_module
from dreamer_lite.course.widgets.dream import OWN, RECORDED, good_moments
from dreamer_lite.course.widgets.dream_step import choices
from dreamer_lite.evaluation import rollouts
from dreamer_lite.evaluation.dreams import ages
from dreamer_lite.runs import agents
from dreamer_lite.runs.agents import LoadedAgent
from dreamer_lite.training import streams
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
    return Dream(agent, game, seed=7)


def test_steps_are_the_scan_of_imagine_step_under_the_same_noise(agent, dream):
    """Stepwise and scanned imagination agree: state, picture, reward, continuation."""
    world, config = dream.world, agent.config
    actions = jax.nn.one_hot(jnp.array([world.action_names.index(name) for name in PLAN]), 3)
    keys = [jax.random.fold_in(streams.key("dream", 7), i) for i in range(len(PLAN))]
    noise = jnp.stack([jax.random.uniform(jax.random.split(k)[1], (1, config.stoch)) for k in keys])
    start = State(
        dream.recording.deter[dream.moment][None], dream.recording.stoch[dream.moment][None]
    )

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
        np.testing.assert_allclose(dream.current.state.deter, states.deter[i], atol=1e-5)
        np.testing.assert_array_equal(dream.current.state.stoch, states.stoch[i])
        np.testing.assert_allclose(dream.current.obs["image"], pictures[i, 0], atol=1e-5)
        np.testing.assert_allclose(dream.current.signals.reward, rewards[i, 0], atol=1e-5)
        np.testing.assert_allclose(dream.current.signals.cont, cont[i, 0], atol=1e-5)
    assert dream.steps == len(PLAN)
    np.testing.assert_allclose(dream.total, rewards.sum(), atol=1e-5)


def end_of(dream: Dream) -> np.ndarray:
    for name in PLAN:
        dream.step(name)
    return np.asarray(dream.current.state.deter)


def test_the_same_seed_and_actions_give_the_same_dream_and_others_do_not(dream):
    first = end_of(dream)
    dream.begin()
    assert dream.steps == 0 and dream.total == 0
    np.testing.assert_array_equal(end_of(dream), first)
    dream.begin(seed=8)
    assert (end_of(dream) != first).any()
    dream.begin(seed=7)
    np.testing.assert_array_equal(end_of(dream), first)
    dream.begin()
    dream.step("left")
    left = np.asarray(dream.current.state.deter)
    dream.begin()
    dream.step("right")
    assert (np.asarray(dream.current.state.deter) != left).any()


def test_the_agents_own_choice_is_its_policy_in_the_dreamt_state(agent, dream):
    key = jax.random.fold_in(streams.key("dream", 7), 0)
    graph = make_agent(agent.config, dream.world.obs_space, dream.world.action_space)
    policy = graph.merge(agent.params).actor(dream.current.state.feature)
    expected = int(policy.sample(jax.random.split(key)[0])[0].argmax())
    dream.step(OWN)
    assert int(dream.current.action) == expected
    own = np.asarray(dream.current.state.deter)
    assert "(chosen by the agent)" in dream.words()
    dream.begin()
    dream.step(dream.world.action_names[expected])
    np.testing.assert_array_equal(dream.current.state.deter, own)
    assert "chosen by the agent" not in dream.words()


def test_the_words_say_step_action_reward_and_continuation(dream):
    assert "Observing" in dream.words()
    dream.step("left")
    dream.step("right")
    found = re.match(
        r"Dream step 2, action right\. Predicted reward (\S+), in all (\S+); "
        r"probability of continuation (\d+)%",
        dream.words(),
    )
    assert found, dream.words()
    assert float(found[1]) == pytest.approx(float(dream.current.signals.reward), abs=0.006)
    assert float(found[2]) == pytest.approx(dream.total, abs=0.06)
    assert int(found[3]) == pytest.approx(100 * float(dream.current.signals.cont), abs=0.6)


def test_beside_reality_follows_the_real_actions_until_the_episode_ends(dream, game):
    last = int(np.flatnonzero(game.is_last)[0])
    dream.begin(last - 3)
    film = dream.beside_reality(10)
    assert len(film) == 4 and dream.steps == 3
    dreamt = np.asarray(dream.current.state.deter)
    dream.begin()
    for row in range(last - 3, last):
        dream.step(dream.world.action_names[int(game.action[row])])
    np.testing.assert_array_equal(dream.current.state.deter, dreamt)


def test_in_a_script_a_plan_is_played_in_words(dream, capsys):
    steer_in_page(dream, ["left", OWN])
    out = capsys.readouterr().out
    assert (
        "Observing" in out and "Dream step 1, action left" in out and "chosen by the agent" in out
    )


def test_in_a_notebook_it_is_the_page_of_the_agent(dream, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(dream_module, "in_notebook", lambda: True)
    monkeypatch.setattr(dream_module.page, "show", shown.append)
    steer_in_page(dream, ["left"])
    assert shown[0]["world"] == "minatar/breakout" and shown[0]["moments"] and dream.steps == 0
    monkeypatch.setattr(dream_module, "LARGEST", 100)
    steer_in_page(dream, ["left"])
    assert len(shown) == 1
    assert "parameters, too many for a page in a notebook: write it" in capsys.readouterr().out


def test_what_is_not_there_is_said_in_a_sentence(agent, dream, game):
    with pytest.raises(ValueError, match=r"no action 'jump': stay, left, right, agent decides\."):
        dream.step("jump")
    last = int(np.flatnonzero(game.is_last)[0])
    with pytest.raises(ValueError, match=f"moment is {last}: choose a time step from"):
        dream.begin(last)
    with pytest.raises(ValueError, match="no moment to start from"):
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
    dream = Dream(LoadedAgent(config, params, {}), seed=1)
    dream.step("y +")
    assert "action +0.0 +1.0 +0.0" in dream.words()
    dream.step(OWN)
    assert dream.recorded_image(dream.moment).ndim == 3 and dream.current.action.shape == (3,)


# The real world beside it


def real_dream(agent, game, **settings) -> Dream:
    return Dream(agent, game, seed=7, reality=True, **settings)


def test_as_it_went_reality_is_the_recording(agent, game):
    dream = real_dream(agent, game)
    for step in range(1, 6):
        dream.step(RECORDED)
        row = dream.moment + step
        np.testing.assert_array_equal(dream.real.obs["image"], game.obs["image"][row])
        assert dream.real.reward == game.reward[row]
    assert f"In reality: reward {dream.real.reward:g}, and the episode goes on." in dream.words()
    last = int(np.flatnonzero(game.is_last)[0])
    dream.begin(last - 1)
    dream.step(RECORDED)
    assert dream.real.is_last and "the episode has ended" in dream.words()
    with pytest.raises(ValueError, match="cannot go on at step 1: its episode is over"):
        dream.step(RECORDED)
    dream.step("left")
    assert dream.real.is_last, "reality stands still at its end"


def test_a_world_in_jax_goes_on_from_the_moment_under_any_actions(agent, game):
    """The same environment and seed, stepped here from the state that the recording kept."""
    left = ages(game.is_first[:, None], game.is_last[:, None])[1][:, 0]
    dream = real_dream(agent, game, moment=max(good_moments(game), key=lambda m: left[m]))
    world = dream.world
    state = jax.tree.map(lambda x: x[dream.moment], game.world)
    for step, name in enumerate(["left", "left", OWN], 1):
        dream.step(name)
        key = jax.random.fold_in(streams.key("reality", 7), step)
        state, row = world.step(state, jnp.int32(dream.current.action), key)
        np.testing.assert_array_equal(dream.real.obs["image"], row.obs["image"])
        assert bool(dream.real.is_last) == bool(row.is_last)
        if row.is_last:
            break
    with pytest.raises(ValueError, match="other actions than its own were taken"):
        dream.step(RECORDED)


def test_left_and_right_differ_in_reality_too(agent, game):
    paddles = []
    for name in ("left", "right"):
        dream = real_dream(agent, game)
        for _ in range(4):
            dream.step(name)
        paddles.append(int(dream.real.obs["image"][..., 0].sum(0).argmax()))
    assert paddles[0] < paddles[1]


def test_the_recorded_states_are_those_of_the_recorded_rows(agent, game):
    """What the world shows in each state that was kept is the row that was kept."""
    for row in (1, 5, 9):
        state = jax.tree.map(lambda x, row=row: x[row], game.world)
        _, nxt = worlds.make("minatar/breakout").step(
            state, jnp.int32(game.action[row]), jax.random.key(0)
        )
        bricks = nxt.obs["image"][..., 3] != game.obs["image"][row][..., 3]
        assert bricks.sum() <= 1, "one step breaks one brick at most"


def test_a_world_that_cannot_be_set_says_so(agent, game):
    dream = real_dream(agent, game._replace(world=None))
    dream.step(RECORDED)
    assert dream.real is not None
    dream.step("left")
    assert dream.real is None and "in reality is unknown" in dream.words()
    with pytest.raises(ValueError, match="minatar/breakout cannot be set to a moment"):
        dream.beside_reality(3, OWN)


def test_films_beside_reality_under_the_agents_own_actions(agent, game):
    dream = real_dream(agent, game)
    film = dream.beside_reality(6, OWN)
    assert 2 <= len(film) <= 7 and not dream.on_path
    assert dream.steps == len(film) - 1


def test_temperature_is_that_of_the_draws_only(agent, game):
    """0 takes the likeliest classes; 1 is the model's own; a high temperature differs from it."""
    ends = {}
    for temperature in (0.0, 0.01, 1.0, 3.0):
        dream = real_dream(agent, game, temperature=temperature)
        dream.step("left")
        ends[temperature] = np.asarray(dream.current.state.stoch)
        if temperature == 0:
            graph = make_agent(agent.config, dream.world.obs_space, dream.world.action_space)
            prior = graph.merge(agent.params).model.rssm.prior(dream.current.state.deter)
            np.testing.assert_array_equal(prior.mode(), dream.current.state.stoch)
            np.testing.assert_allclose(dream.current.entropy, prior.entropy().sum(), rtol=1e-5)
    np.testing.assert_array_equal(ends[0.0], ends[0.01])
    own = Dream(agent, game, seed=7)
    own.step("left")
    np.testing.assert_array_equal(ends[1.0], own.current.state.stoch)
    assert (ends[3.0] != ends[0.0]).any()
    assert 0 < own.current.entropy <= 2 * np.log(4)


def test_many_dreams_are_the_dreams_one_by_one(agent, game):
    dream = Dream(agent, game)
    moments, seeds = np.array(dream.moments[:6:2]), np.array([3, 1, 4])
    obs, signals = dream.many(moments, seeds, 4, temperature=0.5)
    hot, _ = dream.many(moments, seeds, 4, temperature=3.0)
    assert (hot["image"] != obs["image"]).any()
    dream.temperature = 0.5
    for k, (moment, number) in enumerate(zip(moments, seeds)):
        dream.begin(int(moment), int(number))
        for h in range(4):
            dream.step(game.action[moment + h])
            np.testing.assert_allclose(dream.current.obs["image"], obs["image"][h, k], atol=1e-5)
            np.testing.assert_allclose(dream.current.signals, [x[h, k] for x in signals], atol=1e-4)
    others, _ = dream.many(moments, seeds, 4, actions=np.zeros((4, 3), np.int32))
    assert others["image"].shape == obs["image"].shape


def test_reality_run_again_is_reality_beside_the_steps(agent, game):
    dream = real_dream(agent, game)
    last = int(np.flatnonzero(game.is_last)[0])
    moments, seeds = np.array([dream.moments[0], last - 2]), np.array([3, 1])
    actions = np.array([[1, 2], [2, 2], [0, 1], [2, 0]], np.int32)  # the second soon stands still
    obs = dream.many_real(moments, seeds, 4, actions=actions)
    for k, (moment, number) in enumerate(zip(moments, seeds)):
        dream.begin(int(moment), int(number))
        for h in range(4):
            dream.step(actions[h, k])
            np.testing.assert_array_equal(dream.real.obs["image"], obs["image"][h, k])
    recorded = dream.many_real(moments[:1], seeds[:1], 4)
    taken = game.action[moments[0] + np.arange(4)][:, None]
    again = dream.many_real(moments[:1], seeds[:1], 4, actions=taken)
    np.testing.assert_array_equal(recorded["image"], again["image"])


def test_an_environment_that_cannot_be_set_to_a_moment_is_not_run_again(agent, game):
    dream = Dream(agent, game._replace(world=None))
    with pytest.raises(ValueError, match="minatar/breakout cannot be set to a moment"):
        dream.many_real(np.array(dream.moments[:1]), np.array([0]), 2)


def test_the_shipped_breakout_agent_is_found_by_its_name():
    found = agents.load("minatar-breakout")
    assert found.config.world == "minatar/breakout" and found.info["return_mean"] > 4
    with pytest.raises(ValueError, match=r"a shipped agent .*minatar-breakout"):
        agents.load("no-such-agent")
