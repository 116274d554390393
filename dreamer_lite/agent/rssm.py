"""The recurrent state-space model (RSSM): a sequential variational autoencoder with two paths.

A state is (deter h, stoch z). Built in notebook 04. Sources: Hafner et al. 2025, "World model
learning"; `RSSM` in the released code (dreamerv3/rssm.py).

    hₜ = f(hₜ₋₁, zₜ₋₁, aₜ₋₁)          deterministic path: a block GRU
    zₜ ~ q(zₜ | hₜ, eₜ)               posterior, while observing
    ẑₜ ~ p(ẑₜ | hₜ)                   prior, while imagining
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu
from dreamer_lite.agent.layers import (
    BlockLinear,
    Layer,
    Linear,
    Mlp,
    Norm,
    Rng,
    apply_each,
    cast,
    join_blocks,
    shared_block_affine,
    split_blocks,
)
from dreamer_lite.agent.transforms import straight_through
from dreamer_lite.config import Config


class State(NamedTuple):
    """What the agent carries from step to step."""

    deter: jax.Array  # (..., D)
    stoch: jax.Array  # (..., S, C) one-hot

    @property
    def feature(self) -> jax.Array:
        """Input of every head, (..., F): deter, then flat stoch."""
        assert self.stoch.shape[:-2] == self.deter.shape[:-1], (self.deter.shape, self.stoch.shape)
        return jnp.concatenate([self.deter, self.stoch.reshape(*self.deter.shape[:-1], -1)], -1)

    def astype(self, dtype: Any) -> "State":
        """In the model's dtype to compute with, in float32 to keep: any device goes on from it."""
        return State(self.deter.astype(dtype), self.stoch.astype(dtype))


def where(condition: jax.Array, yes, no):
    """Choose between two trees of arrays; `condition` has their leading axes."""

    def pick(a, b):
        return jnp.where(
            condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b
        )

    return jax.tree.map(pick, yes, no)


@fewer_launches_on_gpu
def scan_states(step: Callable[..., tuple[Any, Any]], state: Any, inputs: Any) -> tuple[Any, Any]:
    """Scan of step(state, input) -> (next state, output): all next states and outputs, (T, ...)."""

    def once(state, x):
        state, out = step(state, x)
        return state, (state, out)

    return jax.lax.scan(once, state, inputs)[1]


