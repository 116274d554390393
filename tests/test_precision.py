"""Computing in bfloat16: what is rounded, what stays float32, and how near the results are."""

import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_run
from golden_cases import (
    CASES,
    flatten,
    golden_batch,
    golden_config,
    golden_params,
    spaces,
    use_the_mode,
)
from test_devices import A100, CPU, T4

from dreamer_lite import worlds
from dreamer_lite.__main__ import main
from dreamer_lite.agent import devices
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.agent import Agent, PolicyCarry, act, initial_carry, make_agent
from dreamer_lite.agent.behavior import imagine
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.learner import make_learner
from dreamer_lite.agent.rssm import State
from dreamer_lite.evaluation.open_loop import make_dreamer
from dreamer_lite.evaluation.players import make_player
from dreamer_lite.training import loop as training
from dreamer_lite.worlds.base import TimeStep

TAGS = ("vec_discrete", "image_continuous")
KEY = jax.random.key(0)


def types(tree: Any) -> set[Any]:
    return {leaf.dtype.type for leaf in jax.tree.leaves(tree)}


def merged(tag: str, precision: str, params: Any) -> Agent:
    return make_agent(golden_config(tag, precision=precision), *spaces(tag)).merge(params)


@functools.cache
def some_params(tag: str) -> Any:
    return make_agent(golden_config(tag), *spaces(tag)).init(0)


def row_of(tag: str) -> TimeStep:
    batch = golden_batch(tag)
    obs = {key: x[0] for key, x in batch.obs.items()}
    return TimeStep(obs, batch.reward[0], batch.is_first[0], batch.is_last[0], batch.is_terminal[0])


# What is computed in which type


