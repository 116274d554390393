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
# # 03 · Predicting anything
#
# **One network with one learning rate can learn rewards of 0.01 and of 10,000, if it predicts odds
# over bins in place of a number.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 25 | 1, on 2 CPU cores | what a loss and a softmax are | how every head says a number |
#
# **You will be able to**
#
# * squash numbers of any size with symlog, and undo it;
# * write a number as two-hot weights on bins, and read it back;
# * show how a float32 sum loses small numbers among large ones, and repair it;
# * keep a categorical distribution from ever being sure;
# * say, from your own experiment, why DreamerV3 does not regress rewards.
#
# ![](figure:agent_predictions)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 250 if FAST else 2000  # @param {type: "raw"}

# %% tags=["setup"]
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show, slide
from dreamer_lite.show.plots import COLOURS, style

print(dreamer_lite.__doc__)

# %% [markdown]
# ## The trouble with numbers
#
# Pong pays 1 a point. Other games pay thousands at once, and a walking robot earns a hundredth a
# step. A network trained by squared error feels these sizes in its gradient: the error of a reward
# of 10,000 pulls ten thousand times as hard as that of a reward of 1. One can retune the learning
# rate for every world. DreamerV3 has one setting for all, so its predictions must not mind the
# size.
#
# It takes four small ideas. Each is a few lines; you will write them all.

# %% [markdown]
# ## 1 · Squash the size: symlog
#
# A logarithm turns factors into steps, but it has no answer for zero and negative numbers. So keep
# the sign, and take the logarithm of one plus the magnitude:
#
# $$\operatorname{symlog}(x)=\operatorname{sign}(x)\,\ln(1+|x|)\qquad
# \operatorname{symexp}(x)=\operatorname{sign}(x)\,(e^{|x|}-1)$$
#
# (Hafner et al. 2025.) Both act on each element, so a tensor of any shape keeps its shape.
# Near zero symlog is almost the identity; far out it is a logarithm.
#
# **A tiny number.** symlog(10) = ln 11 = 2.398, and symlog(-10) = -2.398. A reward of 10,000
# becomes 9.210; one of 0.01 becomes 0.00995, nearly itself.

# %% [markdown]
# **Exercise 1** · easy · important · 5 minutes
#
# Write symlog and its inverse. Use `jnp`, so that JAX can compile and differentiate them.
#
# <details><summary>Hint 1</summary>
#
# `jnp.sign` and `jnp.abs` take any shape.
# </details>
# <details><summary>Hint 2</summary>
#
# `jnp.log1p(a)` is ln(1 + a), and `jnp.expm1(a)` is exp(a) - 1. They exist because 1 + 0.0000001
# has lost most digits of the small number before the logarithm sees it.
# </details>


# %% tags=["exercise"]
def my_symlog(x: jax.Array) -> jax.Array:
    """sign(x) ln(1 + |x|); (...) -> (...)."""
    # BEGIN SOLUTION
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))
    # END SOLUTION


def my_symexp(x: jax.Array) -> jax.Array:
    """sign(x) (exp(|x|) - 1), the inverse of symlog; (...) -> (...)."""
    # BEGIN SOLUTION
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))
    # END SOLUTION


# %% tags=["check"]
symlog = checks.symlog(my_symlog)

# %% tags=["check"]
symexp = checks.symexp(my_symexp)

# %% [markdown]
# The package's `transforms.symlog` and `transforms.symexp` are the same lines. Vector observations
# go through symlog too, before the encoder sees them and before the decoder is asked for them.
#
# Now a picture drawn by your function. **Predict first:** where does symlog leave the straight line
# through the origin: near 0.1, near 1, or near 10? Then run, and change `reach`.

# %%
reach = 12.0  # turn me: 1, 12, 1000
x = jnp.linspace(-reach, reach, 401)
figure = Figure(figsize=(6, 3.2), layout="constrained")
axes = figure.add_subplot()
axes.plot(x, symlog(x), label="symlog(x)", **style(0, 401))
axes.plot(x, jnp.clip(x, -3, 3), label="x, cut off at 3", **style(1, 401))
axes.set(xlabel="x", ylabel="after squashing")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
show(
    figure,
    f"symlog against x from {-reach:g} to {reach:g}: an odd curve that follows the straight line "
    "near 0, leaves it around 1, and then rises ever more slowly.",
    "03_symlog",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:03_symlog)
