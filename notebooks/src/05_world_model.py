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
# # 05 · The world model
#
# **Trained on nothing but the time steps of a random player, your world model predicts where paddle and ball of Breakout will be, fifteen steps ahead, without seeing a single frame on the way.**
#
# ![](figure:05_film)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 35 | 60 | 6, on 2 CPU cores | notebooks 02 to 04 | encoder, decoder, heads, losses, training step |
#
# **You will be able to**
#
# * derive the world model's objective from the evidence lower bound (ELBO) of a variational autoencoder;
# * explain why an agent under partial observability needs a filter, and which parts of the RSSM are one;
# * write encoder, decoder and heads, and the loss of each;
# * write the KL losses with stop-gradients and free nats (a threshold below which the KL trains nothing), and say
#   which network each one trains;
# * train the model, and judge its open-loop predictions against two baselines and a negative control;
# * find a planted bug in a world model from its curves, gradients and predictions.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
seed = 0  # @param {type: "integer"}
updates = 600 if FAST else 3000  # @param {type: "raw"}
case = 1  # @param [1, 2, 3] {type: "raw"}

# %% tags=["setup"]
# @title Imports, and the agent made of your parts so far
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course import bugs, checks, data, model_plots, notebook, parts
from dreamer_lite.course import world_models as wm

dreamer = parts.load()
Config, State, Batch, Dreamer = dreamer.Config, dreamer.State, dreamer.Batch, dreamer.Dreamer
Linear, Mlp, RSSM = dreamer.Linear, dreamer.Mlp, dreamer.RSSM
symlog, feature = dreamer.symlog, dreamer.feature
binary_cross_entropy, two_hot_loss = dreamer.binary_cross_entropy, dreamer.two_hot_loss
sg = jax.lax.stop_gradient

# %% [markdown]
# ## 1 · From a VAE to an RSSM
#
# A **world model** is a learned simulator: from a state and an action it predicts the next state,
# the observation, the reward, and whether the episode continues. In notebook 04 you wrote its
# core, the RSSM. What is missing is what trains it. You can derive that from a model that you know.
#
# ![](figure:diagram_vae_to_rssm)
#
# A **variational autoencoder** (VAE; Kingma and Welling 2013) explains one image $x$ by a latent
# variable $z$. Its decoder $p(x\mid z)$ and a fixed prior $p(z)$ define the probability of $x$, its
# encoder $q(z\mid x)$ approximates the posterior. Training maximises the **evidence lower bound**
# (ELBO), because the likelihood itself is an integral that nobody can compute:
#
# $$\ln p(x)\;\ge\;\mathbb{E}_{q(z\mid x)}\bigl[\ln p(x\mid z)\bigr]-\mathrm{KL}\bigl(q(z\mid x)\,\|\,p(z)\bigr)$$
#
# A **sequential VAE** explains a sequence. It has one latent per time step, and the prior is no
# longer fixed: it is a prediction from the past, $p(z_t\mid z_{t-1},a_{t-1})$.
#
# An **RSSM** is a sequential VAE whose transition has a deterministic path $h_t$ and a stochastic
# path $z_t$. Because $h_t$ is a function of all earlier latents and actions, prior and posterior may
# both depend on it.

# %% [markdown]
# With $s_t=(h_t,z_t)$, and with rewards $r_t$ and continuation flags $c_t$ observed as well, the ELBO
# of a sequence is
#
# $$\begin{gathered}
# \ln p(x_{1:T},r_{1:T},c_{1:T}\mid a_{1:T-1})\;\ge\;\sum_{t=1}^{T}\mathbb{E}_q\Bigl[
# \underbrace{\ln p(x_t\mid s_t)}_{\text{decoder}}+\underbrace{\ln p(r_t\mid s_t)}_{\text{reward head}}\\
# +\underbrace{\ln p(c_t\mid s_t)}_{\text{continue head}}
# -\underbrace{\mathrm{KL}\bigl(q(z_t\mid h_t,x_t)\,\|\,p(z_t\mid h_t)\bigr)}_{\text{posterior, prior}}\Bigr]
# \end{gathered}$$
#
# Each term is a network of this notebook. The first three pull information *into* the state. The
# KL charges for it: what the posterior knows beyond the prior costs nats (units of information, with the natural
# logarithm). So the cheapest state holds what explains the observations, and what can be predicted.
#
# DreamerV3 minimises the negative of this bound with three changes, which sections 4 and 5 explain: it
# counts the KL twice, each time with a **stop-gradient** on one side; it leaves the first nats **free**,
# which means that a KL below a threshold trains nothing; and it does not insist on likelihoods. After that the objective is no lower bound any more.
#
# **A tiny number.** A VAE with one binary latent: prior (0.5, 0.5), posterior (0.9, 0.1). The decoder gives the
# image probability 0.8 under class 0 and 0.2 under class 1. The first term is
# 0.9 ln 0.8 + 0.1 ln 0.2 = -0.362, the KL is 0.368, so the ELBO is -0.730. Indeed
# ln p(x) = ln (0.5·0.8 + 0.5·0.2) = -0.693 is larger. With the exact posterior (0.8, 0.2) both are equal.

# %% [markdown]
# ## 2 · Partial observability and filtering
#
# A **partially observable Markov decision process** (POMDP) is a Markov decision process whose state
# the agent cannot see: it receives an observation that depends on the state, and not all of it. One
# frame of Pong does not show where the ball is going. One frame of your Catch in notebook 04 did not
# even show the ball.
#
# A good action then depends on the whole history. Instead of storing it, an agent keeps a **belief**:
# the probability of each state given all observations and actions so far. Keeping the belief up to
# date is called **filtering**, and has two steps:
#
# | step | Bayes filter | RSSM |
# |---|---|---|
# | predict, from the last action | $p(s_t\mid x_{1:t-1},a_{1:t-1})$ | recurrent core and prior: $h_t$, $p(z_t\mid h_t)$ |
# | update, by the new observation | $p(s_t\mid x_{1:t},a_{1:t-1})$ | posterior: $q(z_t\mid h_t,x_t)$ |
#
# So `observe_step` is a learned, approximate filter, and prior and posterior are *the same latent without
# and with the observation*. If no observation comes, you can still predict, again and again. That is
# the **open loop**, and an agent that learns in it has **imagined rollouts** (the course calls them dreams).
#
# **A tiny number.** A ball is in column 2 or 3 with equal probability, and moves right for certain. Predicted: column 3
# or 4, with probability 0.5 each. A frame shows it in column 4: the update gives probability 1, and the KL between the two
# is ln 2 = 0.69 nats. That is what the frame revealed.

