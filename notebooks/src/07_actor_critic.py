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
# # 07 · Actor and critic
#
# **A policy that has learned only inside your world model catches most balls of real Catch, without one real step of its own; with scrambled actions it learns nothing, and in a starved model it learns to exploit the model's errors.**
#
# ![](figure:07_real)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 40 | 85 | 5, on 2 CPU cores | notebooks 03, 05 and 06 | policy, λ-returns, losses of actor and critic |
#
# **You will be able to**
#
# * compute λ-returns by hand and by a scan, and say how λ trades bias against variance;
# * write a policy for discrete and for continuous actions, and its policy gradient with an entropy bonus;
# * write the critic's loss, and say why its slow copy is no target network;
# * put everything into `dream_losses`, with every stop-gradient in its place;
# * train a policy without one real step, and run the control that proves why it works;
# * recognise model exploitation in two curves.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
seed = 0  # @param {type: "integer"}
updates = 1200 if FAST else 2400  # @param {type: "raw"}
behaviour_updates = 300 if FAST else 600  # @param {type: "raw"}

# %% tags=["setup"]
# @title Imports, and the agent made of your parts so far
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from dreamer_lite.course import behavior, checks, exploitation, notebook, parts
from dreamer_lite.show.plots import style

dreamer = parts.load()
Config, State, Mlp = dreamer.Config, dreamer.State, dreamer.Mlp
Categorical, Gaussian = dreamer.Categorical, dreamer.Gaussian
feature, unimix = dreamer.feature, dreamer.unimix
two_hot_loss, two_hot_mean = dreamer.two_hot_loss, dreamer.two_hot_mean
sg = jax.lax.stop_gradient

# %% [markdown]
# ## 1 · λ-returns: bias, variance and bootstrapping
#
# The **return** is the discounted sum of all rewards to come. The **actor** is the policy $\pi(a\mid s)$, and the **critic**
# $v(s)$ predicts the return. Both learn from imagined rollouts of H steps (notebook 06), but rewards go on after H. So the critic's own
# prediction in the last state takes the place of all rewards after it. That is called **bootstrapping**, and one can do it after any step:
#
# | bootstrap | called | bias | variance |
# |---|---|---|---|
# | after one step | one-step TD target, λ = 0 | high: every error of the critic enters | low |
# | only at the end of the rollout | H-step return, λ = 1 | low | high: the sum of H random rewards |
#
# The **λ-return** (Sutton 1988) mixes them at every step:
#
# $$R_t=r_{t+1}+c_{t+1}\bigl((1-\lambda)\,v_{t+1}+\lambda\,R_{t+1}\bigr),\qquad R_H=v_H$$
#
# Here $c_{t+1}$ is the predicted continuation, 0 at a terminal state, with the **discount factor** γ in it (notebook 05).
# DreamerV3 takes λ = 0.95. Two notes for readers of the paper: it writes γ separately, and it
# prints $v_t$ inside the bracket. The released code has $v_{t+1}$, and so has this course.

# %% [markdown]
# Mind the index of the reward: the action at t earns the reward that arrives *with* state t + 1.
#
# Shapes, for N rollouts: reward, continuation, value and λ are (H+1, N) and the returns (H, N), because the last state only
# bootstraps. Entry 0 of all four belongs to the start, and no return contains it.
#
# **A tiny number, by hand.** H = 2, rewards (-, 0, 1), all c = 0.9, values (0.2, 0.4, 0.6), λ = 0.5. From the back: $R_2=0.6$.
# $R_1=1+0.9\,(0.5\cdot0.6+0.5\cdot0.6)=1.54$. $R_0=0+0.9\,(0.5\cdot0.4+0.5\cdot1.54)=0.873$.

# %% [markdown]
# **Exercise 1** · medium · very important · 15 minutes
#
# Write the λ-returns as a scan from the back. λ is an array here, because a sequence of *replayed* time steps is cut where λ is 0
# (notebook 08 needs that). In imagination all its entries are 0.95.
#
# <details><summary>Hint 1: the idea</summary>
#
# Each return needs the *later* return. So the scan runs backwards, and the later return is its carry.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# The carry begins with `value[-1]`. The inputs are all four arrays without their first entry, because only entries at t + 1 occur.
# `jax.lax.scan(..., reverse=True)` begins with the last entry, and keeps the order of what it returns.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `now = reward + cont * ((1 - lam) * value + lam * later)`; return `now, now`. The inputs:
# `(reward[1:], cont[1:], value[1:], lam[1:])`. The second result of the scan are the returns.
# </details>


# %% tags=["exercise", "part:lambda_returns"]
def lambda_returns(reward, cont, value, lam) -> jax.Array:
    """R_t = r_t+1 + c_t+1 ((1 - lam) v_t+1 + lam R_t+1); all (n, ...), returns (n-1, ...).

    `lam` is an array too, 0 where a sequence is cut. The last state only bootstraps.
    """

    # BEGIN SOLUTION
    def step(later, inputs):
        reward, cont, value, lam = inputs
        now = reward + cont * ((1 - lam) * value + lam * later)
        return now, now

    inputs = jax.tree.map(lambda x: x[1:], (reward, cont, value, lam))
    return jax.lax.scan(step, value[-1], inputs, reverse=True)[1]
    # END SOLUTION