# </details>

# %% [markdown]
# ## 2 · A number as odds: two-hot
#
# Symlog alone has a flaw, and it is not a small one. Think of a reward that is 100 or 0 by the toss
# of a coin. Its mean is 50. A network that is asked for symlog(reward) by squared error learns the
# mean of 4.6 and 0, which is 2.3, and symexp(2.3) is 9. The mean of the logarithms is not the
# logarithm of the mean. An agent that maximises expected reward would be told 9 for 50.
#
# So let the network give *odds* over a fixed set of values, the bins, as it would over classes. The
# expected value then is right whatever the odds are. With N = 255 bins, evenly spaced in symlog
# space:
#
# $$b_i=\operatorname{symexp}\!\left(-20+\tfrac{40\,i}{N-1}\right),\qquad i=0,\dots,N-1$$
#
# They reach from -4.9e8 to 4.9e8 and are 0.17 apart near 0.
#
# A target `y` lies between two bins. Its code, the *two-hot* vector, puts weight on these two so
# that `weights @ bins` is `y`; the nearer bin gets more:
#
# $$w_{\text{below}}=\frac{b_{\text{above}}-y}{b_{\text{above}}-b_{\text{below}}},\qquad
# w_{\text{above}}=1-w_{\text{below}}$$
#
# Shapes: `y` (...) and `bins` (N,) give weights (..., N). The network learns them by cross entropy,
# whose gradient, softmax minus weights, never exceeds 1, however large `y` is.

# %% [markdown]
# **A tiny number.** The bins next to 0 are -0.17056, 0 and 0.17056. The reward 0.1 lies between the
# last two: weight 0.1 / 0.17056 = 0.586 on the upper one, 0.414 on 0. And 0.586 x 0.17056 = 0.1.
#
# **Exercise 2** · medium · very important · 15 minutes
#
# Write the two-hot code. A value on a bin has weight 1 there. A value beyond the ends goes wholly
# to the end bin.
#
# <details><summary>Hint 1</summary>
#
# How many bins are at or below `y`? `jnp.sum(bins <= y[..., None], -1) - 1` is the index of the
# lower neighbour. Keep it within 0 and N - 2, then the upper one is the next.
# </details>
# <details><summary>Hint 2</summary>
#
# Clip `y` to the range of the bins first, and values beyond need no case of their own. Two calls of
# `jax.nn.one_hot(index, N)`, each times its weight, add up to the code.
# </details>


# %% tags=["exercise"]
def my_two_hot(y: jax.Array, bins: np.ndarray) -> jax.Array:
    """Weights on the two bins around y, so that weights @ bins = y; (...), (N,) -> (..., N)."""
    # BEGIN SOLUTION
    count, bins = len(bins), jnp.asarray(bins)
    y = jnp.clip(y, bins[0], bins[-1])
    below = jnp.clip(jnp.sum(bins <= y[..., None], -1) - 1, 0, count - 2)
    gap = bins[below + 1] - bins[below]
    weight = ((y - bins[below]) / gap)[..., None]
    return (1 - weight) * jax.nn.one_hot(below, count) + weight * jax.nn.one_hot(below + 1, count)
    # END SOLUTION


# %% tags=["check"]
two_hot = checks.two_hot(my_two_hot)

# %% [markdown]
# Where the package differs: `transforms.symexp_bins` computes the negative half only and mirrors
# it, so that the set is *exactly* symmetric in float32. You will see in a moment why that matters.
#
# **Predict first:** when the target grows from 0 to 1, how many bins do the two bars pass? Move the
# slider (a script draws one position). It stands on symlog(y); the title gives y.

# %%
from dreamer_lite.agent.transforms import symexp_bins

bins = symexp_bins(255)


