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
# **Five losses make a simulator: an agent that has only watched a random player can close its eyes and still say where paddle and ball will be.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 30 | 4, on 2 CPU cores | notebooks 03 and 04 | what teaches its memory: decoder, heads, KL |
#
# **You will be able to**
#
# * name the five losses of a world model and the target of each;
# * say why the continue target holds the discount and not the end of the row;
# * write both sides of the KL, and prove by a zero gradient what each leaves alone;
# * explain free nats, and why nothing is learnt below them;
# * train a world model of Breakout, and measure how far ahead it sees with its eyes closed.
#
# ![](figure:agent_heads)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 600 if FAST else 3000  # @param {type: "raw"}
lived = 400  # @param {type: "integer"}

# %% tags=["setup"]
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import live, show
from dreamer_lite.show.plots import style

print(dreamer_lite.__doc__)

# %% [markdown]
# ## What must be learnt
#
# Notebook 04 built the state $s_t=(h_t,z_t)$, and left it untaught. What should a state be able to
# do? Show the frame again, say the reward that came with it, say whether life goes on, and be
# foretold by the state before. Each wish is a loss in nats:
#
# $$L=\underbrace{-\ln p(x_t\mid s_t)}_{\text{picture}}\;
# \underbrace{-\ln p(r_t\mid s_t)}_{\text{reward}}\;
# \underbrace{-\ln p(c_t\mid s_t)}_{\text{continue}}\;
# +\;1.0\,L_\mathrm{dyn}+0.1\,L_\mathrm{rep}$$
#
# (Hafner et al. 2025.) The first three pull information *into* the state. The last two are
# KL divergences between the posterior, which has looked, and the prior, which has not: they push
# out whatever cannot be foretold. What is left between the two is a simulator.
#
# ## 1 · Explain what is seen
#
# **The picture.** Breakout's frame is a grid of 400 cells that are on or off. The package's decoder
# gives a coin per cell; with $p=\sigma(\ell)$ its loss is the binary cross entropy
# $-x\ln p-(1-x)\ln(1-p)$, summed over the cells. The paper uses squared error, on every picture.
# Ours is a departure, and the next cell shows why it pays on grids.
#
# **A tiny number.** A cell that is on, given p = 0.01: cross entropy 4.61 nats, squared error 0.98.
#
# **Predict first:** a ball appears where the net is sure that there is none, at logit -5. Which loss
# pushes hard?

# %%
from dreamer_lite.agent.distributions import Bernoulli

logit = jnp.linspace(-8, 4, 121)
pushes = {
    "cross entropy": jax.vmap(jax.grad(lambda x: Bernoulli(x).loss(1.0)))(logit),
    "squared error": jax.vmap(jax.grad(lambda x: (Bernoulli(x).mean() - 1.0) ** 2))(logit),
}
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, push) in enumerate(pushes.items()):
    axes.plot(logit, -push, label=label, **style(number, 121))
axes.set(xlabel="logit of a cell that is on", ylabel="push upwards")
axes.legend(frameon=False)
pushed = {label: -float(push[30]) for label, push in pushes.items()}  # at logit -5
show(
    figure,
    "Push of two losses on the logit of a cell that is on, for logits from -8 to 4. At -5, where "
    + " and ".join(f"the {label} pushes with {push:.3f}" for label, push in pushed.items())
    + ". Both fade where the logit is right.",
    "05_cells",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_cells)
# </details>
#
# Squared error has its strongest push in the middle, and nearly none where the net is sure and
# wrong. A ball is one cell in a hundred, so a young net is sure that there is none.
#
# **The reward** is a number, told by two-hot over symexp bins (notebook 03). The output layer starts
# at zero: all N bins alike, a loss of ln N. For N = 63 that is 4.14 nats.
#
# ## 2 · Does life go on?
#
# The third head is one coin. It learns the *discounted* chance of going on, so that a
# dream carries its own discount:
#
# $$c_t=(1-\text{is\_terminal}_t)\,\gamma\qquad\gamma=1-1/\text{horizon}$$
#
# **A tiny number.** γ = 0.99. The best coin says 0.99, and the loss is then its entropy,
# 0.0560 nats: this loss does not go to zero. At a true end the target is 0.