# %% tags=["check"]
lambda_returns = checks.lambda_returns(lambda_returns)

# %%
question = notebook.predict(
    "A rollout of 15 steps earns 1 at its last step, and the critic predicts 0 everywhere. With λ = 0, for how many states is the target above 0 in the first update?",
    ["1", "8", "15"],
)

# %%
H = 15
reward = jnp.zeros(H + 1).at[H].set(1.0)
cont, value = jnp.full(H + 1, 0.99), jnp.zeros(H + 1)
lams = (0.0, 0.8, 0.95, 1.0)
heard = {lam: lambda_returns(reward, cont, value, jnp.full(H + 1, lam)) for lam in lams}
by_hand = lambda_returns(
    jnp.array([9.0, 0.0, 1.0]), jnp.full(3, 0.9), jnp.array([0.2, 0.4, 0.6]), jnp.full(3, 0.5)
)
print("by hand 0.873 and 1.54; by your scan", *(f"{x:.3f}" for x in by_hand))

# %% tags=["plumbing"]
# @title Draw the returns
figure = Figure(figsize=(6.8, 2.8), layout="constrained")
axes = figure.add_subplot()
for number, (lam, line) in enumerate(heard.items()):
    axes.plot(line, label=f"λ = {lam:g}", **style(number, H))
axes.set(xlabel="step of the rollout", ylabel="return")
axes.legend(frameon=False)
notebook.show(
    figure,
    "λ-return against the step of a rollout whose last step earns 1. At the first step: "
    + "; ".join(f"{line[0]:.2f} with λ = {lam:g}" for lam, line in heard.items())
    + ".",
    "07_lambda",
)
question.explain(
    "1. With λ = 0 only the last state's target contains the reward. The critic has to learn it there before the state in front of it has a "
    "target above 0, so it takes at least 15 updates until the first state has one: low variance, but the "
    f"critic's error (0 where {0.99**14:.2f} is right) is the whole target. With λ = 0.95 the first state's return is {heard[0.95][0]:.2f} at once."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:07_lambda)
# </details>
#
# ## 2 · The policy: discrete and continuous actions
#
# A **policy** is a distribution over actions given the state; the actor is the network that outputs it. For *discrete* actions
# it is a categorical distribution. DreamerV3 mixes 1 % of the uniform distribution into it (unimix, notebook 03), so that every action
# keeps some probability. (In the released code the policy has no such mixture; the paper has it.)
#
# A **Gaussian policy** is a distribution over *continuous* actions, such as torques: an independent Gaussian for each of the A numbers. The
# network outputs 2A numbers, in two halves $y_1$ and $y_2$ of A numbers each:
#
# $$\mu=\tanh(y_1),\qquad\sigma=0.1+0.9\,\operatorname{sigmoid}(y_2+2)$$
#
# The mean lies in (-1, 1), as actions do, and the standard deviation in (0.1, 1). It can never reach 0, so **exploration** (trying
# actions that do not look best) never stops. The sample is *not* clipped; the environment clips. (`bounded_normal` in the released code.)
#
# **A tiny number.** $y_1=0$, $y_2=0$: μ = 0, and σ = 0.1 + 0.9 · 0.881 = 0.893: a new actor explores widely. $y_2=-2$ gives σ = 0.55.
#
# The class is given. `outputs` is the number of classes, or 2A. `Gaussian` is a NamedTuple of `mean` and `std`, both (..., A). `scale=0.01`
# shrinks the initial weights of the last layer, so that a new discrete policy is nearly uniform.


# %% tags=["given"]
class Actor(nnx.Module):
    """The policy: a feature to a distribution over actions."""

    def __init__(self, c: Config, space: Any, inputs: int, rng):
        self.c, self.discrete = c, space.is_discrete
        outputs = space.classes or 2 * space.shape[0]
        self.net = Mlp(inputs, c.units, c.layers, rng, outputs, scale=0.01)


# %% [markdown]
# **Exercise 2** · medium · important · 10 minutes
#
# Write `policy`, a method of `Actor`. `self.net(feat)` gives the outputs.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two cases. `self.discrete` tells them apart. In both the network's output is only the parameters of a distribution.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Discrete: `Categorical` takes log-probabilities, which `unimix(logits, fraction)` returns; the fraction is `self.c.policy_unimix`. Continuous:
# `jnp.split(out, 2, -1)` gives the two halves.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `return Categorical(unimix(out, self.c.policy_unimix))`, and
# `return Gaussian(jnp.tanh(y1), 0.1 + 0.9 * jax.nn.sigmoid(y2 + 2))`.
# </details>


