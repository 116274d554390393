"""DreamerV3 in one file: an agent that learns a world model, and learns to act inside it.

    python dreamer.py --world minatar/breakout --minutes 5

Three things are learned at once, from one replay buffer of collected time steps:
  world model   encoder, RSSM, decoder, reward and continue heads: predicts what comes next;
  critic        predicts the return of imagined trajectories;
  actor         chooses actions that make imagined returns higher than the critic predicted.

Observations are vectors or small grids, actions discrete or continuous. Environments come from
`dreamer_lite`; everything else is here. Numbers in brackets are the notebooks that build a part.
Source: Hafner et al., "Mastering diverse control tasks through world models", Nature 640 (2025),
arXiv:2301.04104, and the code released with it, github.com/danijar/dreamerv3 (MIT licence).
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from PIL import Image

from dreamer_lite import worlds

sg = jax.lax.stop_gradient


# Hyperparameters. With these an agent learns on small grids, on two CPU cores, in minutes.
DEFAULTS = dict(
    # worlds: W parallel environments. batch, length: B sequences of T time steps. capacity: time
    # steps in the replay buffer. train_ratio: replayed time steps per collected one.
    worlds=128, batch=64, length=8, capacity=100_000, train_ratio=4,
    # deter: D. stoch, classes: S groups of C classes. blocks: of the GRU. hidden: units inside the
    # RSSM. units: of all other MLPs. layers: of encoder, decoder, actor and critic; other heads
    # have one. bins: K two-hot bins.
    deter=128, stoch=8, classes=8, blocks=1, hidden=64, units=64, layers=2, bins=63,
    # free_nats: paper 1. recon: weight of the reconstruction loss, paper 1. horizon: H, paper 15.
    # starts: imagine from so many last time steps of a sequence; 0 is all, as in the paper.
    # discount: paper 1 - 1 / 333. lam: of the lambda-returns. entropy: paper 3e-4.
    free_nats=0.1, recon=1.0, horizon=10, starts=2, discount=1 - 1 / 100, lam=0.95, entropy=1e-2,
    # learning_rate: paper 4e-5. warmup: updates in which it rises. decay: updates in which it falls
    # to 0.7; 0 is never, as in the paper. rms_decay: the released code has 0.999. unimix: of the
    # latents, paper 0.01 (with 32 groups of 64 classes).
    learning_rate=3e-3, warmup=100, decay=1000, rms_decay=0.99, unimix=0.003, policy_unimix=0.01,
)  # fmt: skip
Config = dataclasses.make_dataclass("Config", DEFAULTS, namespace=DEFAULTS, frozen=True)

CONTROL = dict(worlds=16, batch=16, length=16, starts=8, horizon=15, train_ratio=16, recon=10.0,
               entropy=3e-4, learning_rate=2e-3, decay=300)  # fmt: skip
PRESETS = {"minatar/breakout": {}, "catch": dict(entropy=0.1), "pendulum": CONTROL}


class State(NamedTuple):
    """The latent state of the RSSM."""

    deter: jax.Array  # h (..., D) deterministic
    stoch: jax.Array  # z (..., S, C) stochastic, one-hot


class Batch(NamedTuple):
    """B sequences of T time steps, time first, and the state before them."""

    steps: Any  # worlds.TimeStep (T, B, ...): obs, reward, is_first, is_last, is_terminal
    action: jax.Array  # (T, B, A) the action *before* each observation
    start: State  # (B, ...)


# ---- [02] Resets, and a replay buffer: a ring of time steps for each of W environments -------


class Replay(NamedTuple):
    """Time step i of every environment lies at place i % L of the ring."""

    steps: Any  # worlds.TimeStep (L, W, ...)
    action: jax.Array  # (L, W, A) chosen after the observation
    deter: jax.Array  # (L, W, D) the state inferred from it
    stoch: jax.Array  # (L, W, S) the classes of it
    added: jax.Array  # () int32, time steps ever added


# [02] mask_reset
def mask_reset(state: State, action: jax.Array, is_first: jax.Array) -> tuple[State, jax.Array]:
    """Set state and previous action to zero where an episode begins.

    state: `deter` (B, D) and `stoch` (B, S, C), of the time step before
    action: (B, A) the embedded action of the time step before
    is_first: (B,) bool, whether the present time step begins an episode
    Returns the new state and the new action, of the same shapes.
    """
    keep = 1.0 - is_first[:, None]
    stoch = state.stoch * keep[..., None]
    return State(state.deter * keep, stoch), action * keep


# [02] add
def add(replay: Replay, steps: Any, action: jax.Array, state: State) -> Replay:
    """Store one time step of all W environments.

    replay: the ring; L is `replay.action.shape[0]`, and `replay.added` time steps were added so far
    steps: a worlds.TimeStep of arrays (W, ...)
    action: (W, A) chosen after the observation
    state: `deter` (W, D) and `stoch` (W, S, C) one-hot; of `stoch` the classes (W, S) are stored
    Returns the new ring, with `added` one higher.
    """
    place = replay.added % replay.action.shape[0]
    return Replay(
        steps=jax.tree.map(lambda ring, new: ring.at[place].set(new), replay.steps, steps),
        action=replay.action.at[place].set(action),
        deter=replay.deter.at[place].set(state.deter),
        stoch=replay.stoch.at[place].set(state.stoch.argmax(-1).astype(jnp.uint8)),
        added=replay.added + 1,
    )


# [02] sample
def sample(replay: Replay, batch: int, length: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Choose B = `batch` windows of T + 1 = `length` + 1 time steps, uniformly and independently.

    replay: the ring; L and W are `replay.action.shape[:2]`. It holds at least one window.
    key: a random key; it is consumed
    Returns places (T+1, B) int32 in the ring, from 0 to L - 1, and environments (B,) int32.
    """
    capacity, worlds = replay.action.shape[:2]
    start_key, world_key = jax.random.split(key)
    oldest = jnp.maximum(0, replay.added - capacity)
    newest = replay.added - (length + 1)
    start = jax.random.randint(start_key, (batch,), oldest, newest + 1)
    world = jax.random.randint(world_key, (batch,), 0, worlds)
    return (start + jnp.arange(length + 1)[:, None]) % capacity, world


