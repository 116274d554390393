# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["badges"]
# (bar)

# %% [markdown]
# # 04 · The recurrent state-space model
#
# **A model that must predict a ball it cannot see needs a deterministic memory and a stochastic
# state: with the memory alone its predictions blur, with the stochastic state alone it forgets.**
#
# ![](figure:04_dreams)
#
# *The ball is hidden in steps 3 to 6 (hatched), where it jumps to the left or to the right at random. At
# step 7 the RSSM's frame may show a second, faint ball on the other side: the groups of its
# latent are sampled separately and need not agree (section 8 comes back to that). From step 8 on there is one ball.*
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 40 | 98 | 6, on 2 CPU cores | notebooks 02 and 03; what a recurrent network and a VAE are | the class `RSSM` |
#
# **You will be able to**
#
# * write a recurrent state-space model: GRU, prior, posterior, and steps with and without an
#   observation;
# * say what a prior and a posterior are in a sequence, and what filtering is;
# * prove that a state is reset, and that it depends on the past alone, by changing inputs;
# * show, by an ablation, why the state has a deterministic *and* a stochastic part;
# * find a bug in a world model from its losses, its KL, its open-loop films (imagined, without
#   observations) and such tests.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 600 if FAST else 1500  # @param {type: "raw"}
batch = 16 if FAST else 32  # @param {type: "raw"}
case = 1  # @param {type: "integer"}

# %% tags=["setup"]
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course import bugs, checks, data, parts, probe_rssm
from dreamer_lite.course.ablate_rssm import (
    SEEN,
    VARIANTS,
    WorldModel,
    ball_row,
    last_seen,
    outcome,
    wrong_paddles,
)
from dreamer_lite.course.notebook import predict, show, show_film
from dreamer_lite.course.widgets import Stepper
from dreamer_lite.show import latents

# %% [markdown]
# ## A state for what one frame does not show
#
# A **recurrent state-space model (RSSM)** is a sequential variational autoencoder whose transition
# has a deterministic and a stochastic path. Its state at time t has two parts:
#
# * `deter`, $h_t$, D numbers: a deterministic function of the past, computed by a recurrent cell;
# * `stoch`, $z_t$, S groups of C classes, one-hot: sampled from a categorical distribution.
#
# $$h_t=f(h_{t-1},z_{t-1},a_{t-1})$$
#
# $$\hat z_t\sim p(\hat z_t\mid h_t)\ \text{(prior)}\qquad
# z_t\sim q(z_t\mid h_t,x_t)\ \text{(posterior)}$$
#
# (Hafner et al. 2019; Hafner et al. 2025, "World model learning".) The agent needs such a state
# because of **partial observability**: one frame does not show where a ball that rolled behind a
# wall was, so frames alone do not make a Markov decision process but a POMDP. To keep a
# distribution over what cannot be seen, given all observations so far, is called **filtering**. A
# filter alternates two steps, and so does an RSSM:
#
# * *predict*: what comes next, before the observation? That is the **prior**;
# * *correct*: what is the case, given the observation? That is the **posterior**.
#
# While observing, $z_t$ comes from the posterior. While imagining there is no observation, so
# $\hat z_t$ comes from the prior. Such an imagined rollout is what this course calls a dream. The
# KL divergence between the two trains the prior to predict the posterior (notebook 05).

# %% [markdown]
# ![](figure:diagram_rssm_unrolled)
#
# In this notebook you write everything in this drawing except encoder and decoder, which follow in
# notebook 05. An RSSM is no exact filter: its belief is one sample $z_t$ and whatever $h_t$ keeps.
#
# You begin with your own parts of notebooks 02 and 03. The course's stand in for what is missing.

# %%
dreamer = parts.load()
Config, Linear, Mlp, Norm = dreamer.Config, dreamer.Linear, dreamer.Mlp, dreamer.Norm
mask_reset, sample_onehot, unimix = dreamer.mask_reset, dreamer.sample_onehot, dreamer.unimix
sg = jax.lax.stop_gradient

# %% [markdown]
# ## 1 · The state
#
# A state is a pair of arrays. The leading axes `...` may be (B,), for one step of B sequences, or
# (T, B) for whole ones: every function below works on the last axes only.


# %% tags=["given"]
class State(NamedTuple):
    """The latent state of the RSSM."""

    deter: jax.Array  # h (..., D) deterministic
    stoch: jax.Array  # z (..., S, C) stochastic, one-hot


# %% [markdown]
# **Exercise 1** · easy · important · 5 minutes
#
# Every head, from the decoder to the actor, receives the **feature** of a state: $h$, then $z$
# written as one flat vector. **A tiny number:** h = (0.5, -1) and z = ((1, 0, 0), (0, 1, 0)) give
# (0.5, -1, 1, 0, 0, 0, 1, 0).
#
# <details><summary>Hint 1: the idea</summary>
#
# Give z the leading axes of h and one last axis, and put the two side by side.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A reshape, then a concatenation along the last axis. `-1` in a reshape is "whatever is left".
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `state.stoch.reshape(*state.deter.shape[:-1], -1)` and `jnp.concatenate([a, b], -1)`.
# </details>


# %% tags=["exercise", "part:feature"]
def feature(state: State) -> jax.Array:
    """The input of every head: h, then z written flat.

    state: deter (..., D) and stoch (..., S, C). Returns (..., D + S C).
    """
    # BEGIN SOLUTION
    flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
    return jnp.concatenate([state.deter, flat], -1)
    # END SOLUTION


# %% tags=["check"]
feature = checks.feature(feature)

# %% [markdown]
# The class itself is short, because its methods are your exercises. `c` is a `Config` with all
# hyperparameters: `c.deter` is D, `c.stoch` is S, `c.classes` is C.