# %% tags=["exercise", "part:Actor.policy"]
def policy(self, feat: jax.Array) -> Categorical | Gaussian:
    """The distribution over actions, for features (..., D + S C).

    Discrete: `Categorical`, with a uniform mixture of `self.c.policy_unimix`. Continuous:
    `Gaussian` with tanh means and a standard deviation in [0.1, 1]; the first half of the
    network's outputs is the mean's.
    """
    # BEGIN SOLUTION
    out = self.net(feat)
    if self.discrete:
        return Categorical(unimix(out, self.c.policy_unimix))
    mean, spread = jnp.split(out, 2, -1)
    return Gaussian(jnp.tanh(mean), 0.1 + 0.9 * jax.nn.sigmoid(spread + 2))
    # END SOLUTION


# %% tags=["check"]
policy = checks.policy(policy)

# %% [markdown]
# ## 3 · A Gaussian policy: log-density and entropy
#
# Two methods are what a policy gradient needs of a distribution. For `Categorical` you wrote them in notebook 03. The
# **log-density** of an action under a Gaussian policy is the sum over its A independent numbers, and so is the **entropy**, which measures
# how widely the policy explores:
#
# $$\ln\pi(a)=\sum_{i=1}^{A}\Bigl(-\tfrac12\bigl(\tfrac{a_i-\mu_i}{\sigma_i}\bigr)^2-\ln\sigma_i-\tfrac12\ln2\pi\Bigr)$$
#
# $$\mathrm H[\pi]=\sum_{i=1}^{A}\bigl(\ln\sigma_i+\tfrac12\ln2\pi e\bigr)$$
#
# Shapes: action, `self.mean` and `self.std` are (..., A), the results (...).
#
# **A tiny number.** A = 1, a = μ, σ = 1: the log-density is -0.919 and the entropy 1.419 nats. With σ = 0.1 the log-density is 1.384, for a *density* may be
# above 1, and the entropy is -0.884: it may be negative.

# %% [markdown]
# **Exercise 3** · easy · important · 5 minutes
#
# Write `log_prob`, a method of `Gaussian`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Standardise first: how many standard deviations does the action lie away from the mean?
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `z = (action - self.mean) / self.std`, then three terms for each number, then the sum over the last axis.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.sum(-0.5 * z**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi), -1)`
# </details>


# %% tags=["exercise", "part:Gaussian.log_prob"]
def log_prob(self, action: jax.Array) -> jax.Array:
    """Log-density (...) of an action (..., A), summed over its dimensions."""
    # BEGIN SOLUTION
    z = (action - self.mean) / self.std
    return jnp.sum(-0.5 * z**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi), -1)
    # END SOLUTION


# %% tags=["check"]
log_prob = checks.gaussian_log_prob(log_prob)

# %% [markdown]
# **Exercise 4** · easy · important · 5 minutes
#
# Write `entropy`, the other method.
#
# <details><summary>Hint 1: the idea</summary>
#
# Only the width counts: where the mean lies does not change the entropy.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One logarithm and one constant for each number, summed over the last axis.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.sum(jnp.log(self.std) + 0.5 * math.log(2 * math.pi * math.e), -1)`
# </details>


# %% tags=["exercise", "part:Gaussian.entropy"]
def entropy(self) -> jax.Array:
    """Entropy (...) in nats, summed over dimensions."""
    # BEGIN SOLUTION
    return jnp.sum(jnp.log(self.std) + 0.5 * math.log(2 * math.pi * math.e), -1)
    # END SOLUTION


# %% tags=["check"]
entropy = checks.gaussian_entropy(entropy)

# %% [markdown]
# ## 4 · The actor's loss: a policy gradient
#
# A **policy gradient** is the gradient of the expected return with respect to the policy's parameters. REINFORCE (Williams 1992)
# estimates it from sampled actions: raise the log-probability of each action in proportion to how much better it turned out than
# expected. "Expected" is the critic's prediction, the **baseline**, and the difference is the **advantage**:
#
# $$A_t=\frac{R_t-v_t}{\text{scale}},\qquad L_\pi=-\bigl(\ln\pi(a_t\mid s_t)\,\operatorname{sg}(A_t)+\eta\,\mathrm H[\pi(\cdot\mid s_t)]\bigr)$$
#
# * A baseline that does not depend on the action lowers the variance and adds no bias.
# * The gradient is right only for actions that *this* policy sampled: it needs **on-policy** data. Imagination produces them. Replayed actions are
#   **off-policy**, because an older policy chose them; so the replay buffer gives only the starts.
# * The **entropy** bonus with the coefficient η keeps the policy from settling too early. This is **exploration**.
# * The scale is the range of the returns (section 5).
# * $A_t$ with an index is the advantage; A in shapes is the number of action dimensions.
#
# The advantage is a *constant*. Suppose it were not: the critic could lower the actor's loss by **raising** its value v. For an action with ln π = -1.1, the
# advantage 2 gives -(-1.1 · 2) = 2.2. Raise v until the advantage is 1, and the loss is 1.1, without any better action.
#
# **A tiny number.** ln π = -1.1, $A_t=2$, entropy 1, η = 0.1: $L_\pi=-(-2.2+0.1)=2.1$.