# %% [markdown]
# **Exercise 1** · easy · important · 5 minutes
#
# Write the continue target. Beware: one of the two flags is there to be left alone.
#
# <details><summary>Hint 1</summary>
#
# Time may run out in the middle of a good game: is_last is True, is_terminal False. Is the game
# then worth nothing more?
# </details>
# <details><summary>Hint 2</summary>
#
# `1.0 - is_terminal` turns flags into numbers.
# </details>


# %% tags=["exercise"]
def my_cont_target(is_last: jax.Array, is_terminal: jax.Array, discount: float) -> jax.Array:
    """Target of the continue head; (T, B) bool twice -> (T, B) float32."""
    # BEGIN SOLUTION
    return (1.0 - is_terminal) * discount
    # END SOLUTION


# %% tags=["check"]
cont_target = checks.cont_target(my_cont_target)

# %% [markdown]
# ## 3 · Two sides of one divergence
#
# Awake, $z$ comes from the posterior $q$; asleep, from the prior $p$. A dream is good if the two
# agree: $\mathrm{KL}(q\,\|\,p)=\sum_c q_c\,(\ln q_c-\ln p_c)$ in each group. One number, but two ways
# to make it small. The prior can learn to foretell (good), or the posterior can stop looking
# (lazy). So the loss is written twice, with a stop-gradient sg on one side each:
#
# $$L_\mathrm{dyn}=\mathrm{KL}(\operatorname{sg}(q)\,\|\,p)\qquad
# L_\mathrm{rep}=\mathrm{KL}(q\,\|\,\operatorname{sg}(p))$$
#
# (Hafner et al. 2020 call it KL balancing.) The values are equal; the gradients are not.
# *dyn* teaches the prior. *rep* makes the posterior a little easier to foretell.
#
# Shapes: `post`, `prior` are ln p (..., S, C); each side is (..., S). **A tiny number.** q = (0.9,
# 0.1), p = (0.5, 0.5): KL = 0.9 ln 1.8 + 0.1 ln 0.2 = 0.368 nats.

# %% [markdown]
# **Exercise 2** · medium · very important · 10 minutes
#
# Write both sides, a number per group.
#
# <details><summary>Hint 1</summary>
#
# The inputs are logarithms already: the odds are `jnp.exp(post)`.
# </details>
# <details><summary>Hint 2</summary>
#
# Write a small function `kl(a, b)` inside, and call it twice with `jax.lax.stop_gradient` around one
# argument.
# </details>


