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
# **One network with shared features learns rewards of 0.01 and of 10,000 at the same time, if it
# predicts a distribution over bins instead of a number.**
#
# ![](figure:03_rewards)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 30 | 90 | 4, on 2 CPU cores | [01](01_jax.ipynb), softmax, cross entropy | losses, distributions, layers: 14 parts |
#
# **You will be able to**
#
# * compress numbers of any magnitude with symlog, and invert it;
# * write a number as a two-hot code, train a network to predict the code, and decode its mean;
# * show how a float32 sum loses small numbers among large ones, and repair the sum;
# * write the layers that all of DreamerV3 is made of: linear map, RMSNorm, SiLU;
# * keep a categorical distribution from becoming deterministic, sample from it, and pass a gradient
#   through the sample;
# * explain, from your own experiment, why DreamerV3 does not train rewards by squared error.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 500 if FAST else 10000  # @param {type: "raw"}

# %% tags=["setup"]
# @title Imports
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.course import checks, magnitudes, parts
from dreamer_lite.course.magnitudes import SIZES
from dreamer_lite.course.notebook import predict, show, slide
from dreamer_lite.show.magnitudes import draw_code, draw_fractions, draw_lines, draw_maps, in_words

sg = jax.lax.stop_gradient

# %% [markdown]
# ## Why the magnitude of a target matters
#
# A reward head is a network that predicts the reward of a state. Rewards differ: Pong pays 1 a
# point, other Atari games pay thousands at once, and a simulated robot may earn a hundredth a step.
# DreamerV3 keeps all hyperparameters fixed over these domains, apart from the size of the network
# and the replay ratio (how many replayed steps are trained on per environment step). So its losses must not depend on the magnitude of their targets.
#
# Squared error does depend on it. Let a task have targets of magnitude $s$. Its gradient for the
# prediction is $2(\hat y-y)$, so it grows with $s$. In DreamerV3 many losses share features: image,
# reward and continuation (whether the episode goes on) are predicted from the same latent state, the
# model's internal summary of the past (notebook 04). In these shared features the
# gradients of all losses add up, and a loss with gradients 10,000 times as large decides alone what
# the features represent. The other losses are drowned.
#
# The cure in DreamerV3 has four parts, each a few lines that you write here: symlog, two-hot codes,
# a cross-entropy loss, and a careful sum. Sections 1 to 3 build them, section 4 the layers, and
# section 5 shows the effect in one network. Sections 6 and 7 add the categorical distributions that
# the latent state of notebook 04 is made of.
#
# Your functions are kept in `my_dreamer.py` as soon as they pass their check. In this notebook `sg`
# stands for `jax.lax.stop_gradient`.

# %% [markdown]
# ## 1 · Symlog and symexp
#
# *Symlog* is a logarithm that accepts zero and negative numbers. It keeps the sign, and takes the
# logarithm of one plus the magnitude. *Symexp* is its inverse (Hafner et al. 2025, "Robust
# predictions"):
#
# $$\operatorname{symlog}(x)=\operatorname{sign}(x)\,\ln(1+|x|)\qquad
# \operatorname{symexp}(x)=\operatorname{sign}(x)\,(e^{|x|}-1)$$
#
# Near zero symlog is almost the identity, because $\ln(1+x)\approx x$. Far out it is a logarithm, so
# factors become differences. Both functions act on each element, so shapes do not change.
#
# **A tiny number.**
#
# | x | -10 | 0 | 0.01 | 10 | 10,000 |
# |---|---|---|---|---|---|
# | symlog(x) | -2.398 | 0 | 0.00995 | 2.398 | 9.210 |
#
# DreamerV3 also passes vector observations through symlog, both as the encoder's input and as the
# decoder's target.

# %% [markdown]
# **Exercise 1** · easy · important · 3 minutes
#
# Write symlog with functions of `jnp`, so that JAX can compile and differentiate it.
#
# <details><summary>Hint 1: the idea</summary>
#
# Compute the magnitude first, then give it the sign of x.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One line: the sign of x, times the logarithm of one plus |x|.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.sign(x)` is -1, 0 or 1. `jnp.log1p(a)` is ln(1 + a): it exists because 1 + 0.0000001 loses
# most digits of the small number before the logarithm sees it.
# </details>


# %% tags=["exercise", "part:symlog"]
def symlog(x: jax.Array) -> jax.Array:
    """sign(x) ln(1 + |x|): compress magnitudes, keep the sign. x (...) -> (...)."""
    # BEGIN SOLUTION
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))
    # END SOLUTION


# %% tags=["check"]
symlog = checks.symlog(symlog)

# %% [markdown]
# **Exercise 2** · easy · important · 2 minutes
#
# Write its inverse.
#
# <details><summary>Hint 1: the idea</summary>
#
# Solve y = ln(1 + x) for x, for positive x. Then treat the sign as before.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One line: the sign of x, times (exp(|x|) - 1). The magnitude belongs into the exponent.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.expm1(a)` is exp(a) - 1, accurate for small a.
# </details>


# %% tags=["exercise", "part:symexp"]
def symexp(x: jax.Array) -> jax.Array:
    """sign(x) (exp(|x|) - 1), the inverse of symlog. x (...) -> (...)."""
    # BEGIN SOLUTION
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))
    # END SOLUTION


# %% tags=["check"]
symexp = checks.symexp(symexp)

# %%
question = predict(
    "Where does symlog visibly leave the straight line y = x?", ["near 0.1", "near 1", "near 10"]
)

# %%
reach = 12.0  # change it: 1, 12, 1000
x = jnp.linspace(-reach, reach, 401)
lines = {"symlog(x)": (x, symlog(x)), "x": (x, jnp.clip(x, -3, 3))}
alt = (
    f"symlog against x from {-reach:g} to {reach:g}, beside the line y = x, drawn from -3 to 3. Near "
    "0 the curves are one; from about 1 on symlog rises ever more slowly."
)
show(draw_lines(lines, "x (the line y = x is cut off at 3)", "y"), alt, "03_symlog")

# %%
question.explain(
    "It leaves the line near 1. At 0.1 symlog is 0.095, within 5 % of x. At 1 it is 0.69, and at 10 "
    "only 2.4. So rewards below 1 keep their differences, and large rewards are compressed."
)