# %% [markdown]
# **Exercise 5** · medium · very important · 10 minutes
#
# Write the actor's loss. `policy` is a distribution with `log_prob(action)` and `entropy()`, such as yours.
#
# <details><summary>Hint 1: the idea</summary>
#
# The loss goes *down* when an action with a positive advantage becomes more likely, and when the entropy rises.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A minus in front of a sum of two terms. `sg` is the stop-gradient; it goes around the advantage only.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `-(policy.log_prob(action) * sg(advantage) + entropy * policy.entropy())`
# </details>


# %% tags=["exercise", "part:actor_loss"]
def actor_loss(policy, action: jax.Array, advantage: jax.Array, entropy: float) -> jax.Array:
    """Policy gradient (REINFORCE) with an entropy bonus, (...).

    `policy` is a distribution over actions (..., A), `advantage` (...) is a constant, `entropy` the
    coefficient η.
    """
    # BEGIN SOLUTION
    return -(policy.log_prob(action) * sg(advantage) + entropy * policy.entropy())
    # END SOLUTION


# %% tags=["check"]
actor_loss = checks.actor_loss(actor_loss)

# %%
question = notebook.predict(
    "A continuous action is paid best at 0.6. The Gaussian policy starts at mean 0 and σ = 0.89. Without entropy, what becomes of σ?",
    ["it stays", "it falls to 0.1", "it falls to 0"],
)

# %%
target, etas = 0.6, (0.0, 0.3)  # try others


def aim(eta: float) -> jax.Array:
    """Mean and standard deviation along 400 updates of one Gaussian policy, (400, 2)."""
    sizes = dict(units=8, layers=1, deter=4, stoch=1, classes=4)
    return behavior.aim(dreamer, dreamer.Config(**sizes), actor_loss, target, eta, seed)


dreamer = parts.load()  # with your policy, log_prob and entropy
paths = {eta: aim(eta) for eta in etas}

# %% tags=["plumbing"]
# @title Draw mean and standard deviation
figure = Figure(figsize=(8.0, 2.8), layout="constrained")
for axes, (eta, path) in zip(figure.subplots(1, len(paths), sharey=True), paths.items()):
    center, width = np.asarray(path).T
    axes.plot(center, label="mean", **style(0, len(center)))
    axes.fill_between(
        np.arange(len(center)), center - width, center + width, alpha=0.2, label="± σ"
    )
    axes.axhline(target, color="0.4", linestyle=":", label="paid best")
    axes.set(title=f"η = {eta:g}", xlabel="updates", ylim=(-1.6, 1.9))
figure.axes[0].set_ylabel("action")
figure.axes[0].legend(frameon=False, ncols=3, loc="upper left", fontsize=8)
ends = {eta: [float(x) for x in path[-1]] for eta, path in paths.items()}
notebook.show(
    figure,
    f"Mean and standard deviation of a Gaussian policy that is paid best at {target:g}. After 400 updates: "
    + "; ".join(f"η = {eta:g}: mean {m:.2f}, σ {s:.2f}" for eta, (m, s) in ends.items())
    + ".",
    "07_gaussian",
)
question.explain(
    f"It falls to 0.1, the lower bound of your `policy` ({ends[0.0][1]:.2f} after 400 updates), because every action away from {target:g} is paid less. With η = 0.3 it ends at {ends[0.3][1]:.2f}: "
    "the entropy bonus pays for exploration, and the price is paid in reward."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:07_gaussian)
# </details>
#
# ## 5 · Return normalisation
#
# **Return normalisation** divides the advantage by the range of the returns, so that one coefficient η suits rewards of
# different size. The range goes from the 5th to the 95th percentile of all returns of an update, as an
# **exponential moving average** (EMA: a running mean in which older values count less and less):
#
# $$\ell\leftarrow0.99\,\ell+0.01\,P_5(R),\qquad u\leftarrow0.99\,u+0.01\,P_{95}(R)$$
#
# $$\text{scale}=\max(1,\;u-\ell)$$
#
# * Percentiles, because one outlier must not shrink all other advantages.
# * The maximum with 1, because small returns are often only the critic's noise (rewards are rare, or there are none yet). Dividing by a
#   small range would blow the noise up until it drowns the entropy bonus.
#
# The paper trains more than 150 tasks with η = 3·10⁻⁴ and one learning rate, and this normalisation is one reason why that works. **We do not test that
# claim**: our presets tune η and the learning rate for each environment (η = 0.1 in Catch, 0.01 in Breakout; learning rates up to 75 times the
# paper's 4·10⁻⁵), because they learn in minutes with small networks.
#
# **A tiny number.** Old range (0, 0); the new percentiles are -2 and 300: ℓ = -0.02, u = 3, scale = 3.02.

# %% [markdown]
# **Exercise 6** · easy · important · 5 minutes
#
# Write the update of the range. The scale follows from it in exercise 8.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two percentiles of *all* returns, and a step of 1 % towards them.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `jnp.percentile` takes an array of percentiles, in percent, and returns as many numbers.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `0.99 * old + 0.01 * jnp.percentile(returns, jnp.array([5.0, 95.0]))`
# </details>


# %% tags=["exercise", "part:update_range"]
def update_range(old: jax.Array, returns: jax.Array) -> jax.Array:
    """Moving averages (2,) of the 5th and 95th percentile of the returns (H, N); rate 0.01."""
    # BEGIN SOLUTION
    return 0.99 * old + 0.01 * jnp.percentile(returns, jnp.array([5.0, 95.0]))
    # END SOLUTION


