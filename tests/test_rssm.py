"""The recurrent state-space model: the core, masks, causality, and scans against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import VECTORS

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import Rssm, State, where
from dreamer_lite.config import Config

CONFIG = Config(image_blocks=1, deter=12, hidden=5, stoch=3, classes=4, blocks=2, prior_layers=1)
T, B, A, E = 5, 2, 3, 7
BREAKS = np.zeros((T, B), bool)
BREAKS[3, 0] = True  # the first sequence starts anew at its fourth step


@pytest.fixture(scope="module")
def rssm() -> Rssm:
    return Rssm(E, A, CONFIG, np.random.default_rng(0))


@pytest.fixture(scope="module")
def inputs() -> tuple[State, jax.Array, jax.Array]:
    """A state, embeddings, actions; the actions reach beyond [-1, 1]."""
    rng = np.random.default_rng(1)
    stoch = np.eye(4)[rng.integers(0, 4, (B, 3))]
    state = State(jnp.array(rng.normal(size=(B, 12)), jnp.float32), jnp.array(stoch, jnp.float32))
    embed, action = rng.normal(size=(T, B, E)), 2 * rng.normal(size=(T, B, A))
    return state, jnp.array(embed, jnp.float32), jnp.array(action, jnp.float32)


def test_core_golden() -> None:
    case = VECTORS["core_golden"]
    config = Config(deter=8, hidden=3, stoch=2, classes=2, blocks=2)
    rssm = Rssm(1, 2, config, np.random.default_rng(0))
    inputs = [layer.linear for layer in (rssm.from_deter, rssm.from_stoch, rssm.from_action)]
    for seed, layer in enumerate([*inputs, rssm.mix, rssm.gates], 1):
        count = np.arange(np.prod(layer.kernel.shape))
        layer.kernel[...] = np.float32(0.5 * np.sin(count + seed)).reshape(layer.kernel.shape)
    state = State(jnp.array(case["h"]), jnp.array(case["z_onehot"]))
    action = jnp.array(case["a_raw"])
    np.testing.assert_allclose(rssm.from_deter(state.deter), case["x0"], rtol=1e-5)
    np.testing.assert_allclose(rssm.from_stoch(state.stoch.reshape(4)), case["x1"], rtol=1e-5)
    np.testing.assert_allclose(rssm.from_action(jnp.clip(action, -1, 1)), case["x2"], rtol=1e-5)
    np.testing.assert_allclose(rssm.core(state, action), case["h_next"], rtol=1e-5, atol=1e-6)
    clipped = [rssm.core(state, jnp.array(a)) for a in ([0.5, -1.0], [0.5, -30.0])]
    np.testing.assert_allclose(clipped[0], clipped[1], rtol=1e-6)


def test_action_is_clipped_as_in_the_reference(rssm: Rssm, inputs) -> None:
    seen = {}
    original, rssm.from_action = rssm.from_action, lambda a: seen.update(a=a) or original(a)
    case = VECTORS["action_clip"]
    action = jnp.array(case["in"][:A])
    rssm.core(State(inputs[0].deter[0], inputs[0].stoch[0]), action)
    np.testing.assert_allclose(seen["a"], case["out"][:A])
    rssm.from_action = original


def test_gates() -> None:
    """(reset, candidate, update, h) -> h', and the split into three inside each block."""
    config = Config(image_blocks=1, deter=4, hidden=2, stoch=1, classes=2, blocks=2)
    rssm = Rssm(1, 1, config, np.random.default_rng(0))
    rows = {
        "(r,c,u,h)=(0,0,0,1)": (0, 0, 0, 1),
        "(0,2,1,0.5)": (0, 2, 1, 0.5),
        "(3,-1,4,0.2)": (3, -1, 4, 0.2),
    }
    expected = [VECTORS["gru_gate"][name] for name in rows]
    units = [*rows.values(), (0, 0, 0, 0)]  # the four units of a state: two blocks of two
    blocks = [units[:2], units[2:]]
    gates = [unit[i] for block in blocks for i in range(3) for unit in block]
    rssm.gates = lambda x: jnp.array(gates, jnp.float32)
    deter = rssm.gru(jnp.array([unit[3] for unit in units], jnp.float32), jnp.zeros(4))
    np.testing.assert_allclose(deter, [*expected, 0], rtol=1e-5)
    share = VECTORS["gru_update_at_zero_preact"]
    assert deter[0] == pytest.approx(1 - share, rel=1e-5)