# %% tags=["exercise"]
def my_two_sides(post: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(dyn, rep), KLs per group with one side stopped; ln p (..., S, C) twice -> (..., S) twice."""
    # BEGIN SOLUTION
    sg = jax.lax.stop_gradient

    def kl(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(jnp.exp(a) * (a - b), -1)

    return kl(sg(post), prior), kl(post, sg(prior))
    # END SOLUTION


# %% tags=["check"]
two_sides = checks.two_sides(my_two_sides)

# %% [markdown]
# Who walks to whom? Let a posterior of 0.95 and a prior of 0.5 for the same class follow the
# gradient, with the paper's scales, 1.0 on dyn and 0.1 on rep. **Predict first:** where do they
# meet? Then turn `weights`.

# %%
weights = (1.0, 0.1)  # turn me: of dyn and rep


def walk(weights: tuple[float, float]) -> jax.Array:
    """Odds of class 0 under posterior and prior along 60 steps, (60, 2)."""

    def loss(raw: jax.Array) -> jax.Array:
        dyn, rep = two_sides(*jax.nn.log_softmax(raw)[:, None])
        return weights[0] * dyn.sum() + weights[1] * rep.sum()

    def step(raw: jax.Array, _: None) -> tuple:
        return raw - 0.5 * jax.grad(loss)(raw), jax.nn.softmax(raw)[:, 0]

    start = jnp.log(jnp.array([[0.95, 0.05], [0.5, 0.5]]))
    return jax.jit(lambda: jax.lax.scan(step, start, None, 60)[1])()


walks = {"paper's scales": walk(weights), "the other way round": walk(weights[::-1])}
figure = Figure(figsize=(7.4, 3.0), layout="constrained")
for axes, (label, path) in zip(figure.subplots(1, 2, sharey=True), walks.items()):
    axes.plot(path[:, 0], label="posterior", **style(0, 60))
    axes.plot(path[:, 1], label="prior", **style(1, 60))
    axes.set(title=label, xlabel="steps", ylabel="odds of class 0", ylim=(0.45, 1))
    axes.legend(frameon=False)
show(
    figure,
    "Odds of one class under posterior, from 0.95, and prior, from 0.5, along 60 steps. "
    + " ".join(
        f"With {label} they end at {path[-1, 0]:.2f} and {path[-1, 1]:.2f}."
        for label, path in walks.items()
    ),
    "05_walk",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_walk)
# </details>
#
# With the paper's scales the prior does the walking and the posterior keeps what it saw. The other
# way round, the state gives up information to be foretold cheaply.
#
# ## 4 · Free nats
#
# If the KL could be pressed to zero, the cheapest state would be one that says nothing. So the first
# nat is *free* (Kingma et al. 2016):
#
# $$L_\mathrm{dyn}=\max\bigl(1,\ \textstyle\sum_S \mathrm{KL}\bigr)$$
#
# Sum over the groups first, then clip, at each step of each sequence. Below the floor the
# maximum is a constant, and a constant has gradient **zero**: neither prior nor posterior is moved,
# and all effort goes into the other losses.
#
# **A tiny number.** Two groups with 0.3 and 0.2 nats: 0.5 in all, the loss is 1, the gradient 0. With
# 0.9 and 0.9: 1.8, and each group's gradient is 1.

# %% [markdown]
# **Exercise 3** · easy · important · 5 minutes
#
# Write it for KLs per group.
#
# <details><summary>Hint 1</summary>
#
# `jnp.maximum` goes element by element, `jnp.max` along an axis. You want the first.
# </details>
# <details><summary>Hint 2</summary>
#
# The order matters: two groups of 0.9 are 1.8 nats in all, not 2 times 1.
# </details>


# %% tags=["exercise"]
def my_free_nats(kl: jax.Array, free: float) -> jax.Array:
    """The KL of a step, all groups together, at least `free`; (..., S) -> (...)."""
    # BEGIN SOLUTION
    return jnp.maximum(free, kl.sum(-1))
    # END SOLUTION


# %% tags=["check"]
free_nats = checks.free_nats(my_free_nats)

# %% [markdown]
# The prior of one group is a half, the posterior moves from a half to 0.999. **Predict first:** how
# large can the KL of one two-class group become, and which floor is never left? Turn `floors`.

# %%
floors = (0.0, 0.3, 1.0)  # turn me: nats
odds = jnp.linspace(0.5, 0.999, 100)


def floored(odds: jax.Array, floor: float) -> jax.Array:
    """dyn of one group: posterior (odds, 1 - odds), prior a half each."""
    post = jnp.log(jnp.array([[odds, 1 - odds]]))
    return free_nats(two_sides(post, jnp.log(jnp.full((1, 2), 0.5)))[1], floor)


figure = Figure(figsize=(7.4, 3.0), layout="constrained")
left, right = figure.subplots(1, 2)
slopes = {}
for number, floor in enumerate(floors):
    values, slopes[floor] = jax.vmap(jax.value_and_grad(lambda x, f=floor: floored(x, f)))(odds)
    left.plot(odds, values, label=f"{floor:g} free", **style(number, 100))
    right.plot(odds, slopes[floor], label=f"{floor:g} free", **style(number, 100))
left.set(xlabel="posterior's odds of class 0", ylabel="loss, nats")
right.set(xlabel="posterior's odds of class 0", ylabel="gradient", ylim=(-0.3, 5))
left.legend(frameon=False)
silent = {floor: float((slope == 0).mean()) for floor, slope in slopes.items()}
show(
    figure,
    "Left, loss against the posterior's odds from 0.5 to 0.999, flat and then rising; right, its "
    "gradient, zero where the loss is flat. "
    + " ".join(
        f"With {f:g} nats free it is zero on {s:.0%} of the way." for f, s in silent.items()
    ),
    "05_free_nats",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_free_nats)
# </details>
#
# One group of two classes can hold ln 2 = 0.69 nats against a fair prior, so a floor of 1 is never
# left. The paper's 32 groups of 64 classes have much more to say. Our `tiny` model has 8 groups of
# 8; there a whole nat would hide a misplaced paddle now and then, and the preset of this world sets
# 0.1 (`config.py` says why).
#
# ## 5 · One number
#
# Every loss is a table (T, B). The total takes the mean of each, weighs and adds. Reconstructions
# have no entry of their own in `scales`; they count once.
#
# **A tiny number.** Means 10 (picture, no entry), 2 (dyn, scale 1) and 2 (rep, scale 0.1): 12.2.

# %% [markdown]
# **Exercise 4** · easy · important · 5 minutes
#
# Put the losses together.
#
# <details><summary>Hint 1</summary>
#
# `scales.get(name, 1.0)` gives 1 where nothing is written.
# </details>
# <details><summary>Hint 2</summary>
#
# Python's `sum` adds JAX numbers; go over `losses.items()`.
# </details>


# %% tags=["exercise"]
def my_total_loss(losses: dict[str, jax.Array], scales: dict[str, float]) -> jax.Array:
    """The weighted sum of the mean losses; {name: (T, B)}, {name: weight} -> ()."""
    # BEGIN SOLUTION
    return sum(scales.get(name, 1.0) * loss.mean() for name, loss in losses.items())
    # END SOLUTION


# %% tags=["check"]
total_loss = checks.total_loss(my_total_loss)

# %% [markdown]
# ## A world model of Breakout
#
# The teacher is a random player: nobody needs to play well to learn how a world moves. 128 worlds run
# side by side. One knob is set for clarity: by Breakout's rules one action in ten is swapped for the
# last one (*sticky* actions); here it is off, so that what a dream gets wrong is the model's fault
# and not the dice's. Turn `sticky` to see what the dice cost.

# %%
import dataclasses
import functools
import time

from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.agent.learner import loss_scales
from dreamer_lite.agent.optimizer import make_optimizer
from dreamer_lite.agent.world_model import Batch, WorldModel
from dreamer_lite.evaluation.rollouts import Trace, make_player
from dreamer_lite.presets import make_config
from dreamer_lite.training.xla import compiler_options

sticky = 0.0  # turn me: by the rules it is 0.1
WORLDS, LENGTH = 128, 16  # worlds side by side; rows of a training window
world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=sticky)
config = make_config("minatar/breakout", batch=16, length=LENGTH)
scales = {"image": config.recon_scale}
scales |= {k: loss_scales(config)[k] for k in ("reward", "cont", "dyn", "rep")}


def watch_random_play(seed: int, rows: int) -> Trace:
    """What random players lived through, (rows, WORLDS, ...)."""
    player = make_player(config, world)
    return player.play(None, player.start(None, seed, WORLDS), rows)[1]


def windows(trace: Trace, start: jax.Array, place: jax.Array, length: int) -> Batch:
    """Windows of `length` rows from `start` (B,) in worlds `place` (B,), as a Batch (T, B, ...)."""
    index = start + jnp.arange(length)[:, None]
    rows = jax.tree.map(lambda x: x[index, place], trace.row)
    before = jax.nn.one_hot(trace.action[index - 1, place], world.action_space.classes)
    return Batch(**rows._asdict(), previous_action=before, context=None)


trace = watch_random_play(seed, lived)
ends = int(trace.row.is_last.sum())
print(
    f"{trace.row.reward.size:,} rows, {ends:,} episodes of {trace.row.reward.size / ends:.1f} rows"
)
print(f"{float(trace.row.reward.mean()):.3f} bricks a row")
print("scales:", scales)

# %% [markdown]
# The model is the package's: encoder, RSSM, decoder and heads as you know them. Its loss is yours.
# Read it once aloud; it is all of the loss but for actor and critic. Each window
# starts from a blank state. (The full agent stores a state with every row and starts from that.)

# %%
graph, weights_0 = nnx.split(
    WorldModel(world.obs_space, world.action_space.classes, config, np.random.default_rng(seed))
)
first_params = nnx.to_pure_dict(weights_0)


def losses_of(model: WorldModel, batch: Batch, key: jax.Array, free: float) -> dict[str, jax.Array]:
    """The five losses of a batch, each (T, B). The key is consumed."""
    blank = model.rssm.initial(batch.reward.shape[1])
    embed = model.encoder(batch.obs)
    states, post = model.rssm.observe(blank, embed, batch.previous_action, batch.is_first, key)
    picture = model.decoder(states.deter, states.stoch)["image"]
    cont = cont_target(batch.is_last, batch.is_terminal, config.discount)
    dyn, rep = two_sides(post.logits, model.rssm.prior(states.deter).logits)
    return {
        "image": picture.loss(batch.obs["image"]),
        "reward": model.reward(states.feature).loss(batch.reward),
        "cont": model.cont(states.feature).loss(cont),
        "dyn": free_nats(dyn, free),
        "rep": free_nats(rep, free),
    }


def draw_batch(trace: Trace, key: jax.Array, length: int = LENGTH) -> Batch:
    """A batch of windows from anywhere. The key is consumed."""
    start_key, place_key = jax.random.split(key)
    start = jax.random.randint(start_key, (config.batch,), 1, len(trace.action) - length + 1)
    place = jax.random.randint(place_key, (config.batch,), 0, WORLDS)
    return windows(trace, start, place, length)


# %% [markdown]
# Is it the package's loss? On the same batch and with the same dice, the two must agree.


# %%
@functools.partial(jax.jit, compiler_options=compiler_options())  # made for small products
def both(params: dict, trace: Trace) -> tuple:
    """The losses by your functions and by the package, {name: (T, B)} twice."""
    model = nnx.merge(graph, params)
    batch = draw_batch(trace, jax.random.key(1))
    mine = losses_of(model, batch, jax.random.key(2), config.free_nats)
    batch = batch._replace(context=model.rssm.initial(config.batch))
    recon, losses, *_ = model.loss(batch, jax.random.key(2))
    return mine, recon | losses


mine, theirs = both(first_params, trace)
gaps = {name: float(jnp.abs(mine[name] - theirs[name]).max()) for name in theirs}
print("largest difference:", max(gaps.values()))
print({name: round(float(loss.mean()), 3) for name, loss in mine.items()}, "before any update")

# %% [markdown]
# The reward starts at ln 63 = 4.14, as promised. **Predict first:** which loss falls last, and what
# is the lowest that *cont* and *dyn* can reach? The curve below is redrawn as training goes.

# %%
optimizer = make_optimizer(config)
CHUNK = max(1, updates // (5 if FAST else 20))  # updates between two pictures


@functools.partial(jax.jit, compiler_options=compiler_options())
def gradients(
    params: dict, trace: Trace, key: jax.Array, scales: dict[str, float], free: float, alone: bool
) -> tuple[dict, dict[str, jax.Array]]:
    """The gradient of the total on one batch, and the mean losses. The key is consumed.

    With `alone` every row counts as an episode of its own, so that nothing passes through time.
    """
    data_key, model_key = jax.random.split(key)
    batch = draw_batch(trace, data_key)
    batch = batch._replace(is_first=batch.is_first | alone)

    def loss(params: dict) -> tuple:
        losses = losses_of(nnx.merge(graph, params), batch, model_key, free)
        return total_loss(losses, scales), jax.tree.map(jnp.mean, losses)

    return jax.grad(loss, has_aux=True)(params)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def move(params: dict, state: tuple, slope: dict) -> tuple:
    """One step of the optimiser: (params, state). Both are used up."""
    step, state = optimizer.update(slope, state, params)
    return jax.tree.map(jnp.add, params, step), state


def curve(history: dict[str, np.ndarray], title: str) -> Figure:
    """The losses so far, on a log scale."""
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(history.items()):
        at = CHUNK * np.arange(1, len(values) + 1)
        axes.plot(at, values, label=name, **style(number, len(values)))
    axes.axhline(config.free_nats, color="0.4", linewidth=1.2, linestyle=(0, (1, 3)))
    axes.set(yscale="log", xlabel="updates", ylabel="nats", title=title, xlim=(0, updates))
    axes.legend(frameon=False, ncols=5, fontsize=9)
    return figure


# %%
print("The first picture comes when all is compiled, after some seconds.", flush=True)
draw, started = live(), time.perf_counter()
params = jax.tree.map(jnp.array, first_params)  # a copy, so that this cell can be run again
state = optimizer.init(params)
history: dict[str, np.ndarray] = {}
for done in range(0, updates, CHUNK):
    sums: dict[str, jax.Array] = {}
    for number in range(done, done + CHUNK):
        key = jax.random.fold_in(jax.random.key(seed), number)
        slope, losses = gradients(params, trace, key, scales, config.free_nats, False)
        params, state = move(params, state, slope)
        sums = {name: sums.get(name, 0.0) + loss for name, loss in losses.items()}
    means = {name: [float(x) / CHUNK] for name, x in sums.items() if name != "rep"}
    history = {name: np.append(history.get(name, []), x) for name, x in means.items()}
    if done == 0:
        began = time.perf_counter()  # what came before was mostly compiling
    count = done + CHUNK
    left_s = (time.perf_counter() - began) / max(1, done) * (updates - count)
    news = f"update {count:,} of {updates:,}"
    if done and count < updates:
        news += f", about {left_s:.0f} s left"
    words = ", ".join(f"{name} {values[-1]:.3g}" for name, values in history.items())
    draw(
        curve(history, news),
        f"Losses against updates on a log scale, {news}: {words}. Dotted: the free nats.",
        "05_curve" if count >= updates else "",
    )
print(f"{count:,} updates in {time.perf_counter() - started:.0f} s, compiling included")
by_row = np.asarray(both(params, trace)[0]["dyn"].mean(1))
print(f"dyn in row 0 of a window {by_row[0]:.2f} nats, in the others {by_row[1:].mean():.2f}")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_curve)
# </details>
#
# *rep* has the value of *dyn* and is left out. *dyn* first **rises**: while $z$ says nothing, there is
# nothing to foretell. Then it comes down, to about 1 nat, and not to the dotted floor. The last
# printed line says where half of that nat lies: in row 0 of a window (8.18 nats, against 0.58 in the
# others), where the memory is blank and nobody could foretell the frame. *cont* ends near its
# entropy.
#
# ## Who teaches whom
#
# A gradient is a flashlight (notebook 04), here for *parts*: how strongly does each loss move each
# part of the model? On the left every row counts as an episode of its own, so that nothing passes
# through time, and a zero proves a stop-gradient. On the right the 16 rows of a window follow one
# another as lived. It takes nothing new: the function that you trained with, all scales but one set
# to 0. **Predict first:** which squares are exactly zero on the left, and which of them light up on
# the right?

# %%
PARTS = {
    "encoder": ["encoder"],
    "posterior": ["post_mlp", "post_out"],
    "memory": ["from_deter", "from_stoch", "from_action", "mix", "mix_norm", "gates"],
    "prior": ["prior_mlp", "prior_out"],
    "decoder": ["decoder"],
    "reward head": ["reward_head"],
    "cont head": ["cont_head"],
}


def teaching(name: str, alone: bool) -> list[float]:
    """Norms of one loss's gradient for each part: its scale is 1, all others 0; nothing is free."""
    only = {other: float(other == name) for other in scales}
    slopes, _ = gradients(params, trace, jax.random.key(5), only, 0.0, alone)
    trees = jax.device_get({**slopes, **slopes["rssm"]})
    leaves = [jax.tree.leaves([trees[key] for key in keys]) for keys in PARTS.values()]
    return [np.sqrt(sum(float(np.sum(leaf**2)) for leaf in part)) for part in leaves]


taught = {
    "each row alone": np.array([teaching(name, True) for name in scales]),
    f"{LENGTH} rows in time": np.array([teaching(name, False) for name in scales]),
}

# %%
figure = Figure(figsize=(8.4, 3.4), layout="constrained")
for axes, (label, numbers) in zip(figure.subplots(1, 2, sharey=True), taught.items()):
    shades = np.log10(np.maximum(numbers, 1e-5))
    axes.imshow(shades, cmap="cividis", vmin=-5, vmax=1, aspect="auto")
    axes.set_xticks(range(len(PARTS)), PARTS, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(scales)), scales)
    axes.set_title(label, fontsize=10)
    for i, j in np.argwhere(numbers == 0):
        axes.text(j, i, "0", color="white", ha="center", va="center")