def draw_code(value: float, name: str = "") -> None:
    """Show the two-hot code of symexp(value) on the bins around it."""
    target = symexp(jnp.float32(value))
    code = np.asarray(two_hot(target, bins))
    middle = int(np.clip(code.argmax(), 8, len(bins) - 9))
    near = slice(middle - 8, middle + 9)
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(np.arange(17), code[near], color=COLOURS[0], edgecolor="black")
    axes.set_xticks(np.arange(17), [f"{b:.3g}" for b in bins[near]], rotation=60, fontsize=8)
    axes.set(ylim=(0, 1.05), ylabel="weight", xlabel="bin value")
    axes.set_title(f"y = {float(target):.4g}", fontsize=11)
    on = np.flatnonzero(code)
    words = " and ".join(f"{code[i]:.3f} on the bin {bins[i]:.4g}" for i in on)
    show(figure, f"The two-hot code of {float(target):.4g}, bars on 17 bins: {words}.", name)


draw_code(float(symlog(jnp.float32(0.1))), "03_two_hot")

# %%
slide(draw_code, -10.0, 10.0, 0.5, "symlog(y)")

# %% [markdown]
# <details><summary>What you should see for 0.1</summary>
#
# ![](figure:03_two_hot)
# </details>

# %% [markdown]
# ## 3 · Back to a number, without dust
#
# Reading the code back is one line: the expected bin value, $\sum_i p_i\,b_i$. On paper that is
# right. In float32 it is wrong, and in the worst place: at the start of training. Then all odds are
# equal, the bins are symmetric, and the answer should be 0. The largest terms are 4.9e8 / 255,
# about two million; a float32 near two million can only step by 0.125. Add them one after the other
# and the steps of the large ones stay behind as dust, when the large ones have long cancelled.

# %%
uniform = np.full(255, 1 / 255, np.float32)
running = np.cumsum(uniform * bins, dtype=np.float32)  # strictly one after the other
print(f"left to right:     {running[-1]:.4f}")
print(f"jnp.sum:           {float(jnp.sum(jnp.asarray(uniform) * bins)):.4f}")
pairs = np.cumsum((uniform[128:] - uniform[126::-1]) * bins[128:], dtype=np.float32)
print(f"in mirrored pairs: {pairs[-1]:.4f}")
print(f"spacing of float32 at 2e6: {np.spacing(np.float32(2e6))}")

# %% [markdown]
# An agent in a world that pays 0.01 would begin by believing in such a reward, and what it is
# depends on the order of the sum, so on the machine. The repair is to add each bin to its mirror
# image before anything else:
#
# $$\hat y=p_m b_m+\sum_{j=1}^{m}\,(p_{m+j}-p_{m-j})\,b_{m+j},\qquad m=\tfrac{N-1}{2}$$
#
# (The set is symmetric, so $b_{m-j}=-b_{m+j}$ and $b_m=0$.) **A tiny number.** Odds 0.2,
# 0.3, 0.5 on bins -1, 0, 1: (0.5 - 0.2) x 1 = 0.3.
#
# **Exercise 3** · easy · very important · 10 minutes
#
# Write the sum in pairs. It must also work for an even number of bins, which has no middle one.
#
# <details><summary>Hint 1</summary>
#
# `probs[..., ::-1]` is the mirror image. Only the upper half of the differences is needed.
# </details>
# <details><summary>Hint 2</summary>
#
# The upper half are the last N // 2 entries: `[..., -(N // 2):]`. An odd N leaves the middle bin
# out, and its value is 0.
# </details>


# %% tags=["exercise"]
def my_symmetric_mean(probs: jax.Array, bins: np.ndarray) -> jax.Array:
    """Expected bin value, summed in mirrored pairs; (..., N), (N,) -> (...)."""
    # BEGIN SOLUTION
    half = len(bins) // 2
    upper, mirrored = probs[..., -half:], probs[..., ::-1][..., -half:]
    return jnp.sum((upper - mirrored) * bins[-half:], -1)
    # END SOLUTION


# %% tags=["check"]
symmetric_mean = checks.symmetric_mean(my_symmetric_mean)

# %% [markdown]
# The package subtracts the probabilities *before* it multiplies, as here. Two products subtracted
# afterwards would be 0 in numpy too, but a compiler may fuse one product into the subtraction,
# round only the other, and leave dust again.
#
# The picture follows both sums as they go. **Predict first:** how large is the plain sum in the
# middle of its way?