def test_mixing_is_block_linear_over_the_concatenation(rssm: Rssm) -> None:
    rng = np.random.default_rng(2)
    deter, shared = rng.normal(size=(5, 2, 12)), rng.normal(size=(5, 2, 15))
    kernel = np.asarray(rssm.mix.kernel[...])  # (blocks, 6 + 15, 6)
    rssm.mix.bias[...] = np.arange(12, dtype=np.float32)
    parts = [
        np.concatenate([deter[..., 6 * k : 6 * k + 6], shared], -1) @ kernel[k] for k in range(2)
    ]
    expected = np.concatenate(parts, -1) + np.arange(12)
    found = rssm.mix_blocks(jnp.array(deter, jnp.float32), jnp.array(shared, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    blocks = [np.concatenate([deter[..., 6 * k : 6 * k + 6], shared], -1) for k in range(2)]
    naive = rssm.mix(jnp.array(np.concatenate(blocks, -1), jnp.float32))
    np.testing.assert_allclose(naive, expected, rtol=1e-4, atol=1e-5)
    rssm.mix.bias[...] = np.zeros(12, np.float32)


def test_blocks_of_the_state_do_not_see_each_other(rssm: Rssm) -> None:
    shared, x = jnp.ones(15), jnp.array(np.random.default_rng(3).normal(size=12), jnp.float32)
    slopes = [
        jax.jacobian(lambda d: rssm.mix_blocks(d, shared))(x),
        jax.jacobian(lambda y: rssm.gru(x, y))(x),
    ]
    own = np.kron(np.eye(2), np.ones((6, 6)))
    for slope in slopes:
        np.testing.assert_array_equal(np.asarray(slope) != 0, own != 0)


def test_latents_mix_in_one_percent_over_classes(rssm: Rssm, inputs) -> None:
    _, embed, _ = inputs
    state = rssm.initial(B)
    post = rssm.posterior(state.deter, 1e4 * embed[0])
    prior = rssm.prior(state.deter)
    for dist in (post, prior):
        assert dist.logits.shape == (B, 3, 4)
        np.testing.assert_allclose(dist.probs.sum(-1), np.ones((B, 3)), rtol=1e-5)
        assert dist.probs.min() >= 0.01 / 4 * 0.999
    assert (state.deter == 0).all() and (state.stoch == 0).all() and state.feature.shape == (B, 24)


def test_observe_is_a_loop_of_steps(rssm: Rssm, inputs) -> None:
    state, embed, action = inputs
    key = jax.random.key(5)
    states, post = jax.jit(rssm.observe)(state, embed, action, jnp.array(BREAKS), key)
    u = jax.random.uniform(key, (T, B, 3))
    step = jax.jit(rssm.observe_step)
    for t in range(T):
        state, logits = step(state, embed[t], action[t], jnp.array(BREAKS[t]), u[t])
        np.testing.assert_allclose(states.deter[t], state.deter, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(states.stoch[t], state.stoch, atol=1e-6)
        np.testing.assert_allclose(post.logits[t], logits, rtol=1e-4, atol=1e-5)
        drawn = OneHot(logits).quantile(u[t])
        np.testing.assert_allclose(state.stoch, drawn, atol=1e-6)
    assert np.abs(states.deter[0] - states.deter[1]).max() > 0.01


def test_is_first_forgets_state_and_action(rssm: Rssm, inputs) -> None:
    """A masked step equals one from zeros: an all-zero action, not the one-hot of action 0."""
    state, embed, action = inputs
    u = jax.random.uniform(jax.random.key(0), (B, 3))
    step = jax.jit(rssm.observe_step)
    masked, logits = step(state, embed[0], action[0], jnp.array([True, False]), u)
    fresh, fresh_logits = step(
        rssm.initial(B), embed[0], jnp.zeros((B, A)), jnp.array([False, False]), u
    )
    kept, _ = step(state, embed[0], action[0], jnp.array([False, False]), u)
    np.testing.assert_array_equal(masked.deter[0], fresh.deter[0])
    np.testing.assert_array_equal(logits[0], fresh_logits[0])
    np.testing.assert_array_equal(masked.deter[1], kept.deter[1])
    assert np.abs(masked.deter[0] - kept.deter[0]).max() > 1e-3


def test_later_inputs_do_not_reach_earlier_states(rssm: Rssm, inputs) -> None:
    """Slope of step k of sequence 0 in every input: zero after k, and in sequence 1."""
    start, embed, action = inputs

    def deter(k, embed, action, start):
        states, _ = rssm.observe(start, embed, action, jnp.array(BREAKS), jax.random.key(0))
        return states.deter[k, 0].sum()

    slope = jax.jit(jax.grad(deter, (1, 2, 3)))
    # what reaches step k: embeddings before it and actions up to it, since the last break (row 3)
    for k, embeds, actions, from_start in ((2, {0, 1}, {0, 1, 2}, True), (4, {3}, {4}, False)):
        to_embed, to_action, to_start = slope(k, embed, action, start)
        reached = {t for t in range(T) if np.abs(to_embed[t, 0]).max() > 0}
        assert reached == embeds
        assert {t for t in range(T) if np.abs(to_action[t, 0]).max() > 0} == actions
        assert bool((np.abs(to_start.deter[0]) > 0).any()) is from_start
        for tree in (to_embed[:, 1], to_action[:, 1], to_start.deter[1], to_start.stoch[1]):
            np.testing.assert_array_equal(tree, np.zeros(tree.shape))


def test_where_picks_whole_trees() -> None:
    yes, no = {"a": jnp.ones((2, 3)), "b": jnp.ones(2)}, {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2)}
    out = where(jnp.array([True, False]), yes, no)
    np.testing.assert_array_equal(out["a"], [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(out["b"], [1, 0])
