"""DreamerV3 in one file: it matches the reference and the library, and runs, resumes and films."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import golden_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from dreamer_lite import worlds
from dreamer_lite.agent import behavior, distributions, layers, optimizer, transforms
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.world_model import kl_with_free_nats
from dreamer_lite.presets import make_config
from dreamer_lite.training import replay as ring

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "notebooks" / "dreamer.py"
sys.path.insert(0, str(FILE.parent))

import dreamer as d  # noqa: E402

LINES = 500  # of code at most
TAG = "vec_discrete"
CASE = cases.CASES[TAG]
MODULES = {"enc": "encoder", "dyn": "rssm", "dec": "decoder", "rew": "reward", "con": "cont",
           "pol": "actor", "val": "critic"}  # fmt: skip
LOSSES = {"rew": "reward", "con": "cont", "vec": "recon", "repval": "replay_value"}
# Inputs close to 0 before a norm: see test_learner.
ILL_CONDITIONED = {"pol": 5e-4}


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def close(found: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected
    )


def scaled(weight: float, tree: Any) -> Any:
    return jax.tree.map(lambda x: weight * x, tree)


# The file itself


def lines_of_code(text: str) -> int:
    """Lines that are neither blank, nor a comment, nor part of a docstring."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            left_out |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    every = enumerate(text.splitlines(), 1)
    return sum(bool(re.match(r"\s*[^\s#]", line)) and at not in left_out for at, line in every)


def test_it_is_short() -> None:
    assert lines_of_code('"""Doc\n\nstring."""\n# comment\n\nx = """a\nb"""  # two\n') == 2
    assert lines_of_code(FILE.read_text(encoding="utf-8")) <= LINES


def test_of_the_library_it_imports_the_environments_only() -> None:
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    assert {name for name in imported if "dreamer" in name} == {"dreamer_lite.worlds"}
    code = "import sys, dreamer; print(*(m for m in sys.modules if m.startswith('dreamer_lite.')))"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FILE.parent}"}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "dreamer_lite.worlds" in loaded
    assert not [m for m in loaded if re.match(r"dreamer_lite\.(agent|training|course|runs)", m)]


# The reference values


RENAMED = {
    r"^(reward|cont)_head\.": r"\1.",
    r"^critic\.head\.": "critic.",
    r"^actor\.": "actor.net.",
    r"^((reward|cont|critic|actor\.net)\.)mlp\.": r"\1",
    r"^actor\.net\.logits": "actor.net.out",
    r"\.(prior|post)_mlp\.": r".\1_net.",
    r"\.(prior|post)_out\.": r".\1_net.out.",
    r"\.layers\.(\d+)\.linear\.": r".linears.\1.",
    r"\.layers\.(\d+)\.norm\.": r".norms.\1.",
    r"(from_\w+)\.linear\.": r"\1.linears.0.",
    r"(from_\w+)\.norm\.": r"\1.norms.0.",
}


def path_of(ours: tuple[str, ...]) -> tuple[str, ...]:
    """A path in the library's parameters as a path in the file's."""
    name = ".".join(ours).removeprefix("model.")
    for old, new in RENAMED.items():
        name = re.sub(old, new, name)
    return tuple(name.split("."))


def golden_parameters(agent: d.Dreamer) -> tuple[dict, dict]:
    """(parameters, those of the slow critic), filled like the reference's."""
    flat = cases.flatten(nnx.to_pure_dict(nnx.state(agent, nnx.Param)))
    slow, filled = {path[1:]: None for path in flat if path[0] == "critic"}, set()
    for name, shape, seed in CASE["params"]:
        value = jnp.asarray(cases.fill(name, shape, seed), jnp.float32)
        path = path_of(cases.our_path(name))
        if path == ("decoder", "mlp", "linears", "0", "kernel"):  # there z comes before h
            value = jnp.roll(value, -agent.rssm.c.stoch * agent.rssm.c.classes, 0)
        if name.startswith("slowval"):
            slow[path[1:]] = value
        else:
            assert flat[path].shape == value.shape, name
            flat[path] = value
            filled.add(path)
    assert filled == set(flat) and None not in slow.values()
    return cases.unflatten(flat), cases.unflatten(slow)


