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
# **A memory that keeps and a guess that decides: take away either, and the agent cannot dream of a ball that it does not see.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 30 | 3, on 2 CPU cores | notebook 03; what a recurrent network is | its memory and its simulator |
#
# **You will be able to**
#
# * write the block GRU and say how long its memory lasts;
# * tell prior from posterior, and sample either so that gradients pass through;
# * make a state forget when an episode begins, and prove that it did;
# * use a gradient as a flashlight: which past steps can an output see?
# * show, by an experiment, why the state has a deterministic *and* a stochastic part.
#
# ![](figure:agent_rssm)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 600 if FAST else 1500  # @param {type: "raw"}
batch = 16 if FAST else 32  # @param {type: "raw"}

# %% tags=["setup"]
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show
from dreamer_lite.show.plots import style

print(dreamer_lite.__doc__)

# %% [markdown]
# ## What a world model must carry
#
# An agent sees one frame at a time. What it needs to know is more: where the ball was before it
# rolled behind the wall, and that it may come out on either side. So it carries a *state*, made of
# two parts:
#
# * `deter`, $h_t$, D numbers. They are computed, never drawn: the memory.
# * `stoch`, $z_t$, S groups of C classes, one-hot. They are drawn, like a die: the guess.
#
# Three maps make them. With the previous action $a_{t-1}$ and the embedding $e_t$ of the new frame:
#
# $$h_t=\mathrm{GRU}(h_{t-1},z_{t-1},a_{t-1})\qquad
# \hat z_t\sim p(\hat z_t\mid h_t)\ \text{(prior)}\qquad
# z_t\sim q(z_t\mid h_t,e_t)\ \text{(posterior)}$$
#
# (Hafner et al. 2019 and 2025.) Awake, the agent uses the posterior, which has looked.
# Asleep, it uses the prior, which has not: that is a dream. Training makes the prior foretell the
# posterior, by the KL divergence of notebook 03.

# %% [markdown]
# ## 1 · The memory: a block GRU
#
# A gated recurrent unit (Cho et al. 2014) mixes the old state with a candidate. DreamerV3 cuts the
# state into g *blocks* that have a matrix each and do not see one another here; that saves most of
# the numbers of a large matrix. Every block's output is cut in three, reset, candidate, update:
#
# $$r=\sigma(\text{reset})\qquad c=\tanh(r\cdot\text{cand})\qquad w=\sigma(\text{update}-1)$$
# $$h'=w\cdot c+(1-w)\cdot h$$
#
# The -1 keeps the gate mostly closed at first, so that a young network remembers.
#
# Shapes: `deter` and `x` are (..., D). `kernel` is (g, D/g, 3D/g): part k of `x` times `kernel[k]`.
# `bias` is (3D,), block after block.
#
# **A tiny number.** All three outputs 0, old state 1: w = σ(-1) = 0.2689, c = 0, so h' = 0.7311.

# %% [markdown]
# **Exercise 1** · medium · very important · 20 minutes
#
# Write the gates of the block GRU.
#
# <details><summary>Hint 1</summary>
#
# Cut `x` into blocks with `x.reshape(*x.shape[:-1], g, D // g)`; then
# `jnp.einsum("...gi,gio->...go", parts, kernel)` gives (..., g, 3D/g).
# </details>
# <details><summary>Hint 2</summary>
#
# Add the bias as (g, 3D/g), and cut each block in three by a reshape to (..., g, 3, D/g). Index the
# axis of length 3, and reshape each gate back to the shape of `deter`.
# </details>