# %%
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
axes.plot(np.abs(running) + 1e-3, label="left to right", **style(1, 255))
axes.plot(
    np.arange(128, 255), np.abs(pairs) + 1e-3, label="in pairs: 0 all the way", **style(0, 127)
)
axes.axhline(0.01, color="0.4", linewidth=1, linestyle=":")
axes.annotate("a reward of 0.01", (60, 0.013), color="0.3", fontsize=9)
axes.set(yscale="log", xlabel="bins added", ylabel="|sum so far| + 0.001")
axes.legend(frameon=False)
show(
    figure,
    "Size of the running sum of uniform odds times bins. Left to right it climbs to "
    f"{np.abs(running).max() / 1e6:.0f} million, stays there until the last bins cancel it, and ends "
    f"at {abs(running[-1]):.3f}, far above a reward of 0.01. In pairs it is 0 all the way.",
    "03_dust",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:03_dust)
# </details>

# %% [markdown]
# ## 4 · Never quite sure: unimix
#
# A softmax can be as sure as it likes: with logits 30 apart, the odds are 1 to 1e13. If it is sure
# and wrong, the logarithm in its loss is huge, and so is the step that follows. And the KL
# divergence between two sure distributions that disagree has no bound at all. That is trouble for
# the latents of notebook 04, where one network is trained to foretell another. The cure is one per
# cent of doubt, mixed in:
#
# $$p=(1-\varepsilon)\operatorname{softmax}(\ell)+\varepsilon/C,\qquad\varepsilon=0.01$$
#
# Shapes: logits (..., C) give ln p (..., C). **A tiny number.** Logits 10, 0, 0, 0 give
# a softmax of 0.99986 and three times 0.0000454; mixed, 0.99236 and three times 0.00255.
#
# **Exercise 4** · easy · useful · 5 minutes
#
# Return ln p, which is what the losses need.
#
# <details><summary>Hint 1</summary>
#
# `jax.nn.softmax(logits)` works along the last axis, whose length C is `logits.shape[-1]`.
# </details>
# <details><summary>Hint 2</summary>
#
# The result sums to 1 only if the softmax gives way: it keeps the share 1 - ε.
# </details>


# %% tags=["exercise"]
def my_unimix(logits: jax.Array, share: float) -> jax.Array:
    """ln of softmax(logits) with a share of uniform mixed in; (..., C) -> (..., C)."""
    # BEGIN SOLUTION
    return jnp.log((1 - share) * jax.nn.softmax(logits) + share / logits.shape[-1])
    # END SOLUTION


# %% tags=["check"]
unimix = checks.unimix(my_unimix)

# %% [markdown]
# The package's `transforms.unimix` has one more line: a share of 0 is a plain log-softmax, which
# does not turn into ln 0 for very unlikely classes. The 1 % goes into the latents and into discrete
# policies. The reward's 255 bins get none: in pairs the doubt would cancel, but every prediction
# would shrink by 1 %, and no KL is taken there that could run away.
#
# **Predict first:** two distributions over 4 classes grow surer, in *different* classes. Does their
# KL level off? Turn `share`.

# %%
share = 0.01  # turn me: 0.1, 0.01, 0.001
gaps = jnp.linspace(0, 40, 81)
one = gaps[:, None] * jnp.array([1.0, 0, 0, 0])
other = gaps[:, None] * jnp.array([0, 1.0, 0, 0])


def kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """KL(p || q) of log-probabilities; (..., C), (..., C) -> (...) in nats."""
    return jnp.sum(jnp.exp(p) * (p - q), -1)


plain = kl(jax.nn.log_softmax(one), jax.nn.log_softmax(other))
mixed = kl(unimix(one, share), unimix(other, share))
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
axes.plot(gaps, plain, label="plain softmax", **style(1, 81))
axes.plot(gaps, mixed, label=f"{share:.1%} uniform mixed in", **style(0, 81))
axes.set(xlabel="how sure each is: its largest logit", ylabel="KL (nats)")
axes.legend(frameon=False)
show(
    figure,
    "KL divergence of two distributions that are sure of different classes, against their largest "
    f"logit. Plain, it grows along a straight line to {float(plain[-1]):.0f} nats. With "
    f"{share:.1%} uniform mixed in it levels off at {float(mixed[-1]):.2f} nats.",
    "03_unimix",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:03_unimix)
# </details>