# %% tags=["given"]
class RSSM(nnx.Module):
    """A sequential variational autoencoder with a deterministic and a stochastic path.

    h_t = f(h_t-1, z_t-1, a_t-1);  posterior z_t ~ q(z | h_t, e_t);  prior z_t ~ p(z | h_t).
    """

    def __init__(self, c: Config, embed: int, actions: int, rng):
        self.c = c
        self.build(c, embed, actions, rng)


# %% [markdown]
# **Exercise 2** · easy · important · 3 minutes
#
# Before the first observation both parts of the state are zeros. All zeros is no possible sample of
# $z$, so the model can distinguish "nothing yet" from every class.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two arrays of zeros in a `State`.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `lead` is a tuple of the leading axes: `initial(8)` gives (8, D) and (8, S, C), `initial()` gives
# (D,) and (S, C).
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.zeros((*lead, self.c.deter))`.
# </details>


# %% tags=["exercise", "part:RSSM.initial"]
def initial(self, *lead: int) -> State:
    """The state before the first observation: zeros.

    self: the RSSM, with self.c.deter (D), self.c.stoch (S) and self.c.classes (C).
    lead: the leading axes. Returns a State with deter (*lead, D) and stoch (*lead, S, C).
    """
    # BEGIN SOLUTION
    deter = jnp.zeros((*lead, self.c.deter))
    return State(deter, jnp.zeros((*lead, self.c.stoch, self.c.classes)))
    # END SOLUTION


# %% tags=["check"]
initial = checks.initial(initial)

# %% [markdown]
# ## 2 · The layers
#
# The layers are those of notebook 03: `Mlp` is a stack of linear map, RMSNorm and SiLU, `Linear` is
# a linear map alone. With n = `c.hidden` and g = `c.blocks`:
#
# | name | made of | inputs | outputs | for |
# |---|---|---|---|---|
# | `from_deter` | `Mlp`, 1 layer | D | n | $h_{t-1}$ |
# | `from_stoch` | `Mlp`, 1 layer | S C | n | $z_{t-1}$, flat |
# | `from_action` | `Mlp`, 1 layer | A | n | $a_{t-1}$ |
# | `mix` | `Linear`, g blocks | D + g · 3 n | D | joins them |
# | `mix_norm` | `Norm` | D | D | |
# | `gates` | `Linear`, g blocks | D | 3 D | the three gates |
# | `prior_net` | `Mlp`, 2 layers | D | S C | prior |
# | `post_net` | `Mlp`, 1 layer | D + E | S C | posterior |
#
# E = `embed` is the length of $e_t$, the encoder's output for $x_t$; A = `actions` is the length of
# an action. With g = 1 block, `Linear` is an ordinary linear map. Your agent has g = 1, but
# the checks also try g = 2: pass `blocks=c.blocks` to `mix` and `gates`, and in the next sections call
# `self.split_gates` and `self.join_blocks`; do not inline them. You write these two in section 9; until
# then the course's stand in. The posterior needs one layer only, because the encoder before it has layers too.

# %% [markdown]
# **Exercise 3** · easy · important · 10 minutes
#
# Make the eight layers. **A tiny number:** D = 6, n = 5, g = 1: `mix` has 6 + 15 = 21 inputs.
#
# <details><summary>Hint 1: the idea</summary>
#
# In `torch` you would write `self.mix = nn.Linear(...)` in `__init__`. Here it is the same, and
# each layer also receives `rng`, a NumPy generator from which it draws its initial weights.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `Mlp(inputs, units, layers, rng, outputs)` ends in a linear map to `outputs` numbers; without
# `outputs` it ends in its last layer of `units`. `Linear(inputs, outputs, rng, blocks=...)`.
# `Norm(size)`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `self.from_deter = Mlp(c.deter, c.hidden, 1, rng)` and
# `self.prior_net = Mlp(c.deter, c.hidden, 2, rng, c.stoch * c.classes)`.
# </details>


# %% tags=["exercise", "part:RSSM.build"]
def build(self, c: Config, embed: int, actions: int, rng) -> None:
    """Make the eight layers of the model as attributes of self.

    c: hyperparameters. embed, actions: the lengths E and A. rng: a NumPy generator.
    """
    # BEGIN SOLUTION
    latents = c.stoch * c.classes
    self.from_deter = Mlp(c.deter, c.hidden, 1, rng)
    self.from_stoch = Mlp(latents, c.hidden, 1, rng)
    self.from_action = Mlp(actions, c.hidden, 1, rng)
    self.mix = Linear(c.deter + c.blocks * 3 * c.hidden, c.deter, rng, blocks=c.blocks)
    self.mix_norm = Norm(c.deter)
    self.gates = Linear(c.deter, 3 * c.deter, rng, blocks=c.blocks)
    self.prior_net = Mlp(c.deter, c.hidden, 2, rng, latents)
    self.post_net = Mlp(c.deter + embed, c.hidden, 1, rng, latents)
    # END SOLUTION


# %% tags=["check"]
build = checks.rssm_layers(build)

# %% [markdown]
# ## 3 · The deterministic path: a gated recurrent unit
#
# A **gated recurrent unit (GRU)** moves its state towards a candidate, by an amount that a gate
# decides for each number. The input of the cell, $x$ (D numbers; not the observation $x_t$), is made from $h_{t-1}$,
# $z_{t-1}$ and $a_{t-1}$ together:
#
# $$x=\mathrm{SiLU}\big(\mathrm{norm}(W\,[\,h_{t-1},\ \mathrm{from}_h(h_{t-1}),\
# \mathrm{from}_z(z_{t-1}),\ \mathrm{from}_a(a_{t-1})\,]+b)\big)$$
#
# From $x$ alone, `gates` computes three vectors of length D: reset, candidate, update. Then
#
# $$u=\sigma(\text{update}-1)\qquad \tilde h=\tanh(\sigma(\text{reset})\cdot\text{candidate})$$
#
# $$h_t=u\cdot\tilde h+(1-u)\cdot h_{t-1}$$
#
# ![](figure:diagram_gru)

# %% [markdown]
# The cell differs from `torch.nn.GRU` (after Cho et al. 2014) in four points:
#
# | | `torch.nn.GRU` | here (`RSSM._core` of the [released code](https://github.com/danijar/dreamerv3/blob/main/dreamerv3/rssm.py)) |
# |---|---|---|
# | gates depend on | input and h, each with its own matrix | x alone, which has h in it |
# | reset multiplies | the part of the candidate that comes from h | the whole candidate |
# | gate near 1 | keeps the old value | lets the new value in |
# | at zero pre-activation | moves h by 50 % per step | by σ(-1) = 27 %, because of the -1 |
#
# When $u$ is near 0, $h$ is kept as it is: that is how the cell remembers. When $u$ is near 1, $h$ is
# replaced. **A tiny number.** All three outputs are 0 and $h_{t-1}=1$: u = 0.269, the candidate is
# 0, and $h_t$ = 0.731.

# %% [markdown]
# **Exercise 4** · medium · very important · 10 minutes
#
# Write the gates. `self.gates(x)` gives all 3 D numbers, and `self.split_gates` cuts them into reset,
# candidate and update. With one block it would be `jnp.split(gates, 3, -1)` (like `torch.chunk`), but
# the check has two blocks as well, so call the method.
#
# <details><summary>Hint 1: the idea</summary>
#
# The three formulas above, in their order. Everything is element by element.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One line for the three vectors, one for u, one for the candidate, one for the new h.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `reset, candidate, update = self.split_gates(self.gates(x))`, then `jax.nn.sigmoid(update - 1)`.
# </details>


# %% tags=["exercise", "part:RSSM.gru"]
def gru(self, deter: jax.Array, x: jax.Array) -> jax.Array:
    """The gates of the recurrent cell.

    self: the RSSM, with self.gates and self.split_gates. deter: the old h (..., D).
    x: the input of the cell (..., D). Returns the new h (..., D).
    """
    # BEGIN SOLUTION
    reset, candidate, update = self.split_gates(self.gates(x))
    update = jax.nn.sigmoid(update - 1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1 - update) * deter
    # END SOLUTION


# %% tags=["check"]
gru = checks.gru(gru)

# %%
question = predict(
    "A cell that has learned nothing outputs 0 everywhere. After how many steps is less than half "
    "of an initial h = 1 left? And with -4 instead of 0 for the update?",
    ["3 steps, and 4", "3 steps, and about 100", "30 steps, and about 100"],
)

# %%
for bias in (0.0, -2.0, -4.0):
    kept = 1 - jax.nn.sigmoid(bias - 1)  # of h, in each step
    steps = np.log(0.5) / np.log(kept)
    print(f"update {bias:+.0f}: a step keeps {kept:.4f}, half is left after {steps:.1f} steps")
question.explain(
    "A step keeps 73 %, and 0.731 to the power 2.2 is a half: the -1 alone makes no long memory. "
    "With -4 a step keeps 99.3 %, and half is left after 103 steps. The network learns such "
    "biases, separately for each number of h, where a memory of many steps lowers the loss."
)

# %% [markdown]
# **Exercise 5** · medium · very important · 15 minutes
#
# Write the core: from state and action to the new $h$. The first line is given: an action beyond 1
# is scaled to 1, because a policy over continuous actions may sample outside of [-1, 1]; `sg` makes the
# divisor a constant for the gradient. `self.join_blocks(deter, shared)` puts h and `shared` side by
# side: with one block it would be `jnp.concatenate([deter, shared], -1)`, but the check has two blocks
# as well, so call the method.
#
# <details><summary>Hint 1: the idea</summary>
#
# Follow the left half of the drawing of the cell, then call `self.gru`.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Flatten z. Concatenate the outputs of `from_deter`, `from_stoch` and `from_action`, in this order:
# that is `shared`, (..., 3 n). Join it with h, then `mix`, `mix_norm.normalize`, SiLU: that is x.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `x = self.mix(self.join_blocks(state.deter, shared))`, then
# `jax.nn.silu(self.mix_norm.normalize(x))`, then `self.gru(state.deter, x)`.
# </details>


# %% tags=["exercise", "part:RSSM.core"]
def core(self, state: State, action: jax.Array) -> jax.Array:
    """h_t = f(h_t-1, z_t-1, a_t-1).

    self: the RSSM with its layers. state: the State before, deter (..., D) and stoch (..., S, C).
    action: the action before (..., A), one-hot or in [-1, 1]. Returns the new h (..., D).
    """
    action = action / sg(jnp.maximum(1, jnp.abs(action)))
    # BEGIN SOLUTION
    stoch = state.stoch.reshape(*state.deter.shape[:-1], -1)
    shared = jnp.concatenate(
        [self.from_deter(state.deter), self.from_stoch(stoch), self.from_action(action)], -1
    )
    x = self.mix(self.join_blocks(state.deter, shared))
    x = jax.nn.silu(self.mix_norm.normalize(x))
    return self.gru(state.deter, x)
    # END SOLUTION


# %% tags=["check"]
core = checks.core(core)

# %% [markdown]
# **Why h at all, if z is passed on too?** Because what $z$ carries must be sampled anew at every
# step, and each nat of it that the prior did not predict costs a nat of KL loss. $h$ is copied
# without noise and without cost. Section 7 takes it away.
#
# ## 4 · The stochastic path: prior and posterior
#
# The **prior** $p(\hat z_t\mid h_t)$ is a distribution over the stochastic state before the
# observation is known. The **posterior** $q(z_t\mid h_t,x_t)$ is the distribution over the same
# state once it is known. Both are networks that end in S C logits, cut into S groups of C classes.
# Each group is a categorical distribution, mixed with a small fraction of the uniform one
# (notebook 03), and the groups are independent given $h_t$:
#
# $$p(\hat z_t\mid h_t)=\prod_{i=1}^{S}\mathrm{Cat}(\hat z_t^{\,i}\mid h_t)$$
#
# **Why discrete?** A categorical distribution can put one half on "the ball comes out left" and one
# half on "right". One Gaussian cannot: its mean lies between the two, where the ball never is.
# (DreamerV2 replaced Gaussian latents by categorical ones, and gives this as one possible reason for
# the better scores: Hafner et al. 2021.) A sample is not differentiable, so the gradient passes by
# the straight-through estimator of your `sample_onehot`.
#
# **Why S groups?** 8 groups of 8 classes distinguish 8⁸ = 16.8 million states with 64 logits; one
# softmax would need 16.8 million. The price: groups are sampled separately, so a sample may combine
# classes that do not fit together.

# %% [markdown]
# **Exercise 6** · easy · very important · 5 minutes
#
# Write the prior. **A tiny number:** S = 1, C = 2, logits (0, 0), any fraction: both
# log-probabilities are ln 0.5 = -0.693.
#
# <details><summary>Hint 1: the idea</summary>
#
# Logits from the network, cut into groups, then log-probabilities.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `unimix(logits, fraction)` normalises over the last axis, so the reshape to (..., S, C) comes first.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `logits.reshape(*deter.shape[:-1], self.c.stoch, self.c.classes)` and
# `unimix(logits, self.c.unimix)`.
# </details>


# %% tags=["exercise", "part:RSSM.prior"]
def prior(self, deter: jax.Array) -> jax.Array:
    """p(z | h), the prediction of z without the observation.

    self: the RSSM, with self.prior_net and self.c.unimix. deter: h (..., D).
    Returns log-probabilities (..., S, C), which sum to 1 (as probabilities) in each group.
    """
    # BEGIN SOLUTION
    logits = self.prior_net(deter).reshape(*deter.shape[:-1], self.c.stoch, self.c.classes)
    return unimix(logits, self.c.unimix)
    # END SOLUTION


# %% tags=["check"]
prior = checks.prior(prior)

# %% [markdown]
# **Exercise 7** · easy · very important · 5 minutes
#
# Write the posterior. It receives the observation as its embedding $e_t$, the encoder's output.
#
# <details><summary>Hint 1: the idea</summary>
#
# The same as the prior, with another network that also receives $e_t$.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Concatenate h and e along the last axis, in this order, and give them to `self.post_net`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `self.post_net(jnp.concatenate([deter, embed], -1))`, then reshape and `unimix` as in the prior.
# </details>


# %% tags=["exercise", "part:RSSM.posterior"]
def posterior(self, deter: jax.Array, embed: jax.Array) -> jax.Array:
    """q(z | h, e), the distribution of z given the observation.

    self: the RSSM, with self.post_net and self.c.unimix. deter: h (..., D).
    embed: the embedded observation (..., E). Returns log-probabilities (..., S, C).
    """
    # BEGIN SOLUTION
    logits = self.post_net(jnp.concatenate([deter, embed], -1))
    logits = logits.reshape(*deter.shape[:-1], self.c.stoch, self.c.classes)
    return unimix(logits, self.c.unimix)
    # END SOLUTION


# %% tags=["check"]
posterior = checks.posterior(posterior)

# %% [markdown]
# ## 5 · One step, with and without an observation
#
# An **observe step** is one step of the filter: predict $h_t$, then sample $z_t$ from the posterior.
# Training sequences run across the ends of episodes. Where `is_first` is True, the old state and the
# previous action belong to another episode, and `mask_reset` of notebook 02 sets all three to zero
# before the core runs. The action that leads to time step t is $a_{t-1}$: the batch holds it beside
# $x_t$ already.
#
# `u` (B, S) is uniform noise in [0, 1) for `sample_onehot`. It is an argument, instead of a key, so
# that a check can compare samples.

# %% [markdown]
# **Exercise 8** · medium · very important · 10 minutes
#
# Write the observe step: from the old state, the previous action and the observation's embedding to
# the new state, and the posterior that it was sampled from.
#
# <details><summary>Hint 1: the idea</summary>
#
# Mask, core, posterior, sample: one line each.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `mask_reset(state, action, is_first)` returns state and action. The posterior sees the **new** h.
# Return the new `State` and the log-probabilities from which z was sampled.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `deter = self.core(state, action)`, `post = self.posterior(deter, embed)`,
# `State(deter, sample_onehot(post, u))`.
# </details>


# %% tags=["exercise", "part:RSSM.observe_step"]
def observe_step(self, state: State, embed, action, is_first, u) -> tuple[State, jax.Array]:
    """One step with an observation, for B sequences.

    self: the RSSM. state: the State before, (B, ...). embed: the observation's embedding (B, E).
    action: the action before the observation (B, A). is_first: (B,) bool, an episode begins.
    u: uniform noise (B, S). Returns (new State, log-probabilities of the posterior (B, S, C)).
    """
    # BEGIN SOLUTION
    state, action = mask_reset(state, action, is_first)
    deter = self.core(state, action)
    post = self.posterior(deter, embed)
    return State(deter, sample_onehot(post, u)), post
    # END SOLUTION


# %% tags=["check"]
observe_step = checks.observe_step(observe_step)

# %% [markdown]
# **Exercise 9** · medium · very important · 5 minutes
#
# An **imagine step** is the predict half alone: there is no observation, so $\hat z_t$ is sampled
# from the prior. An imagined rollout stays within one episode, so nothing is reset. No gradient
# passes through the imagined sample: the actor will learn by a policy gradient (notebook 07), which
# needs none, so wrap the sample in `sg(...)`, JAX's `stop_gradient` (`.detach()` in PyTorch).
#
# <details><summary>Hint 1: the idea</summary>
#
# The observe step without mask and with the prior.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Core; prior of the new h; sample; stop the sample's gradient, not that of h.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `State(deter, sg(sample_onehot(self.prior(deter), u)))`.
# </details>


# %% tags=["exercise", "part:RSSM.imagine_step"]
def imagine_step(self, state: State, action: jax.Array, u: jax.Array) -> State:
    """One step without an observation: z is sampled from the prior.

    self: the RSSM. state: the State before, (B, ...). action: (B, A) the action taken there.
    u: uniform noise (B, S). Returns the new State; its stoch has no gradient.
    """
    # BEGIN SOLUTION
    deter = self.core(state, action)
    return State(deter, sg(sample_onehot(self.prior(deter), u)))
    # END SOLUTION


# %% tags=["check"]
imagine_step = checks.imagine_step(imagine_step)

# %% [markdown]
# ## 6 · A whole sequence
#
# To **observe** a sequence is to run the observe step along time, each step from the state of the
# one before. In PyTorch you would write a `for` loop. In JAX it is `jax.lax.scan(step, start, xs)`:
# `step(carry, x)` returns (new carry, what to collect), `xs` are arrays whose first axis is time,
# and the result is (last carry, everything collected, stacked over time).
#
# **Exercise 10** · medium · very important · 10 minutes
#
# Scan the observe step; the noise is given. Which of `scan`'s two results does `observe` return?
#
# <details><summary>Hint 1: the idea</summary>
#
# The carry is the state. What is collected is the state and its posterior.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Inside, define `step(state, inputs)`, which calls `self.observe_step(state, *inputs)`. That returns
# (state, post), which is not yet what a scan needs: the state is the carry *and* is collected, together
# with its posterior. Scan `step` from `start` over the tuple `(embed, action, is_first, u)`. The last
# carry is the state of the last time step alone, so the second result is wanted.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `step` ends with `return state, (state, post)`, the function with
# `return jax.lax.scan(step, start, (embed, action, is_first, u))[1]`.
# </details>


# %% tags=["exercise", "part:RSSM.observe"]
def observe(self, start: State, embed, action, is_first, key) -> tuple[State, jax.Array]:
    """States and posteriors along B sequences of T steps.

    self: the RSSM. start: the State before the first step, (B, ...). embed: (T, B, E).
    action: (T, B, A), each the action *before* its observation. is_first: (T, B) bool.
    key: for the noise. Returns States (T, B, ...) and log-probabilities (T, B, S, C).
    """
    u = jax.random.uniform(key, (*is_first.shape, self.c.stoch))

    # BEGIN SOLUTION
    def step(state, inputs):
        state, post = self.observe_step(state, *inputs)
        return state, (state, post)

    return jax.lax.scan(step, start, (embed, action, is_first, u))[1]
    # END SOLUTION


# %% tags=["check"]
observe = checks.observe(observe)

# %% [markdown]
# Now the class is complete, apart from two methods for blocks, which section 9 adds. `parts.load()`
# puts your parts into the agent. From here on, everything is trained with **your** `RSSM`.

# %%
dreamer = parts.load()
world = worlds.make("catch/hidden-kink")
model = WorldModel(dreamer, world, seed, length=10, batch=batch)
play = data.random_play(world, 14, 1, jax.random.key(5))  # one sequence; it is reset at step 10

# %% [markdown]
# ### What depends on what: a proof by perturbation
#
# Does the state at t depend on the input at s? **Change that input, and compare the outputs bit by
# bit.** If they are equal, this output does not depend on this input here. That is the proof of a
# reset, and of causality: nothing may depend on the future.
#
# A derivative answers another question: which **learning signal** passes? It is zero wherever no
# gradient flows, even if the output does change. The sampled class, for instance, changes with the
# embedding, but its derivative is zero. The straight-through estimator exists because of that.

# %%
question = predict(
    "Treat samples as constants, without the straight-through estimator: which is true?",
    ["The state no longer depends on any embedding", "It does, but no gradient of it passes"],
)

# %%
key = jax.random.key(6)
changes = probe_rssm.influence(model, model.params, play, "embed", key)
maps_of_signal = {
    "changed embedding": changes,
    "derivative, straight-through": probe_rssm.learning_signal(model, model.params, play, key),
    "derivative, samples constant": probe_rssm.learning_signal(
        model, model.params, play, key, through=False
    ),
}
future, across = np.triu(changes, 1).max(), changes[10:, :10].max()
print(f"largest change by a future input: {future}; across the reset at step 10: {across}")

# %% tags=["plumbing"]
# @title Draw the three maps
show(
    latents.draw_maps(maps_of_signal, [10], "log10; hatched: exactly 0"),
    "Three square maps, outputs down, inputs across, 14 steps. Changed embedding: on and below the "
    "diagonal, in two triangles, before and after the reset at step 10; exactly zero above the "
    "diagonal and across the reset. Derivative with the straight-through estimator: the same two "
    "triangles. Derivative with samples as constants: zero everywhere.",
    "04_influence",
)
question.explain(
    "The left map does not depend on the estimator: the state depends on all embeddings since the "
    "reset, except where a change was too small to change a sampled class. The right map is zero "
    "everywhere, because an embedding enters the state through the sample alone. The zeros mean "
    "*no learning signal through the state*, not *no dependence*. The encoder would still learn "
    "something: the KL loss is a function of the posterior's probabilities, and reaches it "
    "without passing any sample."
)

# %% [markdown]
# Read a *line* of the map: the state at t depends on time steps since the last reset, never on the
# future. Read a *column*: the embedding at s learns from the losses of its own and later steps.
# **Limits:** a perturbation is a proof for these weights and this sequence; another sequence may
# need another look. The checks above tried several.
#
# ## 7 · The result: blur, forgetting, neither
#
# `catch/hidden-kink` separates memory from stochasticity. A ball falls through a
# grid of 10 × 10 cells, one line of cells per time step. It is **hidden** in steps 3 to 6. In step 5
# it **jumps** two columns, left or right with equal probability. To predict where it comes out takes memory of its column; the side
# cannot be predicted by anything.
#
# Three models learn from the same random play, from the same initial weights:
#
# | model | passed on to the next step | the decoder sees | while imagining |
# |---|---|---|---|
# | RSSM | h and z | h and z | z is sampled from the prior |
# | deterministic only | h, and the posterior's *probabilities* | h | it encodes its own predicted frame |
# | stochastic only | z; h is set to 0 before each step | h and z | z is sampled from the prior |
#
# "Deterministic only" is an ordinary recurrent network that predicts the next frame and, in the open
# loop, receives its own prediction as input. Two numbers switch your class between the three
# (`dreamer_lite/course/ablate_rssm.py`).

# %%
trained, losses = {}, {}
for label, switches in VARIANTS.items():
    trained[label], losses[label] = model.train(
        model.params, updates, jax.random.key(seed), switches, label
    )

# %% [markdown]
# The models observe 256 new episodes up to step 2, where the ball is last seen, then imagine the
# rest under the recorded actions. Step 7, where the ball comes out, is judged by two numbers: how
# much of a ball is in **the two columns that are possible**, and how much in **the fullest column**
# (two half balls: 0.5). The baseline is the mean image of step 7. The negative control is the RSSM
# that starts from *another* episode's state: if it did as well, the score would not measure memory.

# %%
question = predict(
    "Which model shows two half balls, and which shows no ball, or one in a wrong place?",
    [
        "deterministic: half balls; stochastic: wrong place",
        "stochastic: half balls; deterministic: wrong place",
    ],
)

# %%
test = data.random_play(world, 10, 256, jax.random.key(99))
actions, column = test.action[SEEN + 1 :], last_seen(test)
frames = test.steps.obs["image"] / 255
dreams, starts = {}, {}
for label, switches in VARIANTS.items():
    states, _ = model.observe(trained[label], test, jax.random.key(1), switches)
    starts[label] = jax.tree.map(lambda x: x[SEEN], states)
    dreams[label] = model.imagine(
        trained[label], starts[label], actions, jax.random.key(2), switches
    )[1]

# %% tags=["signature"]
whole, first = trained["RSSM"], SEEN + 1
other = jax.tree.map(lambda x: jnp.roll(x, 1, 0), starts["RSSM"])
control = model.imagine(whole, other, actions, jax.random.key(2))[1]
again = model.imagine(whole, starts["RSSM"], actions, jax.random.key(3))[1]
mean = jnp.broadcast_to(ball_row(frames, 0).mean(0), (256, 10))
judged = {"reality": outcome(ball_row(frames, 0), column)}
judged |= {label: outcome(ball_row(dream, first), column) for label, dream in dreams.items()}
judged |= {
    "mean image": outcome(mean, column),
    "RSSM, another's state": outcome(ball_row(control, first), column),
}
for label, (right, fullest) in judged.items():
    print(f"{label:22} right columns {right:.2f}, fullest column {fullest:.2f}")

# %% tags=["plumbing"]
# @title Draw the outcomes and one episode
words = "; ".join(f"{k} {a:.2f} and {b:.2f}" for k, (a, b) in judged.items())
show(
    latents.draw_outcomes(judged, ["in the two right columns", "in the fullest column"]),
    f"Probability mass of the ball in the right columns and in the fullest one: {words}.",
    "04_parts",
)
which = 3  # of the 256 episodes
strips = {"reality": frames[:, which]}
for label, dream in [*dreams.items(), ("RSSM, other sample", again)]:
    strips[label] = jnp.concatenate([frames[: SEEN + 1, which], dream[:, which]])
strips = {label: world.render({"image": np.asarray(x)}) for label, x in strips.items()}
show(
    latents.draw_strips(strips, [SEEN, 4, 6, 7, 8, 9]),
    "Five lines of frames, reality and four imagined rollouts, from step 2 to step 9. Reality: one "
    "ball, hidden, then out on one side. RSSM: one ball, beside which step 7 may show a faint one on "
    "the other side; with another sample the ball may be there. Deterministic only: two half balls in "
    "step 7, a dim rest after. Stochastic only: hardly a ball, in wrong places.",
    "04_dreams",
)

# %%
question.explain(
    "**Blur:** without sampling there is one prediction for two outcomes, and half a ball on each "
    "side has the lowest loss. Then the blurred frame becomes the next input, a frame that was never "
    "seen in training. **Forgetting:** without h, the column must pass through z in every hidden "
    "step, where each nat costs KL and the observation does not show it; the model does not learn "
    "that in this time. **Neither:** h keeps the column, z samples a side."
)

# %% [markdown]
# **Limits.** One seed, one small environment, one training length. A longer training, or a smaller
# weight of the KL loss, might let a stochastic model pass ten columns through z. A deterministic model could
# have a richer output than one probability per cell. PlaNet (Hafner et al. 2019) also compared the
# full model with its deterministic and stochastic parts, by another measure: the return of a planner
# (the cross-entropy method) on control tasks. There, too, agents needed both parts, and did not
# learn without the stochastic one. Ours measures predictions, and the stochastic part alone does
# worst: the two experiments agree that both are needed, not on which matters more.
#
# ## 8 · Step through the model
#
# The **stepper** runs your RSSM on one recorded episode. *observe* takes a step with the frame,
# *imagine* a step without it. It shows $h_t$ as a strip, the probabilities of prior and posterior
# side by side (groups down, classes across, a ring around each sampled class), the KL of each group,
# and the decoded frame.
#
# Try this: observe three steps. Where is the KL large, and why? Imagine up to step 7 and press *other
# sample* a few times. Then restart, observe everything, and watch the KL at step 7.

# %%
stepper = Stepper(model, whole, test, episode=3, seed=seed)
stepper.show()

# %% [markdown]
# The same as a film: three steps observed, seven imagined.

# %%
film = stepper.film(["observe"] * 3 + ["imagine"] * 7)
show_film(
    film,
    "Ten steps of the RSSM. In steps 0 to 2 it observes: frame, decoded frame, prior and posterior. "
    f"From step 3 on it imagines, without posterior. At the end: {stepper.words()}",
    "04_stepper",
    fps=1,
    columns=2,
    rows=2,
)

# %% [markdown]
# The KL of a step says how much the observation revealed that the prior did not predict, in nats.
# In 256 episodes it should be large where something random happens, and only there. It need not fall to
# zero elsewhere: the loss leaves the first tenth of a nat of each step **free**, which means that a KL below
# this threshold gives no gradient (these *free nats* are explained in notebook 05).

# %%
question = predict(
    "At which time steps is the KL large?",
    ["0 only", "0 and 7", "3 to 6, where the ball is hidden", "everywhere alike"],
)

# %%
surprise = np.asarray(model.kl_by_step(whole, test, jax.random.key(1)))
print("KL by time step:", *(f"{x:.2f}" for x in surprise))
print(f"ln 6 = {np.log(6):.2f} (columns of the start), ln 2 = {np.log(2):.2f} (left or right)")
question.explain(
    "At step 0 the ball appears in one of six columns, which is worth ln 6 nats. At step 7 it comes "
    "out on one of two sides, worth ln 2. Elsewhere the next frame follows from state and action: the "
    "better the prior, the smaller the KL. It stays above zero where the prior is not precise yet, "
    "most of all around the steps at which something appears, and because the free nats of the "
    "loss (notebook 05) do not ask for less than a tenth of a nat."
)

# %% [markdown]
# Compare the peaks with ln 6 and ln 2: in full mode ours are nearly three times as high (4.8 and 2.1
# nats). One likely reason is that several groups carry the same event. The prior samples each group
# independently given $h_t$, so it cannot say that they will agree, and pays for the same column, or
# the same side, once in each of them: the price of groups of section 4. It would also explain
# frames in which the RSSM shows two faint balls at step 7: such a sample has "left" in one group
# and "right" in another. Already at step 8, $h$ has settled on one side.

# %% [markdown]
# ## 9 · Extension: a block-diagonal GRU
#
# A **block-diagonal** recurrent weight matrix consists of g blocks: each maps one part of the vector
# to one part of the output, and the rest is zero. A dense `gates` matrix has D · 3 D weights, the
# block-diagonal one g · (D/g) · (3 D/g), which is g times fewer. DreamerV3 uses g = 8. Blocks would
# never learn of one another, so `mix` gives each block its own part of $h$ and **all** of `shared`.
# Your agent has g = 1, for which small CPUs are faster; with the next two methods it works for any g.
#
# The order of numbers matters. Input of `mix`: part of block 1, shared, part of block 2, shared, ...
# Output of `gates`: reset, candidate, update of block 1, then of block 2, ...
#
# **A tiny number** (g = 2, D = 4): h = (1, 2, 3, 4) and shared (7) are joined as (1, 2, 7, 3, 4, 7).

# %% [markdown]
# **Exercise 11** · medium · optional · 10 minutes
#
# Write `join_blocks`, which makes the input of `mix` in the order above, for any number of blocks.
#
# <details><summary>Hint 1: the idea</summary>
#
# An axis for blocks: reshape h to (..., g, D/g), and repeat `shared` along that axis.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `jnp.broadcast_to` repeats without copying. Concatenate along the last axis, then flatten the last
# two axes.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `own = deter.reshape(*lead, self.c.blocks, -1)` and
# `jnp.broadcast_to(shared[..., None, :], (*own.shape[:-1], shared.shape[-1]))`.
# </details>


# %% tags=["exercise", "part:RSSM.join_blocks"]
def join_blocks(self, deter: jax.Array, shared: jax.Array) -> jax.Array:
    """Give each of g blocks its part of h and all of `shared`.

    self: the RSSM; g is self.c.blocks. deter: h (..., D). shared: (..., n).
    Returns (..., D + g n): part of block 1, shared, part of block 2, shared, and so on.
    """
    # BEGIN SOLUTION
    lead = deter.shape[:-1]
    own = deter.reshape(*lead, self.c.blocks, -1)
    shared = jnp.broadcast_to(shared[..., None, :], (*own.shape[:-1], shared.shape[-1]))
    return jnp.concatenate([own, shared], -1).reshape(*lead, -1)
    # END SOLUTION


# %% tags=["check"]
join_blocks = checks.join_blocks(join_blocks)

# %% [markdown]
# **Exercise 12** · medium · optional · 10 minutes
#
# Cut the gates. **A tiny number** (g = 2, D = 2): the six numbers (1, 2, 3, 4, 5, 6) are reset (1, 4),
# candidate (2, 5), update (3, 6).
#
# <details><summary>Hint 1: the idea</summary>
#
# Give blocks and gates an axis each, then index the axis of the gates.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Reshape to (..., g, 3, D/g). Gate i is `[..., i, :]`, (..., g, D/g): flatten its last two axes.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `pieces = gates.reshape(*lead, self.c.blocks, 3, -1)` and
# `tuple(pieces[..., i, :].reshape(*lead, -1) for i in range(3))`.
# </details>


# %% tags=["exercise", "part:RSSM.split_gates"]
def split_gates(self, gates: jax.Array) -> tuple[jax.Array, ...]:
    """Cut the output of self.gates into reset, candidate and update.

    self: the RSSM; g is self.c.blocks. gates: (..., 3 D), block after block.
    Returns three arrays (..., D).
    """
    # BEGIN SOLUTION
    lead = gates.shape[:-1]
    pieces = gates.reshape(*lead, self.c.blocks, 3, -1)
    return tuple(pieces[..., i, :].reshape(*lead, -1) for i in range(3))
    # END SOLUTION


# %% tags=["check"]
split_gates = checks.split_gates(split_gates)

# %% [markdown]
# ## 10 · Find the bug
#
# One line of your RSSM has been changed, and the model was trained again with this **planted bug**.
# Which one is it?
#
# | suspect | what it would do |
# |---|---|
# | reset one step late | `is_first` acts at the step after |
# | action lost while imagining | `imagine_step` passes zeros to the GRU core instead of the action |
# | own action | step t receives the action chosen *after* observation t |
#
# Below is the evidence, for this model and for your healthy one: losses, KL by time step, how often
# the imagined paddle is wrong, perturbation maps, and a film. `case` (1, 2 or 3, in the cell of
# parameters) chooses the bug. Decide **before** you read the diagnosis: what would each suspect
# change in each picture?

# %%
bug = bugs.of_case(bugs.RSSM, case)  # do not print it
broken = WorldModel(parts.load(force=bugs.plant(bug)), world, seed, length=10, batch=batch)
broken_params, broken_losses = broken.train(
    broken.params, updates, jax.random.key(seed), VARIANTS["RSSM"], f"case {case}"
)

# %%
pairs = {"healthy": (model, whole), f"case {case}": (broken, broken_params)}
episodes = data.random_play(world, 20, 256, jax.random.key(98))  # two episodes in each sequence
kl, paddle, films, maps = {}, {}, {}, {}
for label, (net, params) in pairs.items():
    kl[label] = np.asarray(net.kl_by_step(params, episodes, jax.random.key(1)))
    states, _ = net.observe(params, test, jax.random.key(1))
    start = jax.tree.map(lambda x: x[SEEN], states)
    films[label] = net.imagine(params, start, actions, jax.random.key(2))[1]
    paddle[label] = wrong_paddles(films[label], test)
    for what in ("embed", "action"):
        maps[f"{label}: {what}"] = probe_rssm.influence(net, params, play, what, key)

# %% tags=["plumbing"]
# @title Draw the evidence
curves = dict(zip(pairs, (losses["RSSM"]["total"], broken_losses["total"])))
ends = {label: float(curve[-50:].mean()) for label, curve in curves.items()}
show(
    latents.draw_evidence(curves, kl, paddle),
    "Loss against updates, KL against time step, and wrong imagined paddles, for both models. "
    + "; ".join(
        f"{label}: loss {ends[label]:.2f} at the end, KL at steps 10 and 11 {kl[label][10]:.2f} and "
        f"{kl[label][11]:.2f}, paddle wrong in {paddle[label].mean():.0%} of imagined steps"
        for label in pairs
    )
    + ".",
    "04_evidence",
)
show(
    latents.draw_maps(maps, [10], "log10 of the change; hatched: exactly 0"),
    "Four maps, changed embeddings and actions, healthy and with the bug, with a reset at step 10. "
    + "; ".join(
        f"{label}: largest change above the diagonal {np.triu(m, 1).max():.2g}, across the reset "
        f"{m[10:, :10].max():.2g}"
        for label, m in maps.items()
    )
    + ".",
    "04_evidence_maps",
)
both = [frames[SEEN + 1 :, which], *(films[label][:, which] for label in pairs)]
show_film(
    np.concatenate([world.render({"image": np.asarray(x)}) for x in both], 2),
    "Reality, the healthy model's open loop and that of the model with the bug, under the same actions.",
    "04_evidence_film",
    fps=2,
    columns=2,
    rows=2,
)

# %%
diagnosis = predict("Which bug does this model have?", [b.name for b in bugs.RSSM])

# %%
diagnosis.explain(f"It is: *{bug.name}*. {bug.tell}")

# %% [markdown]
# Try the other two cases. No bug shows in all of the evidence, and one shows in the open loop only: a
# falling loss is no proof that a world model is right.
#
# **Limits.** Each bug was planted alone. In your own projects several may be at work, and the healthy
# model beside it will be missing.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. What does the posterior depend on that the prior does not?</summary>
#
# The current observation, through its embedding. Both depend on h, and through h on the past.
# </details>
# <details><summary>2. Why must an imagined rollout sample from the prior?</summary>
#
# There is no observation. If the prior has learned to predict the posterior, its samples are
# distributed as the observation would have made them.
# </details>
# <details><summary>3. In torch.nn.GRU a gate of 1 keeps the old state. And here?</summary>
#
# Here it lets the candidate in: h' = u h̃ + (1 - u) h.
# </details>
# <details><summary>4. A derivative of the state for an embedding is zero. Does the state not depend on
# it?</summary>
#
# Not necessarily: a sampled class depends on it, with zero derivative. To prove independence, change
# the embedding and compare bit by bit.
# </details>
# <details><summary>5. Why is h reset by zeros, and the action too?</summary>
#
# They belong to the episode before. One-hot action 0 would be a real action; zeros are none.
# </details>

# %% [markdown]
# ## Summary
#
# * An RSSM is a sequential variational autoencoder with state (h, z): h is deterministic, z sampled.
# * While observing, z comes from the posterior; while imagining, from the prior: filtering and
#   prediction of the same latent state.
# * The gates depend on x alone, and the update gate lets the new value in.
# * The straight-through estimator passes a learning signal through a sample; dependence itself is
#   proved by perturbation.
# * Without sampling predictions blur; without h the model forgets; with both it does neither.
#
# ## References
#
# * D. Hafner and others: Learning latent dynamics for planning from pixels (PlaNet, 2019),
#   [arXiv:1811.04551](https://arxiv.org/abs/1811.04551).
# * D. Hafner, T. Lillicrap, M. Norouzi, J. Ba: Mastering Atari with discrete world models
#   (DreamerV2, 2021), [arXiv:2010.02193](https://arxiv.org/abs/2010.02193).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * K. Cho and others: Learning phrase representations using RNN encoder-decoder (2014),
#   [arXiv:1406.1078](https://arxiv.org/abs/1406.1078).
# * Y. Bengio, N. Léonard, A. Courville: Estimating or propagating gradients through stochastic
#   neurons (2013), [arXiv:1308.3432](https://arxiv.org/abs/1308.3432).
#
# ## Next
#
# [Notebook 05](05_world_model.ipynb) adds encoder, decoder and heads, and the losses that train them
# together with your RSSM, on Breakout.

# %%
dreamer = parts.load()