# %% tags=["exercise"]
def my_block_gru(deter: jax.Array, x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """One step of the block GRU; (..., D), (..., D), (g, D/g, 3D/g), (3D,) -> (..., D)."""
    # BEGIN SOLUTION
    g, size, _ = kernel.shape
    parts = x.reshape(*x.shape[:-1], g, size)
    flat = jnp.einsum("...gi,gio->...go", parts, kernel) + bias.reshape(g, 3 * size)
    gates = flat.reshape(*x.shape[:-1], g, 3, size)
    reset, candidate, update = (gates[..., i, :].reshape(deter.shape) for i in range(3))
    update = jax.nn.sigmoid(update - 1)
    candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
    return update * candidate + (1 - update) * deter
    # END SOLUTION


# %% tags=["check"]
gru = checks.block_gru(my_block_gru)

# %% [markdown]
# In the package, `Rssm.gru` is the same. Before it, `Rssm.core` maps $h$, $z$ and $a$ to H numbers
# each, joins them, and gives every block its own part of $h$ and all of the joined ones, through a
# block-linear layer. That is where the blocks learn of each other.
#
# How long does the cell remember if nothing new comes in? Start it at 1 and let it run on its
# biases alone. **Predict first:** with an update bias of -4, how much is left after 30 steps? Turn
# `biases`.

# %%
biases = (0.0, -2.0, -4.0)  # turn me
steps = jnp.arange(31)
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
left = {}
for number, update_bias in enumerate(biases):
    bias = jnp.array([0.0, 0.0, update_bias])
    empty = jnp.zeros((1, 1, 3))

    def fade(deter: jax.Array, _: jax.Array, bias=bias, empty=empty) -> tuple:
        return gru(deter, jnp.zeros(1), empty, bias), deter[0]

    memory = jax.lax.scan(fade, jnp.ones(1), steps)[1]
    left[update_bias] = float(memory[-1])
    axes.plot(steps, memory, label=f"update bias {update_bias:g}", **style(number, 31))
axes.set(xlabel="steps", ylabel="what is left of 1", ylim=(-0.02, 1.02))
axes.legend(frameon=False)
show(
    figure,
    "Memory against steps, falling from 1. After 30 steps is left: "
    + "; ".join(f"{value:.3g} with update bias {name:g}" for name, value in left.items())
    + ".",
    "04_memory",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:04_memory)
# </details>

# %% [markdown]
# ## 2 · The guess: prior, posterior, straight-through
#
# Prior and posterior are two small networks that end in S times C logits. Each group becomes odds
# with 1 % of uniform (notebook 03), and one class is drawn. With uniform noise $u$ in [0, 1), the
# drawn class is the first whose cumulated probability is above $u$.
#
# Drawing breaks the gradient: a class number does not move when a logit moves a little. The
# *straight-through* estimator (Bengio et al. 2013) goes on as if the sample were its probabilities:
#
# $$z=\operatorname{sg}(\text{onehot})+p-\operatorname{sg}(p)$$
#
# Forward, p cancels and the sample is left. Backward, sg(...) counts as a constant, and the
# gradient of $p$ is left (sg is `jax.lax.stop_gradient`). It is exact where what follows
# is linear in $z$, and an approximation elsewhere.
#
# Shapes: `raw` logits (..., S, C), noise `u` (..., S), sample (..., S, C). **A tiny number.** Odds
# 0.5, 0.3, 0.2 add up to 0.5, 0.8, 1. With u = 0.6 the second class is drawn.

# %% [markdown]
# **Exercise 2** · medium · very important · 15 minutes
#
# Draw a latent from logits and noise, with 1 % of uniform and a straight-through gradient.
#
# <details><summary>Hint 1</summary>
#
# `p = 0.99 * jax.nn.softmax(raw) + 0.01 / C`, and `jnp.cumsum(p, -1)`. How many of the first C - 1
# cumulated sums are at or below `u`? That count is the class.
# </details>
# <details><summary>Hint 2</summary>
#
# `sample = jax.nn.one_hot(index, C)`, then `stop_gradient(sample) + (p - stop_gradient(p))`: with
# these brackets the value is exactly the sample.
# </details>


# %% tags=["exercise"]
def my_sample(raw: jax.Array, u: jax.Array) -> jax.Array:
    """A one-hot sample with the gradient of the mixed odds; (..., S, C), (..., S) -> (..., S, C)."""
    # BEGIN SOLUTION
    classes = raw.shape[-1]
    p = 0.99 * jax.nn.softmax(raw) + 0.01 / classes
    index = jnp.sum(jnp.cumsum(p, -1)[..., :-1] <= u[..., None], -1)
    onehot = jax.nn.one_hot(index, classes)
    return jax.lax.stop_gradient(onehot) + (p - jax.lax.stop_gradient(p))
    # END SOLUTION


# %% tags=["check"]
sample = checks.sample_latent(my_sample)

# %% [markdown]
# In the package the same is spread over `transforms.unimix`, `OneHot.quantile` and
# `transforms.straight_through`. The cumulated sum is a product with a triangular matrix there,
# which a GPU prefers.
#
# Can gradients teach a die? Four sides are worth 0, 1, 2 and 3. Draw, look at the worth, follow the
# gradient. **Predict first:** what does the plain sample learn?

# %%
worth = jnp.arange(4.0)
rate = 0.5  # turn me


def play(draw, key: jax.Array) -> jax.Array:
    """Expected worth along 60 steps of gradient ascent on the worth of 16 draws. Uses the key."""

    def step(raw: jax.Array, key: jax.Array) -> tuple:
        u = jax.random.uniform(key, (16,))
        slope = jax.grad(lambda raw: jnp.mean(draw(jnp.tile(raw, (16, 1)), u) @ worth))(raw)
        return raw + rate * slope, jax.nn.softmax(raw) @ worth

    return jax.jit(lambda keys: jax.lax.scan(step, jnp.zeros(4), keys)[1])(
        jax.random.split(key, 60)
    )


through = play(sample, jax.random.key(seed))
blocked = play(lambda raw, u: jax.lax.stop_gradient(sample(raw, u)), jax.random.key(seed))
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
axes.plot(through, label="straight-through", **style(0, 60))
axes.plot(blocked, label="plain sample", **style(1, 60))
axes.set(xlabel="steps of gradient ascent", ylabel="expected worth", ylim=(1.2, 3.05))
axes.legend(frameon=False)
show(
    figure,
    f"Expected worth of a die of 4 sides. Straight-through it climbs from 1.5 to {through[-1]:.2f} in "
    f"60 steps; the plain sample, without a gradient, stays at {blocked[-1]:.2f}.",
    "04_straight_through",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:04_straight_through)
# </details>

# %% [markdown]
# ## 3 · Forget at the right moment
#
# Training sequences run across the ends of episodes. At a row with `is_first` the old state belongs
# to another life: $h$ and $z$ become zeros, and so does the *embedded* previous action. Zeros, not
# the one-hot of action 0, which is a real action. The cell then runs as usual. In dreams
# nothing is wiped.
#
# **A tiny number.** State (0.3, -0.8), action "left" as (0, 1, 0), is_first: all become (0, 0) and
# (0, 0, 0).
#
# **Exercise 3** · easy · important · 5 minutes
#
# Zero the three where `is_first` is True, and leave them alone elsewhere.
#
# <details><summary>Hint 1</summary>
#
# `is_first` is (B,); `stoch` is (B, S, C). `is_first[:, None, None]` fits.
# </details>
# <details><summary>Hint 2</summary>
#
# `jnp.where(condition, 0.0, value)` chooses element by element. Three lines are enough.
# </details>


# %% tags=["exercise"]
def my_forget(
    deter: jax.Array, stoch: jax.Array, action: jax.Array, is_first: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Wipe state and action at a reset; (B, D), (B, S, C), (B, A), (B,) bool -> the same three."""
    # BEGIN SOLUTION
    deter = jnp.where(is_first[:, None], 0.0, deter)
    stoch = jnp.where(is_first[:, None, None], 0.0, stoch)
    action = jnp.where(is_first[:, None], 0.0, action)
    return deter, stoch, action
    # END SOLUTION


# %% tags=["check"]
forget = checks.forget(my_forget)

# %% [markdown]
# `Rssm.observe_step` in the package does the same with `where` over the whole state.
#
# ## 4 · A gradient is a flashlight
#
# Your three functions make a small RSSM. Scan its step along a sequence, and ask of each output:
# which inputs could change it? The derivative of output t for the embedding at s answers. Where it
# is exactly zero, no information can pass; no argument about code is as short a proof. Rows of the
# picture are outputs, columns are inputs.
#
# **Predict first:** there is a reset at step 7 of 12. Where is the picture dark? And where, if the
# gradient does not go straight through the samples?

# %%
D, S, C, E, A, G = 32, 4, 4, 8, 3, 4
T, RESET = 12, 7


def draw_weights() -> dict[str, jax.Array]:
    """Weights of a small RSSM, normal with variance 1 / inputs."""
    rng = np.random.default_rng(seed)
    shapes = {"into": (D + S * C + A, D), "gates": (G, D // G, 3 * D // G), "post": (D + E, S * C)}
    return {
        name: jnp.float32(2 * rng.standard_normal(shape) / np.sqrt(shape[-2]))
        for name, shape in shapes.items()
    }


def observe(weights: dict, embed: jax.Array, draw) -> jax.Array:
    """Waking states of one sequence; (T, E) -> features (T, F)."""
    is_first = jnp.zeros((T, 1), bool).at[jnp.array([0, RESET])].set(True)
    noise = jax.random.uniform(jax.random.key(seed), (T, 1, S))

    def step(state: tuple, inputs: tuple) -> tuple:
        embed, is_first, u = inputs
        action = jax.nn.one_hot(jnp.array([1]), A)
        deter, stoch, action = forget(*state, action, is_first)
        x = jnp.concatenate([deter, stoch.reshape(1, -1), action], -1) @ weights["into"]
        deter = gru(deter, jax.nn.silu(x), weights["gates"], jnp.zeros(3 * D))
        raw = jnp.concatenate([deter, embed], -1) @ weights["post"]
        stoch = draw(raw.reshape(1, S, C), u)
        return (deter, stoch), jnp.concatenate([deter, stoch.reshape(1, -1)], -1)[0]

    start = jnp.zeros((1, D)), jnp.zeros((1, S, C))
    return jax.lax.scan(step, start, (embed[:, None], is_first, noise))[1]


def flashlight(draw) -> np.ndarray:
    """How strongly output t depends on the embedding at s, (T, T)."""
    weights, direction = draw_weights(), jnp.cos(jnp.arange(D + S * C))
    embed = jnp.float32(np.random.default_rng(1).standard_normal((T, E)))
    jacobian = jax.jit(jax.jacrev(lambda embed: observe(weights, embed, draw) @ direction))(embed)
    return np.linalg.norm(jacobian, axis=-1)


# %%
lights = {
    "straight-through": flashlight(sample),
    "plain sample": flashlight(lambda raw, u: jax.lax.stop_gradient(sample(raw, u))),
}
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
for axes, (label, light) in zip(figure.subplots(1, 2), lights.items()):
    brightness = np.log10(np.maximum(light, 1e-4))
    image = axes.imshow(brightness, cmap="cividis", vmin=-4, vmax=0.5)
    axes.axhline(RESET - 0.5, color="white", linewidth=1, linestyle="--")
    axes.set(title=label, xlabel="input: embedding at s", ylabel="output: state at t")
figure.colorbar(image, ax=figure.axes, label="log10 of the derivative", shrink=0.8)
future = np.triu(lights["straight-through"], 1).max()
across = lights["straight-through"][RESET:, :RESET].max()
print(f"largest derivative for a future input: {future}, across the reset: {across}")
show(
    figure,
    "Two square maps, outputs down, inputs across, 12 steps each. Straight-through: lit on and below "
    "the diagonal, in two triangles, before and after the reset at step 7; dark above the diagonal "
    "and across the reset. Plain sample: dark everywhere.",
    "04_flashlight",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:04_flashlight)
# </details>
#
# Read a *row*: an output sees its own step and the past back to the last reset, never the future.
# Read a *column*: an embedding is taught by the losses of its own and later steps. Without
# straight-through nothing is taught at all, because a frame enters the state through $z$ alone.

# %% [markdown]
# ## The result: why an RSSM
#
# The world `catch/hidden-kink` is made for this. A ball falls through ten rows and is **hidden** in
# rows 3 to 6. On entering row 5 it **jumps** two columns, left or right by the toss of a coin. To
# say where it comes out takes memory of its column; which side, nobody can know.
#
# Three models learn from random play with the package's world-model losses, from the same weights
# and the same episodes, for the same number of updates:
#
# | model | memory $h$ | guess $z$ | asleep |
# |---|---|---|---|
# | both: the RSSM | yes | drawn | draws from the prior |
# | stochastic only | set to 0 before each step, so only $z$ is passed on | drawn | draws from the prior |
# | deterministic only | yes | none: $h$ foretells the picture, and the odds of the look are passed on | looks at its own picture |
#
# Then they close their eyes at row 2, the last in which the ball is seen, and dream on. Nobody can
# say left or right, but a good dream shows **one** ball, in one of the **two** right columns.

# %%
import functools

from dreamer_lite import worlds
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.learner import loss_scales
from dreamer_lite.agent.networks import Decoder
from dreamer_lite.agent.optimizer import make_optimizer
from dreamer_lite.agent.rssm import Rssm, State
from dreamer_lite.agent.world_model import Batch, WorldModel
from dreamer_lite.presets import make_config
from dreamer_lite.training.xla import compiler_options

ROWS, SEEN, OUT = 10, 2, 7  # rows of an episode; the ball is last seen, and comes out
world = worlds.make("catch/hidden-kink")
config = make_config("catch/hidden-kink", length=ROWS, batch=batch)


class PartialRssm(Rssm):
    """An RSSM whose parts can be taken away by numbers: 1 keeps, 0 removes."""

    memory, dice = 1.0, 1.0

    def core(self, state: State, action: jax.Array) -> jax.Array:
        return super().core(state._replace(deter=self.memory * state.deter), action)

    def observe_step(self, state, embed, action, is_first, u):
        state, logits = super().observe_step(state, embed, action, is_first, u)
        odds = OneHot(logits).probs
        return state._replace(stoch=self.dice * state.stoch + (1 - self.dice) * odds), logits


class PartialDecoder(Decoder):
    """A decoder that sees z only as far as there are dice."""

    dice = 1.0

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> dict:
        return super().__call__(deter, self.dice * stoch)


# %%
from flax import nnx


def build() -> WorldModel:
    """The package's world model with the two parts exchanged."""
    rng = np.random.default_rng(seed)
    model = WorldModel(world.obs_space, world.action_space.classes, config, rng)
    model.rssm = PartialRssm(model.encoder.size, world.action_space.classes, config, rng)
    model.decoder = PartialDecoder(world.obs_space, config, rng)
    return model


graph, weights = nnx.split(build())
first_params = nnx.to_pure_dict(weights)


def merge(params: dict, memory: jax.Array, dice: jax.Array) -> WorldModel:
    """The model with these weights and parts."""
    model = nnx.merge(graph, params)
    model.rssm.memory, model.rssm.dice, model.decoder.dice = memory, dice, dice
    return model


def episodes(key: jax.Array, count: int) -> Batch:
    """Whole episodes of random play, (10, count, ...). The key is consumed."""
    reset_key, action_key, world_key = jax.random.split(key, 3)
    actions = jax.random.randint(action_key, (ROWS - 1, count), 0, 3)
    state, first = jax.vmap(world.reset)(jax.random.split(reset_key, count))
    keys = jax.random.split(world_key, (ROWS - 1, count))
    rows = jax.lax.scan(lambda s, x: jax.vmap(world.step)(s, *x), state, (actions, keys))[1]
    rows = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rows)
    before = jnp.concatenate([jnp.zeros((1, count, 3)), jax.nn.one_hot(actions, 3)])
    blank = State(
        jnp.zeros((count, config.deter)), jnp.zeros((count, config.stoch, config.classes))
    )
    return Batch(**rows._asdict(), previous_action=before, context=blank)


# %% [markdown]
# Training is a loop that you know: draw episodes, take the losses, step. The losses are the
# package's: picture, reward, continue, and the two KL terms of notebook 05. The deterministic model
# has no dice, so no prior to train: its KL terms count zero. All three models run through *one*
# compiled program, because what is taken away is a number.

# %%
optimizer = make_optimizer(config)
scales = loss_scales(config)


def loss(params: dict, memory: jax.Array, dice: jax.Array, key: jax.Array) -> jax.Array:
    """The world model's loss on fresh episodes. The key is consumed."""
    data_key, model_key = jax.random.split(key)
    recon, losses, *_ = merge(params, memory, dice).loss(episodes(data_key, batch), model_key)
    losses |= recon
    weight = {"dyn": dice * scales["dyn"], "rep": dice * scales["rep"]}
    return sum(weight.get(name, scales.get(name, 1.0)) * x.mean() for name, x in losses.items())


@functools.partial(jax.jit, compiler_options=compiler_options())  # made for small products
def learn(params: dict, memory: jax.Array, dice: jax.Array, key: jax.Array) -> tuple:
    """All updates in one program: (params, losses (updates,)). The key is consumed."""

    def update(carry: tuple, key: jax.Array) -> tuple:
        params, state = carry
        value, slope = jax.value_and_grad(loss)(params, memory, dice, key)
        step, state = optimizer.update(slope, state, params)
        return (jax.tree.map(jnp.add, params, step), state), value

    keys = jax.random.split(key, updates)
    (params, _), values = jax.lax.scan(update, (params, optimizer.init(params)), keys)
    return params, values


PARTS = {"both": (1.0, 1.0), "deterministic only": (1.0, 0.0), "stochastic only": (0.0, 1.0)}
learnt = {}
for label, parts in PARTS.items():
    learnt[label], values = learn(first_params, *map(jnp.float32, parts), jax.random.key(seed))
    print(
        f"{label}: loss {float(values[0]):.2f} at first, {float(values[-50:].mean()):.2f} at last"
    )


# %%
@jax.jit
def dream(
    params: dict, memory: jax.Array, dice: jax.Array, start: State, actions, key
) -> jax.Array:
    """Pictures dreamt from `start` under given actions, (steps, count, 10, 10, 2) in [0, 1]."""
    model = merge(params, memory, dice)
    noise = jax.random.uniform(key, (*actions.shape[:2], config.stoch))

    def step(state: State, inputs: tuple) -> tuple:
        action, u = inputs
        deter = model.rssm.core(state, action)
        drawn = model.rssm.prior(deter).quantile(u)
        picture = model.decoder(deter, drawn)["image"].mean()
        look = model.rssm.posterior(deter, model.encoder({"image": 255 * picture})).probs
        return State(deter, dice * drawn + (1 - dice) * look), picture

    return jax.lax.scan(step, start, (actions, noise))[1]


@jax.jit
def watch(params: dict, memory: jax.Array, dice: jax.Array, seen: Batch, key: jax.Array) -> State:
    """The waking states of whole episodes, (10, count, ...). The key is consumed."""
    model = merge(params, memory, dice)
    embed = model.encoder(seen.obs)
    return model.rssm.observe(seen.context, embed, seen.previous_action, seen.is_first, key)[0]


def judge(ball: jax.Array, column: jax.Array) -> tuple[float, float]:
    """(share of the ball in the two right columns, share in the fullest) of (count, 10) cells."""
    sides = [jnp.take_along_axis(ball, (column + jump)[:, None], 1) for jump in (-2, 2)]
    return float(sum(sides).mean()), float(ball.max(-1).mean())


# %% [markdown]
# Two numbers judge row 7, where the ball comes out. *In the right columns*: how much of a ball the
# dream shows in the two columns that are possible. *In the fullest column*: how much of it stands
# in one place; two half balls give 0.5. The baseline is the average picture of row 7. The negative
# control is the RSSM's dream begun from *another* episode's state: if it did as well, the score
# would not measure memory.
#
# **Predict first:** which model blurs, and which forgets?

# %% tags=["signature"]
test = episodes(jax.random.key(99), 256)
planes = test.obs["image"] / 255  # paddle, ball
column = planes[SEEN, :, SEEN, :, 1].argmax(-1)
actions = test.previous_action[SEEN + 1 :]
dreams, judged = {}, {"reality": judge(planes[OUT, :, OUT, :, 1], column)}
for label, parts in PARTS.items():
    numbers = tuple(map(jnp.float32, parts))
    states = watch(learnt[label], *numbers, test, jax.random.key(1))
    start = jax.tree.map(lambda x: x[SEEN], states)
    dreams[label] = dream(learnt[label], *numbers, start, actions, jax.random.key(2))
    judged[label] = judge(dreams[label][OUT - SEEN - 1, :, OUT, :, 1], column)
    if label == "both":
        again = dream(learnt[label], *numbers, start, actions, jax.random.key(3))
        other = jax.tree.map(lambda x: jnp.roll(x, 1, 0), start)
        elsewhere = dream(learnt[label], *numbers, other, actions, jax.random.key(2))
average = jnp.broadcast_to(planes[OUT, :, OUT, :, 1].mean(0), (256, 10))
judged["average picture"] = judge(average, column)
judged["both, another's state"] = judge(elsewhere[OUT - SEEN - 1, :, OUT, :, 1], column)

print(" " * 24, "right columns", "fullest column")
for label, (right, fullest) in judged.items():
    print(label.ljust(24), f"{right:13.2f} {fullest:14.2f}")
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
axes = figure.add_subplot()
places = np.arange(len(judged))
right, fullest = np.array(list(judged.values())).T
axes.bar(places - 0.2, right, 0.38, label="in the two right columns", color="#0072B2")
axes.bar(places + 0.2, fullest, 0.38, label="in the fullest column", color="#E69F00", hatch="//")
axes.set_xticks(places, [label.replace(" ", "\n", 1) for label in judged], fontsize=8)
axes.set(ylabel="share of one ball", ylim=(0, 1.25))
axes.legend(frameon=False, ncols=2, loc="upper center")
words = "; ".join(f"{k} {a:.2f} and {b:.2f}" for k, (a, b) in judged.items())
show(figure, f"Share of the ball in the right columns and in the fullest one: {words}.", "04_parts")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:04_parts)
# </details>
#
# And the dreams themselves. One episode; the eyes close after the first column of pictures. The two
# dreams of the RSSM start from the same state with different dice.