# %% tags=["check"]
update_range = checks.update_range(update_range)

# %% [markdown]
# ## 6 · The critic's loss, and the slow critic
#
# The **critic** outputs a categorical distribution over K return bins (two-hot, notebook 03). Its last layer begins with zeros, as the
# reward head's does, so that a new critic predicts 0 everywhere and not large random numbers. It is trained by cross-entropy on the λ-returns:
#
# $$L_v=-\ln p_v(R_t\mid s_t)\;-\;\ln p_v(\bar v_t\mid s_t)$$
#
# The second term is a regulariser with the same weight: $\bar v$ is the prediction of the **slow critic**, whose parameters are an exponential
# moving average of the critic's (2 % of the new ones at each update). The returns contain the critic's own predictions, so it
# learns partly from itself; staying near its own past keeps it from running away.
#
# **The slow critic is not a target network.** A target network (DQN, DDPG, SAC) is a delayed copy that *computes the targets*. Here
# the critic itself computes the values inside the λ-returns, without delay, and the slow critic only pulls its output. So what the critic
# learns in one update is in the returns of the next.
#
# Shapes: `logits`, `slow_logits` (..., K), `returns` (...), the loss (...).
#
# **A tiny number.** Three bins at -1, 0 and 1, probabilities (0.1, 0.6, 0.3), R = 0.5: the two-hot code is (0, 0.5, 0.5), and the first term is
# -0.5 ln 0.6 - 0.5 ln 0.3 = 0.857.

# %% [markdown]
# **Exercise 7** · easy · very important · 10 minutes
#
# Write the critic's loss with `two_hot_loss(logits, y)` and `two_hot_mean(logits)` of notebook 03.
#
# <details><summary>Hint 1: the idea</summary>
#
# The same loss twice, with two targets: what the rollout returned, and what the slow critic expects.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `two_hot_loss` stops the gradient of its target, so you need no `sg`. The slow critic gives logits; its *expected value* is the target.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `two_hot_loss(logits, returns) + two_hot_loss(logits, two_hot_mean(slow_logits))`
# </details>


# %% tags=["exercise", "part:critic_loss"]
def critic_loss(logits: jax.Array, slow_logits: jax.Array, returns: jax.Array) -> jax.Array:
    """Towards the returns (...), and towards the slow critic, which regularises; (...).

    Both logits are (..., K). No gradient reaches the slow critic or the returns.
    """
    # BEGIN SOLUTION
    return two_hot_loss(logits, returns) + two_hot_loss(logits, two_hot_mean(slow_logits))
    # END SOLUTION


# %% tags=["check"]
critic_loss = checks.critic_loss(critic_loss)

# %% [markdown]
# ## 7 · Everything together: `dream_losses`
#
# `dream_losses` turns imagined rollouts into the two losses. One thing is new, the **weight** of a step. A rollout always runs H steps, also past a
# predicted end of the episode. So step t counts by the predicted probability that the episode was still going on, times the discount so far:
#
# $$w_t=\prod_{i=0}^{t}c_i,\qquad L=\sum_t\operatorname{sg}(w_t)\,(L_{\pi,t}+L_{v,t})$$
#
# The start's own $c_0$ is in it: from a terminal state nothing counts. (The weight is in the released code; the paper's losses do not show it. Because
# c contains γ, w discounts as well.)
#
# Who learns from what:
#
# ![](figure:diagram_dream_losses)
#
# | gradient of | world model | actor | critic | slow critic |
# |---|---|---|---|---|
# | policy loss | 0 | learns | 0 | 0 |
# | value loss | 0 | 0 | learns | 0: a moving average |
# | returns | 0 | 0 | 0 | 0 |
# | because of | sg around feature, reward and continuation | the value loss has no policy in it | sg around the value in $R_t$ and $A_t$ | a target is a constant |
#
# Your `actor_loss` and `critic_loss` stop the returns already. They get an sg here as well, because notebook 08 hands them on: the loss
# on replayed time steps bootstraps from them.
#
# **A tiny number.** c = (1, 0.5, 0, 1): the weights are 1, 0.5, 0. Step 2 came after a predicted end and counts nothing.

# %% [markdown]
# **Exercise 8** · hard · very important · 25 minutes
#
# Write `dream_losses`. The check compares the numbers, and then the norms of the gradients in the table above.
#
# <details><summary>Hint 1: the idea</summary>
#
# States to features to predictions; predictions to returns; returns to advantages; advantages to losses. Arrays are (H+1, N) until the returns, and
# (H, N) after them: `x[:-1]` belongs to the states in which an action was chosen.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `feat`, `reward`, `cont` (all stopped); the critic's `logits` (they learn) and `value` (stopped); `returns`, `new_range`, `advantage` divided by
# max(1, high - low) of the *new* range, `weight`, `policy`, and the dictionary of the weighted losses.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `cont = sg(jax.nn.sigmoid(agent.cont(feat)[..., 0]))`, `jnp.full_like(cont, c.lam)`,
# `jnp.cumprod(cont, 0)[:-1]`, `agent.actor.policy(feat[:-1])`, `sg(slow(feat[:-1]))`.
# </details>