# %% [markdown]
# ## 3 · Encoder and decoder
#
# An **encoder** is a network that turns an observation $x_t$ into a vector, the embedding $e_t$. A
# **decoder** is a network that predicts the observation from the state. The paper uses
# convolutions for images. Breakout's frame is a grid of 10 × 10 cells with 4 planes (paddle, ball,
# trail of the ball, bricks), each on or off, so two MLPs are enough, and run fast on a CPU.
#
# An observation is a dictionary, `{"image": (..., 10, 10, 4)}` here. `obs_space` describes it: a `Space`
# for each name, with the fields
#
# | field | Breakout's image | Pendulum's vector |
# |---|---|---|
# | `shape` | (10, 10, 4) | (3,) |
# | `size`, how many numbers | 400 | 3 |
# | `is_image`: uint8 from 0 to 255 | True | False: float32 of any magnitude |
#
# The classes are given. Your parts are the methods that they call: `build`, which makes the layers, and
# the methods that use them. In PyTorch you would write both in one `torch.nn.Module`; a `flax.nnx.Module`
# works the same way, but its parameters are made from explicit random numbers, `rng`.


# %% tags=["given"]
class Encoder(nnx.Module):
    """An observation to its embedding e (..., units)."""

    def __init__(self, c: Config, obs_space: dict, rng):
        self.spaces = obs_space
        self.build(c, rng)


# %% [markdown]
# **Exercise 1: `Encoder.build`** · easy · important · 4 minutes
#
# Make the encoder's only network, `self.mlp`: an `Mlp` of notebook 03 with `c.layers` hidden layers of
# `c.units`. All parts of an observation, written flat and joined, are its input. `Mlp(inputs, units, layers, rng)` has no output layer unless
# you ask for one, and the embedding needs none.
#
# <details><summary>Hint 1: the idea</summary>
#
# The input has as many numbers as all spaces together: 400 for Breakout, 400 + 3 for a robot with a
# grid and a vector.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Add up `space.size` over `self.spaces.values()`. Width and number of layers are in `c`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `self.mlp = Mlp(inputs, c.units, c.layers, rng)`
# </details>


# %% tags=["exercise", "part:Encoder.build"]
def build(self, c: Config, rng) -> None:
    """Make `self.mlp`, the network from a flat observation to the embedding.

    self.spaces: {name: Space}, the observation's parts; `space.size` counts the numbers of one.
    c: hyperparameters; c.units is the width, c.layers the number of hidden layers.
    rng: random numbers for `Mlp`.
    """
    # BEGIN SOLUTION
    inputs = sum(space.size for space in self.spaces.values())
    self.mlp = Mlp(inputs, c.units, c.layers, rng)
    # END SOLUTION


# %% tags=["check"]
build = checks.encoder_layers(build)

# %% [markdown]
# **Exercise 2: `Encoder.embed`** · medium · important · 8 minutes
#
# Embed observations with any number of leading axes: none, or (T, B) for example. An image is stored in bytes from 0
# to 255 (a cell of a grid is 0 or 255), so divide it by 255. The numbers of a vector have any magnitude, so take their symlog.
#
# Shapes: `obs[name]` is (..., *space.shape), for example (T, B, 10, 10, 4); the result is (..., units).
#
# **A tiny number.** A grid [[255, 0]] and a speed of -9 become (1, 0, -2.303), in the order of their
# names: "grid" comes before "speed".
#
# <details><summary>Hint 1: the idea</summary>
#
# Only the axes of `space.shape` are flattened. The leading axes stay as they are.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Go over `sorted(self.spaces.items())`, scale each part, reshape it to (..., size), and collect it in a list. Then join the
# list on the last axis and apply the MLP.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# The leading axes are `x.shape[: x.ndim - len(space.shape)]`, so reshape to `(*lead, -1)`.
# </details>


# %% tags=["exercise", "part:Encoder.embed"]
def embed(self, obs: dict) -> jax.Array:
    """Embeddings (..., units) of observations: scale each part, write all flat, apply `mlp`.

    obs: {name: (..., *shape)}; an image is uint8 from 0 to 255, a vector float32.
    Parts are joined in the order of their names, as in sorted(self.spaces.items()).
    """
    # BEGIN SOLUTION
    flat = []
    for name, space in sorted(self.spaces.items()):
        x = obs[name] / 255 if space.is_image else symlog(obs[name])
        lead = x.shape[: x.ndim - len(space.shape)]
        flat.append(x.reshape(*lead, -1))
    return self.mlp(jnp.concatenate(flat, -1))
    # END SOLUTION


# %% tags=["check"]
embed = checks.embed(embed)

# %% [markdown]
# The decoder goes the other way: the input of every head is `feature(state)`, $h_t$ and $z_t$ joined, of
# length F = D + S·C. One MLP is shared, and a linear map for each name gives as many numbers as
# the observation has.


# %% tags=["given"]
class Decoder(nnx.Module):
    """A state's feature to a prediction of each part of the observation."""

    def __init__(self, c: Config, obs_space: dict, rng):
        self.spaces = obs_space
        self.build(c, rng)


# %% [markdown]
# A cell of a grid is predicted by a logit, and 33 of Breakout's 400 cells
# are on at most. So begin with the belief that a cell is empty: give the heads of images a bias of -4.
# Sigmoid(-4) is 0.018. The other heads begin with a bias of 0.
#
# `Linear(inputs, outputs, rng, bias=...)` is the layer of notebook 03. nnx does not look
# for weights in a plain dictionary: wrap it in `nnx.data(...)`, as PyTorch needs a `torch.nn.ModuleDict`.

# %% [markdown]
# **Exercise 3: `Decoder.build`** · easy · important · 5 minutes
#
# Make `self.mlp` and `self.heads`, with these first biases.
#
# <details><summary>Hint 1: the idea</summary>
#
# The MLP has as many inputs as a feature has numbers, each head as many outputs as its part of the
# observation.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# The MLP first. Then a loop over `self.spaces.items()` that fills a dictionary.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# A feature has `c.deter + c.stoch * c.classes` numbers. A head is `Linear(c.units, space.size, rng, bias=bias)`.
# </details>


# %% tags=["exercise", "part:Decoder.build"]
def build(self, c: Config, rng) -> None:
    """Make `self.mlp`, from a feature to c.units numbers, and `self.heads`, {name: Linear}.

    c: hyperparameters; a feature has D + S C numbers: c.deter, c.stoch, c.classes.
    self.spaces: {name: Space}; a head has `space.size` outputs; its bias is -4 for an image.
    rng: random numbers, for the MLP first, then for the heads in the order of self.spaces.
    """
    # BEGIN SOLUTION
    self.mlp = Mlp(c.deter + c.stoch * c.classes, c.units, c.layers, rng)
    heads = {}
    for name, space in self.spaces.items():
        bias = -4.0 if space.is_image else 0.0  # most cells of a grid are empty
        heads[name] = Linear(c.units, space.size, rng, bias=bias)
    self.heads = nnx.data(heads)
    # END SOLUTION