# %%
def paint(picture: jax.Array) -> np.ndarray:
    """A paddle and ball picture (10, 10, 2) in [0, 1] as colours: blue paddle, white ball."""
    paddle, ball = np.moveaxis(np.asarray(picture, np.float32), -1, 0)[..., None]
    ground = np.array([0.1, 0.12, 0.18])
    ground = ground + paddle * (np.array([0.34, 0.71, 0.91]) - ground)
    return np.clip(ground + ball * (np.array([1.0, 1.0, 0.95]) - ground), 0, 1)


which = 3  # turn me: 0 to 255
shown = [SEEN, 4, 6, 7, 8, 9]
strips = {"reality": planes[:, which]}
for label, dreamt in [*dreams.items(), ("both, other dice", again)]:
    strips[label] = jnp.concatenate([planes[: SEEN + 1, which], dreamt[:, which]])
figure = Figure(figsize=(7.4, 6.4), layout="constrained")
grid = figure.subplots(len(strips), len(shown))
for line, (label, strip) in zip(grid, strips.items()):
    for axes, row in zip(line, shown):
        axes.imshow(paint(strip[row]))
        axes.set(xticks=[], yticks=[])
    line[0].set_ylabel(label.replace(" ", "\n", 1), fontsize=8)
for axes, row in zip(grid[0], shown):
    axes.set_title(f"row {row}", fontsize=9)