# %% tags=["exercise", "part:dream_losses"]
def dream_losses(agent, slow, c: Config, states: State, actions: jax.Array, old_range: jax.Array):
    """Actor's and critic's losses (H, N) on imagined trajectories; returns (H, N); new range (2,).

    `states` (H+1, N, ...) and `actions` (H, N, A) come from `imagine`. `agent.reward`,
    `agent.cont` and `agent.critic` map features to logits (..., K), (..., 1) and (..., K), `slow`
    is the slow critic; `c.lam` is λ, `c.entropy` η. Gives: ({"policy", "value"}, returns, range).
    """
    # BEGIN SOLUTION
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
    # END SOLUTION


# %% tags=["check"]
dream_losses = checks.dream_losses(dream_losses)

# %% [markdown]
# ## 8 · The result: a policy without one real step
#
# The environment is **Catch**: a ball falls from the top in nine steps, a paddle moves below, and the reward is 1 if it is caught. The world
# model is yours, and learns from 5,120 episodes of random play. From then on it is **fixed**, and the environment is out of reach: actor
# and critic learn from imagined rollouts only. These start from states that the model inferred along the random episodes.
# `exploitation.Lab` compiles your parts into three programs: one trains a world model, one trains actor and critic inside it, and one plays
# real episodes.
#
# **Sample efficiency** is how few real time steps an agent needs. A world model can help here, because an update of the actor uses imagined
# steps, 576 of them (64 rollouts of 9), and no real one.
#
# DreamerV3 also trains the critic on replayed time steps, whose rewards are real (weight 0.3; notebook 08). That helps where rewards are hard to
# predict. Here the data come from a random player, so we leave it out.

# %%
dreamer = parts.load()
lab = exploitation.Lab(dreamer, exploitation.Sizes(model=updates, every=60), "catch")
episodes = exploitation.episodes(5120, seed, "catch")  # (10, 5120, ...)
agent, losses = lab.model(episodes, seed)
print(
    f"{updates:,} updates of the world model:", ", ".join(f"{k} {x:.3f}" for k, x in losses.items())
)

# %% [markdown]
# One update of actor and critic is your `imagine` of notebook 06 and your `dream_losses`. The negative control has `shift = 1`: every action is
# credited with the outcome of the *neighbouring* rollout. Data, model, starts and computation are the same; only the link from an action to
# its outcome is cut. Here is the loss that is differentiated with respect to `params`, the actor's and the critic's. `nnx.merge`
# makes a module of its structure and its parameters, so that the loss can be a function of the parameters:


# %%
def behavior_loss(params, model, slow, old_range, start, key, temperature=1.0, shift=0):
    """Sum of both losses on rollouts from `start` (N, ...), and (new range, mean return).

    `temperature` is that of section 9, and stays 1 here.
    """
    agent = nnx.merge(lab.graph, model | params)
    slow = nnx.merge(nnx.graphdef(agent.critic), slow)
    states, actions = dreamer.imagine(agent, start, lab.c.horizon, key)
    actions = jnp.roll(actions, shift, 1)
    losses, returns, new = dreamer.dream_losses(agent, slow, lab.c, states, actions, old_range)
    return losses["policy"].mean() + losses["value"].mean(), (new, returns[0].mean())


# %% [markdown]
# `behavior.trainer` compiles updates with this loss. `lab.behaviors` repeats them; before the first and after every 60 updates it plays 512
# real episodes, only to measure.

# %%
question = notebook.predict(
    f"Random play gave the world model 51,200 real time steps. From how many imagined ones does the actor learn in {behaviour_updates} updates?",
    ["fewer", "about as many", "several times as many"],
)

# %%
lab.learn = behavior.trainer(dreamer, behavior_loss, lab.optimizer)
frozen = jax.tree.map(np.array, behavior.split(agent)[0])  # a copy of the world model
learned = {
    label: list(lab.behaviors(agent, episodes, seed, behaviour_updates, shift=shift))
    for label, shift in {"imagination": 0, "scrambled actions": 1}.items()
}

# %%
random = np.asarray(episodes.steps.reward.sum(0))
real = {label: results[-1][2] for label, results in learned.items()} | {"random play": random}
caught = {label: behavior.interval(x) for label, x in real.items()}
now = behavior.split(learned["imagination"][-1][1])[0]
fixed = all(jax.tree.leaves(jax.tree.map(np.array_equal, frozen, now)))
print("world model unchanged, bit for bit:", fixed)
for label, (mean, half) in caught.items():
    print(f"{label:20} catches {mean:.3f} ± {half:.3f} of the balls")

# %% tags=["signature"]
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
axes = figure.add_subplot()
axes.axhline(random.mean(), color="0.4", linestyle=":", label="random play")
for number, (label, results) in enumerate(learned.items()):
    done = [x[0] for x in results]
    mean, half = np.array([behavior.interval(x[2]) for x in results]).T
    look = style(number, len(done))
    axes.plot(done, mean, label=f"learned from {label}", **look)
    axes.fill_between(done, mean - half, mean + half, alpha=0.2, color=look["color"])