C = d.Config(
    worlds=2, batch=2, length=5, deter=16, stoch=4, classes=4, blocks=2, hidden=8, units=8,
    layers=3, bins=255, unimix=0.01, policy_unimix=0.0, free_nats=1.0, horizon=15, starts=0,
    discount=1 - 1 / 333, entropy=3e-4, learning_rate=4e-5, warmup=1000, decay=0,
    rms_decay=0.999,
)  # fmt: skip


@pytest.fixture(scope="module")
def agent() -> d.Dreamer:
    """The golden agent: with the reference's parameters."""
    obs_space, action_space = cases.spaces(TAG)
    fresh = d.Dreamer(C, SimpleNamespace(obs_space=obs_space, action_space=action_space), 0)
    return nnx.merge(nnx.graphdef(fresh), golden_parameters(fresh)[0])


class Golden(NamedTuple):
    gradients: dict  # {loss: its gradient, unweighted}
    losses: list[dict]  # mean losses of three updates
    states: d.State  # (T, B, ...) of the first update
    learner: Any  # after it


@pytest.fixture(scope="module")
def golden(agent: d.Dreamer) -> Golden:
    graph, opt, key = nnx.graphdef(agent), d.make_optimizer(C), jax.random.key(0)
    params, slow = golden_parameters(agent)
    b = cases.golden_batch(TAG)
    steps = worlds.TimeStep(b.obs, b.reward, b.is_first, b.is_last, b.is_terminal)
    batch = d.Batch(steps, b.previous_action, d.State(*b.context))
    learner = d.Learner(params, slow, opt.init(params), jnp.zeros(2))

    def mode(logp, u):
        probs = jnp.exp(logp)
        return jax.nn.one_hot(logp.argmax(-1), logp.shape[-1]) + (probs - d.sg(probs))

    def losses_of(params):
        return d.total_loss(params, graph, C, learner, batch, key)[1][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d, "sample_onehot", mode)
        gradients = jax.jit(jax.jacrev(losses_of))(params)
        update = jax.jit(lambda learner: d.update(graph, C, opt, learner, batch, key))
        results = []
        for _ in range(3):
            results.append(update(results[-1][0] if results else learner))
    losses = [losses for _, losses, _ in results]
    return Golden(gradients, losses, results[0][2], results[0][0])


def test_every_loss_is_the_reference_s(golden: Golden) -> None:
    expected = {LOSSES.get(name, name): x for name, x in CASE["loss_mean"].items()}
    assert golden.losses[0].keys() == expected.keys()
    close(golden.losses[0], {name: np.float32(x) for name, x in expected.items()})


def test_three_updates_are_the_reference_s(golden: Golden) -> None:
    totals = [float(d.weighted_sum(losses, C)) for losses in golden.losses]
    close(totals, CASE["loss_over_3_updates"])
    close(golden.learner.range, [CASE["retnorm"][f"retnorm/{x}/value"] for x in ("lo", "hi")])


def test_the_gradient_norm_of_every_module_is_the_reference_s(golden: Golden) -> None:
    weights = {"recon": C.recon, "rep": 0.1, "replay_value": 0.3}
    assert MODULES.keys() == CASE["gradnorm_per_module"].keys()
    for theirs, expected in CASE["gradnorm_per_module"].items():
        parts = [
            scaled(weights.get(name, 1.0), gradient[MODULES[theirs]])
            for name, gradient in golden.gradients.items()
        ]
        summed = jax.tree.map(lambda *x: sum(x), *parts)
        found = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(summed)))
        np.testing.assert_allclose(
            found, expected, rtol=ILL_CONDITIONED.get(theirs, 1e-4), err_msg=theirs
        )


def test_the_states_are_the_reference_s(golden: Golden) -> None:
    index = np.swapaxes(CASE["post_index"], 0, 1)
    np.testing.assert_array_equal(golden.states.stoch.argmax(-1), index)
    close(golden.states.deter[-1, 0], np.float32(CASE["deter_row0_last"]))


# Whom a loss trains: the others' gradient is zero, and a stopped gradient is one.
TRAINED = {
    "recon": {"encoder", "rssm", "decoder"},
    "reward": {"encoder", "rssm", "reward"},
    "cont": {"encoder", "rssm", "cont"},
    "dyn": {"encoder", "rssm"},
    "rep": {"encoder", "rssm"},
    "policy": {"actor"},
    "value": {"critic"},
    "replay_value": {"encoder", "rssm", "critic"},
}


