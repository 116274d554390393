"""What notebooks 06 and 07 do with the reader's parts: plans, forks, learning in a fixed model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course import behavior, bugs, data, exploitation, parts
from dreamer_lite.course import imagination as im

SMALL = dict(deter=16, stoch=3, classes=4, hidden=8, units=8, bins=9, horizon=4)


def with_wrong(part: str, right: str, wrong: str):
    """The agent with one part whose text is changed and forced in."""
    return parts.assemble(bugs.plant(bugs.Bug("", part, right, wrong, "")))


@pytest.fixture(scope="module")
def dreamer():
    return parts.assemble({})


def imagined(dreamer) -> np.ndarray:
    """Predicted rewards of a small untrained agent under two plans, from a random state."""
    c, world = dreamer.Config(**SMALL), worlds.make("minatar/breakout")
    graph, params = behavior.new_agent(dreamer, c, world, 0)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    params = tree.unflatten([x + 0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])
    start = dreamer.State(jnp.ones((2, 16)), jnp.ones((2, 3, 4)) / 4)
    actions = jax.nn.one_hot(jnp.array([[0, 1], [1, 2], [2, 0]]), 3)
    run = im.under_a_plan(dreamer, c, graph)
    return np.asarray(run(params, start, actions, jax.random.key(1)).reward)


def test_a_wrong_imagine_plan_changes_every_rollout(dreamer):
    wrong = with_wrong("imagine_plan", "(actions, u)", "(actions[::-1], u)")
    assert np.array_equal(imagined(dreamer), imagined(parts.assemble({})))
    assert not np.allclose(imagined(dreamer), imagined(wrong))


def learned(dreamer) -> list[np.ndarray]:
    """Parameters of actor and critic after 20 updates inside a small, random world model."""
    c, world = dreamer.Config(**SMALL), worlds.make("catch")
    graph, params = behavior.new_agent(dreamer, c, world, 0)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    params = tree.unflatten([x + 0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])
    optimizer = dreamer.make_optimizer(c)
    learn = behavior.trainer(dreamer, behavior.objective(dreamer, c, graph), optimizer)
    starts = dreamer.State(jnp.ones((5, 16)), jnp.ones((5, 3, 4)) / 4)
    model, _ = behavior.split(params)
    now, _ = learn(behavior.begin(params, optimizer), model, starts, jax.random.key(2))
    return [np.asarray(x) for x in jax.tree.leaves(now.params)]


@pytest.fixture(scope="module")
def right(dreamer):
    return learned(dreamer)


# (part, text of the solution, what a plausible mistake has in its place)
WRONG = [
    ("imagine", "imagine_step(state, action, u)", "imagine_step(start, action, u)"),
    ("Actor.policy", "unimix(out, self.c.policy_unimix)", "unimix(out, 0.5)"),
    ("lambda_returns", "reward + cont", "reward - cont"),
    ("update_range", "0.99 * old + 0.01", "old + 10.0"),
    ("critic_loss", "two_hot_mean(slow_logits)", "0 * two_hot_mean(slow_logits)"),
    ("actor_loss", "entropy * policy.entropy()", "0 * policy.entropy()"),
    ("dream_losses", "jnp.cumprod(cont, 0)[:-1]", "cont[:-1]"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "text", "wrong"), WRONG, ids=[part for part, *_ in WRONG])
def test_a_forced_wrong_part_changes_what_is_learned(part, text, wrong, right):
    found = learned(with_wrong(part, text, wrong))
    assert not all(np.allclose(a, b, atol=1e-6) for a, b in zip(right, found))


@pytest.mark.parametrize(
    ("part", "text", "wrong"),
    [
        ("Gaussian.log_prob", "-0.5 * z**2", "-0.05 * z**2"),
        ("Gaussian.entropy", "jnp.log(self.std)", "-jnp.log(self.std)"),
    ],
)
def test_a_wrong_gaussian_aims_otherwise(part, text, wrong, dreamer):
    def aim(dreamer):
        c = dreamer.Config(units=8, layers=1)
        return np.asarray(behavior.aim(dreamer, c, dreamer.actor_loss, 0.6, 0.1))

    path = aim(dreamer)
    assert abs(path[-1, 0] - 0.6) < 0.15 and path[-1, 1] < 0.6
    assert not np.allclose(path[-1], aim(with_wrong(part, text, wrong))[-1], atol=0.05)


def test_the_states_of_a_collection_go_on_as_the_play_does():
    world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
    play, states = data.collect_states(world, 30, 4, jax.random.key(0), im.half_follow)
    same = data.collect(world, 30, 4, jax.random.key(0), im.half_follow)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, play, same)))
    at = data.moments(play, 2, 3)
    here = jax.tree.map(lambda x: x[0], data.at_offsets(states, at, [0]))
    actions = data.at_offsets(play.action, at, [1, 2, 3]).argmax(-1)
    real = im.try_plans(world, here, actions)
    frames = data.at_offsets(play.steps.obs["image"], at, [1, 2, 3])
    assert np.array_equal(np.asarray(real.image) * 255, frames)
    assert np.array_equal(real.reward, data.at_offsets(play.steps.reward, at, [1, 2, 3]))


def test_the_follower_goes_on_from_a_moment_as_it_played():
    world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
    play, states = data.collect_states(world, 60, 4, jax.random.key(0), im.half_follow)
    here = jax.tree.map(lambda x: x[20, ::2], states)
    alive = im.following(world, here, play.steps.obs["image"][20, ::2], 15)
    ends = np.logical_or.accumulate(play.steps.is_last[21:36, ::2])
    assert np.array_equal(alive, ~ends)


def test_the_survival_of_the_chosen_plan_by_hand():
    sides = [
        im.Outlook(jnp.zeros(()), jnp.zeros(()), jnp.zeros((1, 20)).at[0, i].set(1.0))
        for i in (3, 15)
    ]
    hoped = np.zeros((2, 10))
    hoped[0, 3] = hoped[1, 5] = 2.0
    imagined, real = im.Fork(*sides, hoped, hoped).survival()
    assert imagined.tolist() == [1.0, 0.0] and real.tolist() == [0.0, 1.0]


def test_plans_and_their_scores_by_hand():
    plans = im.plan_for(jnp.array([4, 4, 4]), jnp.array([2, 4, 7]), 4)
    assert plans.T.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [2, 2, 2, 0]]
    reward = jnp.array([[1.0], [1.0]])
    outlook = im.Outlook(jnp.zeros((2, 1)), reward, jnp.array([[0.5], [0.25]]))
    # the first brick for certain, the second if alive before it, and the bonus at the end
    assert im.score(outlook) == pytest.approx([1 + 0.5 + 0.25])


def test_the_follower_of_the_ball_outlives_random_play():
    world = worlds.make("minatar/breakout")
    ends = {
        policy: int(data.collect(world, 100, 16, jax.random.key(1), policy).steps.is_last.sum())
        for policy in (im.follow_ball, data.uniform(world.action_space))
    }
    follower, random = ends.values()
    assert follower < random / 4


def test_temperature_scales_the_logits_of_the_prior_only(dreamer):
    c, world = dreamer.Config(**SMALL, unimix=0.0), worlds.make("catch")
    graph, params = behavior.new_agent(dreamer, c, world, 0)
    deter = jax.random.normal(jax.random.key(0), (5, 16))

    def prior(params):
        return nnx.merge(graph, params).rssm.prior(deter)

    plain, hot = prior(params), prior(behavior.heated(params, 4.0))
    assert np.allclose(hot, jax.nn.log_softmax(plain / 4), atol=1e-5)
    same = jax.tree.map(np.array_equal, params, behavior.heated(params, 1.0))
    assert all(jax.tree.leaves(same))


def test_confidence_interval_by_hand():
    mean, half = behavior.interval([1, 3, 2, 2])
    assert mean == 2 and half == pytest.approx(1.96 * 0.8165 / 2, abs=1e-3)


def test_the_stored_curves_are_complete_and_survive_their_own_text(tmp_path):
    stored = exploitation.load()
    assert stored.about["seeds"] == [0, 1, 2] and set(stored.real) == set(exploitation.EPISODES)
    n = len(stored.updates)
    for table in (stored.real, stored.imagined):
        assert all(x.shape == (n, 3) and (x >= -0.1).all() for x in table.values())
    assert all(x.shape == (len(stored.temperatures), 3) for x in stored.by_temperature.values())
    text = exploitation.as_json(stored)
    assert text == (exploitation.assets.path("curves/catch_exploitation.json")).read_text("utf-8")


def test_a_bad_number_gets_a_sentence(capsys):
    assert exploitation.main(["--every", "30"]) == 2
    assert "every must be a multiple of 20" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_and_writes(tmp_path):
    sizes = ["--model", "50", "--behavior", "40", "--heated", "20", "--every", "20"]
    file = tmp_path / "a.json"
    assert exploitation.main(["--seeds", "1", "--out", str(file), *sizes]) == 0
    assert '"well-trained": [[' in file.read_text("utf-8")