# %% tags=["check"]
build = checks.decoder_layers(build)

# %% [markdown]
# **Exercise 4: `Decoder.predict`** · easy · important · 4 minutes
#
# Return raw outputs: logits for cells, symlog numbers for vectors. Each has the shape of its part of the
# observation, behind the leading axes of `feat`.
#
# <details><summary>Hint 1: the idea</summary>
#
# The MLP is applied once. All heads receive its output.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A dictionary, filled in a loop over `self.spaces.items()`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# With `head = self.heads[name]` and `x = self.mlp(feat)`: `head(x).reshape(*feat.shape[:-1], *space.shape)`
# </details>


# %% tags=["exercise", "part:Decoder.predict"]
def predict(self, feat: jax.Array) -> dict:
    """{name: raw outputs (..., *shape)}: logits of cells, symlog numbers.

    feat: features (..., F) of states, as `feature` makes them.
    """
    # BEGIN SOLUTION
    x, raw = self.mlp(feat), {}
    for name, space in self.spaces.items():
        head = self.heads[name]
        raw[name] = head(x).reshape(*feat.shape[:-1], *space.shape)
    return raw
    # END SOLUTION


# %% tags=["check"]
predict = checks.predict(predict)

# %% [markdown]
# **The reconstruction loss** is the decoder's part of the ELBO, $-\ln p(x_t\mid s_t)$. A cell is a Bernoulli variable with
# $p=\sigma(\text{logit})$, so its loss is the binary cross entropy of notebook 03, in nats. For vectors the loss is the
# squared error between raw output and symlog(x).
#
# A squared error is not in nats. It is a log-likelihood only under an assumed variance, because
# $-\ln\mathcal{N}(x;\hat x,1)=\tfrac12(x-\hat x)^2+\text{const}$. Its weight against the KL is therefore a choice. The
# released code takes the squared error for images, too. Here cross entropy pays, because a ball is one cell in a
# hundred, and a young network is sure that there is none.
#
# **A tiny number.** A cell that is on, given p = 0.01: the cross entropy is 4.61 nats, the squared error 0.98. Their
# gradients for the logit are -0.99 and -0.02. Where the network is confident and wrong, the squared error hardly moves
# it.

# %%
logit = jnp.log(0.01 / 0.99)  # of a cell that is on
squared = jax.grad(lambda x: (jax.nn.sigmoid(x) - 1.0) ** 2)
cross = jax.grad(lambda x: binary_cross_entropy(x, 1.0))
print(
    f"gradient for the logit: cross entropy {cross(logit):.3f}, squared error {squared(logit):.3f}"
)

# %% [markdown]
# **Exercise 5: `Decoder.reconstruction_loss`** · medium · very important · 8 minutes
#
# Shapes: features (..., F) and observations (..., *shape) give losses (...), one number for each time step.
#
# <details><summary>Hint 1: the idea</summary>
#
# Independent cells multiply their probabilities, so their losses are added: over all cells and all parts,
# but not over time steps and sequences.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Begin with zeros of shape `feat.shape[:-1]`. For each name in `self.predict(feat)` compute a loss of the observation's shape, and
# add its sum over everything behind the leading axes.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `loss.reshape(*total.shape, -1).sum(-1)` sums over what is behind the leading axes. The target of a cell is `obs[name] / 255`.
# </details>


# %% tags=["exercise", "part:Decoder.reconstruction_loss"]
def reconstruction_loss(self, feat: jax.Array, obs: dict) -> jax.Array:
    """Losses (...), summed over all cells and numbers of a time step.

    feat: features (..., F).
    obs: {name: (..., *shape)}, what `self.predict(feat)` should have predicted.
    Images: binary cross entropy of the logits and obs / 255.
    Vectors: (raw output - symlog(obs)) squared.
    """
    # BEGIN SOLUTION
    total = jnp.zeros(feat.shape[:-1])
    for name, raw in self.predict(feat).items():
        if self.spaces[name].is_image:
            loss = binary_cross_entropy(raw, obs[name] / 255)
        else:
            loss = (raw - symlog(obs[name])) ** 2
        total += loss.reshape(*total.shape, -1).sum(-1)
    return total
    # END SOLUTION


# %% tags=["check"]
reconstruction_loss = checks.reconstruction_loss(reconstruction_loss)

# %% [markdown]
# ## 4 · Heads for reward and continuation
#
# A **head** is a small network that predicts one quantity from the state. An actor learns from rewards and from ends of
# episodes, and in imagination both must come from the model.
#
# The **reward head** has K outputs, the logits of the two-hot distribution of notebook 03. Its output layer begins at
# zero, so that all bins have the same probability and the predicted reward is exactly 0: a new model must not
# attract the actor by rewards that are not there. Its loss then begins at ln K.
#
# The **continue head** has one output, a logit. In the paper it predicts the flag $c_t\in\{0,1\}$, 0 at a true end, and
# the discount factor γ multiplies it later, in the return. The released code, and we, put γ into the target (`contdisc`
# there): $(1-\text{is\_terminal}_t)\,\gamma$. The head then outputs the discounted probability of continuation,
# which is what a return needs. With a soft target this loss is a cross entropy, no likelihood, and it cannot
# reach zero.
#
# Mind the two flags. `is_terminal` marks a true end: no reward can follow. `is_last` is also set where a time limit cuts
# a running game, and that is no end of the task.
#
# **A tiny number.** K = 63: the reward loss begins at ln 63 = 4.14 nats. γ = 0.99: the best constant output is 0.99, and its
# loss is the entropy -0.99 ln 0.99 - 0.01 ln 0.01 = 0.056 nats.

# %% [markdown]
# The whole world model is five networks, attributes of the agent:
#
# | attribute | what | inputs | outputs |
# |---|---|---|---|
# | `encoder` | `Encoder(c, obs_space, rng)` | observation | embedding, c.units |
# | `rssm` | `RSSM(c, embed, actions, rng)` | state, action, embedding | state |
# | `decoder` | `Decoder(c, obs_space, rng)` | feature | observation |
# | `reward` | `Mlp` with one hidden layer, output layer zero at first | feature | c.bins logits |
# | `cont` | `Mlp` with one hidden layer | feature | 1 logit |
#
# `Mlp(inputs, units, layers, rng, outputs, scale)` multiplies the first values of its output layer by `scale`.