@pytest.mark.parametrize("loss", TRAINED)
def test_each_loss_trains_its_modules_only(golden: Golden, loss: str) -> None:
    gradient = golden.gradients[loss]
    reached = {name for name, g in gradient.items() if any(x.any() for x in jax.tree.leaves(g))}
    assert reached == TRAINED[loss]


# Stopped gradients, one by one

POST, PRIOR = (jax.nn.log_softmax(normal(i, 2, 4, 3)) for i in (1, 2))


def slope(function: Any, *inputs: jax.Array) -> list[bool]:
    """Whether the sum of what a function returns depends on each input, by its gradient."""
    total = lambda *x: sum(jnp.sum(y * jnp.cos(jnp.arange(y.size)).reshape(y.shape))  # noqa: E731
                           for y in jax.tree.leaves(function(*x)))  # fmt: skip
    return [bool(g.any()) for g in jax.grad(total, range(len(inputs)))(*inputs)]


def test_targets_and_samples_pass_no_gradient_on() -> None:
    logits, values, key = normal(0, 3, 15), 5 * normal(1, 3), jax.random.key(0)
    assert slope(d.two_hot_loss, logits, values) == [True, False]
    assert slope(d.critic_loss, logits, normal(2, 3, 15), values) == [True, False, False]
    assert slope(lambda logp: d.Categorical(logp).sample(key), POST) == [False]
    assert slope(lambda m, s: d.Gaussian(m, s).sample(key), values, values**2) == [False, False]
    policy = lambda mean: d.Gaussian(mean, jnp.ones_like(mean))  # noqa: E731
    assert slope(
        lambda mean, action, advantage: d.actor_loss(policy(mean), action, advantage, 0.1),
        normal(3, 4, 2), normal(4, 4, 2), normal(5, 4),
    ) == [True, True, False]  # fmt: skip


def test_the_kl_trains_the_prior_once_and_the_posterior_once() -> None:
    dyn, rep = (lambda q, p, i=i: d.kl_losses(q, p, 0.0)[i] for i in range(2))
    assert slope(dyn, POST, PRIOR) == [False, True] and slope(rep, POST, PRIOR) == [True, False]
    assert slope(lambda q, p: d.kl_losses(q, p, 1e3), POST, PRIOR) == [False, False], "free nats"


def test_straight_through_gradients_are_those_of_the_probabilities() -> None:
    u, weights = jax.random.uniform(jax.random.key(0), (2, 4)), normal(3, 2, 4, 3)
    through = jax.grad(lambda logp: jnp.sum(weights * d.sample_onehot(logp, u)))(POST)
    close(through, jax.grad(lambda logp: jnp.sum(weights * jnp.exp(logp)))(POST))


def test_imagined_states_and_large_actions_pass_no_gradient_on(agent: d.Dreamer) -> None:
    rssm, c = agent.rssm, C
    state = d.State(normal(0, 2, c.deter), jnp.exp(normal(1, 2, c.stoch, c.classes)))
    action, u = 3 * jnp.sign(normal(2, 2, 3)), jnp.full((2, c.stoch), 0.5)
    assert slope(
        lambda s: rssm.imagine_step(d.State(s, state.stoch), action, u).stoch, state.deter
    ) == [False]
    # a / sg(|a|): the size of a large action is lost, but it has the gradient of a / 3
    core = jax.jit(rssm.core)
    close(core(state, action), core(state, 2 * action))
    size = lambda a: jnp.sum(core(state, a))  # noqa: E731
    close(jax.grad(size)(action) / 2, jax.grad(size)(2 * action))
    assert jax.grad(size)(action).any()


def test_rewards_values_and_the_model_learn_nothing_from_dreams(agent: d.Dreamer) -> None:
    c = C
    graph, params = nnx.split(agent)
    states = d.State(normal(0, 4, 2, c.deter), jnp.exp(normal(1, 4, 2, c.stoch, c.classes)))
    actions = jax.nn.one_hot(jnp.zeros((3, 2), int), 3)

    def losses(params, states):
        agent = nnx.merge(graph, params)
        return d.dream_losses(agent, agent.critic, c, states, actions, jnp.zeros(2))[0]

    slopes = jax.jit(jax.jacrev(losses, (0, 1)))(nnx.to_pure_dict(params), states)
    for loss, module in (("policy", "actor"), ("value", "critic")):
        by_params, by_states = slopes[loss]
        moved = {m for m, g in by_params.items() if any(x.any() for x in jax.tree.leaves(g))}
        assert moved == {module}
        assert not any(x.any() for x in jax.tree.leaves(by_states))