def products(jaxpr: Any) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """(type, shape of the second factor) of every matrix product and convolution."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            left, right = (x.aval for x in eqn.invars)
            assert left.dtype == right.dtype == eqn.outvars[0].aval.dtype
            yield right.dtype.type, right.shape
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def everything(tag: str, precision: str, params: Any) -> dict[str, Any]:
    """All that the networks compute from a batch, by name."""
    agent, batch, space = merged(tag, precision, params), golden_batch(tag), spaces(tag)[1]
    model = agent.model
    embed = model.encoder(batch.obs)
    states, post = model.rssm.observe(
        batch.context, embed, batch.previous_action, batch.is_first, KEY
    )
    feature, start = states.feature, jax.tree.map(lambda x: x[0], states)
    stored = batch.context  # float32
    action, carry = act(agent, initial_carry(agent, space, 2), row_of(tag), space, KEY)
    dream, dreamt_actions = imagine(model, agent.actor, start, 3, KEY)
    return {
        "embed": embed,
        "states": states,
        "feature": feature,
        "dream": dream,
        "dream from stored": imagine(model, agent.actor, stored, 3, KEY)[0],
        "open loop from stored": model.open_loop(stored, batch.previous_action, KEY),
        "post": post,
        "prior": model.rssm.prior(states.deter),
        "decoded": model.decoder(states.deter, states.stoch),
        "reward": model.reward(feature),
        "cont": model.cont(feature),
        "value": agent.critic(feature),
        "policy": agent.actor(feature),
        "losses": model.loss(batch, KEY)[:2],
        "metrics": model.loss(batch, KEY)[3],
        "dreamt actions": dreamt_actions,
        "mind": carry,
        "acted": action.astype(jnp.float32),
    }


# Second factors of products that are always float32: the sums over 4 classes or 3 actions that a
# sample is drawn from, and how `fast_cpu` rearranges a float32 kernel before it is cast.
EXACT = {(4, 4), (3, 3), (3, 2, 2, 5), (3, 2, 5)}
COMPUTED = {"embed", "states", "feature", "dream", "dream from stored", "open loop from stored"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tag", TAGS)
def test_activations_are_rounded_and_what_is_predicted_is_not(tag: str, precision: str) -> None:
    """The scans would refuse a carry that changes its type."""
    compute = functools.partial(everything, tag, precision)
    found = jax.eval_shape(compute, some_params(tag))
    wanted = jnp.dtype(precision).type
    for name, tree in found.items():
        assert types(tree) == {wanted if name in COMPUTED else np.float32}, name
    made = list(products(jax.make_jaxpr(compute)(some_params(tag)).jaxpr))
    assert len(made) > 50
    assert {kind for kind, shape in made if shape not in EXACT} == {wanted}


@pytest.mark.parametrize("tag", TAGS)
def test_losses_returns_and_metrics_are_float32(tag: str) -> None:
    learner = make_learner(golden_config(tag, precision="bfloat16"), *spaces(tag))
    state = learning.init(learner, 0)
    out = jax.eval_shape(
        lambda p: learning.loss(p, learner, state, golden_batch(tag), KEY), state.params
    )
    total, (losses, states, returns, metrics) = out
    assert types((total, losses, returns, metrics)) == {np.float32}
    assert types(states) == {jnp.bfloat16}


def test_a_run_keeps_float32() -> None:
    """So that a run begun on one device can go on on another."""
    exact, rounded = (
        training.make_driver(small_run.config(precision=precision), worlds.make("catch"))
        for precision in ("float32", "bfloat16")
    )
    state = rounded.init(0)
    lived, _ = jax.eval_shape(rounded.advance, state, 1, 2, 1)
    kinds = [[x.dtype for x in jax.tree.leaves(tree)] for tree in (exact.init(0), state, lived)]
    assert kinds[0] == kinds[1] == kinds[2]


# How near it is


def test_one_update_is_near_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    use_the_mode(monkeypatch)
    tag = "vec_discrete"
    learner = make_learner(golden_config(tag, precision="bfloat16"), *spaces(tag))
    before = learning.init(learner, 0)
    params, slow = golden_params(tag, before.params)
    before = before._replace(params=params, slow_critic=slow)
    update = jax.jit(functools.partial(learning.update, learner))
    after, (_, states, _, metrics) = update(before, golden_batch(tag), KEY)
    assert types(states) == {jnp.bfloat16} and types(metrics) == {np.float32}
    assert [x.dtype for x in jax.tree.leaves(after)] == [x.dtype for x in jax.tree.leaves(before)]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))
    ours = {"rew": "reward", "con": "cont", "repval": "replay_value"}
    for name, expected in CASES[tag]["loss_mean"].items():
        found = metrics[f"loss/{ours.get(name, name)}"]
        assert found == pytest.approx(expected, rel=0.05), name
    assert metrics["loss/total"] == pytest.approx(CASES[tag]["total"], rel=0.02)
    assert metrics["grad_norm"] == pytest.approx(CASES[tag]["gradnorm_over_3_updates"][0], rel=0.1)


def test_gradients_are_near_those_in_float32() -> None:
    """Of one waking step on images. The golden weights are sines, too collinear for this."""
    tag = "image_continuous"
    row, context, action = row_of(tag), golden_batch(tag).context, jnp.full((2, 2), 0.3)

    def loss(params: Any, precision: str) -> jax.Array:
        model = merged(tag, precision, params).model
        embed, never = model.encoder(row.obs), jnp.zeros(2, bool)
        start = context.astype(model.rssm.dtype)
        state, logits = model.rssm.observe_step(start, embed, action, never, jnp.full((2, 4), 0.5))
        image = model.decoder(state.deter, state.stoch)["image"].loss(row.obs["image"])
        reward = model.reward(state.feature).loss(jnp.ones(2))
        return (image + reward + OneHot(logits).entropy().sum(-1)).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    exact, rounded = (gradient(some_params(tag), p)["model"] for p in ("float32", "bfloat16"))
    assert types(rounded) == {np.float32}
    for module in ("encoder", "rssm", "decoder", "reward_head"):
        a, b = (np.concatenate([np.ravel(x) for x in flatten(gradients[module]).values()])
                for gradients in (exact, rounded))  # fmt: skip
        norms = np.linalg.norm(a), np.linalg.norm(b)
        assert a @ b > 0.995 * norms[0] * norms[1], module
        assert norms[1] == pytest.approx(norms[0], rel=0.05), module


def test_acting_and_dreaming_are_near_those_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    use_the_mode(monkeypatch)
    tag = "vec_discrete"
    space = spaces(tag)[1]

    @functools.partial(jax.jit, static_argnums=2)
    def live(params: Any, carry: PolicyCarry, precision: str) -> tuple[PolicyCarry, State]:
        agent = merged(tag, precision, params)
        for _ in range(2):
            _, carry = act(agent, carry, row_of(tag), space, KEY)
        actions = jnp.tile(carry.action, (2, 1, 1))
        return carry, agent.model.open_loop(carry.state, actions, KEY)

    blank = initial_carry(merged(tag, "bfloat16", some_params(tag)), space, 2)
    exact, rounded = (live(some_params(tag), blank, p) for p in ("float32", "bfloat16"))
    carry, dream = rounded
    assert types(carry) == {np.float32} and types(dream) == {jnp.bfloat16}
    assert (carry.state.deter == carry.state.deter.astype(jnp.bfloat16)).all()  # nothing was lost
    assert (exact[1].stoch == dream.stoch).all()
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True):
        np.testing.assert_allclose(a, b.astype(jnp.float32), atol=0.02)


# Who decides


def on(monkeypatch: pytest.MonkeyPatch, device: Any) -> None:
    monkeypatch.setattr(devices, "jax", SimpleNamespace(devices=lambda: [device]))


@pytest.mark.parametrize(
    ("device", "dtype"), [(A100, jnp.bfloat16), (T4, jnp.float32), (CPU, jnp.float32)]
)
def test_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch, device: Any, dtype: Any) -> None:
    on(monkeypatch, device)
    model = merged("vec_discrete", "auto", some_params("vec_discrete")).model
    assert model.rssm.dtype == model.encoder.dtype == dtype


def test_bfloat16_is_refused_on_a_t4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Any
) -> None:
    on(monkeypatch, T4)
    words = ["train", *small_run.FLAGS, "--updates", "1", "--run", str(tmp_path / "run")]
    assert main([*words, "--set", "precision=bfloat16"]) == 2
    error = capsys.readouterr().err
    assert "Tesla T4 (compute capability 7.5) has no units for it: choose float32 or auto." in error
    assert error.count("\n") == 1 and not list(tmp_path.rglob("00*"))
    assert main([*words, "--set", "precision=half"]) == 2
    assert "valid are auto, float32, bfloat16." in capsys.readouterr().err


def test_films_of_dreams_are_float32() -> None:
    """What is decoded and measured, from a trace of the agent's play."""
    config, world = small_run.config(precision="bfloat16"), worlds.make("catch")
    params = make_agent(config, world.obs_space, world.action_space).init(0)
    player, dreamer = make_player(config, world), make_dreamer(config, world)

    def film(params: Any) -> Any:
        _, trace = player.play(params, player.start(params, 0, 2), 6)
        moments = jnp.array([1, 2]), jnp.array([0, 1])
        valid = jnp.ones((3, 2), bool)
        measured = dreamer.measure(params, trace, *moments, valid, KEY)
        return trace.state, measured, dreamer.film(params, trace, *moments, KEY)[3:]

    assert types(jax.eval_shape(film, params)) == {np.float32}