show(
    figure,
    "Five rows of small pictures, reality and four dreams, from row 2 to row 9. Reality: one ball, "
    "hidden, then out to one side. Both: one ball, with a faint shadow on the other side; with other "
    "dice it may be the other way round. Deterministic only: two half balls in row 7, dim remains "
    "after. Stochastic only: hardly a ball, and in wrong places.",
    "04_dreams",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:04_dreams)
# </details>
#
# **Blur.** The deterministic model remembers the column and has one answer to a coin: half a ball
# on each side. Its own picture then becomes its next input, one that it never saw, and the blur
# falls apart. **Forgetting.** The stochastic model must squeeze the column through $z$ at each
# hidden step, where nothing seen helps and every bit costs KL; it does not learn to in this time.
# **Neither.** With both, $h$ keeps the column, and $z$ draws a side.
#
# **Limits.** One seed, one small world, one training length. A stochastic model could learn to pass
# ten columns through $z$, given longer training or less noise; a deterministic one could be given a
# richer output than a coin per cell. PlaNet (Hafner et al. 2019) made the same comparison on
# control tasks, at scale, with the same result. Turn `updates` and `seed` to see how far ours
# holds.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. What does the posterior know that the prior does not?</summary>
#
# The embedding of the current frame. Both know h, and through it the past.
# </details>
# <details><summary>2. Why must a dream use the prior?</summary>
#
# There is no frame to look at. If the prior is good, it draws what a look would have shown.
# </details>
# <details><summary>3. Update gate at zero bias: after how many steps is half of the memory gone?</summary>
#
# A step keeps 1 - σ(-1) = 0.731 of it, and 0.731 to the power 2.2 is a half.
# </details>
# <details><summary>4. In the flashlight's picture, what would a lit square above the diagonal mean?</summary>
#
# That an output depends on an input of the future: a leak that makes the training loss look good
# and dreams fail.
# </details>