class Rssm(nnx.Module):
    """Block GRU, prior and posterior; `dtype` is that of states and activations."""

    def __init__(
        self,
        embed_size: int,
        action_size: int,
        config: Config,
        rng: Rng,
        dtype: Any = jnp.float32,
    ):
        self.dtype = dtype
        deter, hidden = config.deter, config.hidden
        latents = config.stoch * config.classes
        self.deter_size = deter
        self.latent_shape = (config.stoch, config.classes)
        self.blocks = config.blocks
        self.unimix = config.unimix
        self.from_deter = Layer(deter, hidden, rng)
        self.from_stoch = Layer(latents, hidden, rng)
        self.from_action = Layer(action_size, hidden, rng)
        self.mix = BlockLinear(deter + config.blocks * 3 * hidden, deter, config.blocks, rng)
        self.mix_norm = Norm(deter)
        self.gates = BlockLinear(deter, 3 * deter, config.blocks, rng)
        self.prior_mlp = Mlp(deter, hidden, config.prior_layers, rng)
        self.prior_out = Linear(hidden, latents, rng)
        self.post_mlp = Mlp(deter + embed_size, hidden, config.post_layers, rng)
        self.post_out = Linear(hidden, latents, rng)

    def initial(self, *lead: int) -> State:
        """The state before the first observation: zeros."""
        return State(
            jnp.zeros((*lead, self.deter_size), self.dtype),
            jnp.zeros((*lead, *self.latent_shape), self.dtype),
        )

    def core(self, state: State, action: jax.Array) -> jax.Array:
        """hₜ = f(hₜ₋₁, zₜ₋₁, aₜ₋₁) -> (..., D) (`RSSM._core` in the released code).

        action (..., A) is the embedded previous action; continuous ones are clipped to [-1, 1].
        """
        assert state.stoch.shape[:-2] == state.deter.shape[:-1] == action.shape[:-1]
        action = action / jax.lax.stop_gradient(jnp.maximum(1, jnp.abs(action)))
        action = action.astype(state.deter.dtype)
        stoch = state.stoch.reshape(*state.deter.shape[:-1], -1)
        layers = self.from_deter, self.from_stoch, self.from_action
        shared = apply_each(layers, (state.deter, stoch, action))
        mixed = self.mix_blocks(state.deter, jnp.concatenate(shared, -1))
        return self.gru(state.deter, jax.nn.silu(self.mix_norm(mixed)))

    def mix_blocks(self, deter: jax.Array, shared: jax.Array) -> jax.Array:
        """Block-linear in [own part of deter, shared]; (..., D), (..., 3*hidden) -> (..., D)."""
        kernel, bias = cast(self.mix.kernel, deter), cast(self.mix.bias, deter)
        return shared_block_affine(deter, shared, kernel, bias)

    def gru(self, deter: jax.Array, x: jax.Array) -> jax.Array:
        """h' = u ⊙ tanh(r ⊙ c) + (1 - u) ⊙ h with r = σ(reset), u = σ(update - 1).

        reset, candidate c and update are three parts of each block's output.
        """
        gates = split_blocks(self.gates(x), self.blocks)  # (g, n, 3D/g)
        reset, candidate, update = jnp.split(gates, 3, -1)
        update = jax.nn.sigmoid(update - 1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        old = split_blocks(deter, self.blocks)
        return join_blocks(update * candidate + (1 - update) * old, deter.shape[:-1])

    def prior(self, deter: jax.Array) -> OneHot:
        """p(ẑ | h), without the observation; (..., D) -> OneHot over (..., S, C)."""
        return self.latent(self.prior_out(self.prior_mlp(deter)))

    def posterior(self, deter: jax.Array, embed: jax.Array) -> OneHot:
        """q(z | h, e), given the observation; (..., D), (..., E) -> OneHot over (..., S, C)."""
        return self.latent(self.post_out(self.post_mlp(jnp.concatenate([deter, embed], -1))))

    def latent(self, raw: jax.Array) -> OneHot:
        return OneHot.mix(raw.reshape(*raw.shape[:-1], *self.latent_shape), self.unimix)

    def observe_step(
        self, state: State, embed: jax.Array, action: jax.Array, is_first: jax.Array, u: jax.Array
    ) -> tuple[State, jax.Array]:
        """One posterior step: reset at `is_first`, core, posterior, sample (`RSSM._observe`).

        state (B, ...), embed (B, E), action (B, A), is_first (B,), u (B, S) uniform noise.
        Returns the posterior state and its logits (B, S, C).
        """
        state = where(is_first, self.initial(*is_first.shape), state)
        action = jnp.where(is_first[..., None], 0, action)
        deter = self.core(state, action)
        post = self.posterior(deter, embed)
        stoch = straight_through(post.quantile(u), post.probs).astype(deter.dtype)
        return State(deter, stoch), post.logits

    def observe(
        self, state: State, embed: jax.Array, action: jax.Array, is_first: jax.Array, key: jax.Array
    ) -> tuple[State, OneHot]:
        """Posterior states along a sequence: a scan of `observe_step`. The key is consumed.

        state (B, ...) before the sequence; embed (T, B, E); action (T, B, A), the one *before*
        each embed; is_first (T, B). Returns states (T, B, ...) and posteriors (T, B, S, C).
        """
        assert embed.shape[:-1] == action.shape[:-1] == is_first.shape
        assert state.deter.shape[:-1] == is_first.shape[1:]
        u = jax.random.uniform(key, (*is_first.shape, self.latent_shape[0]))

        inputs = embed, action, is_first, u
        states, logits = scan_states(
            lambda state, inputs: self.observe_step(state, *inputs),
            state.astype(self.dtype),
            inputs,
        )
        return states, OneHot(logits)

    def imagine_step(self, state: State, action: jax.Array, u: jax.Array) -> State:
        """One prior step: core, then z sampled from the prior, open loop (`RSSM.imagine`).

        state (B, ...), action (B, A), u (B, S) uniform noise.
        """
        deter = self.core(state, action)
        return State(deter, self.prior(deter).quantile(u).astype(deter.dtype))