axes.set(xlabel="updates inside the fixed world model", ylabel="real balls caught", ylim=(0, 1.02))
axes.legend(frameon=False)
words = "; ".join(f"{label} {m:.3f} ± {e:.3f}" for label, (m, e) in caught.items())
alt = f"Fraction of real balls caught against updates made in imagination. In the end: {words}."
notebook.show(figure, alt, "07_real")

# %%
question.explain(
    f"Several times as many: {behaviour_updates} · 64 · {lab.c.horizon} = {behaviour_updates * 64 * lab.c.horizon:,}, and no real one is added. They are on-policy: the present "
    "policy chose their actions, which no stored step can offer. But the number does not explain the result, because the control learned from as "
    f"many. It catches {caught['scrambled actions'][0]:.3f} of the balls, and random play {caught['random play'][0]:.3f}: without a link from action to outcome the advantage is no "
    f"information about the action. With the link the policy catches {caught['imagination'][0]:.3f}. So what it learned is what its actions bring about."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:07_real)
# </details>
#
# **Limits.** One world model of one seed. The intervals are over balls, not over trained agents; section 9 has three seeds. Catch is small: random play
# has been nearly everywhere that a good player goes. In Breakout it has not (notebook 06), and there a policy would exploit a fixed model.
#
# ## 9 · Model exploitation
#
# **Model exploitation** is a policy's gain in *imagined* return that the environment does not pay: the policy finds the errors of the model that are in its favour. In
# notebook 06 a planner did that with ten plans. An actor searches for hundreds of updates.
#
# The experiment is in Catch with a *kink*: the ball jumps two columns to the left or to the right when it enters row 5, at random. There is time to go after it, so
# the best return is still 1. Two world models learn with equally many updates: a **well-trained** one from 5,120 episodes, and a **starved** one from 100, which
# it overfits. In each, an actor learns as above. Imagined and real return start from the same first
# observations, so that without model errors they would be equal but for sampling.

# %%
question = notebook.predict(
    "An actor learns for 800 updates in a starved world model. What do its curves do?",
    ["both rise", "imagined rises, real stays low", "both stay low"],
)

# %%
stored = exploitation.load()
starved = exploitation.EPISODES["starved"]
print(
    "stored curves:", stored.about["command"], f"({stored.about['wall_seconds'] / 60:.0f} minutes)"
)
final = {
    name: (stored.imagined[name][-1].mean(), stored.real[name][-1].mean()) for name in stored.real
}
for name, (imagined, came) in final.items():
    print(f"{name:13} imagined {imagined:.2f}, real {came:.2f}, exploited {imagined - came:.2f}")

# %% tags=["plumbing"]
# @title Draw imagined and real return of three seeds
figure = Figure(figsize=(8.4, 3.4), layout="constrained")
for axes, name in zip(figure.subplots(1, 2, sharey=True), stored.real):
    for number, (label, values) in enumerate(
        {"imagined": stored.imagined[name], "real": stored.real[name]}.items()
    ):
        look = style(number, len(values))
        axes.plot(stored.updates, values.mean(1), label=f"{label} return", **look)
        axes.fill_between(
            stored.updates, values.min(1), values.max(1), alpha=0.2, color=look["color"]
        )
    axes.set(
        title=f"{name} model: {stored.about['episodes'][name]:,} episodes",
        xlabel="updates of the actor",
        ylim=(0, 1.05),
    )
figure.axes[0].set_ylabel("return (1: every ball)")
figure.axes[0].legend(frameon=False, loc="lower right")
notebook.show(
    figure,
    "Imagined and real return against updates of the actor, for a well-trained and a starved world model; three seeds, bands from the lowest to the highest. In the end: "
    + "; ".join(f"{name}: imagined {i:.2f}, real {r:.2f}" for name, (i, r) in final.items())
    + ".",
    "07_exploitation",
)
question.explain(
    f"The imagined return rises to {final['starved'][0]:.2f}, the real one reaches {final['starved'][1]:.2f}. In the well-trained model the two end at "
    f"{final['well-trained'][0]:.2f} and {final['well-trained'][1]:.2f}. **Your only sign of it is the difference**: the imagined return, which a training run sees, looks fine in both."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:07_exploitation)
# </details>
#
# The well-trained model errs as well: in single seeds imagined and real return differ by up to 0.2. But there the error goes in both directions. In the starved
# model it is in the policy's favour in all three seeds, because the policy looked for it.
#
# **A remedy that was proposed: temperature.** Ha and Schmidhuber (2018) sampled their model's next state with a raised **temperature** τ while the policy trained: logits divided by τ. A
# noisier model is harder to exploit, because an error is no longer there every time. Too much noise, and the model no longer predicts what actions do. With τ below 1
# sampling is nearly deterministic. `behavior.heated` divides the logits by dividing the weights of the prior's last layer. The real return after 400 updates, with the
# environment as it is:

# %% tags=["plumbing"]
# @title Draw the real return by sampling temperature
figure = Figure(figsize=(6.8, 3.2), layout="constrained")
axes = figure.add_subplot()
for number, (name, values) in enumerate(stored.by_temperature.items()):
    look = style(number, 1)
    axes.plot(stored.temperatures, values.mean(1), label=f"{name} model", **look)
    axes.fill_between(
        stored.temperatures, values.min(1), values.max(1), alpha=0.2, color=look["color"]
    )
axes.set(
    xscale="log",
    xlabel="sampling temperature τ in imagination",
    ylabel="real return",
    ylim=(0, 1.02),
)
axes.set_xticks(stored.temperatures, [f"{x:g}" for x in stored.temperatures], minor=False)
axes.minorticks_off()
axes.legend(frameon=False)
notebook.show(
    figure,
    "Real return against the sampling temperature of the training rollouts; three seeds, bands from the lowest to the highest. Means: "
    + "; ".join(
        f"{name}: "
        + ", ".join(f"τ = {t:g} {x:.2f}" for t, x in zip(stored.temperatures, v.mean(1)))
        for name, v in stored.by_temperature.items()
    )
    + ".",
    "07_temperature",
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:07_temperature)
# </details>
#
# Here the remedy does not work: at τ = 2 both models teach less, and at τ = 0.25 as much as at 1, within the spread of three seeds. A probable reason is that the actor needs to know where its own
# paddle will be, and a raised temperature blurs that together with the errors. Ha and Schmidhuber found a gain in their environment, at a temperature that they had to search for. A negative result in one small environment does not
# contradict them; it shows that temperature is a hyperparameter and no cure.
#
# The same for one seed, live, with your own parts. The stored curves took longer than a notebook may:
# `python -m dreamer_lite.course.exploitation --out curves.json` makes them anew.

# %%
kinked = exploitation.Lab(dreamer, exploitation.Sizes(model=updates // 2, every=60))
few = exploitation.episodes(starved, seed)
hungry, losses = kinked.model(few, seed)
exploited = list(kinked.behaviors(hungry, few, seed, behaviour_updates))
print("updates   imagined   real   of the starved model")
for done, _, came, imagined in exploited[:: max(1, len(exploited) // 5)]:
    print(f"{done:7} {imagined.mean():10.2f} {came.mean():6.2f}")

# %% [markdown]
# **The remedy of Dreamer** is another one: act in the environment with the present policy, add what happens to the replay buffer, and train the model on it. Where the policy
# exploits an error, the next real episode corrects it. That is notebook 08.
#
# **Limits.** One small environment, one size of the model, one starved data set for each seed, and three temperatures. Real returns are of 512 balls.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. What does λ = 0 cost, and what λ = 1?</summary>
#
# λ = 0 is biased by every error of the critic, and a reward moves back by one state in an update. λ = 1 has high variance: it sums the random rewards of the whole rollout.
# </details>
# <details><summary>2. Which way would the critic move if gradients passed through the advantage in the actor's loss?</summary>
#
# Upwards, for actions with ln π below 0: a higher v makes the advantage smaller, and so the loss. No action becomes better by that.
# </details>
# <details><summary>3. Why may the actor not learn from replayed actions with this loss?</summary>
#
# They are off-policy: an older policy sampled them, and the REINFORCE estimate holds only for actions of the present policy.
# </details>
# <details><summary>4. Is the slow critic a target network?</summary>
#
# No. A target network computes the targets. The values inside the λ-returns are the critic's own; the slow critic is the target of a second, regularising loss.
# </details>
# <details><summary>5. Returns are all below 0.5. What is the scale?</summary>
#
# 1. Small returns are not scaled up.
# </details>
# <details><summary>6. The imagined return of your agent rises and rises. What else do you look at?</summary>
#
# At the real return. If it does not follow, the policy exploits the model.
# </details>

# %% [markdown]
# ## Summary
#
# * λ-returns bootstrap at every step; λ trades the critic's bias against the variance of rewards.
# * The actor learns by a policy gradient on imagined, on-policy rollouts; entropy keeps it exploring, and returns are normalised by their range.
# * The critic learns λ-returns by two-hot cross-entropy and stays near its own moving average, which is no target network.
# * Stop-gradients keep each loss with its own network; the world model learns from neither.
# * A policy can be learned without one real step, as far as the model is right. Beyond that, it exploits the model.
#
# ## References
#
# * R. S. Sutton: Learning to predict by the methods of temporal differences. Machine Learning 3 (1988).
# * R. J. Williams: Simple statistical gradient-following algorithms for connectionist reinforcement
#   learning. Machine Learning 8 (1992; REINFORCE).
# * D. Ha, J. Schmidhuber: World models (2018), [arXiv:1803.10122](https://arxiv.org/abs/1803.10122).
# * J. Schulman and others: High-dimensional continuous control using generalized advantage
#   estimation (2016), [arXiv:1506.02438](https://arxiv.org/abs/1506.02438).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
#
# ## Next
#
# Notebook 08 closes the loop: the policy acts in the environment, its time steps enter the replay buffer, and world model,
# actor and critic learn together.

# %%
dreamer = parts.load()