# [02] cut
def cut(replay: Replay, place: jax.Array, world: jax.Array, classes: int) -> Batch:
    """Cut windows out of the ring. Their first time step gives the start and the first action.

    place: (T+1, B) places of the windows' time steps
    world: (B,) the environment of each window
    classes: C, the length of the one-hot vectors
    Returns a Batch of T time steps.
    """
    steps = jax.tree.map(lambda ring: ring[place[1:], world], replay.steps)
    action = replay.action[place[:-1], world]
    stoch = jax.nn.one_hot(replay.stoch[place[0], world], classes)
    return Batch(steps, action, State(replay.deter[place[0], world], stoch))


# [02] write_back
def write_back(replay: Replay, place: jax.Array, world: jax.Array, states: State) -> Replay:
    """Replace stored states by those that the present world model infers.

    place: (T+1, B) places of the windows' time steps
    world: (B,) the environment of each window
    states: `deter` (T, B, D) and `stoch` (T, B, S, C), of the time steps 1 to T of the windows
    Returns the ring with these states; all else is as it was.
    """
    stoch = states.stoch.argmax(-1).astype(jnp.uint8)
    index = place[1:], world
    return replay._replace(
        deter=replay.deter.at[index].set(states.deter), stoch=replay.stoch.at[index].set(stoch)
    )


# ---- [03] Predicting anything: numbers of any magnitude, and categorical variables -----------


# [03] symlog
def symlog(x: jax.Array) -> jax.Array:
    """sign(x) ln(1 + |x|): compress magnitudes, keep the sign. x (...) -> (...)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


# [03] symexp
def symexp(x: jax.Array) -> jax.Array:
    """sign(x) (exp(|x|) - 1), the inverse of symlog. x (...) -> (...)."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