# %% [markdown]
# ## 2 · Two-hot codes
#
# Symlog alone is not enough, because rewards are random. Take a reward that is 100 or 0 with equal
# probability: its expected value is 50. A network trained by squared error to predict symlog(reward)
# learns the mean of 4.615 and 0, which is 2.308, and symexp(2.308) is 9.05. The mean of the
# logarithms is not the logarithm of the mean. In the language of statistics, the prediction is
# *biased*, and an agent that maximizes it would avoid uncertain rewards.
#
# A *two-hot code* represents a number by weights on two of K fixed values, the *bins*. A network that
# outputs one probability for each bin predicts a whole distribution, and the expected value of this
# distribution is right however random the reward is, because decoding is linear: for the reward above,
# half of the weight lies near 100 and half on 0, and the mean is 50. The bins are evenly spaced in
# symlog space, so that they cover all magnitudes (Hafner et al. 2025, "Robust predictions"). For odd K
# they are
#
# $$b_i=\operatorname{symexp}\!\left(-20+\tfrac{40\,i}{K-1}\right),\qquad i=0,\dots,K-1$$
#
# They reach from -4.9e8 to 4.9e8. The released code has K = 255. Then the bins next to 0 are
# -0.1706, 0 and 0.1706.

# %% [markdown]
# **Exercise 3** · easy · important · 5 minutes
#
# Make the bins. The set must be *exactly* symmetric in float32: section 3 shows why. So compute the
# half up to 0, and mirror it. For odd K this gives the formula above, with one bin at 0. For even K,
# which the agent does not use, we follow the released code instead: K / 2 evenly spaced values from -20
# to 0, squashed by symexp and mirrored, so that 0 appears twice.
#
# <details><summary>Hint 1: the idea</summary>
#
# The positive half is minus the negative half, backwards.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# An evenly spaced grid from -20 to 0 has (K + 1) // 2 points. Apply symexp, reverse, negate, and concatenate.
# For odd K drop the 0 from one of the halves.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `half = symexp(jnp.linspace(-20, 0, (count + 1) // 2))`; the mirror image is `-half[::-1]`, and
# `[count % 2 :]` drops its first element if K is odd.
# </details>