def dark(row: np.ndarray) -> str:
    return ", ".join(part for part, x in zip(PARTS, row) if x == 0)


show(
    figure,
    "Two maps, losses down, parts of the model across. A 0 marks a gradient that is exactly zero. "
    + " ".join(
        f"{label[0].upper() + label[1:]}, zeros are: "
        + "; ".join(f"{name}: {dark(row)}" for name, row in zip(scales, numbers))
        + "."
        for label, numbers in taught.items()
    ),
    "05_teaching",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_teaching)
# </details>
#
# Row by row *dyn* leaves posterior and encoder alone, *rep* leaves the prior alone, and each head
# learns from its own loss only. In time *dyn* does reach posterior and encoder, by a lawful
# detour: the memory at t holds the *earlier* $z$, which the posterior drew. The stop-gradient stops
# the present look, not the past ones. *rep* never reaches the prior.

# %% [markdown]
# ## The result: eyes closed
#
# New random play, never trained on. At 256 moments the model watches 5 rows, closes its eyes, and
# dreams 10 more under the actions that were really taken: an *open-loop* prediction. Chosen are
# moments whose episode lasts all 15 rows. We measure the squared error, added up over the cells of a
# picture: a ball in a wrong place costs 2, one for the missing and one for the false ball. Beside
# the dream stand
#
# * **copy the last frame** seen, as if nothing moved;
# * **the mean frame** of all play, as if nothing were known;
# * the negative control, **another's actions**: the same model, the same start, but the actions of
#   another moment. If the dream did not listen to its actions, this would cost nothing. The
#   *paddle* does what the actions say, so look at its plane.