# [03] make_bins
def make_bins(count: int) -> jax.Array:
    """Values (K,) of the K = `count` bins: symexp of a grid from -20 to 20, symmetric."""
    half = symexp(jnp.linspace(-20, 0, (count + 1) // 2))
    return jnp.concatenate([half, -half[::-1][count % 2 :]])


# [03] two_hot
def two_hot(y: jax.Array, bins: jax.Array) -> jax.Array:
    """Weights (..., K) on the two bins around y (...), such that weights @ bins = y.

    `bins` (K,) increase. A y beyond the ends is moved to the end bin.
    """
    y = jnp.clip(y, bins[0], bins[-1])[..., None]
    above = jnp.clip(jnp.sum(bins <= y, -1, keepdims=True), 1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    weight = (y - low) / (high - low)
    index = jnp.arange(len(bins))
    return jnp.where(index == above, weight, 0) + jnp.where(index == above - 1, 1 - weight, 0)


# [03] two_hot_loss
def two_hot_loss(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross entropy (...) between the code of y (...), a constant, and softmax(logits) (..., K)."""
    code = two_hot(sg(y), make_bins(logits.shape[-1]))
    return -jnp.sum(code * jax.nn.log_softmax(logits), -1)


# [03] two_hot_mean
def two_hot_mean(logits: jax.Array) -> jax.Array:
    """Expected bin value (...) of softmax(logits) (..., K), summed in pairs of mirrored bins."""
    bins, probs = make_bins(logits.shape[-1]), jax.nn.softmax(logits)
    half = len(bins) // 2
    upper, mirrored = probs[..., -half:], probs[..., :half][..., ::-1]
    return jnp.sum((upper - mirrored) * bins[-half:], -1)


# [03] unimix
def unimix(logits: jax.Array, fraction: float) -> jax.Array:
    """Log-probabilities (..., C) of softmax(logits) with a fraction of the uniform distribution."""
    probs = (1 - fraction) * jax.nn.softmax(logits) + fraction / logits.shape[-1]
    return jnp.log(probs)


# [03] sample_onehot
def sample_onehot(logp: jax.Array, u: jax.Array) -> jax.Array:
    """One-hot samples (..., C) from log-probabilities (..., C), by uniform noise u (...) in [0, 1).

    The straight-through estimator passes the gradient on as if the sample were the probabilities.
    """
    probs = jnp.exp(logp)
    index = jnp.sum(jnp.cumsum(sg(probs), -1)[..., :-1] <= u[..., None], -1)
    onehot = jax.nn.one_hot(index, logp.shape[-1])
    return onehot + (probs - sg(probs))


# [03] binary_cross_entropy
def binary_cross_entropy(logit: jax.Array, target: jax.Array) -> jax.Array:
    """-(y ln p + (1 - y) ln(1 - p)) with p = sigmoid(logit); the target y (...) may be soft."""
    return jax.nn.softplus(logit) - logit * target


class Categorical(NamedTuple):
    """A distribution over one-hot vectors (..., C)."""

    logp: jax.Array  # (..., C) log-probabilities

    def sample(self, key):
        return sg(sample_onehot(self.logp, jax.random.uniform(key, self.logp.shape[:-1])))

    # [03] Categorical.log_prob
    def log_prob(self, onehot: jax.Array) -> jax.Array:
        """ln p (...) of one-hot values (..., C); self.logp (..., C)."""
        return jnp.sum(onehot * self.logp, -1)

    # [03] Categorical.entropy
    def entropy(self) -> jax.Array:
        """Entropy (...) in nats; self.logp (..., C)."""
        return -jnp.sum(jnp.exp(self.logp) * self.logp, -1)


# ---- [03] Layers -----------------------------------------------------------------------------


def repeat(row: jax.Array, x: jax.Array) -> jax.Array:
    """`row` (n,) for each vector of x, by a product: CPUs compute its gradient faster."""
    ones = np.ones((math.prod(x.shape[:-1]), 1), np.float32)
    return (ones @ row[None]).reshape(*x.shape[:-1], -1)


class Linear(nnx.Module):
    """y = x W + b, in g blocks that do not see each other; (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs, outputs, rng, scale=1.0, bias=0.0, blocks=1):
        shape = (blocks, inputs // blocks, outputs // blocks)
        draws = rng.standard_normal(shape, np.float32)
        while (outside := np.abs(draws) > 2).any():  # truncated at two standard deviations
            draws[outside] = rng.standard_normal(outside.sum(), np.float32)
        kernel = draws * np.float32(1.1368 * scale / math.sqrt(inputs))
        self.kernel = nnx.Param(kernel if blocks > 1 else kernel[0])
        self.bias = nnx.Param(np.full(outputs, bias, np.float32))

    # [03] Linear.forward
    def forward(self, x: jax.Array) -> jax.Array:
        """x W + b; x (..., inputs) -> (..., outputs).

        self.kernel is (i, o), or (g, i, o): one matrix for each of g equal parts of x.
        """
        bias = repeat(self.bias[...], x)
        if self.kernel.ndim == 2:
            return x @ self.kernel[...] + bias
        pieces = x.reshape(*x.shape[:-1], self.kernel.shape[0], -1)
        outputs = jnp.einsum("...gi,gio->...go", pieces, self.kernel[...])
        return outputs.reshape(*x.shape[:-1], -1) + bias

    __call__ = forward


class Norm(nnx.Module):
    """RMSNorm: divide by the root mean square over the last axis, then scale."""

    def __init__(self, size):
        self.scale = nnx.Param(np.ones(size, np.float32))

    # [03] Norm.normalize
    def normalize(self, x: jax.Array) -> jax.Array:
        """x / sqrt(mean(x^2) + 0.0001) times self.scale (n,); x (..., n), mean over its last axis."""
        inverse = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-4)
        return x * inverse * repeat(self.scale[...], x)

    __call__ = normalize


class Mlp(nnx.Module):
    """Layers of linear map, RMSNorm and SiLU; with `outputs`, a linear map at the end."""

    def __init__(self, inputs, units, layers, rng, outputs=0, scale=1.0, bias=0.0):
        sizes = [inputs] + [units] * layers
        self.linears = nnx.data([Linear(a, b, rng) for a, b in itertools.pairwise(sizes)])
        self.norms = nnx.data([Norm(units) for _ in range(layers)])
        self.out = Linear(units, outputs, rng, scale, bias) if outputs else None

    # [03] Mlp.forward
    def forward(self, x: jax.Array) -> jax.Array:
        """x (..., inputs) through all layers, then `self.out`, unless it is None."""
        for linear, norm in zip(self.linears, self.norms):
            x = jax.nn.silu(norm.normalize(linear(x)))
        return x if self.out is None else self.out(x)

    __call__ = forward


# ---- [04] The recurrent state-space model ----------------------------------------------------


# [04] feature
def feature(state: State) -> jax.Array:
    """The input of every head: h, then z written flat.

    state: deter (..., D) and stoch (..., S, C). Returns (..., D + S C).
    """
    flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
    return jnp.concatenate([state.deter, flat], -1)


class RSSM(nnx.Module):
    """A sequential variational autoencoder with a deterministic and a stochastic path.

    h_t = f(h_t-1, z_t-1, a_t-1);  posterior z_t ~ q(z | h_t, e_t);  prior z_t ~ p(z | h_t).
    """

    def __init__(self, c: Config, embed: int, actions: int, rng):
        self.c = c
        self.build(c, embed, actions, rng)

    # [04] RSSM.build
    def build(self, c: Config, embed: int, actions: int, rng) -> None:
        """Make the eight layers of the model as attributes of self.

        c: hyperparameters. embed, actions: the lengths E and A. rng: a NumPy generator.
        """
        latents = c.stoch * c.classes
        self.from_deter = Mlp(c.deter, c.hidden, 1, rng)
        self.from_stoch = Mlp(latents, c.hidden, 1, rng)
        self.from_action = Mlp(actions, c.hidden, 1, rng)
        self.mix = Linear(c.deter + c.blocks * 3 * c.hidden, c.deter, rng, blocks=c.blocks)
        self.mix_norm = Norm(c.deter)
        self.gates = Linear(c.deter, 3 * c.deter, rng, blocks=c.blocks)
        self.prior_net = Mlp(c.deter, c.hidden, 2, rng, latents)
        self.post_net = Mlp(c.deter + embed, c.hidden, 1, rng, latents)

    # [04] RSSM.initial
    def initial(self, *lead: int) -> State:
        """The state before the first observation: zeros.

        self: the RSSM, with self.c.deter (D), self.c.stoch (S) and self.c.classes (C).
        lead: the leading axes. Returns a State with deter (*lead, D) and stoch (*lead, S, C).
        """
        deter = jnp.zeros((*lead, self.c.deter))
        return State(deter, jnp.zeros((*lead, self.c.stoch, self.c.classes)))

    # [04] RSSM.split_gates
    def split_gates(self, gates: jax.Array) -> tuple[jax.Array, ...]:
        """Cut the output of self.gates into reset, candidate and update.

        self: the RSSM; g is self.c.blocks. gates: (..., 3 D), block after block.
        Returns three arrays (..., D).
        """
        lead = gates.shape[:-1]
        pieces = gates.reshape(*lead, self.c.blocks, 3, -1)
        return tuple(pieces[..., i, :].reshape(*lead, -1) for i in range(3))

    # [04] RSSM.gru
    def gru(self, deter: jax.Array, x: jax.Array) -> jax.Array:
        """The gates of the recurrent cell.

        self: the RSSM, with self.gates and self.split_gates. deter: the old h (..., D).
        x: the input of the cell (..., D). Returns the new h (..., D).
        """
        reset, candidate, update = self.split_gates(self.gates(x))
        update = jax.nn.sigmoid(update - 1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        return update * candidate + (1 - update) * deter

    # [04] RSSM.join_blocks
    def join_blocks(self, deter: jax.Array, shared: jax.Array) -> jax.Array:
        """Give each of g blocks its part of h and all of `shared`.

        self: the RSSM; g is self.c.blocks. deter: h (..., D). shared: (..., n).
        Returns (..., D + g n): part of block 1, shared, part of block 2, shared, and so on.
        """
        lead = deter.shape[:-1]
        own = deter.reshape(*lead, self.c.blocks, -1)
        shared = jnp.broadcast_to(shared[..., None, :], (*own.shape[:-1], shared.shape[-1]))
        return jnp.concatenate([own, shared], -1).reshape(*lead, -1)

    # [04] RSSM.core
    def core(self, state: State, action: jax.Array) -> jax.Array:
        """h_t = f(h_t-1, z_t-1, a_t-1).

        self: the RSSM with its layers. state: the State before, deter (..., D) and stoch (..., S, C).
        action: the action before (..., A), one-hot or in [-1, 1]. Returns the new h (..., D).
        """
        action = action / sg(jnp.maximum(1, jnp.abs(action)))
        stoch = state.stoch.reshape(*state.deter.shape[:-1], -1)
        shared = jnp.concatenate(
            [self.from_deter(state.deter), self.from_stoch(stoch), self.from_action(action)], -1
        )
        x = self.mix(self.join_blocks(state.deter, shared))
        x = jax.nn.silu(self.mix_norm.normalize(x))
        return self.gru(state.deter, x)

    # [04] RSSM.prior
    def prior(self, deter: jax.Array) -> jax.Array:
        """p(z | h), the prediction of z without the observation.

        self: the RSSM, with self.prior_net and self.c.unimix. deter: h (..., D).
        Returns log-probabilities (..., S, C), which sum to 1 (as probabilities) in each group.
        """
        logits = self.prior_net(deter).reshape(*deter.shape[:-1], self.c.stoch, self.c.classes)
        return unimix(logits, self.c.unimix)

    # [04] RSSM.posterior
    def posterior(self, deter: jax.Array, embed: jax.Array) -> jax.Array:
        """q(z | h, e), the distribution of z given the observation.

        self: the RSSM, with self.post_net and self.c.unimix. deter: h (..., D).
        embed: the embedded observation (..., E). Returns log-probabilities (..., S, C).
        """
        logits = self.post_net(jnp.concatenate([deter, embed], -1))
        logits = logits.reshape(*deter.shape[:-1], self.c.stoch, self.c.classes)
        return unimix(logits, self.c.unimix)

    # [04] RSSM.observe_step
    def observe_step(self, state: State, embed, action, is_first, u) -> tuple[State, jax.Array]:
        """One step with an observation, for B sequences.

        self: the RSSM. state: the State before, (B, ...). embed: the observation's embedding (B, E).
        action: the action before the observation (B, A). is_first: (B,) bool, an episode begins.
        u: uniform noise (B, S). Returns (new State, log-probabilities of the posterior (B, S, C)).
        """
        state, action = mask_reset(state, action, is_first)
        deter = self.core(state, action)
        post = self.posterior(deter, embed)
        return State(deter, sample_onehot(post, u)), post

    # [04] RSSM.imagine_step
    def imagine_step(self, state: State, action: jax.Array, u: jax.Array) -> State:
        """One step without an observation: z is sampled from the prior.

        self: the RSSM. state: the State before, (B, ...). action: (B, A) the action taken there.
        u: uniform noise (B, S). Returns the new State; its stoch has no gradient.
        """
        deter = self.core(state, action)
        return State(deter, sg(sample_onehot(self.prior(deter), u)))

    # [04] RSSM.observe
    def observe(self, start: State, embed, action, is_first, key) -> tuple[State, jax.Array]:
        """States and posteriors along B sequences of T steps.

        self: the RSSM. start: the State before the first step, (B, ...). embed: (T, B, E).
        action: (T, B, A), each the action *before* its observation. is_first: (T, B) bool.
        key: for the noise. Returns States (T, B, ...) and log-probabilities (T, B, S, C).
        """
        u = jax.random.uniform(key, (*is_first.shape, self.c.stoch))

        def step(state, inputs):
            state, post = self.observe_step(state, *inputs)
            return state, (state, post)

        return jax.lax.scan(step, start, (embed, action, is_first, u))[1]


# ---- [05] The world model --------------------------------------------------------------------


class Encoder(nnx.Module):
    """An observation to its embedding e (..., units)."""

    def __init__(self, c: Config, obs_space: dict, rng):
        self.spaces = obs_space
        self.build(c, rng)

    # [05] Encoder.build
    def build(self, c: Config, rng) -> None:
        """Make `self.mlp`, the network from a flat observation to the embedding.

        self.spaces: {name: Space}, the observation's parts; `space.size` counts the numbers of one.
        c: hyperparameters; c.units is the width, c.layers the number of hidden layers.
        rng: random numbers for `Mlp`.
        """
        inputs = sum(space.size for space in self.spaces.values())
        self.mlp = Mlp(inputs, c.units, c.layers, rng)

    # [05] Encoder.embed
    def embed(self, obs: dict) -> jax.Array:
        """Embeddings (..., units) of observations: scale each part, write all flat, apply `mlp`.

        obs: {name: (..., *shape)}; an image is uint8 from 0 to 255, a vector float32.
        Parts are joined in the order of their names, as in sorted(self.spaces.items()).
        """
        flat = []
        for name, space in sorted(self.spaces.items()):
            x = obs[name] / 255 if space.is_image else symlog(obs[name])
            lead = x.shape[: x.ndim - len(space.shape)]
            flat.append(x.reshape(*lead, -1))
        return self.mlp(jnp.concatenate(flat, -1))


class Decoder(nnx.Module):
    """A state's feature to a prediction of each part of the observation."""

    def __init__(self, c: Config, obs_space: dict, rng):
        self.spaces = obs_space
        self.build(c, rng)

    # [05] Decoder.build
    def build(self, c: Config, rng) -> None:
        """Make `self.mlp`, from a feature to c.units numbers, and `self.heads`, {name: Linear}.

        c: hyperparameters; a feature has D + S C numbers: c.deter, c.stoch, c.classes.
        self.spaces: {name: Space}; a head has `space.size` outputs; its bias is -4 for an image.
        rng: random numbers, for the MLP first, then for the heads in the order of self.spaces.
        """
        self.mlp = Mlp(c.deter + c.stoch * c.classes, c.units, c.layers, rng)
        heads = {}
        for name, space in self.spaces.items():
            bias = -4.0 if space.is_image else 0.0  # most cells of a grid are empty
            heads[name] = Linear(c.units, space.size, rng, bias=bias)
        self.heads = nnx.data(heads)

    # [05] Decoder.predict
    def predict(self, feat: jax.Array) -> dict:
        """{name: raw outputs (..., *shape)}: logits of cells, symlog numbers.

        feat: features (..., F) of states, as `feature` makes them.
        """
        x, raw = self.mlp(feat), {}
        for name, space in self.spaces.items():
            head = self.heads[name]
            raw[name] = head(x).reshape(*feat.shape[:-1], *space.shape)
        return raw

    # [05] Decoder.reconstruction_loss
    def reconstruction_loss(self, feat: jax.Array, obs: dict) -> jax.Array:
        """Losses (...), summed over all cells and numbers of a time step.

        feat: features (..., F).
        obs: {name: (..., *shape)}, what `self.predict(feat)` should have predicted.
        Images: binary cross entropy of the logits and obs / 255.
        Vectors: (raw output - symlog(obs)) squared.
        """
        total = jnp.zeros(feat.shape[:-1])
        for name, raw in self.predict(feat).items():
            if self.spaces[name].is_image:
                loss = binary_cross_entropy(raw, obs[name] / 255)
            else:
                loss = (raw - symlog(obs[name])) ** 2
            total += loss.reshape(*total.shape, -1).sum(-1)
        return total


class Dreamer(nnx.Module):
    """The whole agent: world model, actor and critic."""

    def __init__(self, c: Config, world: Any, seed: int):
        rng, space = np.random.default_rng(seed), world.action_space
        self.build_model(c, world.obs_space, space.classes or space.shape[0], rng)
        inputs = c.deter + c.stoch * c.classes
        self.actor = Actor(c, space, inputs, rng)
        self.critic = Mlp(inputs, c.units, c.layers, rng, c.bins, scale=0.0)

    # [05] Dreamer.build_model
    def build_model(self, c: Config, obs_space: dict, actions: int, rng) -> None:
        """Make self.encoder, self.rssm, self.decoder, self.reward and self.cont, in this order.

        c: hyperparameters; c.units is the width of the heads, c.bins is K.
        obs_space: {name: Space} of the observations.
        actions: A, the length of an action.
        """
        inputs = c.deter + c.stoch * c.classes
        self.encoder = Encoder(c, obs_space, rng)
        self.rssm = RSSM(c, c.units, actions, rng)
        self.decoder = Decoder(c, obs_space, rng)
        self.reward = Mlp(inputs, c.units, 1, rng, c.bins, scale=0.0)
        self.cont = Mlp(inputs, c.units, 1, rng, 1)


# [05] kl_losses
def kl_losses(post: jax.Array, prior: jax.Array, free_nats: float) -> tuple[jax.Array, jax.Array]:
    """(dyn, rep): KL(q || p) in nats (...), at least free_nats; two values, two gradients.

    post, prior: log-probabilities ln q and ln p (..., S, C).
    dyn trains the prior and has no gradient for `post`; rep trains the posterior, none for `prior`.
    """

    def kl(q, p):
        return jnp.maximum(free_nats, jnp.sum(jnp.exp(q) * (q - p), (-2, -1)))

    return kl(sg(post), prior), kl(post, sg(prior))


# [05] world_model_loss
def world_model_loss(agent: Dreamer, c: Config, batch: Batch, key: jax.Array) -> tuple[dict, State]:
    """Losses {"recon", "reward", "cont", "dyn", "rep": (T, B)}, and the states (T, B, ...).

    agent: the networks of `build_model`; each is called as `agent.reward(feat)`.
    c: hyperparameters; here c.free_nats and c.discount count.
    batch: sequences (T, B, ...); batch.action is the action before each observation.
    key: random numbers for `agent.rssm.observe`, which consumes it.
    The continue head's target is (1 - is_terminal) c.discount.
    """
    steps = batch.steps
    embed = agent.encoder.embed(steps.obs)
    states, post = agent.rssm.observe(batch.start, embed, batch.action, steps.is_first, key)
    feat = feature(states)
    dyn, rep = kl_losses(post, agent.rssm.prior(states.deter), c.free_nats)
    cont = (1.0 - steps.is_terminal) * c.discount
    losses = {
        "recon": agent.decoder.reconstruction_loss(feat, steps.obs),
        "reward": two_hot_loss(agent.reward(feat), steps.reward),
        "cont": binary_cross_entropy(agent.cont(feat)[..., 0], cont),
        "dyn": dyn,
        "rep": rep,
    }
    return losses, states


# [05] weighted_sum
def weighted_sum(losses: dict, c: Config) -> jax.Array:
    """The objective, one number: the mean of each loss times its weight, summed.

    losses: {name: array of any shape}; not all names need be there.
    Weights: "recon" c.recon, "rep" 0.1, "replay_value" 0.3, any other 1.
    """
    weights = {"recon": c.recon, "rep": 0.1, "replay_value": 0.3}
    return sum((weights.get(name, 1.0) * x.mean() for name, x in losses.items()), jnp.zeros(()))


# [05] train_step
def train_step(loss, optimizer, params, memory, *inputs):
    """One step of gradient descent: (new params, new memory, extra).

    loss: a function (params, *inputs) -> (number, extra).
    optimizer: an optax optimizer; optimizer.update(gradient, memory, params) -> (steps, memory).
    params: a pytree of arrays. memory: what the optimizer remembers between steps.
    """
    (_, extra), gradient = jax.value_and_grad(loss, has_aux=True)(params, *inputs)
    steps, memory = optimizer.update(gradient, memory, params)
    return optax.apply_updates(params, steps), memory, extra


# ---- [06] Imagination ------------------------------------------------------------------------


# [06] imagine_plan
def imagine_plan(agent: Dreamer, start: State, actions: jax.Array, key: jax.Array) -> State:
    """Open loop: the states (H, N, ...) that follow `start` under given actions (H, N, A).

    `agent.rssm.imagine_step(state, action, u)` is one step, for N states at once: state (N, ...),
    action (N, A), noise u (N, S). The key is consumed.
    """
    u = jax.random.uniform(key, (*actions.shape[:2], agent.rssm.c.stoch))

    def step(state, inputs):
        state = agent.rssm.imagine_step(state, *inputs)
        return state, state

    return jax.lax.scan(step, start, (actions, u))[1]


# [06] imagine
def imagine(agent: Dreamer, start: State, horizon: int, key: jax.Array) -> tuple[State, jax.Array]:
    """Let the actor act in the model: states (H+1, N, ...) from `start`, and actions (H, N, A).

    The first state is the start (N, ...); action t was chosen in state t. `feature(state)` is what
    the policy is given. The key is consumed.
    """
    u_key, action_key = jax.random.split(key)
    u = jax.random.uniform(u_key, (horizon, *start.stoch.shape[:-1]))
    keys = jax.random.split(action_key, horizon)

    def step(state, inputs):
        key, u = inputs
        action = agent.actor.policy(feature(state)).sample(key)
        new = agent.rssm.imagine_step(state, action, u)
        return new, (new, action)

    _, (states, actions) = jax.lax.scan(step, start, (keys, u))
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), start, states), actions


# ---- [07] Actor and critic -------------------------------------------------------------------


class Gaussian(NamedTuple):
    """A policy over continuous actions (..., A): independent normal distributions."""

    mean: jax.Array
    std: jax.Array

    def sample(self, key):
        return sg(self.mean + self.std * jax.random.normal(key, self.mean.shape))

    # [07] Gaussian.log_prob
    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log-density (...) of an action (..., A), summed over its dimensions."""
        z = (action - self.mean) / self.std
        return jnp.sum(-0.5 * z**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi), -1)

    # [07] Gaussian.entropy
    def entropy(self) -> jax.Array:
        """Entropy (...) in nats, summed over dimensions."""
        return jnp.sum(jnp.log(self.std) + 0.5 * math.log(2 * math.pi * math.e), -1)


class Actor(nnx.Module):
    """The policy: a feature to a distribution over actions."""

    def __init__(self, c: Config, space: Any, inputs: int, rng):
        self.c, self.discrete = c, space.is_discrete
        outputs = space.classes or 2 * space.shape[0]
        self.net = Mlp(inputs, c.units, c.layers, rng, outputs, scale=0.01)

    # [07] Actor.policy
    def policy(self, feat: jax.Array) -> Categorical | Gaussian:
        """The distribution over actions, for features (..., D + S C).

        Discrete: `Categorical`, with a uniform mixture of `self.c.policy_unimix`. Continuous:
        `Gaussian` with tanh means and a standard deviation in [0.1, 1]; the first half of the
        network's outputs is the mean's.
        """
        out = self.net(feat)
        if self.discrete:
            return Categorical(unimix(out, self.c.policy_unimix))
        mean, spread = jnp.split(out, 2, -1)
        return Gaussian(jnp.tanh(mean), 0.1 + 0.9 * jax.nn.sigmoid(spread + 2))


# [07] lambda_returns
def lambda_returns(reward, cont, value, lam) -> jax.Array:
    """R_t = r_t+1 + c_t+1 ((1 - lam) v_t+1 + lam R_t+1); all (n, ...), returns (n-1, ...).

    `lam` is an array too, 0 where a sequence is cut. The last state only bootstraps.
    """

    def step(later, inputs):
        reward, cont, value, lam = inputs
        now = reward + cont * ((1 - lam) * value + lam * later)
        return now, now

    inputs = jax.tree.map(lambda x: x[1:], (reward, cont, value, lam))
    return jax.lax.scan(step, value[-1], inputs, reverse=True)[1]


# [07] update_range
def update_range(old: jax.Array, returns: jax.Array) -> jax.Array:
    """Moving averages (2,) of the 5th and 95th percentile of the returns (H, N); rate 0.01."""
    return 0.99 * old + 0.01 * jnp.percentile(returns, jnp.array([5.0, 95.0]))


# [07] critic_loss
def critic_loss(logits: jax.Array, slow_logits: jax.Array, returns: jax.Array) -> jax.Array:
    """Towards the returns (...), and towards the slow critic, which regularises; (...).

    Both logits are (..., K). No gradient reaches the slow critic or the returns.
    """
    return two_hot_loss(logits, returns) + two_hot_loss(logits, two_hot_mean(slow_logits))


# [07] actor_loss
def actor_loss(policy, action: jax.Array, advantage: jax.Array, entropy: float) -> jax.Array:
    """Policy gradient (REINFORCE) with an entropy bonus, (...).

    `policy` is a distribution over actions (..., A), `advantage` (...) is a constant, `entropy` the
    coefficient η.
    """
    return -(policy.log_prob(action) * sg(advantage) + entropy * policy.entropy())


# [07] dream_losses
def dream_losses(agent, slow, c: Config, states: State, actions: jax.Array, old_range: jax.Array):
    """Actor's and critic's losses (H, N) on imagined trajectories; returns (H, N); new range (2,).

    `states` (H+1, N, ...) and `actions` (H, N, A) come from `imagine`. `agent.reward`,
    `agent.cont` and `agent.critic` map features to logits (..., K), (..., 1) and (..., K), `slow`
    is the slow critic; `c.lam` is λ, `c.entropy` η. Gives: ({"policy", "value"}, returns, range).
    """
    feat = sg(feature(states))
    reward = sg(two_hot_mean(agent.reward(feat)))
    cont = sg(jax.nn.sigmoid(agent.cont(feat)[..., 0]))
    logits = agent.critic(feat)
    value = sg(two_hot_mean(logits))
    returns = lambda_returns(reward, cont, value, jnp.full_like(cont, c.lam))
    new_range = update_range(old_range, returns)
    advantage = (returns - value[:-1]) / jnp.maximum(1.0, new_range[1] - new_range[0])
    weight = jnp.cumprod(cont, 0)[:-1]
    policy = agent.actor.policy(feat[:-1])
    losses = {
        "policy": weight * actor_loss(policy, actions, advantage, c.entropy),
        "value": weight * critic_loss(logits[:-1], sg(slow(feat[:-1])), returns),
    }
    return losses, returns, new_range


# ---- [08] The agent --------------------------------------------------------------------------


# [08] replay_value_loss
def replay_value_loss(agent, slow, c: Config, batch: Batch, states: State, bootstrap: jax.Array):
    """The critic's loss (T-1, B) on replayed time steps, whose rewards are real.

    agent.critic, slow: critic and slow critic, features (..., F) to logits (..., K).
    c: hyperparameters; here c.discount and c.lam count. batch: its steps are (T, B).
    states: State (T, B, ...), which passes the gradient on. bootstrap: (T, B), imagined returns.
    """
    steps = batch.steps
    cont, lam = (1.0 - steps.is_terminal) * c.discount, (1.0 - steps.is_last) * c.lam
    returns = lambda_returns(steps.reward, cont, bootstrap, lam)
    feat = feature(states)[:-1]
    return (1 - steps.is_last[:-1]) * critic_loss(agent.critic(feat), sg(slow(sg(feat))), returns)


# All that learning changes:
#   params  of all networks
#   slow    critic: exponential moving average of its parameters
#   memory  the optimizer's
#   range   (2,) percentiles of the returns
Learner = NamedTuple("Learner", [(name, Any) for name in "params slow memory range".split()])


# [08] total_loss
def total_loss(params, graph, c: Config, learner: Learner, batch: Batch, key: jax.Array):
    """The objective of DreamerV3: (sum, (mean losses, states, new range)).

    params: all networks' parameters, with respect to which it is differentiated. graph: their
    structure. c: hyperparameters. learner: slow critic and range. batch: sequences (T, B, ...).
    key: split in two, for the world model and for imagination. The mean losses are a dictionary.
    """
    agent, frozen = nnx.merge(graph, params), nnx.merge(graph, sg(params))
    slow = nnx.merge(nnx.graphdef(agent.critic), learner.slow)
    model_key, imagine_key = jax.random.split(key)
    losses, states = world_model_loss(agent, c, batch, model_key)
    last, tail = jax.tree.map(lambda x: x[-c.starts :], (states, batch._replace(start=None)))
    start = jax.tree.map(lambda x: sg(x).reshape(-1, *x.shape[2:]), last)
    imagined, actions = imagine(frozen, start, c.horizon, imagine_key)
    more, returns, new_range = dream_losses(agent, slow, c, imagined, actions, learner.range)
    bootstrap = returns[0].reshape(last.deter.shape[:2])
    losses |= more | {"replay_value": replay_value_loss(agent, slow, c, tail, last, bootstrap)}
    means = {name: x.mean() for name, x in losses.items()}
    return weighted_sum(losses, c), (means, sg(states), new_range)


# [08] clip_gradient
def clip_gradient(gradient: jax.Array, param: jax.Array, clip: float = 0.3) -> jax.Array:
    """Adaptive gradient clipping: a norm of at most `clip` times the parameter's norm.

    gradient, param: one tensor, both of the same shape (...), that of the result. The parameter's
    norm counts as at least 0.001.
    """
    limit = clip * jnp.maximum(1e-3, jnp.linalg.norm(param.ravel()))
    return gradient / jnp.maximum(1.0, jnp.linalg.norm(gradient.ravel()) / limit)


# [08] laprop
def laprop(gradient, v, m, count, decay: float, momentum: float = 0.9):
    """LaProp: scale by the root mean square first, then momentum. Returns (step, v, m).

    gradient, v, m: arrays of one shape. count: the number of this update, 1 for the first.
    decay: β of the mean square. momentum: μ. The learning rate comes later.
    """
    v = decay * v + (1 - decay) * gradient**2
    scaled = gradient / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)
    m = momentum * m + (1 - momentum) * scaled
    return m / (1 - momentum**count), v, m


# [08] make_optimizer
def make_optimizer(c: Config) -> optax.GradientTransformation:
    """Clipping for each tensor, then LaProp over all parameters as one vector.

    c: hyperparameters; here c.learning_rate, c.warmup, c.decay and c.rms_decay count.
    """

    def scale(gradient, memory, params=None):
        v, m, count = memory
        step, v, m = laprop(gradient, v, m, count + 1, c.rms_decay)
        rate = c.learning_rate * jnp.minimum(1.0, count / c.warmup)
        rate *= jax.lax.rsqrt(1 + count / c.decay) if c.decay else 1.0
        return -rate * step, (v, m, count + 1)

    laprops = optax.GradientTransformation(lambda p: (0.0 * p, 0.0 * p, jnp.int32(0)), scale)
    return optax.chain(optax.stateless_with_tree_map(clip_gradient), optax.flatten(laprops))


# [08] update
def update(graph, c: Config, optimizer, learner: Learner, batch: Batch, key: jax.Array):
    """One gradient step on everything; the slow critic follows. (learner, losses, states).

    graph: the structure of the agent. optimizer: that of `make_optimizer`. learner: what learning
    changes. batch: sequences (T, B, ...). key: for `total_loss`. losses: {name: mean}.
    """
    inputs = learner.params, learner.memory, graph, c, learner, batch, key
    params, memory, (losses, states, new_range) = train_step(total_loss, optimizer, *inputs)
    slow = jax.tree.map(lambda s, p: 0.98 * s + 0.02 * p, learner.slow, params["critic"])
    return Learner(params, slow, memory, new_range), losses, states


# [08] act
def act(agent: Dreamer, state: State, action: jax.Array, steps: Any, key: jax.Array):
    """Infer the new state of W environments and sample an action for each; (state, action).

    agent: the networks. state: State (W, ...) of the time step before. action: (W, A) chosen there.
    steps: a worlds.TimeStep (W, ...), the new observations with their flags.
    key: a random key; it is split into one for u and one for the actions.
    """
    u_key, key = jax.random.split(key)
    u = jax.random.uniform(u_key, state.stoch.shape[:-1])
    embed = agent.encoder.embed(steps.obs)
    state = agent.rssm.observe_step(state, embed, action, steps.is_first, u)[0]
    action = agent.actor.policy(feature(state)).sample(key)
    return state, action * (1.0 - steps.is_last[:, None])


# All that a run is: what is saved, and what goes on from there.
#   learner  Learner
#   replay   Replay
#   world    (W, ...) the environments' own states
#   steps    worlds.TimeStep (W, ...) not yet acted on
#   state    State (W, ...)
#   action   (W, A) the latest one
#   seed     () int32
#   score    (W,) returns of the running episodes
#   latest   (W,) returns of the latest finished episodes; NaN before the first
NAMES = "learner replay world steps state action seed score latest".split()
Run = NamedTuple("Run", [(name, Any) for name in NAMES])


# [08] begin
def begin(c: Config, world: Any, optimizer, params, seed: int) -> Run:
    """The state of a run before its first time step.

    c: hyperparameters; c.worlds, c.deter, c.stoch, c.classes and c.capacity count. world: one
    environment; an action has `world.action_space.classes` numbers, or `shape[0]` if it is
    continuous. optimizer: that of `make_optimizer`. params: the new parameters of all networks.
    """
    world_state, steps = jax.vmap(world.reset)(jax.random.split(jax.random.key(seed), c.worlds))
    state = State(jnp.zeros((c.worlds, c.deter)), jnp.zeros((c.worlds, c.stoch, c.classes)))
    action = jnp.zeros((c.worlds, world.action_space.classes or world.action_space.shape[0]))
    stored = steps, action, state.deter, jnp.zeros((c.worlds, c.stoch), jnp.uint8)
    ring = jax.tree.map(lambda x: jnp.zeros((c.capacity // c.worlds, *x.shape), x.dtype), stored)
    slow = jax.tree.map(jnp.copy, params["critic"])
    learner = Learner(params, slow, optimizer.init(params), jnp.zeros(2))
    numbers = jnp.int32(seed), jnp.zeros(c.worlds), jnp.full(c.worlds, jnp.nan)
    return Run(learner, Replay(*ring, jnp.int32(0)), world_state, steps, state, action, *numbers)


# [08] collect
def collect(graph, c: Config, world: Any, run: Run) -> Run:
    """One time step of all environments: act, store, step.

    graph: the structure of the agent, for nnx.merge. c: hyperparameters; c.worlds is W.
    world: the environment. run: the run so far. Returns the run after the time step.
    """
    key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added)
    keys = jax.random.split(key, c.worlds + 1)
    agent = nnx.merge(graph, run.learner.params)
    step = jax.vmap(lambda *args: worlds.next_timestep(world, *args))
    state, action = act(agent, run.state, run.action, run.steps, keys[0])
    replay = add(run.replay, run.steps, action, state)
    choice = action.argmax(-1) if world.action_space.is_discrete else action
    world_state, steps = step(run.world, run.steps, choice, keys[1:])
    score = jnp.where(steps.is_first, 0.0, run.score) + steps.reward
    latest = jnp.where(steps.is_last, score, run.latest)
    return Run(run.learner, replay, world_state, steps, state, action, run.seed, score, latest)


# [08] learn
def learn(graph, c: Config, optimizer, run: Run) -> tuple[Run, dict]:
    """Sample a batch, make one update, and write the new states back.

    graph: the structure of the agent. c: hyperparameters; c.batch, c.length and c.classes count.
    optimizer: that of `make_optimizer`. run: the run so far. Returns (run, mean losses).
    """
    key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added + 1)
    sample_key, key = jax.random.split(key)
    place, env = sample(run.replay, c.batch, c.length, sample_key)
    batch = cut(run.replay, place, env, c.classes)
    learner, losses, states = update(graph, c, optimizer, run.learner, batch, key)
    return run._replace(learner=learner, replay=write_back(run.replay, place, env, states)), losses


def make_program(c: Config, world: Any):
    """Two compiled functions: seed -> run, and (run, updates) -> (run, metrics)."""
    graph, optimizer = nnx.graphdef(Dreamer(c, world, 0)), make_optimizer(c)
    steps = round(c.batch * c.length / (c.worlds * c.train_ratio))  # between two updates

    def play(run, times):
        return jax.lax.fori_loop(0, times, lambda _, run: collect(graph, c, world, run), run)

    def init(seed):  # and play until the replay buffer has windows to sample
        params = nnx.to_pure_dict(nnx.state(Dreamer(c, world, seed), nnx.Param))
        return jax.jit(lambda p: play(begin(c, world, optimizer, p, seed), 2 * c.length))(params)

    def advance(run, updates):
        def once(run, _):
            return learn(graph, c, optimizer, play(run, steps))

        run, losses = jax.lax.scan(once, run, length=updates)
        return run, {"return": jnp.nanmean(run.latest)} | jax.tree.map(jnp.mean, losses)

    return init, jax.jit(advance, static_argnums=1, donate_argnums=0)  # run's memory is reused


def save(run: Run, path: pathlib.Path) -> None:
    """Write all arrays of a run, so that a kill leaves the old file or the new one."""
    part = path.with_suffix(".part.npz")
    np.savez(part, *jax.tree.leaves(run))
    part.replace(path)


def restore(run: Run, path: pathlib.Path) -> Run:
    """The saved run; `run` is a fresh one of the same environment and hyperparameters."""
    saved = [jnp.asarray(x) for x in np.load(path).values()]
    if [x.shape for x in saved] != [x.shape for x in jax.tree.leaves(run)]:
        raise SystemExit(f"{path} is a run of other hyperparameters: choose another --out.")
    return jax.tree.unflatten(jax.tree.structure(run), saved)


def film(c: Config, world: Any, run: Run, path: pathlib.Path, length: int = 40) -> None:
    """Film the latest time steps (left) beside an open-loop dream of them (right).

    Of all environments it takes that with the fewest resets there. The dream starts at the state
    before the first frame, and knows the actions only.
    """
    agent = nnx.merge(nnx.graphdef(Dreamer(c, world, 0)), run.learner.params)
    place = (run.replay.added - 1 + jnp.arange(-length, 1)) % run.replay.action.shape[0]
    chosen = run.replay.steps.is_first[place].sum(0).argmin()[None]
    batch = cut(run.replay, place[:, None], chosen, c.classes)
    dream = imagine_plan(agent, batch.start, batch.action, jax.random.key(0))
    raw, spaces = agent.decoder.predict(feature(dream)), world.obs_space
    shown = {k: (jax.nn.sigmoid if spaces[k].is_image else symexp)(x) for k, x in raw.items()}
    pair = [jax.tree.map(lambda x: np.asarray(x[:, 0]), obs) for obs in (batch.steps.obs, shown)]
    images = [Image.fromarray(x) for x in np.concatenate([world.render(x) for x in pair], 2)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=125, loop=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="DreamerV3 in one file.")
    parser.add_argument("--world", default="minatar/breakout", choices=PRESETS)
    parser.add_argument("--minutes", type=float, default=5, help="of training, once compiled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, help="folder of the run; goes on from there")
    args = parser.parse_args()
    out = args.out or pathlib.Path("runs", f"{args.world.replace('/', '-')}-{args.seed}")
    out.mkdir(parents=True, exist_ok=True)
    c, world, file = Config(**PRESETS[args.world]), worlds.make(args.world), out / "run.npz"
    init, advance = make_program(c, world)
    run = restore(init(args.seed), file) if file.exists() else init(args.seed)
    print(f"Training in {out}; compiling takes up to a minute.", flush=True)
    compiled = advance.lower(run, 100).compile()
    begun = saved = time.time()
    while time.time() - begun < 60 * args.minutes:
        run, news = compiled(run)
        head = f"{time.time() - begun:4.0f} s, {run.replay.added * c.worlds} steps"
        print(head, *(f"{name} {float(x):.3g}" for name, x in news.items()), sep=", ", flush=True)
        if time.time() - saved > 60:
            save(run, file)
            saved = time.time()
    save(run, file)
    film(c, world, run, out / "dream.gif")
    print(f"Saved {file}. Reality beside the dream: {out / 'dream.gif'}")


if __name__ == "__main__":
    main()