# %% [markdown]
# **Exercise 6: `Dreamer.build_model`** · easy · very important · 8 minutes
#
# Put the world model together. `actions` is A, the length of an action.
#
# <details><summary>Hint 1: the idea</summary>
#
# Everything is built already; only sizes must fit. Which length does an embedding have, which a feature?
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Five assignments to `self`, in the order of the table, because each draws from `rng`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `RSSM(c, c.units, actions, rng)`, and `Mlp(inputs, c.units, 1, rng, c.bins, scale=0.0)` for the reward.
# </details>


# %% tags=["exercise", "part:Dreamer.build_model"]
def build_model(self, c: Config, obs_space: dict, actions: int, rng) -> None:
    """Make self.encoder, self.rssm, self.decoder, self.reward and self.cont, in this order.

    c: hyperparameters; c.units is the width of the heads, c.bins is K.
    obs_space: {name: Space} of the observations.
    actions: A, the length of an action.
    """
    # BEGIN SOLUTION
    inputs = c.deter + c.stoch * c.classes
    self.encoder = Encoder(c, obs_space, rng)
    self.rssm = RSSM(c, c.units, actions, rng)
    self.decoder = Decoder(c, obs_space, rng)
    self.reward = Mlp(inputs, c.units, 1, rng, c.bins, scale=0.0)
    self.cont = Mlp(inputs, c.units, 1, rng, 1)
    # END SOLUTION


# %% tags=["check"]
build_model = checks.build_model(build_model)

# %% [markdown]
# ## 5 · The KL losses: stop-gradients and free nats
#
# The **KL divergence** measures in nats how much the posterior $q$ knows that the prior $p$ did not
# predict. For S independent groups of C classes it is a sum over groups:
#
# $$\mathrm{KL}(q\,\|\,p)=\sum_{s=1}^{S}\sum_{k=1}^{C} q_{sk}\,(\ln q_{sk}-\ln p_{sk})$$
#
# It can be made small in two ways. The prior can learn to predict the posterior, which is what we want. Or
# the posterior can give up information, so that there is less to predict. **KL balancing** (DreamerV2)
# separates the two by a stop-gradient sg, which passes a value on and lets no gradient through:
#
# $$L_\mathrm{dyn}=\max\bigl(1,\mathrm{KL}(\operatorname{sg}(q)\,\|\,p)\bigr)\qquad
# L_\mathrm{rep}=\max\bigl(1,\mathrm{KL}(q\,\|\,\operatorname{sg}(p))\bigr)$$
#
# (Hafner et al. 2025, "World model learning".) The values are equal; the gradients are not. $L_\mathrm{dyn}$, with weight 1, trains the prior. $L_\mathrm{rep}$,
# with weight 0.1, makes the posterior a little easier to predict.
#
# **Free nats** are the maximum with a constant: where the KL of a time step is below it, neither loss has a gradient,
# and all effort goes into the other losses. Sum over the groups first, then take the maximum, at each time step. The paper frees 1 nat.
#
# **A tiny number.** q = (0.9, 0.1), p = (0.5, 0.5): KL = 0.9 ln 1.8 + 0.1 ln 0.2 = 0.368 nats. With 1 nat free the loss is
# 1, and the gradient 0.

# %% [markdown]
# **Exercise 7: `kl_losses`** · medium · very important · 12 minutes
#
# Shapes: `post` and `prior` are log-probabilities (..., S, C); both results are (...). `sg` is `jax.lax.stop_gradient`, what
# `x.detach()` is in PyTorch.
#
# <details><summary>Hint 1: the idea</summary>
#
# One divergence, computed twice. Only the side around which the stop-gradient stands differs.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Write a small function `kl(q, p)` inside: it sums over the last two axes, then takes the maximum. Call it
# with `sg(...)` around one argument, then around the other.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# The inputs are logarithms already: `jnp.sum(jnp.exp(q) * (q - p), (-2, -1))`. `jnp.maximum` works element by
# element; `jnp.max` would reduce an axis.
# </details>


# %% tags=["exercise", "part:kl_losses"]
def kl_losses(post: jax.Array, prior: jax.Array, free_nats: float) -> tuple[jax.Array, jax.Array]:
    """(dyn, rep): KL(q || p) in nats (...), at least free_nats; two values, two gradients.

    post, prior: log-probabilities ln q and ln p (..., S, C).
    dyn trains the prior and has no gradient for `post`; rep trains the posterior, none for `prior`.
    """

    # BEGIN SOLUTION
    def kl(q, p):
        return jnp.maximum(free_nats, jnp.sum(jnp.exp(q) * (q - p), (-2, -1)))

    return kl(sg(post), prior), kl(post, sg(prior))
    # END SOLUTION


# %% tags=["check"]
kl_losses = checks.kl_losses(kl_losses)

# %% [markdown]
# **A tug of war.** What do the two losses do when a reconstruction loss pulls, too? Take the smallest case: two
# frames, A and B, come with equal probability, and nothing in the past says which. The latent has two classes. The
# decoder gives frame A probability 0.95 under class 0 and 0.05 under class 1, frame B the other way round. There
# are two posteriors, one for each frame, and one prior. All three follow the gradient of
#
# $$\text{pull}\cdot\mathbb{E}_q[-\ln p(x\mid z)]+1.0\,L_\mathrm{dyn}+\text{weight}\cdot L_\mathrm{rep}$$


# %%
def tug(pull: float, weight: float, steps: int = 1200) -> jax.Array:
    """Probability of class 0 (steps, 3): posterior of frame A, posterior of frame B, prior."""
    nats = -jnp.log(jnp.array([[0.95, 0.05], [0.05, 0.95]]))  # frame, class

    def loss(logits: jax.Array) -> jax.Array:
        q, p = jax.nn.log_softmax(logits[:2]), jax.nn.log_softmax(logits[2:])
        dyn, rep = kl_losses(q[:, None], jnp.broadcast_to(p, q.shape)[:, None], 0.0)
        return jnp.sum(pull * jnp.sum(jnp.exp(q) * nats, -1) + dyn + weight * rep)

    def step(logits: jax.Array, _: None) -> tuple:
        return logits - 0.3 * jax.grad(loss)(logits), jax.nn.softmax(logits)[:, 0]

    start = jnp.array([[0.4, 0.0], [0.0, 0.0], [1.1, 0.0]])
    return jax.lax.scan(step, start, None, steps)[1]