# %% [markdown]
# ## The result: rewards from 0.01 to 10,000
#
# Four games differ in nothing but the size of what they pay. A state is a point `x` in the square
# from -1 to 1. The game tosses a coin: heads pays $2 s f(x)$ with $f(x)=1.5\,x_2\sin 3x_1$, tails
# pays 0. So the expected reward is $s f(x)$, with $s$ = 0.01, 1, 100 and 10,000. **The same
# network, the same learning rate and the same number of updates** learn each game, with three
# different heads:
#
# | head | is trained by | says |
# |---|---|---|
# | plain | squared error to the reward | its output |
# | symlog | squared error to symlog(reward) | symexp of its output |
# | two-hot | cross entropy to the two-hot code | the symmetric mean |
#
# The score is the share of explained variance, $1-\overline{(\hat y-sf)^2}/\operatorname{var}(sf)$.
# The baseline is a head that always says the mean: it scores 0. The negative control is the two-hot
# head trained on rewards that belong to *other* states: if it scored above 0, the score would be
# broken.

# %%
SIZES = np.array([0.01, 1, 100, 10_000], np.float32)
UNITS = 64


def play(key: jax.Array, count: int, size: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """States (count, 2), rewards (count,) and expected rewards (count,). The key is consumed."""
    state_key, coin_key = jax.random.split(key)
    x = jax.random.uniform(state_key, (count, 2), minval=-1, maxval=1)
    expected = size * 1.5 * x[:, 1] * jnp.sin(3 * x[:, 0])
    heads = jax.random.bernoulli(coin_key, 0.5, (count,))
    return x, 2 * expected * heads, expected


def draw_net(outputs: int) -> tuple[list, jax.Array]:
    """Two hidden layers (kernel, bias), and an output kernel of zeros: the first answer is 0."""
    rng = np.random.default_rng(seed)
    kernels = [rng.standard_normal((n, UNITS)) / np.sqrt(n) for n in (2, UNITS)]
    hidden = [(jnp.float32(kernel), jnp.zeros(UNITS)) for kernel in kernels]
    return hidden, jnp.zeros((UNITS, outputs))


def net(weights: tuple[list, jax.Array], x: jax.Array) -> jax.Array:
    """linear -> RMSNorm -> SiLU, twice, then linear; (..., 2) -> (..., outputs)."""
    hidden, output = weights
    for kernel, bias in hidden:
        x = x @ kernel + bias
        x = jax.nn.silu(x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-4))
    return x @ output


# %%
def plain_loss(output: jax.Array, reward: jax.Array) -> jax.Array:
    return (output[..., 0] - reward) ** 2


def symlog_loss(output: jax.Array, reward: jax.Array) -> jax.Array:
    return (output[..., 0] - symlog(reward)) ** 2


def two_hot_loss(output: jax.Array, reward: jax.Array) -> jax.Array:
    return -jnp.sum(two_hot(reward, bins) * jax.nn.log_softmax(output), -1)


# name: outputs, loss, how to read the prediction
HEADS = {
    "plain": (1, plain_loss, lambda output: output[..., 0]),
    "symlog": (1, symlog_loss, lambda output: symexp(output[..., 0])),
    "two-hot": (255, two_hot_loss, lambda output: symmetric_mean(jax.nn.softmax(output), bins)),
}


@functools.partial(jax.jit, static_argnames="head")
def learn(head: str, shuffled: bool) -> jax.Array:
    """Train one net per game and return its score in each, (4,)."""
    outputs, loss, read = HEADS[head]
    adam, start = optax.adam(1e-3), draw_net(outputs)

    def one_game(size: jax.Array, key: jax.Array) -> jax.Array:
        def update(carry, key):
            weights, momenta = carry
            x, reward, _ = play(key, 64, size)
            reward = jnp.where(shuffled, reward[::-1], reward)
            slope = jax.grad(lambda w: loss(net(w, x), reward).mean())(weights)
            step, momenta = adam.update(slope, momenta)
            return (optax.apply_updates(weights, step), momenta), None

        learn_key, test_key = jax.random.split(key)
        keys = jax.random.split(learn_key, updates)
        (weights, _), _ = jax.lax.scan(update, (start, adam.init(start)), keys)
        x, _, expected = play(test_key, 2048, size)
        error = jnp.mean((read(net(weights, x)) - expected) ** 2)
        return 1 - error / expected.var()

    return jax.vmap(one_game, (0, None))(jnp.asarray(SIZES), jax.random.key(seed))