# Parts against the library's own


def test_transforms_and_distributions_are_the_library_s() -> None:
    x = jnp.concatenate([3 * normal(0, 20), jnp.array([0.0, -0.0, 1e4, -1e4, 1e-6])])
    close(d.symlog(x), transforms.symlog(x))
    close(d.symexp(d.symlog(x)), x)
    for count in (255, 63, 8):
        bins = transforms.symexp_bins(count)
        close(d.make_bins(count), bins)
        assert (d.make_bins(count) == -d.make_bins(count)[::-1]).all()
        close(d.two_hot(x, d.make_bins(count)), transforms.two_hot(x, bins))
        logits = normal(1, len(x), count)
        close(d.two_hot_loss(logits, x), distributions.TwoHot(logits).loss(x))
        close(d.two_hot_mean(logits), distributions.TwoHot(logits).mean(), atol=1e-2)
        assert (d.two_hot_mean(jnp.zeros((3, count))) == 0).all()
    logits, u = normal(2, 50, 4, 5), jax.random.uniform(jax.random.key(1), (50, 4))
    right = distributions.OneHot.mix(logits, 0.01)
    mine = d.Categorical(d.unimix(logits, 0.01))
    close(mine.logp, right.logits)
    close(d.sample_onehot(mine.logp, u), right.quantile(u))
    onehot = right.quantile(u)
    close(mine.log_prob(onehot).sum(-1), right.log_prob(onehot).reshape(50, -1).sum(-1))
    close(mine.entropy().sum(-1), right.entropy().reshape(50, -1).sum(-1))
    target = jax.random.uniform(jax.random.key(2), (25,))
    close(d.binary_cross_entropy(x, target), distributions.Bernoulli(x).loss(target))
    mean, std, action = jnp.tanh(normal(3, 6, 2)), jnp.exp(normal(4, 6, 2)), normal(5, 6, 2)
    mine, right = d.Gaussian(mean, std), distributions.BoundedNormal(mean, std)
    close(mine.log_prob(action), right.log_prob(action))
    close(mine.entropy(), right.entropy())


@pytest.mark.parametrize("blocks", [1, 4])
def test_layers_are_the_library_s(blocks: int) -> None:
    x, rng = normal(0, 3, 5, 16), np.random.default_rng(0)
    mine, norm = d.Linear(16, 8, rng, blocks=blocks), d.Norm(8)
    mine.bias[...], norm.scale[...] = normal(1, 8), normal(2, 8)
    kernel = mine.kernel[...]
    right = (
        layers.affine(x, kernel, mine.bias[...])
        if blocks == 1
        else layers.block_affine(x, kernel, mine.bias[...])
    )
    close(mine(x), right)
    theirs = layers.Norm(8)
    theirs.scale[...] = norm.scale[...]
    close(norm.normalize(right), theirs(right))
    assert np.abs(kernel).max() <= 2 * 1.1368 / 4 + 1e-6, "truncated"
    large = np.asarray(d.Linear(256, 256, rng).kernel[...])
    assert abs(large.std() * 16 - 1) < 0.02 and abs(large.mean()) < 1e-3
    assert not d.Linear(16, 8, rng, scale=0.0).kernel[...].any()


def test_the_rssm_is_the_library_s(agent: d.Dreamer) -> None:
    learner = learning.make_learner(cases.golden_config(TAG), *cases.spaces(TAG))
    params, _ = cases.golden_params(TAG, learning.init(learner, 0).params)
    theirs, mine, c = learner.graph.merge(params).model.rssm, agent.rssm, C
    state = d.State(normal(0, 2, c.deter), jax.nn.one_hot(jnp.arange(8).reshape(2, 4) % 4, 4))
    action, embed, u = normal(1, 2, 3), normal(2, 2, 8), jnp.full((2, 4), 0.3)
    is_first = jnp.array([False, True])
    state_there = type(theirs.initial(2))(*state)
    close(mine.core(state, action), theirs.core(state_there, action))
    close(mine.gru(state.deter, state.deter), theirs.gru(state_there.deter, state_there.deter))
    close(mine.prior(state.deter), theirs.prior(state.deter).logits)
    close(mine.posterior(state.deter, embed), theirs.posterior(state.deter, embed).logits)
    found = mine.observe_step(state, embed, action, is_first, u)
    right = theirs.observe_step(state_there, embed, action, is_first, u)
    close([*found[0], found[1]], [*right[0], right[1]])
    close(
        list(mine.imagine_step(state, action, u)), list(theirs.imagine_step(state_there, action, u))
    )
    close(list(mine.initial(3)), list(theirs.initial(3)))