question = notebook.predict(
    "With a pull of 1, where do the two posteriors end if rep weighs 10 instead of 0.1?",
    ["near 1 and 0: each names its frame", "near 0.5: they name nothing", "both near 1"],
)

# %%
tugs = {
    "no reconstruction, rep 0.1": np.asarray(jax.jit(tug)(0.0, 0.1)),
    "reconstruction, rep 0.1": np.asarray(jax.jit(tug)(1.0, 0.1)),
    "reconstruction, rep 10": np.asarray(jax.jit(tug)(1.0, 10.0)),
}
ends = "; ".join(
    f"{label}: " + ", ".join(f"{x:.2f}" for x in path[-1]) for label, path in tugs.items()
)
notebook.show(
    model_plots.paths(tugs, ("posterior of frame A", "posterior of frame B", "prior")),
    "Probability of class 0 under two posteriors and one prior along 1200 steps of gradient descent. "
    f"They end at (posterior of A, posterior of B, prior): {ends}.",
    "05_tug",
)

# %% tags=["plumbing"]
# @title What happened in the tug of war
question.explain(
    "Near 0.5: the latent has collapsed. A posterior settles where the pull of the reconstruction, ln 19 = 2.94 nats "
    "between the two classes, is balanced by weight × (logit of q - logit of p). With weight 1 that would be exactly the Bayesian "
    "posterior, 0.95, as the ELBO demands. With 0.1 the posterior becomes more certain than that, and names its frame. With 10 "
    "it stays at 0.57. Without reconstruction nothing keeps the two posteriors apart. The prior always ends at the mean of "
    "the two, because nothing in the past tells the frames apart."
)

# %% [markdown]
# **Free nats, by hand.** Now one latent of 8 classes against a uniform prior, and a posterior whose first logit
# grows. Move the slider: below the floor the loss is flat and its gradient is **exactly zero**; above it both are
# those of the plain KL. The gradient is the one for the logit. At which floor does it vanish everywhere? (The KL of one
# group of 8 classes against a uniform prior cannot exceed ln 8 = 2.08 nats.)

# %%
logits = jnp.linspace(0, 8, 161)


def floor(free_nats: float) -> None:
    """Draw rep and its gradient against the logit, with so many nats free."""

    def rep(logit: jax.Array) -> jax.Array:
        post = jax.nn.log_softmax(jnp.zeros((1, 8)).at[0, 0].set(logit))
        return kl_losses(post, jnp.full((1, 8), -jnp.log(8.0)), free_nats)[1]

    values, slopes = jax.vmap(jax.value_and_grad(rep))(logits)
    off = float((slopes == 0).mean())
    alt = (
        f"{free_nats:.2f} nats free: the loss is flat, its gradient zero, on {off:.0%} of the way."
    )
    notebook.show(model_plots.free_nats(logits, values, slopes, free_nats), alt, "05_free_nats")


notebook.slide(floor, 0.0, 2.5, 1.0, "free nats")

# %% [markdown]
# <details><summary>The picture that you should see, with 1 nat free</summary>
#
# ![](figure:05_free_nats)
# </details>

# %% [markdown]
# ## 6 · The world-model loss
#
# The **world-model loss** is one pass of the filter along B sequences of T time steps, and the five losses on what it
# inferred. A `Batch` (notebook 02) holds
#
# | field | shape | meaning |
# |---|---|---|
# | `steps.obs` | {name: (T, B, ...)} | observations |
# | `steps.reward`, `.is_first`, `.is_last`, `.is_terminal` | (T, B) | what came with them |
# | `action` | (T, B, A) | the action *before* each observation |
# | `start` | State (B, ...) | the state before the first time step |
#
# The state comes from observing alone: `agent.rssm.observe(start, embed, action, is_first, key)` of notebook 04 returns the
# states and the posterior's log-probabilities. The prior is evaluated beside the posterior, at every $h_t$, and nothing
# is imagined here.

# %% [markdown]
# **Exercise 8: `world_model_loss`** · hard · very important · 15 minutes
#
# <details><summary>Hint 1: the idea</summary>
#
# Follow the data: observations → embeddings → states and posteriors → features → heads. Every head is compared with what
# the environment really gave at the same time step.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `agent.encoder.embed`, then `agent.rssm.observe(start, embed, action, is_first, key)`, which returns states and posteriors;
# `agent.rssm.prior(states.deter)`; `feature(states)`; then a dictionary of five losses.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `two_hot_loss(agent.reward(feat), steps.reward)` and `binary_cross_entropy(agent.cont(feat)[..., 0], target)`; booleans become
# numbers in `1.0 - steps.is_terminal`.
# </details>


# %% tags=["exercise", "part:world_model_loss"]
def world_model_loss(agent: Dreamer, c: Config, batch: Batch, key: jax.Array) -> tuple[dict, State]:
    """Losses {"recon", "reward", "cont", "dyn", "rep": (T, B)}, and the states (T, B, ...).

    agent: the networks of `build_model`; each is called as `agent.reward(feat)`.
    c: hyperparameters; here c.free_nats and c.discount count.
    batch: sequences (T, B, ...); batch.action is the action before each observation.
    key: random numbers for `agent.rssm.observe`, which consumes it.
    The continue head's target is (1 - is_terminal) c.discount.
    """
    # BEGIN SOLUTION
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
    # END SOLUTION


# %% tags=["check"]
world_model_loss = checks.world_model_loss(world_model_loss)

# %% [markdown]
# The **objective** is the weighted sum of the mean losses: reconstruction with weight `c.recon`, rep with 0.1, and
# everything else with 1. Notebook 08 adds three losses to the same sum: policy and value with weight 1, and the critic's loss on
# replayed time steps, `replay_value`, with 0.3. Write it so that it does not mind which losses are there.
#
# **A tiny number.** Mean losses recon 10 (with c.recon = 1), dyn 2, rep 2: the objective is 10 + 2 + 0.2 = 12.2.
#
# **Exercise 9: `weighted_sum`** · easy · important · 4 minutes
#
# <details><summary>Hint 1: the idea</summary>
#
# Each loss has many values, one for each time step. The mean does not depend on how many there are, so the learning rate
# need not, either.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A dictionary of the three weights that are not 1, and a sum over `losses.items()`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `weights.get(name, 1.0) * x.mean()`
# </details>


# %% tags=["exercise", "part:weighted_sum"]
def weighted_sum(losses: dict, c: Config) -> jax.Array:
    """The objective, one number: the mean of each loss times its weight, summed.

    losses: {name: array of any shape}; not all names need be there.
    Weights: "recon" c.recon, "rep" 0.1, "replay_value" 0.3, any other 1.
    """
    # BEGIN SOLUTION
    weights = {"recon": c.recon, "rep": 0.1, "replay_value": 0.3}
    return sum((weights.get(name, 1.0) * x.mean() for name, x in losses.items()), jnp.zeros(()))
    # END SOLUTION