# %%
AWAKE, HORIZON, MOMENTS = 5, 10, 256
test = watch_random_play(seed + 1000, 400)


def choose_moments(trace: Trace, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First rows and worlds (count,) of windows that lie within one episode, drawn by seed."""
    first = np.asarray(trace.row.is_first)
    length = AWAKE + HORIZON
    inside = np.lib.stride_tricks.sliding_window_view(first[1:], length, 0)  # from row 1 on
    starts, places = np.nonzero(~inside[..., 1:].any(-1))
    chosen = np.random.default_rng(seed).permutation(len(starts))[:count]
    return starts[chosen] + 1, places[chosen]


@functools.partial(jax.jit, compiler_options=compiler_options())
def imagine(params: dict, seen: Batch, actions: jax.Array, key: jax.Array) -> jax.Array:
    """Watch AWAKE rows, then dream under `actions` (HORIZON, M, A): pictures (15, M, 10, 10, 4)."""
    model = nnx.merge(graph, params)
    look_key, dream_key = jax.random.split(key)
    awake = jax.tree.map(lambda x: x[:AWAKE], seen)
    blank = model.rssm.initial(actions.shape[1])
    embed = model.encoder(awake.obs)
    states, _ = model.rssm.observe(blank, embed, awake.previous_action, awake.is_first, look_key)
    dreamt = model.open_loop(jax.tree.map(lambda x: x[-1], states), actions, dream_key)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), states, dreamt)
    return model.decoder(both.deter, both.stoch)["image"].mean()


# %%
seen = windows(test, *choose_moments(test, MOMENTS), AWAKE + HORIZON)
reality = np.asarray(seen.obs["image"], np.float32) / 255
actions = seen.previous_action[AWAKE:]
others = jnp.roll(actions, 1, 1)
key = jax.random.key(seed)
guesses = {
    "dream": np.asarray(imagine(params, seen, actions, key)),
    "another's actions": np.asarray(imagine(params, seen, others, key)),
    "copy the last frame": np.broadcast_to(reality[AWAKE - 1], reality.shape),
    "mean frame": np.asarray(trace.row.obs["image"]).mean((0, 1))[None, None] / np.float32(255),
}
print(
    f"{reality.shape[1]} moments; actions differ in {float((actions != others).any(-1).mean()):.0%}"
)


def errors(guess: np.ndarray, planes: slice) -> np.ndarray:
    """Squared error summed over cells, mean over moments, at each dreamt step, (HORIZON,)."""
    gap = (guess - reality)[AWAKE:, ..., planes]
    return (gap**2).sum((-3, -2, -1)).mean(-1)


# %% [markdown]
# **Predict first:** which lines cross, and does the control lose at step 1 already?

# %% tags=["signature"]
PLANES = {"whole picture": slice(0, 4), "paddle only": slice(0, 1)}
wrong = {
    what: {k: errors(g, planes) for k, g in guesses.items()} for what, planes in PLANES.items()
}
figure = Figure(figsize=(8.4, 3.8), layout="constrained")
for axes, (what, lines) in zip(figure.subplots(1, 2), wrong.items()):
    for number, (label, line) in enumerate(lines.items()):
        axes.plot(np.arange(1, HORIZON + 1), line, label=label, **style(number, HORIZON))
    axes.set(
        title=what, xlabel="steps with closed eyes", ylabel="squared error, cells", ylim=(0, None)
    )
handles, labels = figure.axes[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
print(" " * 14, *(f"{label:>20}" for label in guesses))
for what, lines in wrong.items():
    for h in (1, 5, 10):
        print(f"{what:14}{h:3}", *(f"{line[h - 1]:20.2f}" for line in lines.values()))
show(
    figure,
    "Squared error in cells against steps with closed eyes, for the whole picture and for the paddle. "
    + " ".join(
        f"{what.capitalize()}, at step 1, 5 and 10: "
        + "; ".join(
            f"{label} {line[0]:.2f}, {line[4]:.2f}, {line[9]:.2f}" for label, line in lines.items()
        )
        + "."
        for what, lines in wrong.items()
    ),
    "05_errors",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_errors)
# </details>
#
# And one of the moments, as a strip. The paddle is at the bottom, the ball has a trail. Turn `which`.

# %%
which = 0  # turn me: 0 to 255
shown = [AWAKE - 2, AWAKE - 1, *range(AWAKE, AWAKE + HORIZON, 2)]
figure = Figure(figsize=(8.4, 3.9), layout="constrained")
strips = {"reality": reality, **{k: guesses[k] for k in ("dream", "another's actions")}}
for line, (label, strip) in zip(figure.subplots(3, len(shown)), strips.items()):
    for axes, row in zip(line, shown):
        axes.imshow(world.render({"image": strip[row, which]}))
        axes.set(xticks=[], yticks=[])
        if label == "reality":
            axes.set_title("awake" if row < AWAKE else f"step {row - AWAKE + 1}", fontsize=9)
    line[0].set_ylabel(label, fontsize=9)


def place(picture: np.ndarray, plane: int) -> str:
    row, column = np.unravel_index(picture[..., plane].argmax(), picture.shape[:2])
    return f"row {row} column {column}"


last = shown[-1]
show(
    figure,
    "Three rows of Breakout pictures: reality, dream, dream under another's actions; two awake, five "
    f"dreamt. At step {last - AWAKE + 1}: "
    + "; ".join(
        f"{label}: ball at {place(strip[last, which], 1)}, paddle at {place(strip[last, which], 0)}"
        for label, strip in strips.items()
    )
    + ".",
    "05_strip",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:05_strip)
# </details>
#
# At step 1 the dream errs by 0.17 cells, copying by 5.36, the mean frame by 3.21; at step 10 it is
# 0.51 against 6.68 and 4.09. The paddle is nearly perfect: 0.01 at step 1, 0.08 at step 10. With
# another's actions it errs by 1.36 at once, for two in three of those actions differ, and a
# misplaced paddle costs 2. So the model listens. Nobody told it which cells are a paddle.
#
# **Limits.** One seed, one small world, and one without dice while `sticky` is 0: with them a dream
# has to guess, and one guess can err more than the mean frame. The random player has seen few holes
# in the wall, and never a wall cleared; where it has not been, the model knows nothing. The 256
# moments are of episodes that lasted: most random episodes end at the first fall of the ball. And a
# small error says that a dream looks right, not yet that it is good to plan in: see notebook 07.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Two losses have the same value at every step. Why keep both?</summary>
#
# Their gradients differ. dyn moves the prior towards the posterior, rep the posterior towards the
# prior, and they have different weights: 1.0 and 0.1.
# </details>
# <details><summary>2. An episode is cut off after 1,000 steps. What is the continue target there?</summary>
#
# γ, as anywhere else: is_last is True, but is_terminal is not.
# </details>
# <details><summary>3. All KLs lie below the free nats. What do dyn and rep teach then?</summary>
#
# Nothing. The maximum is constant there, and its gradient zero.
# </details>
# <details><summary>4. Why give the dream another moment's actions?</summary>
#
# A model that only continues the film by habit would not notice. Ours does, so it has learnt what
# actions do, and an actor can use it.
# </details>

# %% [markdown]
# ## Summary
#
# * Three losses put information into the state: picture, reward, continue.
# * The continue target is (1 - is_terminal) γ: the discount is learnt, and a cut is no end.
# * dyn teaches the prior to foretell; rep, ten times weaker, keeps the posterior foretellable.
# * Below the free nats the KL teaches nothing, so that the state may hold something.
# * A random player's rows are enough for a simulator, as far as the random player has been.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * D. Hafner and others: Mastering Atari with discrete world models (DreamerV2, 2020; KL balancing),
#   [arXiv:2010.02193](https://arxiv.org/abs/2010.02193).
# * D. P. Kingma and others: Improving variational inference with inverse autoregressive flow (2016;
#   free bits), [arXiv:1606.04934](https://arxiv.org/abs/1606.04934).
# * K. Young, T. Tian: MinAtar (2019), [arXiv:1903.03176](https://arxiv.org/abs/1903.03176).
#
# ## Next
#
# Notebook 06 walks around in this simulator: dreams from many starts, forked and steered, and the
# places where they break.