# %% [markdown]
# **Predict first:** which head fails at 10,000? Does any fail at 0.01? Does symlog win?

# %% tags=["signature"]
scores = {head: np.asarray(learn(head, False)) for head in HEADS}
control = np.asarray(learn("two-hot", True))

print("share of explained variance".ljust(28), *(f"{size:>8g}" for size in SIZES))
for label, score in [*scores.items(), ("two-hot, shuffled rewards", control)]:
    print(label.ljust(28), *(f"{value:8.2f}" for value in score))

figure = Figure(figsize=(6.8, 3.6), layout="constrained")
axes = figure.add_subplot()
for number, (label, score) in enumerate(scores.items()):
    axes.plot(SIZES, score, label=label, **style(number, 4))
axes.plot(SIZES, control, label="two-hot, shuffled rewards", **style(3, 4))
axes.axhline(0, color="0.4", linewidth=1, linestyle=":", label="always the mean")
axes.set(
    xscale="log", xlabel="size s of the rewards", ylabel="explained variance", ylim=(-0.6, 1.05)
)
axes.legend(frameon=False, fontsize=9)
words = "; ".join(f"{k} " + ", ".join(f"{v:.2f}" for v in s) for k, s in scores.items())
show(
    figure,
    f"Explained variance against the size of the rewards, 0.01 to 10,000. {words}. Shuffled: "
    + ", ".join(f"{value:.2f}" for value in control)
    + ".",
    "03_rewards",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:03_rewards)
# </details>
#
# The plain head is at home where rewards are about 1. At 10,000 it has hardly begun: Adam moves
# each weight by about the learning rate per update, whatever the gradient, and the way is long.
# Symlog travels well, but arrives at the wrong place: the coin makes it answer far too little, by
# the flaw of section 2. Two-hot does not mind either. Shuffled rewards teach nothing, as they
# should.
#
# **Limits.** This is one function of two numbers and one learning rate. With a rate tuned to each
# game the plain head would do well everywhere; the point is that nobody has to. Between bins of 17
# % width the code is exact, but beyond 4.9e8 it clips. And one network for *all four games at once*
# would be harder: a stray chance of 1e-5 on the bin of 10,000 is worth 0.1, ten times a whole
# reward of 0.01.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A critic predicts 0 at the start. Which two choices make that exact?</summary>
#
# Its last layer starts at zero, so that all odds are equal; and the mean is summed in mirrored
# pairs.
# </details>
# <details><summary>2. Why is the loss at the start ln 255 = 5.54, whatever the reward?</summary>
#
# All log-odds are -ln 255, and the two weights of the target add up to 1.
# </details>
# <details><summary>3. A reward is 0 or 1,000 by a coin. What do symlog regression and two-hot say, if
# trained for ever?</summary>
#
# Symlog: the mean of 0 and 6.91 is 3.45, and symexp(3.45) is 30.6. Two-hot: half of the weight lies
# on 0, half around 1,000, and the mean is 500.
# </details>
# <details><summary>4. Why not mix 1 % of uniform into the reward's bins?</summary>
#
# In mirrored pairs the doubt cancels, so the mean would only shrink by 1 %. But the loss would get
# a floor, and nothing would be gained: no KL is taken between rewards. Summed plainly, doubt on
# bins worth up to 4.9e8 would be a catastrophe.
# </details>

# %% [markdown]
# ## Summary
#
# * symlog squashes sizes and keeps signs; it serves where the target is not random.
# * A two-hot code over symexp bins turns regression into classification: bounded gradients, right
#   means.
# * Sums over bins go in mirrored pairs, or float32 leaves dust larger than the reward.
# * 1 % of uniform keeps log-odds and KL finite; it belongs into latents and policies.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); preprint [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * M. Bellemare, W. Dabney, R. Munos: A distributional perspective on reinforcement learning
#   (2017), [arXiv:1707.06887](https://arxiv.org/abs/1707.06887).
# * J. Farebrother and others: Stop regressing (2024),
#   [arXiv:2403.03950](https://arxiv.org/abs/2403.03950).
#
# ## Next
#
# In notebook 04 the odds become a memory: the recurrent state-space model guesses, with these very
# categoricals, what it cannot see.
