"""The world model: encoder, RSSM, decoder, reward and continue heads, and their loss.

It learns from replayed sequences to reconstruct observations and to predict rewards and
continuation. Built in notebook 05. Sources: Hafner et al. 2025, "World model learning";
`Agent.loss` and `RSSM.loss` in the released code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite.agent.distributions import Bernoulli, OneHot, Pixels, Scalar, outputs_of, scalar
from dreamer_lite.agent.images import map_steps
from dreamer_lite.agent.layers import Head, Rng
from dreamer_lite.agent.networks import Decoder, Encoder, Observation
from dreamer_lite.agent.rssm import Rssm, State
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

sg = jax.lax.stop_gradient


class Batch(NamedTuple):
    """T replayed steps of B sequences, and the state just before them."""

    obs: Observation  # (T, B, ...)
    reward: jax.Array  # (T, B) arrived with obs
    is_first: jax.Array  # (T, B)
    is_last: jax.Array  # (T, B)
    is_terminal: jax.Array  # (T, B)
    previous_action: jax.Array  # (T, B, A) embedded, the action before each obs
    context: State  # (B, ...) stored latents of the step before the first


class WorldModel(nnx.Module):
    """Encoder, RSSM, decoder and heads: predicts the environment, not what to do in it."""

    def __init__(
        self,
        obs_space: dict[str, Space],
        action_size: int,
        config: Config,
        rng: Rng,
        dtype: Any = jnp.float32,
    ):
        feature = config.deter + config.stoch * config.classes
        self.config = config
        self.encoder = Encoder(obs_space, config, rng, dtype)
        self.rssm = Rssm(self.encoder.size, action_size, config, rng, dtype)
        self.decoder = Decoder(obs_space, config, rng)
        outputs = outputs_of(config.scalars, config.bins)
        self.reward_head = Head(feature, config.units, config.reward_layers, outputs, 0.0, rng)
        self.cont_head = Head(feature, config.units, config.cont_layers, 1, 1.0, rng)

    def reward(self, feature: jax.Array) -> Scalar:
        """Reward that arrives with a state; (..., F) -> `Scalar` (...)."""
        return scalar(self.config.scalars, self.reward_head(feature))

    def cont(self, feature: jax.Array) -> Bernoulli:
        """γ times the probability that the episode continues after a state; (..., F) -> (...)."""
        return Bernoulli(self.cont_head(feature)[..., 0])

    def loss(
        self, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array], State, dict[str, jax.Array]]:
        """Unscaled losses of one batch ("World model learning"). The key is consumed.

        L_pred = -ln p(xₜ|hₜ,zₜ) - ln p(rₜ|hₜ,zₜ) - ln p(cₜ|hₜ,zₜ)
        L_dyn  = max(1, KL(sg(q(zₜ|hₜ,eₜ)) ‖ p(zₜ|hₜ)))
        L_rep  = max(1, KL(q(zₜ|hₜ,eₜ) ‖ sg(p(zₜ|hₜ))))

        Returns the reconstruction losses by observation, the other losses by name ("reward",
        "cont", "dyn", "rep"), both (T, B), the posterior states (T, B, ...), and metrics (T, B).
        Apart, so that an observation may have any name.
        """
        lead = batch.reward.shape
        assert len(lead) == 2, "time and batch"
        for x in (batch.is_first, batch.is_last, batch.is_terminal, *batch.obs.values()):
            assert x.shape[:2] == lead, (x.shape, lead)
        obs = self.encoder.arrange(batch.obs)
        embed = self.each_step(self.encoder.embed, obs)
        states, post = self.rssm.observe(
            batch.context, embed, batch.previous_action, batch.is_first, key
        )
        prior = self.rssm.prior(states.deter)
        weights, scale = {}, self.config.moving_scale
        if scale:
            images = {name: obs[name] for name in self.decoder.images}
            weights = {k: moving_weight(x, batch.is_first, scale) for k, x in images.items()}
        recon = self.each_step(self.reconstruction, (states, obs, weights))
        losses = {}
        feature = states.feature
        cont = (1.0 - batch.is_terminal) * self.config.discount
        losses["reward"] = self.reward(feature).loss(batch.reward)
        losses["cont"] = self.cont(feature).loss(cont)
        losses["dyn"] = kl_with_free_nats(OneHot(sg(post.logits)), prior, self.config.free_nats)
        losses["rep"] = kl_with_free_nats(post, OneHot(sg(prior.logits)), self.config.free_nats)
        metrics = {
            "prior_entropy": prior.entropy().sum(-1),
            "post_entropy": post.entropy().sum(-1),
        }
        return recon, losses, states, metrics

    def each_step(self, function: Callable, steps: Any) -> Any:
        """`function` of time steps that it treats apart, all arrays (T, ...)."""
        patches = self.encoder.images and self.config.image_net == "patch"
        return map_steps(function, steps) if patches else function(steps)

    def reconstruction(self, steps: tuple[State, Observation, Observation]) -> dict[str, jax.Array]:
        """-ln p(x | h, z) by name, (...): of states, arranged observations, weights of pixels."""
        states, obs, weights = steps
        found = {}
        for name, prediction in self.decoder.arranged(states.deter, states.stoch).items():
            target = obs[name]
            if isinstance(prediction, OneHot):
                target = jax.nn.one_hot(target, prediction.logits.shape[-1])
            if isinstance(prediction, Pixels):
                loss = prediction.loss(target, weights.get(name, 1.0))
            else:
                loss = prediction.loss(target)
            lead = states.deter.shape[:-1]
            assert loss.shape[: len(lead)] == lead, (loss.shape, lead)
            found[name] = loss.reshape(*lead, -1).sum(-1)
        return found

    def open_loop(self, state: State, actions: jax.Array, key: jax.Array) -> State:
        """Imagine from `state` (B, ...) under given embedded actions (T, B, A), open loop.

        Returns the T imagined states (T, B, ...). The key is consumed.
        """
        u = jax.random.uniform(key, (*actions.shape[:2], self.config.stoch))

        def step(state, inputs):
            state = self.rssm.imagine_step(state, *inputs)
            return state, state

        return jax.lax.scan(step, state.astype(self.rssm.dtype), (actions, u))[1]


def moving_weight(images: jax.Array, is_first: jax.Array, scale: float) -> jax.Array:
    """Weight of each pixel in the image loss: 1, or 1 + scale where the pixel has just changed.

    images (T, B, h, w, c) uint8, in any order of pixels, and is_first (T, B) -> (T, B, h, w, 1). A
    pixel has changed if any of its channels differs from the image one step before in the same
    episode; of the first step of a sequence that is not known. A departure from the paper, whose
    weight is 1 everywhere.
    """
    changed = (images[1:] != images[:-1]).any(-1, keepdims=True)
    changed &= ~is_first[1:, :, None, None, None]
    return 1.0 + scale * jnp.pad(changed, [(1, 0)] + [(0, 0)] * 4).astype(jnp.float32)


def kl_with_free_nats(post: OneHot, prior: OneHot, free_nats: float) -> jax.Array:
    """max(free_nats, Σ over groups of KL(post ‖ prior)); (..., S, C) -> (...).

    Free nats: no gradient where the KL is below. Source: `RSSM.loss` of the released code.
    """
    return jnp.maximum(free_nats, post.kl(prior).sum(-1))
