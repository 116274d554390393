"""The world model's losses, its dreams with eyes closed, and what each target is."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden_cases import VECTORS

from dreamer_lite.agent import world_model
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch, WorldModel, kl_with_free_nats, moving_weight
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

CONFIG = Config(
    deter=6, hidden=5, stoch=3, classes=4, blocks=2, units=7, bins=15, depth=2, multipliers=(2,),
    image_blocks=2, kernel=3, encoder_layers=1, decoder_layers=1, prior_layers=1,
)  # fmt: skip
T, B, A = 3, 2, 2


def make_batch(spaces: dict[str, Space], steps: int = T, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)

    def observe(space: Space) -> jax.Array:
        high = 256 if space.is_image else space.classes
        shape = (steps, B, *space.shape)
        x = rng.integers(0, high, shape) if high else rng.normal(size=shape)
        return jnp.array(x, space.dtype)

    never = jnp.zeros((steps, B), bool)
    terminal = never.at[1, 1].set(True)
    stoch = jnp.array(np.eye(4)[rng.integers(0, 4, (B, 3))], jnp.float32)
    return Batch(
        obs={key: observe(space) for key, space in spaces.items()},
        reward=jnp.array(rng.normal(size=(steps, B)), jnp.float32),
        is_first=never.at[2, 1].set(True),
        is_last=terminal,
        is_terminal=terminal,
        previous_action=jnp.array(rng.normal(size=(steps, B, A)), jnp.float32),
        context=State(jnp.array(rng.normal(size=(B, 6)), jnp.float32), stoch),
    )


SPACES = {
    "v": Space((5,), "float32"),
    "s": Space((), "float32"),
    "d": Space((), "int32", 3),
    "e": Space((2,), "int32", 4),
    "i": Space((6, 10, 3), "uint8"),
    "j": Space((6, 10, 1), "uint8"),
}


@pytest.mark.parametrize("image_net", ["conv", "dense"])
def test_every_kind_of_observation_has_a_loss_per_step(image_net: str) -> None:
    config = Config(**(CONFIG.__dict__ | {"image_net": image_net}))
    model = WorldModel(SPACES, A, config, np.random.default_rng(0))
    recon, losses, states, metrics = jax.eval_shape(
        model.loss, make_batch(SPACES), jax.random.key(0)
    )
    assert recon.keys() == SPACES.keys() and losses.keys() == {"reward", "cont", "dyn", "rep"}
    losses |= recon
    assert all(x.shape == (T, B) and x.dtype == jnp.float32 for x in losses.values())
    assert states.deter.shape == (T, B, 6) and states.stoch.shape == (T, B, 3, 4)
    assert all(x.shape == (T, B) for x in metrics.values())


@pytest.fixture(scope="module")
def explained():
    """A model, a batch, and what its loss says about it."""
    spaces = {"v": SPACES["v"], "d": SPACES["d"]}
    model = WorldModel(spaces, A, CONFIG, np.random.default_rng(0))
    batch = make_batch(spaces)
    recon, losses, states, metrics = jax.jit(model.loss)(batch, jax.random.key(1))
    return model, batch, (recon | losses, states, metrics)


def test_losses_are_those_of_the_heads(explained) -> None:
    model, batch, (losses, states, _) = explained
    guesses = model.decoder(states.deter, states.stoch)
    np.testing.assert_allclose(losses["v"], guesses["v"].loss(batch.obs["v"]).sum(-1), rtol=1e-4)
    probs = np.asarray(guesses["d"].probs)
    chosen = np.take_along_axis(probs, np.asarray(batch.obs["d"])[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses["d"], -np.log(chosen), rtol=1e-4)
    np.testing.assert_allclose(losses["reward"], math.log(15), rtol=1e-5)  # output starts at zero
    assert (np.asarray(model.reward(states.feature).mean()) == 0).all()
    logit = np.asarray(model.cont(states.feature).logits, float)
    target = VECTORS["gamma"] * (1 - np.asarray(batch.is_terminal))
    p = 1 / (1 + np.exp(-logit))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    np.testing.assert_allclose(losses["cont"], expected, rtol=1e-4)


def test_kl_compares_the_posterior_with_the_prior_of_the_same_state(explained) -> None:
    model, batch, (losses, states, metrics) = explained
    embed = model.encoder(batch.obs)
    post, prior = model.rssm.posterior(states.deter, embed), model.rssm.prior(states.deter)
    expected = np.maximum(1.0, np.asarray(post.kl(prior)).sum(-1))
    np.testing.assert_allclose(losses["dyn"], expected, rtol=1e-4)
    np.testing.assert_array_equal(losses["dyn"], losses["rep"])
    for name, dist in (("post_entropy", post), ("prior_entropy", prior)):
        np.testing.assert_allclose(metrics[name], dist.entropy().sum(-1), rtol=1e-4)


@pytest.mark.parametrize("name", ["kl_small", "kl_large"])
def test_free_nats_apply_to_the_sum_over_groups(name: str) -> None:
    case = VECTORS[name]
    post, prior = (OneHot.mix(jnp.array(case[side]), 0.01) for side in ("post", "prior"))
    np.testing.assert_allclose(post.kl(prior), case["per_latent"], rtol=1e-4, atol=1e-6)
    for nats, key in ((0.0, "sum"), (1.0, "after_free_nats_1")):
        assert kl_with_free_nats(post, prior, nats) == pytest.approx(case[key], rel=1e-4)


def test_open_loop_is_a_loop_of_dreamt_steps(explained) -> None:
    model, batch, (_, states, _) = explained
    state = State(states.deter[-1], states.stoch[-1])
    key = jax.random.key(7)
    actions = jnp.array(np.random.default_rng(4).normal(size=(4, B, A)), jnp.float32)
    dream = jax.jit(model.open_loop)(state, actions, key)
    u = jax.random.uniform(key, (4, B, 3))
    step = jax.jit(model.rssm.imagine_step)
    for t in range(4):
        state = step(state, actions[t], u[t])
        np.testing.assert_allclose(dream.deter[t], state.deter, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(dream.stoch[t], state.stoch)
        prior = model.rssm.prior(state.deter)
        np.testing.assert_array_equal(state.stoch, prior.quantile(u[t]))


@pytest.mark.parametrize("net", ["patch", "conv", "dense"])
def test_steps_with_patches_are_computed_one_after_another(net: str, monkeypatch) -> None:
    """On a CPU: for networks of patches only, and with the same losses and gradients."""
    kernel = 2 if net == "patch" else 3
    changes = dict(image_net=net, kernel=kernel, moving_scale=0 if net == "dense" else 5.0)
    config = Config(**(CONFIG.__dict__ | changes))
    batch = make_batch(SPACES)
    graph, params = nnx.split(WorldModel(SPACES, A, config, np.random.default_rng(0)))

    def total(params):
        recon, losses, _, _ = nnx.merge(graph, params).loss(batch, jax.random.key(0))
        return sum(x.sum() for x in jax.tree.leaves((recon, losses))), recon

    calls = []

    def as_before(function, steps):
        calls.append(steps)
        return function(steps)

    found = jax.value_and_grad(total, has_aux=True)(params)
    monkeypatch.setattr(world_model, "map_steps", as_before)
    expected = jax.value_and_grad(total, has_aux=True)(params)
    assert len(calls) == (2 if net == "patch" else 0)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_pixels_that_have_just_changed_weigh_more() -> None:
    """Within an episode and a sequence, in any channel; without the scale the weight is 1."""
    images = np.zeros((3, 2, 2, 2, 3), np.uint8)
    images[1:, 0, 1, 0, 2] = 9  # appears in step 1 of sequence 0 and stays
    images[2, 1, 0, 1] = 7  # appears in step 2 of sequence 1, whose episode begins there
    first = np.array([[0, 0], [0, 0], [0, 1]], bool)
    expected = np.ones((3, 2, 2, 2, 1), np.float32)
    expected[1, 0, 1, 0] = 5
    found = moving_weight(jnp.array(images), jnp.array(first), 4.0)
    np.testing.assert_array_equal(found, expected)
    assert (moving_weight(jnp.array(images), jnp.array(first), 0.0) == 1).all()


def test_a_moving_pixel_costs_its_weight() -> None:
    """The image loss grows by scale x squared error of what changed, and by nothing else."""
    spaces = {"image": Space((16, 16, 1), "uint8")}
    batch = make_batch(spaces)
    still = batch.obs["image"][:1].repeat(T, 0)
    moved = still.at[1, :, 3, 4].add(100)  # two steps see a change: there, and back
    recons = []
    for scale in (0.0, 10.0):
        config = Config(**(CONFIG.__dict__ | {"moving_scale": scale}))
        model = WorldModel(spaces, A, config, np.random.default_rng(0))
        given = batch._replace(obs={"image": moved}, is_first=jnp.zeros((T, B), bool))
        recon, _, states, _ = model.loss(given, jax.random.key(0))
        recons.append(recon["image"])
    error = (model.decoder(states.deter, states.stoch)["image"].mean() - moved / 255) ** 2
    expected = np.zeros((T, B))
    for t in (1, 2):
        expected[t] = 10 * error[t, :, 3, 4, 0]
    np.testing.assert_allclose(recons[1] - recons[0], expected, rtol=1e-3, atol=1e-4)