# %% tags=["check"]
weighted_sum = checks.weighted_sum(weighted_sum)

# %% [markdown]
# ## 7 · A training step
#
# A **training step** computes the loss, its gradient for all parameters, and new parameters. In PyTorch that is
# `loss.backward(); optimizer.step()`, which changes the model in place. In JAX nothing changes in place: `train_step` takes parameters and
# the optimizer's memory, and returns new ones.
#
# | PyTorch | JAX |
# |---|---|
# | `loss = f(model, batch)`, `loss.backward()` | `(value, extra), gradient = jax.value_and_grad(f, has_aux=True)(params, batch)` |
# | `optimizer.step()` | `steps, memory = optimizer.update(gradient, memory, params)` |
# | (in place) | `params = optax.apply_updates(params, steps)` |
#
# `has_aux=True` is for a loss that returns (number, extra): only the number is differentiated, and `extra` is handed through.
#
# **A tiny number.** f(w) = (w - 3)², w = 1, plain gradient descent with learning rate 0.1: the gradient is -4, `steps` is
# +0.4, the new w is 1.4. The sign is in `steps` already.

# %% [markdown]
# **Exercise 10: `train_step`** · medium · very important · 8 minutes
#
# <details><summary>Hint 1: the idea</summary>
#
# Three lines: differentiate, ask the optimizer, apply.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `jax.value_and_grad(loss, has_aux=True)` is a function of the same arguments as `loss`: call it with `params, *inputs`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# See the right column of the table. Return `(params, memory, extra)`.
# </details>


# %% tags=["exercise", "part:train_step"]
def train_step(loss, optimizer, params, memory, *inputs):
    """One step of gradient descent: (new params, new memory, extra).

    loss: a function (params, *inputs) -> (number, extra).
    optimizer: an optax optimizer; optimizer.update(gradient, memory, params) -> (steps, memory).
    params: a pytree of arrays. memory: what the optimizer remembers between steps.
    """
    # BEGIN SOLUTION
    (_, extra), gradient = jax.value_and_grad(loss, has_aux=True)(params, *inputs)
    steps, memory = optimizer.update(gradient, memory, params)
    return optax.apply_updates(params, steps), memory, extra
    # END SOLUTION


# %% tags=["check"]
train_step = checks.train_step(train_step)

# %% [markdown]
# ## 8 · Training on Breakout
#
# Your parts are complete, and from here on everything is trained with them. The data are 51,200 time steps of a
# random player in 128 environments, because a world model needs no good player to begin with. By the rules of MinAtar one action in ten
# is replaced by the last one (*sticky actions*); here that is off, so that errors are the model's and not the environment's.
#
# The time steps go through your replay functions of notebook 02. Each update is
#
# ```python
# place, env = sample(replay, c.batch, c.length, key)
# batch = cut(replay, place, env, c.classes)
# params, memory, (losses, states) = train_step(objective, optimizer, params, memory, batch, key)
# replay = write_back(replay, place, env, states)
# ```
#
# where `objective` is `weighted_sum` of `world_model_loss`. The optimizer is the one that you write in notebook 08.

# %% [markdown]
# These hyperparameters differ from the paper's:
#
# | hyperparameter | paper | here | because |
# |---|---|---|---|
# | widths: D; units; S × C | 8,192; 1,024; 32 × 64 in the released default | 128; 64; 8 × 8 | two CPU cores |
# | hidden layers of encoder, decoder | 3 | 2 | speed |
# | bins K | 255 | 63 | rewards are 0 or 1 |
# | batch B × T | 16 × 64 | 16 × 16 | episodes of random play last 11 steps on average |
# | learning rate | 4·10⁻⁵ | 3·10⁻³, falling | small networks, minutes of training |
# | unimix of the latents | 1 % | 0.3 % | with only 8 groups, each wrong sample is visible |
# | free nats | 1 | 0.1 | with 8 groups, 1 nat can hide a misplaced paddle |
# | discount factor γ | 0.997 | 0.99 | rewards come every few steps |
# | loss of a grid's cells | squared error (released code) | cross entropy | section 3 |

# %%
dreamer = parts.load()
world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
c = dreamer.Config(batch=16, length=16)
play = data.random_play(world, 400, 128, jax.random.key(seed))
replay = data.store(dreamer, c, play)
model = wm.networks(dreamer, c, world, seed)
training = wm.Training(dreamer, c, model.graph, model.params, replay, seed)
episodes = int(play.steps.is_last.sum())
print(f"{play.steps.reward.size:,} time steps, {episodes:,} episodes; config: {c}")

# %%
question = notebook.predict(
    "Which loss falls, rises, and falls again, while all others only fall?",
    ["recon", "reward", "cont", "dyn"],
)