def test_losses_of_the_model_and_of_the_actor_are_the_library_s() -> None:
    one = distributions.OneHot
    dyn, rep = d.kl_losses(POST, PRIOR, 0.3)
    close(dyn, kl_with_free_nats(one(POST), one(PRIOR), 0.3))
    close(rep, dyn)
    reward, value = normal(0, 6, 3), normal(1, 6, 3)
    cont, lam = (jax.random.uniform(jax.random.key(i), (6, 3)) for i in (2, 3))
    close(
        d.lambda_returns(reward, cont, value, lam),
        behavior.lambda_returns(reward, cont, lam, value),
    )
    logp, action = POST[..., 0, :], jax.nn.one_hot(jnp.array([1, 2]), 3)
    advantage = jnp.array([2.0, -1.0])
    policy = d.Categorical(logp)
    mine = d.actor_loss(policy, action, advantage, 0.1)
    close(mine, behavior.actor_loss(one(logp), action, advantage, 0.1))
    logits, slow, returns = normal(4, 5, 15), normal(5, 5, 15), 3 * normal(6, 5)
    two_hot = distributions.TwoHot
    right = behavior.critic_loss(two_hot(logits), two_hot(slow), returns, 1.0)
    close(d.critic_loss(logits, slow, returns), right)


def test_the_optimizer_is_the_library_s() -> None:
    changes = dict(learning_rate=1e-2, warmup=3, rms_decay=0.99, decay=4)
    config, c = make_config("catch", **changes), d.Config(**changes)
    params = {"a": normal(0, 4, 3), "b": jnp.zeros(5), "c": 1e-4 * normal(1, 2)}
    mine, theirs = d.make_optimizer(c), optimizer.make_optimizer(config)
    states = [mine.init(params), theirs.init(params)]
    for at in range(6):
        gradient = jax.tree.map(lambda x, at=at: 10.0**at * normal(at, *x.shape), params)
        steps = []
        for i, one in enumerate((mine, theirs)):
            step, states[i] = one.update(gradient, states[i], params)
            steps.append(step)
        close(*steps, atol=1e-7)


def test_windows_of_the_replay_buffer_are_what_was_stored() -> None:
    """Step i of environment w is stored as 100 w + i, in a ring that was written 2.5 times."""
    length, environments, classes = 8, 3, 4
    shape = (length, environments)
    steps = worlds.TimeStep(*(jnp.zeros(shape) for _ in range(5)))
    replay = d.Replay(steps, jnp.zeros((*shape, 1)), jnp.zeros((*shape, 1)),
                      jnp.zeros((*shape, 2), jnp.uint8), jnp.int32(0))  # fmt: skip
    store, choose = jax.jit(d.add), jax.jit(d.sample, static_argnums=(1, 2))
    for i in range(20):
        number = 100.0 * jnp.arange(environments) + i
        state = d.State(
            number[:, None], jax.nn.one_hot(jnp.full((environments, 2), i % 4), classes)
        )
        new = worlds.TimeStep(*(number for _ in range(5)))
        replay = store(replay, new, number[:, None], state)
    seen = set()
    for seed in range(40):
        place, world = choose(replay, 4, 3, jax.random.key(seed))
        batch = d.cut(replay, place, world, classes)
        first = batch.start.deter[:, 0]
        assert (first >= 100 * world + 12).all(), "only what the ring still has"
        close(batch.steps.reward, first + 1 + jnp.arange(3)[:, None])
        close(batch.action[..., 0], first + jnp.arange(3)[:, None], atol=0)
        assert (batch.start.stoch.argmax(-1) == (first % 4)[:, None]).all()
        seen |= set(np.asarray(first).tolist())
    assert seen == {100.0 * w + i for w in range(3) for i in range(12, 17)}, "every window"
    fresh = d.State(jnp.full((3, 4, 1), -1.0), jax.nn.one_hot(jnp.full((3, 4, 2), 3), classes))
    written = d.write_back(replay, place, world, fresh)
    again = d.cut(written, place + 1, world, classes)
    assert (again.start.deter == -1).all() and (again.start.stoch.argmax(-1) == 3).all()
    assert callable(ring.gather)  # the library's own, tested in test_replay