# %% [markdown]
# ## Summary
#
# * The state is (h, z): h is computed and remembers, z is drawn and decides.
# * Awake z comes from the posterior, asleep from the prior; the KL makes the second foretell the
#   first.
# * Straight-through lets the gradient pass a draw; without it no frame teaches the memory.
# * At is_first all of it is wiped, the embedded action too.
# * Take away the dice and dreams blur; take away the memory and they forget.
#
# ## References
#
# * D. Hafner and others: Learning latent dynamics for planning from pixels (PlaNet, 2019),
#   [arXiv:1811.04551](https://arxiv.org/abs/1811.04551).
# * D. Hafner and others: Mastering Atari with discrete world models (DreamerV2, 2020),
#   [arXiv:2010.02193](https://arxiv.org/abs/2010.02193).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * K. Cho and others: Learning phrase representations using RNN encoder-decoder (2014),
#   [arXiv:1406.1078](https://arxiv.org/abs/1406.1078).
# * Y. Bengio, N. Léonard, A. Courville: Estimating or propagating gradients through stochastic
#   neurons (2013), [arXiv:1308.3432](https://arxiv.org/abs/1308.3432).
#
# ## Next
#
# Notebook 05 puts encoder, RSSM and heads together and trains them on Breakout: the losses one by
# one, and how far the world model sees with its eyes closed.