# %% tags=["exercise", "part:make_bins"]
def make_bins(count: int) -> jax.Array:
    """Values (K,) of the K = `count` bins: symexp of a grid from -20 to 20, symmetric."""
    # BEGIN SOLUTION
    half = symexp(jnp.linspace(-20, 0, (count + 1) // 2))
    return jnp.concatenate([half, -half[::-1][count % 2 :]])
    # END SOLUTION


# %% tags=["check"]
make_bins = checks.make_bins(make_bins)

# %% [markdown]
# A target y lies between two bins. Its code gives weight to these two bins and to no other, such
# that the weighted sum of the bins is y. So the nearer bin gets more:
#
# $$w_{\text{above}}=\frac{y-b_{\text{below}}}{b_{\text{above}}-b_{\text{below}}},\qquad
# w_{\text{below}}=1-w_{\text{above}}$$
#
# Shapes: y (...) and bins (K,) give weights (..., K). **A tiny number.** The reward 0.1 lies between
# 0 and 0.1706. Its weights are 0.1 / 0.1706 = 0.586 on the upper bin and 0.414 on 0, and indeed
# 0.586 x 0.1706 = 0.1.

# %% [markdown]
# **Exercise 4** · medium · very important · 15 minutes
#
# Write the code. A value on a bin gets weight 1 there. A value beyond the ends gets weight 1 on the
# end bin.
#
# <details><summary>Hint 1: the idea</summary>
#
# Count the bins that are at or below y: this count is the index of the bin above. Everything else
# follows from the two neighbours.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Clip y to the range of the bins, and give it a last axis of length 1. Find the index above, within 1
# and K - 1. Take the two bins, compute the weight, and place both weights by comparing `jnp.arange(K)`
# with the index.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `above = jnp.clip(jnp.sum(bins <= y, -1, keepdims=True), 1, len(bins) - 1)` has shape (..., 1).
# `bins[above]` are the upper neighbours. `jnp.where(jnp.arange(len(bins)) == above, weight, 0)`
# places a weight; the sum of two such terms is the code. (`jnp.searchsorted` also finds the bin above.)
# </details>


# %% tags=["exercise", "part:two_hot"]
def two_hot(y: jax.Array, bins: jax.Array) -> jax.Array:
    """Weights (..., K) on the two bins around y (...), such that weights @ bins = y.

    `bins` (K,) increase. A y beyond the ends is moved to the end bin.
    """
    # BEGIN SOLUTION
    y = jnp.clip(y, bins[0], bins[-1])[..., None]
    above = jnp.clip(jnp.sum(bins <= y, -1, keepdims=True), 1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    weight = (y - low) / (high - low)
    index = jnp.arange(len(bins))
    return jnp.where(index == above, weight, 0) + jnp.where(index == above - 1, 1 - weight, 0)
    # END SOLUTION


# %% tags=["check"]
two_hot = checks.two_hot(two_hot)

# %% [markdown]
# Your code as bars. Move the slider, which is symlog(y), and watch the weight pass from one bin to
# the next. A script draws one position.


# %%
def draw_target(value: float, name: str = "") -> None:
    """Show the two-hot code of y = symexp(value)."""
    y, bins = symexp(jnp.float32(value)), make_bins(255)
    show(*draw_code(float(y), np.asarray(two_hot(y, bins)), np.asarray(bins)), name)


draw_target(float(symlog(jnp.float32(0.1))), "03_two_hot")

# %%
slide(draw_target, -10.0, 10.0, 0.5, "symlog(y)")

# %% [markdown]
# ## 3 · The two-hot loss, and its mean
#
# The *two-hot loss* is the cross entropy between the code of the target and the predicted
# distribution. The network outputs unnormalised log-probabilities, the logits $\ell$ (..., K):
#
# $$L(\ell,y)=-\sum_i w_i(y)\,\ln p_i,\qquad p=\operatorname{softmax}(\ell),\qquad
# \frac{\partial L}{\partial \ell_i}=p_i-w_i(y)$$
#
# The gradient is a difference of two probabilities, so each of its elements lies between -1 and 1,
# **whatever the magnitude of y**. This is the property that squared error lacks. Averaged over
# random rewards, the loss is smallest where p is the average code, so the expected value of p is the
# expected reward.
#
# **A tiny number.** Three bins -1, 0, 1 and equal logits: p is 1/3 everywhere. For y = 0.5 the weights
# are 0, 0.5, 0.5. The loss is ln 3 = 1.099, and the gradient is 0.333, -0.167, -0.167.

# %% [markdown]
# **Exercise 5** · easy · very important · 5 minutes
#
# Write the loss. The target is a constant: later the critic's target is computed by a network, and no
# gradient may flow into it. (In PyTorch you would call `y.detach()`.)
#
# <details><summary>Hint 1: the idea</summary>
#
# It is an ordinary cross entropy with soft labels.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# The number of bins is the length of the last axis of the logits. Make the bins, code the target
# without a gradient, multiply by the log-probabilities, sum over the bins, negate.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jax.nn.log_softmax(logits)` are the log-probabilities; `two_hot(sg(y), make_bins(K))` is the code.
# </details>


# %% tags=["exercise", "part:two_hot_loss"]
def two_hot_loss(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross entropy (...) between the code of y (...), a constant, and softmax(logits) (..., K)."""
    # BEGIN SOLUTION
    code = two_hot(sg(y), make_bins(logits.shape[-1]))
    return -jnp.sum(code * jax.nn.log_softmax(logits), -1)
    # END SOLUTION


# %% tags=["check"]
two_hot_loss = checks.two_hot_loss(two_hot_loss)

# %% [markdown]
# To decode a prediction, take the expected value of the bins, $\hat y=\sum_i p_i\,b_i$. In real
# numbers this is all. In float32 it fails where it matters most: at the start of training. Then all
# probabilities are equal, the bins are symmetric, and the sum should be 0. But its largest terms are
# 4.9e8 / 255, about two million, and the spacing of float32 numbers near two million is 0.125 or
# more. If you sum from left to right, the rounding errors made while the partial sum was large remain
# after the large terms have cancelled.

# %%
bins, equal = np.asarray(make_bins(255)), np.full(255, 1 / 255, np.float32)
running = np.cumsum(equal * bins, dtype=np.float32)  # strictly one after the other
pairs = np.cumsum((equal[128:] - equal[126::-1]) * bins[128:], dtype=np.float32)
print(f"left to right:     {running[-1]:.4f}, its largest partial sum {running.min():.3g}")
print(f"jnp.sum:           {float(jnp.sum(jnp.asarray(equal) * bins)):.4f}")
print(f"in mirrored pairs: {pairs[-1]:.4f}, its largest partial sum {abs(pairs).max():.3g}")

# %% [markdown]
# An agent in an environment that pays 0.01 would start with a prediction that is wrong by many times
# its rewards, and the error depends on the order of the sum, so on the device. The repair is to
# combine each bin with its mirror image before anything is summed. The bins are symmetric, and a
# middle bin is 0, so with m the number of pairs
#
# $$\hat y=\sum_{j=1}^{m}\,(p_{\text{mid}+j}-p_{\text{mid}-j})\;b_{\text{mid}+j}$$
#
# The order is that of the released code (`TwoHot.pred` in `embodied/jax/outs.py`); the paper does not
# mention it. **A tiny number.** Probabilities 0.2, 0.3, 0.5 on the bins -1, 0, 1 give
# (0.5 - 0.2) x 1 = 0.3.

# %% [markdown]
# **Exercise 6** · medium · very important · 10 minutes
#
# Write this mean. It must also work for an even K.
#
# <details><summary>Hint 1: the idea</summary>
#
# Subtract the probabilities of each pair *before* you multiply by the bin. Equal probabilities then
# give exactly 0, in any order of the sum.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# There are K // 2 pairs. Take the last K // 2 probabilities and the first K // 2 in reverse order,
# subtract, multiply by the last K // 2 bins, sum.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `probs[..., -half:]` is the upper half, `probs[..., :half][..., ::-1]` its mirror image. Start from
# `jax.nn.softmax(logits)`.
# </details>


# %% tags=["exercise", "part:two_hot_mean"]
def two_hot_mean(logits: jax.Array) -> jax.Array:
    """Expected bin value (...) of softmax(logits) (..., K), summed in pairs of mirrored bins."""
    # BEGIN SOLUTION
    bins, probs = make_bins(logits.shape[-1]), jax.nn.softmax(logits)
    half = len(bins) // 2
    upper, mirrored = probs[..., -half:], probs[..., :half][..., ::-1]
    return jnp.sum((upper - mirrored) * bins[-half:], -1)
    # END SOLUTION


# %% tags=["check"]
two_hot_mean = checks.two_hot_mean(two_hot_mean)

# %% [markdown]
# ## 4 · Layers: linear map, RMSNorm, SiLU
#
# All networks of this course are *multilayer perceptrons* (MLPs): each layer is a linear map, a norm
# and an activation. You write their forward passes once, and every network of your agent uses them.
# The classes below are shown without your methods; section 5 loads them complete.
#
# Below is the given part of the linear layer. Its `__init__` draws a kernel from a truncated normal
# distribution whose scale shrinks with the number of inputs, so that outputs have about the magnitude
# of inputs. `scale` is 0 for the last layer of the reward head and the critic: their first prediction
# is exactly 0, because equal logits have the symmetric mean 0. `nnx.Param` marks what is trained, and
# `self.kernel[...]` reads its array.


# %% tags=["given"]
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


# %% [markdown]
# A forward pass is a method, so its first argument is `self`. The usual kernel has shape (i, o), for i
# inputs and o outputs, and the result is $xW+b$. `torch.nn.Linear` stores a weight (o, i) and computes
# `x @ weight.T`; here there is no `.T`, because the kernel is stored as (i, o). **A tiny number.** x = (1, 2), W = ((1, 0), (0, 3)) and b = (5, 5) give (6, 11).
#
# *Block-diagonal kernels.* The large RSSMs of DreamerV3 have a **block-diagonal** kernel: it is cut into g blocks
# (g, i, o), and block k maps the k-th of g equal parts of x to the k-th part of the output. A dense
# matrix of the same size would have g times as many parameters. The agents of this course have g = 1,
# but your function must handle both cases to pass its check.

# %% [markdown]
# **Exercise 7** · easy, with blocks medium · very important · 10 minutes
#
# Write the forward pass for a kernel with two axes, and for one with three.
#
# <details><summary>Hint 1: the idea</summary>
#
# A product along the last axis works for any number of leading axes. The number of axes of the kernel
# says which case it is: `self.kernel.ndim` is 2 or 3.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Two axes: one product, plus the bias. Three axes: reshape x from (..., g i) to (..., g, i), multiply
# each part by its block, reshape back from (..., g, o), add the bias.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `x @ self.kernel[...]` for two axes. For three,
# `pieces = x.reshape(*x.shape[:-1], self.kernel.shape[0], -1)` and
# `jnp.einsum("...gi,gio->...go", pieces, self.kernel[...])`.
# </details>


# %% tags=["exercise", "part:Linear.forward"]
def forward(self, x: jax.Array) -> jax.Array:
    """x W + b; x (..., inputs) -> (..., outputs).

    self.kernel is (i, o), or (g, i, o): one matrix for each of g equal parts of x.
    """
    bias = repeat(self.bias[...], x)
    # BEGIN SOLUTION
    if self.kernel.ndim == 2:
        return x @ self.kernel[...] + bias
    pieces = x.reshape(*x.shape[:-1], self.kernel.shape[0], -1)
    outputs = jnp.einsum("...gi,gio->...go", pieces, self.kernel[...])
    return outputs.reshape(*x.shape[:-1], -1) + bias
    # END SOLUTION


# %% tags=["check"]
linear_forward = checks.linear(forward)

# %% [markdown]
# An **RMSNorm** divides a vector by its root mean square and multiplies each element by a learned
# scale $g$ (n,):
#
# $$\operatorname{RMSNorm}(x)=\frac{x}{\sqrt{\tfrac1n\sum_i x_i^2+10^{-4}}}\;g$$
#
# After it, activations have the same magnitude in every layer, however the weights change during
# training. A LayerNorm (`torch.nn.LayerNorm`) would also subtract the mean; the RMSNorm
# (`torch.nn.RMSNorm`) does not; its default `eps` is much smaller than our 0.0001. **A tiny number.** The vector (3, 4) has the mean square 12.5 and the
# root 3.536, so with $g=1$ it becomes (0.849, 1.131).


# %% tags=["given"]
class Norm(nnx.Module):
    """RMSNorm: divide by the root mean square over the last axis, then scale."""

    def __init__(self, size):
        self.scale = nnx.Param(np.ones(size, np.float32))


# %% [markdown]
# **Exercise 8** · easy · important · 5 minutes
#
# Write the norm of each vector of x (..., n), over the last axis.
#
# <details><summary>Hint 1: the idea</summary>
#
# Each vector is normalized by itself. Keep the reduced axis, so that it broadcasts.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Mean of the squares, plus 0.0001, one over its root; multiply by x and by the scale.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.mean(x * x, -1, keepdims=True)`; `jax.lax.rsqrt(a)` is one over the root of a;
# `repeat(self.scale[...], x)` is the scale in the shape of x.
# </details>


# %% tags=["exercise", "part:Norm.normalize"]
def normalize(self, x: jax.Array) -> jax.Array:
    """x / sqrt(mean(x^2) + 0.0001) times self.scale (n,); x (..., n), mean over its last axis."""
    # BEGIN SOLUTION
    inverse = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-4)
    return x * inverse * repeat(self.scale[...], x)
    # END SOLUTION


# %% tags=["check"]
normalize = checks.normalize(normalize)

# %% [markdown]
# **SiLU** is the activation $x\,\sigma(x)$, with the logistic function $\sigma$. It looks like a ReLU
# with a rounded corner, and has a gradient for negative x as well; `jax.nn.silu` computes it. A layer
# of the MLP is linear map, norm, SiLU, in this order. With `outputs`, a last linear map follows,
# without norm and activation, because logits and numbers may be negative.


# %% tags=["given"]
class Mlp(nnx.Module):
    """Layers of linear map, RMSNorm and SiLU; with `outputs`, a linear map at the end."""

    def __init__(self, inputs, units, layers, rng, outputs=0, scale=1.0, bias=0.0):
        sizes = [inputs] + [units] * layers
        self.linears = nnx.data([Linear(a, b, rng) for a, b in itertools.pairwise(sizes)])
        self.norms = nnx.data([Norm(units) for _ in range(layers)])
        self.out = Linear(units, outputs, rng, scale, bias) if outputs else None


# %% [markdown]
# **Exercise 9** · easy · very important · 5 minutes
#
# Write the forward pass of the MLP. A `Linear` can be called, `linear(x)`, and so can a `Norm`:
# `norm(x)` calls your method `normalize`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Walk through the layers, and let each replace x.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A loop over pairs of `self.linears` and `self.norms`. After it, apply `self.out` unless it is None.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `for linear, norm in zip(self.linears, self.norms):`, and in it
# `x = jax.nn.silu(norm.normalize(linear(x)))`.
# </details>


# %% tags=["exercise", "part:Mlp.forward"]
def forward(self, x: jax.Array) -> jax.Array:
    """x (..., inputs) through all layers, then `self.out`, unless it is None."""
    # BEGIN SOLUTION
    for linear, norm in zip(self.linears, self.norms):
        x = jax.nn.silu(norm.normalize(linear(x)))
    return x if self.out is None else self.out(x)
    # END SOLUTION


# %% tags=["check"]
mlp_forward = checks.mlp(forward)

# %% [markdown]
# ## 5 · The result: four magnitudes in one network
#
# From here on you use your own code. `parts.load()` returns a module that has your parts, and the
# course's for what is missing.

# %%
dreamer = parts.load()

# %% [markdown]
# **The experiment.** A state is a vector of 8 random numbers. Four tasks predict a reward from it.
# Task k looks at two of the numbers, u and v, and pays $2sf(u,v)$ or 0 with equal probability, where
# $f(u,v)=1.5\,v\sin 3u$. So the expected reward is $sf(u,v)$, and the tasks differ **in nothing but
# their size s** = 0.01, 1, 100 and 10,000 and in the pair of numbers.
#
# One network learns all four tasks: your `Mlp` is the trunk, whose 64 features the tasks share, and
# each task has a linear head of its own. The loss is the sum of the four tasks' losses. Adam minimizes
# it, with one learning rate for everything, which falls to 0 over the training.


# %%
class Network(nnx.Module):
    """A trunk that all tasks share, and a linear head for each; (n, 8) -> (n, 4, outputs)."""

    def __init__(self, outputs: int):
        rng = np.random.default_rng(seed)
        self.trunk = dreamer.Mlp(8, 64, 2, rng)
        self.heads = nnx.data([dreamer.Linear(64, outputs, rng, scale=0.0) for _ in SIZES])

    def __call__(self, x: jax.Array) -> jax.Array:
        features = self.trunk(x)
        return jnp.stack([head(features) for head in self.heads], 1)


# %% [markdown]
# Four ways to turn the outputs of a head into a loss and a prediction:
#
# | loss | minimizes | predicts |
# |---|---|---|
# | squared error | (output - reward)² | the output |
# | squared error, sizes known | (s output - reward)² | s output |
# | symlog squared error | (output - symlog(reward))² | symexp(output) |
# | two-hot | two-hot loss of 255 logits | their symmetric mean |
#
# The second loss isolates one cause. Its heads know the size of their rewards, so a prediction of
# 10,000 is as near to them as one of 0.01. Only the shared trunk still receives gradients of very
# different magnitudes.

# %%
METHODS = {  # label: (outputs, loss (n, 4), prediction (n, 4))
    "two-hot": (255, dreamer.two_hot_loss, dreamer.two_hot_mean),
    "symlog\nsquared error": (
        1,
        lambda out, reward: (out[..., 0] - dreamer.symlog(reward)) ** 2,
        lambda out: dreamer.symexp(out[..., 0]),
    ),
    "squared error,\nsizes known": (
        1,
        lambda out, reward: (SIZES * out[..., 0] - reward) ** 2,
        lambda out: SIZES * out[..., 0],
    ),
    "squared error": (1, lambda out, reward: (out[..., 0] - reward) ** 2, lambda out: out[..., 0]),
}

# %% [markdown]
# The score is the fraction of explained variance, $1-\overline{(\hat y-sf)^2}/\operatorname{var}(sf)$.
#
# * The **baseline** predicts a constant, the mean reward. Its score is 0 by definition.
# * The **negative control** is the two-hot network, trained on the rewards of *other* states. It has
#   nothing to learn. If it scored above 0, the score would be wrong.

# %%
question = predict(
    "Squared error, sizes known: each head is given the magnitude of its rewards. Which tasks does "
    "the network learn well?",
    ["all four", "only the one of 10,000", "only the one of 1", "none"],
)

# %%
networks, scores, maps = {}, {}, {"expected reward": magnitudes.maps(magnitudes.expected_reward)}


def learn(label: str, method: str, shuffled: bool = False) -> None:
    """Train a network by one of the METHODS; keep it, its scores, and maps of its predictions."""
    outputs, loss, decode = METHODS[method]
    network = magnitudes.train(Network(outputs), loss, updates, seed, shuffled)
    scores[label] = magnitudes.explained_variance(network, decode)
    maps[label] = magnitudes.maps(lambda x: decode(network(x)))
    networks[label] = network


# %% tags=["signature"]
for method in METHODS:
    learn(method, method)
learn("two-hot, rewards\nof other states", "two-hot", shuffled=True)
alt = (
    f"Maps of predicted rewards, a line for each loss, a column for each of four tasks. The first \
line is the expected reward. Explained variance for 0.01, 1, 100 and 10,000: {in_words(scores)}."
)
show(draw_maps(maps, scores, SIZES), alt, "03_rewards")

# %% [markdown]
# What did each task contribute to the features? The next cell measures the gradient of each task's
# loss for the weights of the trunk, at the end of training.

# %%
fractions = {m: magnitudes.trunk_gradients(networks[m], METHODS[m][1]) for m in METHODS}
alt = (
    f"The fraction of each task in the gradient that reaches the trunk, for the tasks of 0.01, 1, \
100 and 10,000. {in_words(fractions)}."
)
show(draw_fractions(fractions, SIZES), alt, "03_trunk")

# %%
question.explain(
    "Only the task of 10,000. The bars show why: for squared error practically the whole gradient in "
    "the trunk is that of the largest rewards, although the heads know the sizes. The trunk computes "
    "features of the two numbers that this task looks at. The other heads must do with whatever these "
    "features happen to say about their own numbers. With two-hot codes, each task of size 1 or more "
    "has about the same influence."
)

# %% [markdown]
# **What the maps show**, from the bottom up. The numbers are explained variances of the executed
# notebook.
#
# * The *negative control* scores 0: it predicts the mean.
# * *Squared error* learns the largest task only. It is also slower there (0.94), because Adam moves
#   each weight by about the learning rate per update, and an output of 10,000 is far away.
# * *Squared error, sizes known* reaches 0.99 on the largest task, and drowns the others (0.05 to
#   0.25). So the distance of the outputs is not the reason: the shared features are.
# * *Symlog squared error* is pale at 100 and 10,000 (0.27 and 0.03). This is the bias of section 2:
#   the mean of logarithms. It also drowns the smallest task, because near 0 symlog is the identity,
#   and an error of 0.01 has a small square.
# * *Two-hot* scores 0.93 to 0.96 for sizes of 1 and more, and 0.68 at 0.01. The bins next to 0 are
#   0.17 apart, so the codes of rewards of 0.01 hardly differ, and their bar is short, too.
#
# **Limits.** This is one function of two numbers, one width of the trunk and one seed. If each loss
# were also divided by s², squared error would treat all tasks alike: but then somebody has to know s
# in advance. The experiment says nothing about rewards whose magnitude changes within one task.
# Beyond 4.9e8 the code clips.

# %% [markdown]
# ## 6 · Categorical and Bernoulli distributions
#
# A *categorical distribution* gives probabilities to C classes. In the agent it has two jobs: the
# stochastic state of notebook 04 consists of S categorical variables, and a policy over discrete
# actions is one. A network outputs logits (..., C), unnormalised log-probabilities.
#
# A softmax can become nearly deterministic: with logits 30 apart, the probability of a class is 1e-13.
# If this class occurs, its loss -ln p is 30 and the gradient is large. And the Kullback-Leibler
# divergence between two such distributions, which notebook 05 minimizes, has no bound. DreamerV3
# therefore mixes in a fraction ε of the uniform distribution, 1 % in the paper ("World model
# learning"); the course calls it **unimix**:
#
# $$p=(1-\varepsilon)\operatorname{softmax}(\ell)+\varepsilon/C$$
#
# Shapes: logits (..., C) give ln p (..., C). **A tiny number.** Logits 10, 0, 0, 0 have the softmax
# 0.99986 and three times 0.000045. With 1 % unimix they become 0.99236 and three times 0.00255.

# %% [markdown]
# **Exercise 10** · easy · important · 5 minutes
#
# Return log-probabilities, which is what the losses need.
#
# <details><summary>Hint 1: the idea</summary>
#
# The result must sum to 1, so scale the softmax by 1 - ε before you add ε / C.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Two lines: the mixed probabilities, and their logarithm.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jax.nn.softmax(logits)` works along the last axis, whose length C is `logits.shape[-1]`.
# </details>


# %% tags=["exercise", "part:unimix"]
def unimix(logits: jax.Array, fraction: float) -> jax.Array:
    """Log-probabilities (..., C) of softmax(logits) with a fraction of the uniform distribution."""
    # BEGIN SOLUTION
    probs = (1 - fraction) * jax.nn.softmax(logits) + fraction / logits.shape[-1]
    return jnp.log(probs)
    # END SOLUTION


# %% tags=["check"]
unimix = checks.unimix(unimix)

# %%
question = predict(
    "Two distributions over 4 classes become more and more certain, of different classes. What does "
    "the KL divergence between them do with 1 % unimix?",
    ["it grows without bound", "it levels off near 6", "it levels off near 1", "it stays 0"],
)

# %%
fraction = 0.01  # change it: 0.1, 0.01, 0.001
certainty = jnp.linspace(0, 40, 81)[:, None]
p_logits, q_logits = certainty * jnp.eye(4)[0], certainty * jnp.eye(4)[1]
p, q = jax.nn.log_softmax(p_logits), jax.nn.log_softmax(q_logits)
lines = {"softmax": (certainty[:, 0], jnp.sum(jnp.exp(p) * (p - q), -1))}
p, q = unimix(p_logits, fraction), unimix(q_logits, fraction)
lines[f"{fraction:.1%} unimix"] = (certainty[:, 0], jnp.sum(jnp.exp(p) * (p - q), -1))
plain, mixed = (float(values[-1]) for _, values in lines.values())
alt = (
    "KL divergence of two distributions that are certain of different classes, against their largest "
    f"logit. With a plain softmax it grows along a straight line to {plain:.0f} nats. With "
    f"{fraction:.1%} unimix it levels off at {mixed:.2f} nats."
)
show(draw_lines(lines, "largest logit", "KL divergence (nats)"), alt, "03_unimix")

# %%
question.explain(
    "It levels off at 5.92 nats. (A nat is the unit of information with the natural logarithm; one "
    "bit is 0.69 nats.) No class has a probability below ε / C = 0.0025, so no log-probability is "
    "below -5.99. The reward's bins get no unimix: their distribution enters no KL divergence."
)

# %% [markdown]
# The class `Categorical` holds log-probabilities. Its `sample` uses the function of section 7. Values
# are one-hot vectors (..., C), so a log-probability can be *selected by a product*. In PyTorch,
# `torch.distributions.Categorical.log_prob` takes the index of a class instead; a one-hot vector is no index
# (`self.logp[onehot]` fails), and a product works for any leading axes. The **entropy** is
# the expected value of -ln p. It measures how undecided the distribution is: 0 if one class is
# certain, ln C if all are equally probable. Notebook 07 adds it to the policy's objective to
# encourage exploration. **A tiny number.** The probabilities 0.5, 0.25, 0.25 have the entropy
# 0.5 ln 2 + 2 x 0.25 ln 4 = 1.040 nats.


# %% tags=["given"]
class Categorical(NamedTuple):
    """A distribution over one-hot vectors (..., C)."""

    logp: jax.Array  # (..., C) log-probabilities

    def sample(self, key):
        return sg(sample_onehot(self.logp, jax.random.uniform(key, self.logp.shape[:-1])))


# %% [markdown]
# **Exercise 11** · easy · important · 3 minutes
#
# Write the log-probability of a one-hot value.
#
# <details><summary>Hint 1: the idea</summary>
#
# All terms but the chosen one are 0 in a product with the one-hot vector.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A product and a sum over the last axis.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.sum(onehot * self.logp, -1)`.
# </details>


# %% tags=["exercise", "part:Categorical.log_prob"]
def log_prob(self, onehot: jax.Array) -> jax.Array:
    """ln p (...) of one-hot values (..., C); self.logp (..., C)."""
    # BEGIN SOLUTION
    return jnp.sum(onehot * self.logp, -1)
    # END SOLUTION


# %% tags=["check"]
log_prob = checks.categorical_log_prob(log_prob)

# %% [markdown]
# **Exercise 12** · easy · important · 3 minutes
#
# Write the entropy, $-\sum_c p_c\ln p_c$.
#
# <details><summary>Hint 1: the idea</summary>
#
# The probabilities are the exponential of the log-probabilities.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Multiply p by ln p, sum over the last axis, negate.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.exp(self.logp)` are the probabilities.
# </details>


# %% tags=["exercise", "part:Categorical.entropy"]
def entropy(self) -> jax.Array:
    """Entropy (...) in nats; self.logp (..., C)."""
    # BEGIN SOLUTION
    return -jnp.sum(jnp.exp(self.logp) * self.logp, -1)
    # END SOLUTION


# %% tags=["check"]
entropy = checks.categorical_entropy(entropy)

# %% [markdown]
# A *Bernoulli distribution* has two outcomes. Whether an episode continues is one, and so is each cell
# of a binary image. Its network outputs one logit $\ell$, the probability is $p=\sigma(\ell)$, and
# the loss is the binary cross entropy with the target y between 0 and 1:
#
# $$L(\ell,y)=-y\ln p-(1-y)\ln(1-p)=\ln(1+e^{\ell})-\ell\,y$$
#
# The second form is the one to compute: with $\ell=200$, float32 rounds p to 1 and ln(1 - p) is
# $-\infty$. The function ln(1 + e^ℓ) is called *softplus*. A target between 0 and 1, such as 0.99, is
# a *soft* label; the continuation head of notebook 05 has one. **A tiny number.** For $\ell=2$ and
# y = 1: softplus(2) - 2 = 2.127 - 2 = 0.127 = -ln 0.881.

# %% [markdown]
# **Exercise 13** · easy · important · 4 minutes
#
# Write it. In PyTorch it is `binary_cross_entropy_with_logits` without a reduction.
#
# <details><summary>Hint 1: the idea</summary>
#
# Use the form without p.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One line: softplus of the logit, minus the product of logit and target.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jax.nn.softplus(logit)` does not overflow; `jnp.log(1 + jnp.exp(logit))` does, from 89 on.
# </details>


# %% tags=["exercise", "part:binary_cross_entropy"]
def binary_cross_entropy(logit: jax.Array, target: jax.Array) -> jax.Array:
    """-(y ln p + (1 - y) ln(1 - p)) with p = sigmoid(logit); the target y (...) may be soft."""
    # BEGIN SOLUTION
    return jax.nn.softplus(logit) - logit * target
    # END SOLUTION


# %% tags=["check"]
binary_cross_entropy = checks.binary_cross_entropy(binary_cross_entropy)

# %% [markdown]
# ## 7 · Sampling, and the straight-through estimator
#
# To sample a class from probabilities, draw one uniform number u in [0, 1), and take the first class
# whose cumulative probability is above u. This is *inverse transform sampling*.
# **A tiny number.** Probabilities 0.2, 0.3, 0.5 have the cumulative sums 0.2, 0.5, 1. For u = 0.6 the
# third class is the first whose sum is above u.
#
# `jax.random.categorical(key, logits)` would also do. We pass u for three reasons:
#
# * A function of u is deterministic. The same u gives the same sample, so a check can compare your
#   function with ours, and your agent can be compared with reference values.
# * All noise of a sequence can be drawn in one call, before the scan over time steps begins.
# * One uniform number per variable is enough. `jax.random.categorical` draws C of them (it adds Gumbel
#   noise to each logit).
#
# A sample is a step function of the probabilities. Its derivative is 0 almost everywhere, so **no
# learning signal passes through it**. Information does pass: the class depends on the logits. But
# gradient descent cannot use this dependence. The **straight-through estimator** keeps the value of
# the sample and gives it the gradient of the probabilities (Hafner et al. 2025, "World model
# learning"; Bengio et al. 2013):
#
# $$z=\operatorname{onehot}(\text{sample})+p-\operatorname{sg}(p)$$
#
# In the forward pass $p-\operatorname{sg}(p)$ is 0. In the backward pass the one-hot vector is a
# constant, so $\partial z/\partial p$ is the identity.

# %% [markdown]
# **Exercise 14** · medium · very important · 15 minutes
#
# Sample one class for each distribution, and make it one-hot with a straight-through gradient. Mind
# an edge case: rounding may leave the sum of all C probabilities at 0.9999999, and u may be larger.
# Then the last class must be chosen, not one that does not exist.
#
# <details><summary>Hint 1: the idea</summary>
#
# The index of the class is the number of cumulative sums that are at or below u.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Exponentiate. Count, among the first C - 1 cumulative sums, those that are at or below u: the result
# lies between 0 and C - 1, which settles the edge case. Make it one-hot. Add p - sg(p).
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.cumsum(probs, -1)[..., :-1] <= u[..., None]`, summed over the last axis, is the index;
# `jax.nn.one_hot(index, C)` is the vector.
# </details>


# %% tags=["exercise", "part:sample_onehot"]
def sample_onehot(logp: jax.Array, u: jax.Array) -> jax.Array:
    """One-hot samples (..., C) from log-probabilities (..., C), by uniform noise u (...) in [0, 1).

    The straight-through estimator passes the gradient on as if the sample were the probabilities.
    """
    # BEGIN SOLUTION
    probs = jnp.exp(logp)
    index = jnp.sum(jnp.cumsum(sg(probs), -1)[..., :-1] <= u[..., None], -1)
    onehot = jax.nn.one_hot(index, logp.shape[-1])
    return onehot + (probs - sg(probs))
    # END SOLUTION


# %% tags=["check"]
sample_onehot = checks.sample_onehot(sample_onehot)

# %% [markdown]
# **What does the estimator cost?** Its gradient is *biased*: it uses the derivative at the sample as
# if the loss were linear. An alternative is the score-function estimator (REINFORCE, notebook 07),
# loss x gradient of ln p. It is unbiased, but its *variance* is high, because one number, the loss,
# must say for each of many variables whether it was chosen well.
#
# We compare them on 8 categorical variables with 8 classes each, whose sample z is rated by the loss
# $|Wz-1|^2$. The third way is the negative control: a plain sample, without any gradient.

# %%
W = jax.random.normal(jax.random.key(seed), (8, 8, 16)) / 4


def rate(z: jax.Array) -> jax.Array:
    """The loss |W z - 1|^2 of 8 one-hot variables (8, 8)."""
    return jnp.sum((jnp.einsum("gc,gcd->d", z, W) - 1) ** 2)


def expected_rate(logits: jax.Array) -> jax.Array:
    """The exact expected loss: the loss of the mean, plus the variances of all variables."""
    p = jax.nn.softmax(logits)
    means = jnp.einsum("gc,gcd->gd", p, W)
    return rate(p) + jnp.einsum("gc,gcd->", p, W**2) - jnp.sum(means**2)


# %%
def score_function(logp: jax.Array, u: jax.Array) -> jax.Array:
    z = sg(sample_onehot(logp, u))
    return sg(rate(z)) * jnp.sum(z * logp)


ESTIMATORS = {  # log-probabilities and noise -> a number whose gradient is the estimate
    "straight-through": lambda logp, u: rate(sample_onehot(logp, u)),
    "score function": score_function,
    "plain sample": lambda logp, u: rate(sg(sample_onehot(logp, u))),
}


# %%
def estimates(estimator, logits: jax.Array) -> jax.Array:
    """50,000 gradients for the logits (8, 8), from one sample each."""
    one = jax.grad(lambda logits, u: estimator(jax.nn.log_softmax(logits), u))
    draws = jax.random.uniform(jax.random.key(1), (50_000, 8))
    return jax.jit(jax.vmap(one, (None, 0)))(logits, draws)


logits = jax.random.normal(jax.random.key(2), (8, 8))
true, biases = jax.grad(expected_rate)(logits), {}
for label, estimator in ESTIMATORS.items():
    g = estimates(estimator, logits)
    biases[label] = float(jnp.linalg.norm(g.mean(0) - true) / jnp.linalg.norm(true))
    spread = jnp.sqrt(jnp.sum(jnp.var(g, 0))) / jnp.linalg.norm(true)
    print(f"{label:18s} bias {biases[label]:5.2f}   standard deviation {spread:6.2f}")

# %% [markdown]
# Both numbers are in units of the length of the exact gradient. The straight-through estimator is
# biased, and varies little. The score function is unbiased (what is left is the sampling error of the
# mean, its standard deviation divided by the root of 50,000), and varies very much. The plain sample
# varies not at all, and its bias of 1 says that it misses the whole gradient.
#
# Now let each estimator train the logits, with one sample per update.

# %%
question = predict(
    "Which estimator reaches the lowest loss?",
    ["straight-through", "score function", "plain sample"],
)


# %%
def descend(estimator) -> jax.Array:
    """The exact expected loss (3000,) during gradient descent with one sample per update."""

    def update(logits, u):
        slope = jax.grad(lambda x: estimator(unimix(x, 0.01), u))(logits)
        return logits - 0.02 * slope, expected_rate(logits)

    draws = jax.random.uniform(jax.random.key(3), (3000, 8))
    return jax.lax.scan(update, logits, draws)[1]


descents = {label: np.asarray(descend(estimator)) for label, estimator in ESTIMATORS.items()}
lines = {label: (np.arange(0, 3000, 50), loss[::50]) for label, loss in descents.items()}
ends = in_words({label: loss[-1:] for label, loss in descents.items()})
alt = f"Expected loss against updates, from {descents['plain sample'][0]:.1f}. At the end: {ends}."
show(draw_lines(lines, "updates", "expected loss"), alt, "03_straight_through")

# %%
question.explain(
    "Straight-through learns fastest. Its bias does not stop it here, because its gradient points into "
    "a similar direction as the true one. The score function learns too, slowly, because its variance "
    "is high. The plain sample learns nothing: a zero gradient passes no learning signal."
)

# %% [markdown]
# **Limits.** The loss here is quadratic; with a loss that varies strongly between classes the bias can
# mislead. One sample per update is hard on the score function: it would profit from larger batches and
# from a baseline, which notebook 07 gives it. And in an RSSM
# the sample is not the only path of the gradient: the KL divergence of notebook 05 is a function of
# the probabilities themselves, and reaches the encoder without any sample. So without
# straight-through an RSSM learns less, not nothing.

# %%
dreamer = parts.load()

# %% [markdown]
# ## Quiz
#
# <details><summary>1. The critic must predict 0 at the start of training. Which two choices make this
# exact?</summary>
#
# Its last layer starts at zero, so all logits are equal. And the mean is summed in mirrored pairs, so
# equal probabilities give exactly 0.
# </details>
# <details><summary>2. Why is the two-hot loss at the start ln K, whatever the target is?</summary>
#
# All log-probabilities are -ln K, and the two weights of the target sum to 1.
# </details>
# <details><summary>3. A reward is 0 or 1,000 with equal probability. What do symlog regression and
# two-hot predict, if trained perfectly?</summary>
#
# Symlog regression: the mean of 0 and 6.909 is 3.454, and symexp(3.454) is 30.6. Two-hot: half of the
# probability lies on 0, half around 1,000, and the mean is 500.
# </details>
# <details><summary>4. In the experiment, would separate trunks for the four tasks help squared error
# with known sizes?</summary>
#
# Yes. Then no gradient of another task reaches a task's features, and Adam does not mind the magnitude
# of a single loss. It is the *sharing* that lets the largest loss decide.
# </details>
# <details><summary>5. A derivative is 0. Does this prove that an output does not depend on an
# input?</summary>
#
# No. The sampled class depends on the logits, and its derivative is 0. To prove independence, change
# the input and show that the output stays bit-identical.
# </details>

# %% [markdown]
# ## Summary
#
# * Symlog compresses magnitudes and keeps signs. It serves targets that are not random.
# * A two-hot code over symexp bins turns regression into classification. Its gradient is bounded,
#   whatever the magnitude of the target, and its mean is right for random rewards.
# * In shared features, gradients add up: with squared error the largest targets decide the features.
# * Sums over bins go in mirrored pairs, because a plain float32 sum leaves rounding errors that are
#   larger than small rewards.
# * Unimix keeps log-probabilities and KL divergences finite. It belongs to latents and policies.
# * The straight-through estimator passes a gradient through a sample: biased, with low variance.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); preprint [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * Y. Bengio, N. Léonard, A. Courville: Estimating or propagating gradients through stochastic neurons
#   for conditional computation (2013), [arXiv:1308.3432](https://arxiv.org/abs/1308.3432).
# * M. Bellemare, W. Dabney, R. Munos: A distributional perspective on reinforcement learning (2017),
#   [arXiv:1707.06887](https://arxiv.org/abs/1707.06887).
# * J. Farebrother and others: Stop regressing: training value functions via classification for scalable
#   deep RL (2024), [arXiv:2403.03950](https://arxiv.org/abs/2403.03950).
# * B. Zhang, R. Sennrich: Root mean square layer normalization (2019),
#   [arXiv:1910.07467](https://arxiv.org/abs/1910.07467).
#
# ## Next
#
# In [notebook 04](04_rssm.ipynb) these categorical variables become the stochastic state of a recurrent
# state-space model, and your layers become its networks.