# %%
chunk = max(1, updates // (5 if FAST else 30))  # updates between two pictures
short = min(updates, 600)  # of an early copy, for section 11
params = training.run(updates, chunk, "05_curve", keep=short)
early = training.kept
print(f"{updates:,} updates; the copy for section 11 is of update {short}")


# %% tags=["plumbing"]
# @title What happened to the losses
place, env = dreamer.sample(training.replay, wm.SEQUENCES, c.length, jax.random.key(seed))
batch = dreamer.cut(training.replay, place, env, c.classes)
measure = wm.gradients(dreamer, c, model.graph)
in_sequence = measure(params, batch, jax.random.key(5))
first = np.asarray(batch.steps.is_first)
where = {
    name: in_sequence.losses["dyn"][x].mean() for name, x in (("first", first), ("others", ~first))
}
question.explain(
    "`dyn`. At first it falls towards the floor of the free nats: posterior and prior become the same, "
    "because a z that the decoder does not use yet only costs. As the decoder learns to use z, the posterior "
    "becomes informative, and the prior has something to predict: dyn rises. Then the prior catches up. It stays at "
    f"{where['first']:.2f} nats at the first step of an episode, because there h is blank and the start of "
    f"the ball cannot be known, and at {where['others']:.2f} at all others. `rep` has the same values as `dyn`, "
    f"and is not drawn. `cont` ends at {training.history['cont'][-1]:.3f}: the 0.056 nats of section 4 where the episode "
    "continues, and nothing at a true end."
)

# %% [markdown]
# <details><summary>The curve that you should see</summary>
#
# ![](figure:05_curve)
# </details>
#
# ## 9 · Who teaches whom
#
# The drawing below shows all paths at once. It also has the losses of actor and critic, which you write in notebook 07; for
# the world model, look at the rest.
#
# ![](figure:diagram_gradients)
#
# A **gradient map** shows how strongly each loss moves each network: the norm of that loss's gradient for that
# network's parameters. Zeros are of two kinds. Most mean that there is *no path*: the reward loss does not depend on the decoder.
# Only a few are due to a *stop-gradient*: there is a path, and it is cut. To tell the two apart, compute the map a second time with the
# stop-gradients of `kl_losses` taken away. A zero that disappears was a stop-gradient, and is marked S.
#
# On the left map each time step counts as an episode of its own (is_first is True everywhere), so nothing passes through time. On the
# right the 16 time steps follow one another.

# %%
question = notebook.predict(
    "Does dyn reach the encoder, if 16 time steps follow one another?",
    ["no: sg(q) cuts it", "yes: by a detour"],
)

# %%
unstopped = parts.assemble(bugs.plant(bugs.NO_STOPS))  # kl_losses without stop-gradients
measure_unstopped = wm.gradients(unstopped, c, model.graph)
maps, stopped = {}, {}
views = {"each time step alone": wm.each_alone(batch), "16 time steps in sequence": batch}
for label, view in views.items():
    maps[label] = measure(params, view, jax.random.key(5)).norms
    free = measure_unstopped(params, view, jax.random.key(5)).norms
    stopped[label] = (maps[label] == 0) & (free > 0)

# %%
names = wm.LOSSES, tuple(wm.NETWORKS)
cut_by_sg = "; ".join(f"{label}: {model_plots.where(x, *names)}" for label, x in stopped.items())
zeros = "; ".join(f"{label}: {model_plots.where(x == 0, *names)}" for label, x in maps.items())
notebook.show(
    model_plots.gradient_map(maps, stopped, *names),
    "Two maps of gradient norms, losses down, networks across. Exact zeros: "
    f"{zeros}. Of these, due to a stop-gradient: {cut_by_sg}.",
    "05_teaching",
)
question.explain(
    "Yes. sg(q) stops the posterior of the *same* time step. But h_t depends on the samples z of earlier time "
    "steps, these carry a gradient by the straight-through estimator, and so dyn at t trains the encoder "
    "at t - 1. Only one zero of a stop-gradient is left in a sequence: rep never reaches the prior, because the prior "
    "occurs nowhere but in the KL."
)

# %% [markdown]
# <details><summary>The maps that you should see</summary>
#
# ![](figure:05_teaching)
# </details>
#
# Look at *rep*: it reaches the encoder although it needs no sample of z, because a KL is a function of the posterior's
# *probabilities*. So even without the straight-through estimator the encoder would learn something. And a zero means that no *learning
# signal* passes. It does not mean that no information does: the value of *dyn* depends on the observation all the same.
#
# **Limits.** One batch, after training: norms change in the course of it, zeros do not. Networks have different numbers of
# parameters, so compare the losses within one network, not the networks within one loss.

# %% [markdown]
# ## 10 · The result: open-loop prediction
#
# An **open-loop prediction** is what the model expects under given actions without seeing any observation. In new
# random play, never trained on, the model filters each environment from its start. At one moment the observations end,
# and it imagines 15 time steps under the actions that were really taken:
#
# $$h_{t+1}=f(h_t,z_t,a_t),\quad \hat z_{t+1}\sim p(z_{t+1}\mid h_{t+1}),\quad \hat x_{t+1}=\text{decoder}(h_{t+1},\hat z_{t+1})$$
#
# We measure the squared error, summed over the 400 cells: a ball in a wrong cell costs 2, one for the missing and
# one for the false ball. There is one moment for each environment, so the moments are independent, and the 95 % confidence
# intervals (± 1.96 standard errors of the mean) are valid. With overlapping windows of one episode they would be too narrow.
#
# Beside the prediction stand
#
# * **"repeat the last frame"**, a baseline that says that nothing moves;
# * **the mean image** of the data set, a baseline that says that nothing is known;
# * **another's actions**, the negative control: the same model and the same start, but the actions that were taken at another moment. A model
#   that does not listen to actions would not mind. Look at the paddle, which does what the actions say.

# %%
question = notebook.predict(
    "At step 1, how large is the paddle's error with another's actions? Two of three differ; a misplaced paddle costs 2.",
    ["as small as with the right actions", "about 1.3", "about 2"],
)

# %%
test = data.random_play(world, 400, 128, jax.random.key(seed + 1000))
at = data.moments(test, wm.OBSERVED, wm.HORIZON, seed)
real = np.asarray(wm.around(test.steps.obs["image"], at), np.float32) / 255
open_loop = wm.open_loop(dreamer, model.graph)
actions = wm.taken(test, at)
others = jnp.roll(actions, 1, 1)  # of the next moment
predictions = {
    "open loop": open_loop(params, test, at, jax.random.key(seed))["image"],
    "another's actions": open_loop(params, test, at, jax.random.key(seed), others)["image"],
    "repeat the last frame": np.broadcast_to(real[wm.OBSERVED - 1], real.shape),
    "mean image": np.asarray(play.steps.obs["image"]).mean((0, 1)) / 255 * np.ones_like(real),
}

# %% tags=["signature"]
PLANES = {"all planes": slice(0, 4), "the paddle's plane": slice(0, 1)}
squared = {label: (x - real)[wm.OBSERVED :] ** 2 for label, x in predictions.items()}
wrong = {
    what: {k: wm.interval(x[..., p].sum((-3, -2, -1))) for k, x in squared.items()}
    for what, p in PLANES.items()
}
per_cell = squared["open loop"].mean((0, 1)).sum(-1)  # (10, 10)
words = "; ".join(
    f"{what}, {k}: " + ", ".join(f"{m[h]:.2f} ± {e[h]:.2f}" for h in (0, 4, 14))
    for what, lines in wrong.items()
    for k, (m, e) in lines.items()
)
alt = f"Squared errors of {len(at.time)} moments at horizons 1, 5 and 15. {words}."
notebook.show(model_plots.errors(wrong, per_cell), alt, "05_errors")
print(alt.replace("; ", "\n"))

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:05_errors)
# </details>

# %%
mine, control = (wrong["the paddle's plane"][k][0] for k in ("open loop", "another's actions"))
different = float((actions[0] != others[0]).any(-1).mean())
question.explain(
    f"{control[0]:.2f}, against {mine[0]:.2f} with the right actions. {different:.0%} of the first actions differ, and if each "
    f"of them put the paddle into a wrong cell, the error would be {2 * different:.2f} (it is less where a wall stops the paddle "
    "anyway). A model that does not listen to its actions would have the same error twice. Nobody told yours which cells are a paddle. "
    "The right map shows where the open loop errs: along the two diagonals on which the ball falls, most of all where they "
    "meet the side walls, hardly where nothing ever changes."
)