# It runs

TINY = dict(worlds=2, batch=2, length=3, capacity=200, train_ratio=3, deter=8, stoch=2, classes=3,
            hidden=8, units=8, layers=1, bins=15, horizon=3, starts=2)  # fmt: skip


def test_continuous_actions_are_learned_saved_resumed_and_filmed(tmp_path: Path) -> None:
    c, world = d.Config(**(d.PRESETS["pendulum"] | TINY)), worlds.make("pendulum")
    init, advance = d.make_program(c, world)
    run = init(0)
    before = jax.device_get(run.learner.params)
    for _ in range(25):
        run, losses = advance(run, 2)
    assert advance._cache_size() == 1
    assert all(np.isfinite(losses[name]) for name in TRAINED) and losses.keys() == {
        "return",
        *TRAINED,
    }
    moved = jax.tree.map(lambda a, b: (a != b).any(), before, run.learner.params)
    assert all(any(jax.tree.leaves(moved[name])) for name in before)
    assert (jnp.abs(run.action) > 0).any() and run.action.shape == (2, 1)
    d.save(run, tmp_path / "run.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    resumed = d.restore(init(1), tmp_path / "run.npz")
    after, again = advance(run, 2), advance(resumed, 2)  # which takes the old run's memory
    jax.tree.map(np.testing.assert_array_equal, after, again)
    other = d.make_program(d.Config(**(d.PRESETS["pendulum"] | TINY | {"deter": 16})), world)[0]
    with pytest.raises(SystemExit, match="is a run of other hyperparameters"):
        d.restore(other(0), tmp_path / "run.npz")
    d.film(c, world, after[0], tmp_path / "dream.gif", length=20)
    film = Image.open(tmp_path / "dream.gif")
    assert film.n_frames > 10 and film.size[0] == 2 * film.size[1]


def test_the_command_trains_saves_films_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(d.PRESETS, "catch", TINY)
    monkeypatch.setattr(sys, "argv", ["dreamer.py", "--world", "catch", "--minutes", "0.001"])
    counts = []
    for _ in range(2):
        d.main()
        out = capsys.readouterr().out
        counts += [
            int(steps) for steps in re.findall(r"^ *\d+ s, (\d+) steps, .*return", out, re.M)
        ]
        assert "recon" in out and "Saved runs/catch-0/run.npz" in out.replace(os.sep, "/")
    assert counts == sorted(set(counts)) and len(counts) >= 2, "it went on where it was"
    names = {file.name for file in (tmp_path / "runs" / "catch-0").iterdir()}
    assert names == {"run.npz", "dream.gif"}


@pytest.mark.slow
def test_the_command_learns_saves_resumes_after_a_kill_and_films(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for name in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS"):
        environment.pop(name, None)
    command = [sys.executable, str(FILE), "--world", "catch", "--seed", "1", "--minutes"]
    file = tmp_path / "runs" / "catch-1" / "run.npz"
    with subprocess.Popen(
        [*command, "20"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        steps = score = 0.0
        for line in process.stdout or []:
            if news := re.match(r" *\d+ s, (\d+) steps,.* return (\S+),", line):
                steps, score = int(news[1]), float(news[2])
            if score > 0.6 and file.exists():
                break
        process.send_signal(signal.SIGKILL)
    assert score > 0.6, "random play has 0.1"
    done = subprocess.run(
        [*command, "0.2"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    resumed = re.findall(r" *\d+ s, (\d+) steps,.* return (\S+),", done.stdout)
    assert 0 < steps - int(resumed[0][0]) < 0.9 * steps or int(resumed[0][0]) >= steps
    assert all(float(score) > 0.4 for _, score in resumed), "it goes on from what it had learned"
    assert Image.open(file.with_name("dream.gif")).n_frames > 20
    assert done.stderr == ""