# %% [markdown]
# And as a film: the three moments with the most bricks broken after them, one by one. While observing, the middle panel
# is a reconstruction; in the open loop it is a prediction.

# %%
bricks = np.asarray(wm.around(test.steps.reward, at))[wm.OBSERVED :].sum(0)
which = np.argsort(-bricks, kind="stable")[:3]
frames = wm.film(world, test, at, predictions["open loop"], which)
late = squared["open loop"].sum((-3, -2, -1))[-1, which]
notebook.show_film(
    frames,
    "Films of Breakout in three panels: reality, the model's prediction, their difference. Of three "
    "moments, 5 frames are observed, then 15 predicted open loop. At the last step the error is "
    + ", ".join(f"{x:.2f}" for x in late) + " cells.",
    "05_film", fps=5, columns=2, rows=2,
)  # fmt: skip

# %% [markdown]
# **Limits.** One seed, one small environment, and no sticky actions. The random player has seen few holes in the wall, and never a
# wall cleared, and where it has not been, the model knows nothing. The moments are from episodes that lasted at least 20 steps; most
# random episodes end sooner. And a small error says that a prediction looks right, not yet that it is good to plan in. Notebooks 06
# and 07 ask that.

# %% [markdown]
# ## 11 · Find the bug
#
# Someone else's world model has **one** planted bug in one part. It was trained on the same data, as long as the early copy of yours
# (600 updates). It runs, its losses fall, and no error is raised: that is what bugs in reinforcement learning are like. Choose your
# patient by `case` in the parameters at the top (1, 2 or 3). You have three pieces of evidence:
#
# 1. the curves of recon and dyn, beside yours;
# 2. the gradient map with each time step alone, beside yours;
# 3. the paddle's error at step 1 of the open loop, with the actions that were taken and with another's.
#
# A healthy model has small dyn and recon, zeros where section 9 says, and a paddle that follows the actions.

# %%
bug = bugs.of_case(bugs.WORLD_MODEL, case)
broken = parts.load(force=bugs.plant(bug))
patient = wm.networks(broken, c, world, seed)
ward = wm.Training(broken, c, patient.graph, patient.params, data.store(broken, c, play), seed)
sick = ward.run(short, chunk)

# %%
yours = wm.evidence(dreamer, c, model.graph, early, training.replay, test, at, seed)
theirs = wm.evidence(broken, c, patient.graph, sick, ward.replay, test, at, seed)
count = len(ward.updates)
curves = {
    name: {
        "yours": (training.updates[:count], training.history[name][:count]),
        "patient": (ward.updates, ward.history[name]),
    }
    for name in ("recon", "dyn")
}
evidence = {"yours": yours, "patient": theirs}
alt = "; ".join(f"{who}: {wm.in_words(x)}" for who, x in evidence.items())
notebook.show(model_plots.comparison(curves, evidence, *names), f"Evidence. {alt}.", "05_bug")

# %%
diagnosis = notebook.predict(
    "Which bug has the patient?", [b.name for b in sorted(bugs.WORLD_MODEL)] + ["none"]
)

# %%
diagnosis.explain(f"**{bug.name[0].upper() + bug.name[1:]}**, in `{bug.part}`. {bug.tell}")

# %% [markdown]
# Now try another `case`: change it at the top, run that cell, and the cells of this section. If two pieces of evidence look healthy, the
# third decides. Remember the lesson of one of the three: a loss that is computed on wrong data can look perfect.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. dyn and rep have the same value at every step. Why are both there?</summary>
#
# Their gradients differ. dyn moves the prior towards the posterior, rep the posterior towards the prior, and
# their weights are 1.0 and 0.1.
# </details>
# <details><summary>2. An episode is cut off by a time limit. What is the continue target of its last step?</summary>
#
# γ, as anywhere else: is_last is True, but is_terminal is not.
# </details>
# <details><summary>3. All KLs lie below the free nats. What do dyn and rep train then?</summary>
#
# Nothing. The maximum is constant there, and its gradient is zero.
# </details>
# <details><summary>4. Is the reward loss's zero gradient for the decoder a stop-gradient?</summary>
#
# No. The reward loss does not depend on the decoder at all, so there is no path to stop.
# </details>
# <details><summary>5. Why imagine under another moment's actions?</summary>
#
# It is the negative control. A model that only continues the film by habit would predict as well with any actions. Yours errs much
# more, so it has learned what actions do, and an actor can use it.
# </details>
# <details><summary>6. Is DreamerV3's objective a lower bound of the likelihood?</summary>
#
# No. Its terms are those of an ELBO, but the KL is counted twice with different weights, clipped by free nats, and the continue target
# is soft.
# </details>

# %% [markdown]
# ## Summary
#
# * An RSSM is a sequential VAE. Its objective comes from the ELBO: reconstruct observations, rewards and continuation, and pay for
#   what the prior did not predict.
# * `observe_step` is a learned filter for a POMDP. The prior predicts, the posterior updates.
# * dyn (weight 1) trains the prior; rep (0.1) trains the posterior; below the free nats both are silent.
# * The continue target is (1 - is_terminal) γ in the code, and a time limit is no end.
# * Most zeros of a gradient map are missing paths. Only dyn → posterior, encoder and rep → prior are stop-gradients.
# * A world model of random play predicts Breakout fifteen steps ahead, and it listens to its actions.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * D. P. Kingma, M. Welling: Auto-encoding variational Bayes (2013), [arXiv:1312.6114](https://arxiv.org/abs/1312.6114).
# * D. Hafner and others: Learning latent dynamics for planning from pixels (PlaNet, 2018; the RSSM),
#   [arXiv:1811.04551](https://arxiv.org/abs/1811.04551).
# * D. Hafner and others: Mastering Atari with discrete world models (DreamerV2, 2020; KL balancing),
#   [arXiv:2010.02193](https://arxiv.org/abs/2010.02193).
# * D. P. Kingma and others: Improving variational inference with inverse autoregressive flow (2016;
#   free bits), [arXiv:1606.04934](https://arxiv.org/abs/1606.04934).
# * K. Young, T. Tian: MinAtar (2019), [arXiv:1903.03176](https://arxiv.org/abs/1903.03176).
#
# ## Next
#
# Notebook 06 walks around in this simulator: imagined rollouts from many starts, forked and steered, and the
# places where errors compound.

# %%
dreamer = parts.load()
