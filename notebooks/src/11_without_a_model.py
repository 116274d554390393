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
# # 11 · Without a model
#
# **On our Breakout it is a high replay ratio that saves environment steps, not the world model. With 64 replayed time steps per environment step, Q-learning reaches 4 bricks after a seventh of PPO's steps, and Dreamer after a sixth, for nine times Q-learning's computation. Dreamer as in notebook 08, with ratio 4, needs more than twice PPO's steps.**
#
# ![](figure:11_race)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 35 | 35 | 4, on 2 CPU cores | notebooks 02, 07 and 08 | nothing: it trains two agents without a world model |
#
# **You will be able to**
#
# * say what makes an agent on-policy or off-policy, and what that allows it to replay;
# * write generalised advantage estimation, and keep it inside an episode;
# * write PPO's clipped objective, and say what happens without the clip;
# * write the target of double Q-learning, for terminal states and for time limits;
# * compare agents by sample efficiency and by wall-clock time, with seeds, a baseline and a control;
# * separate what a replay buffer contributes from what a world model contributes.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
seed = 0  # @param {type: "integer"}
updates = 320 if FAST else 1200  # @param {type: "raw"}
robot_steps = 40 if FAST else 200  # @param {type: "raw"}

# %% tags=["setup"]
# @title Imports
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.agent import behavior
from dreamer_lite.baselines import ppo, q_learning
from dreamer_lite.course import checks, curves, parts
from dreamer_lite.course.notebook import predict, show
from dreamer_lite.presets import make_config
from dreamer_lite.show.plots import COLOURS, style
from dreamer_lite.training.loop import train
from dreamer_lite.training.progress import Limits

# %% [markdown]
# ## 1 · On-policy and off-policy learning
#
# A **model-free** agent improves its policy or its value function directly from observed transitions.
# A **model-based** agent first learns a model of the environment, and improves its policy with the
# model's predictions.
#
# ![](figure:with_and_without)
#
# There is a second distinction, and it is easily confused with the first. An **on-policy** agent learns
# only from data that its *current* policy has collected, and then discards the data. An **off-policy**
# agent also learns from data of *other* policies, for example of its own older versions. So it can keep
# a **replay buffer**, and use each time step many times.
#
# The **replay ratio** is the number of replayed time steps per environment step; our configuration calls
# it `train_ratio`. A **sample-efficient** agent needs few environment steps. A high replay ratio buys
# **sample efficiency**, and it costs computation.

# %% [markdown]
# Dreamer has a world model *and* a replay buffer. If you compare it with an on-policy agent, you change
# two things at once, and cannot say which of the two made the difference. Therefore this notebook compares
# three kinds of agents:
#
# | agent | policy | replay buffer | world model |
# |---|---|---|---|
# | PPO | on-policy | no | no |
# | Q-learning (a DQN) | off-policy | yes | no |
# | Dreamer | off-policy | yes | yes |
#
# From the first to the second line we add replay, from the second to the third the model. Neighbouring
# lines differ in more than that; section 6 comes back to it. All agents see the same 10x10 Breakout, and
# their encoders and heads have the same widths.
#
# You write the central functions of the first two agents. The library has the rest of them, in
# `dreamer_lite/baselines`: two files of about 300 lines.

# %% [markdown]
# ## 2 · Generalised advantage estimation
#
# **Generalised advantage estimation** (GAE; Schulman et al. 2016) is a weighted sum of
# temporal-difference errors, which estimates how much better an action was than the policy's average. The
# **temporal-difference error** (TD error) is the difference between a bootstrapped target and the value:
#
# $$\delta_t=r_{t+1}+\gamma\,(1-\text{terminal}_{t+1})\,v_{t+1}-v_t$$
#
# A single TD error has low **variance**, but it is **biased** by the critic's error, because it
# bootstraps after one step. The sum of all later TD errors has no such bias and a high variance. GAE lies
# between them:
#
# $$A_t=\delta_t+\gamma\lambda\,(1-\text{last}_{t+1})\,A_{t+1}\qquad A_T=0$$
#
# Time steps are as in notebook 02: the reward arrives *with* step t + 1, and a reset has a time step of
# its own. So `is_terminal` removes the value, and `is_last` cuts the sum. A time limit does only the
# latter; a terminal state is always a last time step as well. Shapes, with T steps of W environments:
# reward, `is_last`, `is_terminal` and value are `(T+1, W)`, the advantages `(T, W)`.
#
# You have met this estimate: Dreamer's λ-return minus the value *is* this advantage. The agents differ in
# **which** trajectories they evaluate: real ones of the current policy, or imagined ones.

# %% [markdown]
# **A tiny number.** Two steps, then a terminal state: rewards (-, 0, 1), values (0.5, 0.5, 0.7),
# γ = 0.9, λ = 0.5. Start at the end: $\delta_1=1-0.5=0.5$, because the value 0.7 after the terminal state
# does not count, and $A_1=0.5$. Then $\delta_0=0+0.45-0.5=-0.05$ and $A_0=-0.05+0.45\cdot0.5=0.175$.
#
# **Exercise 1** · medium · very important · 15 minutes
#
# Write GAE as a scan that runs backwards in time.
#
# <details><summary>Hint 1: the idea</summary>
#
# All TD errors can be computed at once, with slices `[1:]` and `[:-1]`. Only the sum needs a loop, and
# it starts at the last step with an advantage of 0.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Compute `delta` and `decay = discount * lam * (1 - is_last[1:])`, both `(T, W)`. Then
# `jax.lax.scan(step, start, (delta, decay), reverse=True)`, where `step(later, inputs)` returns the new
# advantage twice: as carry and as output.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# In `step`: `delta, decay = inputs`, then `advantage = delta + decay * later`. The start is
# `jnp.zeros_like(value[-1])`, and element `[1]` of the scan's result holds the outputs.
# </details>


# %% tags=["exercise"]
def my_advantages(
    reward: jax.Array,
    is_last: jax.Array,
    is_terminal: jax.Array,
    value: jax.Array,
    discount: float,
    lam: float,
) -> jax.Array:
    """Advantages of the actions at time steps 0 to T - 1, by GAE.

    Args:
      reward, value: (T+1, W) reward that arrived with a time step, critic's value of its observation.
      is_last, is_terminal: (T+1, W) 1 (or True) where an episode ends, and where it ends in a
        terminal state.
      discount, lam: γ and λ.

    Returns: (T, W). What stands at a last time step does not matter: its action was ignored.
    """
    # BEGIN SOLUTION
    delta = reward[1:] + discount * (1.0 - is_terminal[1:]) * value[1:] - value[:-1]
    decay = discount * lam * (1.0 - is_last[1:])

    def step(later: jax.Array, inputs: tuple) -> tuple:
        delta, decay = inputs
        advantage = delta + decay * later
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(value[-1]), (delta, decay), reverse=True)[1]
    # END SOLUTION


# %% tags=["check"]
advantages = checks.advantages(my_advantages)

# %% [markdown]
# Two episodes of Catch follow each other in one environment. The agent loses the first (reward 0) and
# wins the second (reward 1). The critic is untrained and predicts 0 everywhere.

# %%
question = predict(
    "If the sum is NOT cut at is_last: what is the advantage of the last action of the LOST episode?",
    ["below 0", "0", "between 0 and 1", "1"],
)

# %%
lam = 0.95  # try 0, 0.8, 1
last = jnp.zeros((20, 1), bool).at[9].set(True).at[19].set(True)  # 9 actions and a reset, twice
reward, no_value = jnp.zeros((20, 1)).at[19].set(1.0), jnp.zeros((20, 1))
estimates = {
    "cut at is_last": advantages(reward, last, last, no_value, 0.99, lam)[:, 0],
    "not cut": advantages(reward, jnp.zeros_like(last), last, no_value, 0.99, lam)[:, 0],
}
values = jax.random.normal(jax.random.key(seed), (20, 1))  # of some critic
decays = 0.99 * (1.0 - last), lam * (1.0 - last)
returns = behavior.lambda_returns(reward, *decays, values) - values[:-1]
gap = abs(advantages(reward, last, last, values, 0.99, lam) - returns).max()
print(f"largest difference from Dreamer's λ-returns minus the value: {gap:.1e}")

# %% tags=["plumbing"]
# @title Draw the advantages of both episodes
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(estimates.items()):
    axes.plot(line, label=label, **style(number, 19))
axes.axvline(9, color="0.4", linestyle=":")
axes.set(xlabel="time step; the first episode ends at 9, the second at 19", ylabel="advantage")
axes.legend(frameon=False)
show(
    figure,
    f"Advantages along two episodes with lambda {lam:g}. At time step 8, the last action of the lost "
    "episode: " + "; ".join(f"{label} {line[8]:.2f}" for label, line in estimates.items())
    + ". In the second episode the lines are equal and rise to 1 at time step 18.",
    "11_border",
)  # fmt: skip

# %%
question.explain(
    "Without the cut, the last action of the lost episode has an advantage of about 0.5: it is "
    "credited with the reward of the *next* episode, on which it had no influence. With the cut it "
    "is 0, which is right for a critic that predicted 0 and a reward of 0."
)

# %% [markdown]
# ## 3 · PPO's clipped objective
#
# **Proximal policy optimisation** (PPO; Schulman et al. 2017) is an on-policy **policy gradient** method
# that takes several gradient steps on each rollout, and limits how far these steps may move the policy.
# The plain policy gradient (notebook 07) holds only for data of the *current* policy. After one step the
# rollout is already slightly off-policy. PPO corrects for that with the **probability ratio**
#
# $$\rho_t=\frac{\pi(a_t\mid x_t)}{\pi_\text{old}(a_t\mid x_t)}$$
#
# where $\pi_\text{old}$ is the policy that collected the data. The product $\rho_tA_t$ estimates the new
# policy's improvement as long as it is close to the old one. So PPO does not reward any ratio beyond
# 1 ± ε:
#
# $$L_t=-\min\bigl(\rho_tA_t,\;\operatorname{clip}(\rho_t,1-\epsilon,1+\epsilon)\,A_t\bigr)$$
#
# (Eq. 7 of the paper, negated; ε = 0.2.) The minimum matters: if an action with a *negative* advantage
# became more probable, it is pushed back, however large the ratio is. At ρ = 1 the gradient for ln π is
# -A, that of the plain policy gradient. All shapes are `(n,)`.
#
# PPO remains on-policy: a rollout is used for a few passes (here four), and then discarded.

# %% [markdown]
# **A tiny number.** ε = 0.2.
#
# | A | ρ | ρ A | clip(ρ) A | L | gradient of L for ln π |
# |---|---|---|---|---|---|
# | 2 | 1.5 | 3 | 2.4 | -2.4 | 0: clipped |
# | -2 | 1.5 | -3 | -2.4 | 3 | 3: not clipped |
#
# **Exercise 2** · medium · very important · 10 minutes
#
# Write the clipped loss.
#
# <details><summary>Hint 1: the idea</summary>
#
# A ratio of probabilities is the exponential of a difference of log-probabilities.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Compute the ratio, a clipped copy of it, and the two products with the advantage. The loss is minus the
# smaller product, element by element.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `ratio = jnp.exp(log_prob - old_log_prob)`, then `jnp.clip(ratio, 1 - clip, 1 + clip)` and
# `jnp.minimum`.
# </details>


# %% tags=["exercise"]
def my_clipped_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float
) -> jax.Array:
    """PPO's clipped loss of each action.

    Args:
      log_prob: (n,) log-probability of the action under the policy that is trained.
      old_log_prob: (n,) the same under the policy that collected the data.
      advantage: (n,) its advantage.
      clip: ε.

    Returns: (n,) to be minimised.
    """
    # BEGIN SOLUTION
    ratio = jnp.exp(log_prob - old_log_prob)
    bounded = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, bounded * advantage)
    # END SOLUTION


# %% tags=["check"]
clipped_loss = checks.clipped_loss(my_clipped_loss)

# %% [markdown]
# Three levers pay 1 with probability 0.4, 0.5 and 0.6. A policy that starts uniform pulls 12 times. Then it
# takes 200 gradient steps on these same 12 samples. Its *favourite* lever is the most probable one.

# %%
question = predict(
    "How probable does the favourite lever become after 200 steps on 12 samples, with ε = 0.2?",
    ["about 0.4", "about 0.6, as it pays", "nearly 1"],
)

# %%
draw = np.random.default_rng(seed)
action = jnp.asarray(draw.integers(0, 3, 12))
paid = jnp.asarray(draw.random(12) < np.array([0.4, 0.5, 0.6])[action], jnp.float32)
advantage, old = (paid - paid.mean()) / paid.std(), jnp.full(12, -jnp.log(3.0))


@jax.jit
def many_steps(clip: float) -> jax.Array:
    """Probabilities of the three levers along 200 gradient steps on the same samples, (200, 3)."""

    def loss(logits: jax.Array) -> jax.Array:
        return clipped_loss(jax.nn.log_softmax(logits)[action], old, advantage, clip).mean()

    def step(logits: jax.Array, _: None) -> tuple:
        return logits - jax.grad(loss)(logits), jax.nn.softmax(logits)

    return jax.lax.scan(step, jnp.zeros(3), length=200)[1]


# %% tags=["plumbing"]
# @title Train with three limits, and draw the favourite lever's probability
probabilities = {
    "no clip" if clip > 1e8 else f"clip {clip:g}": many_steps(clip) for clip in (0.2, 0.5, 1e9)
}
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(probabilities.items()):
    axes.plot(line.max(1), label=label, **style(number, 200))
axes.set(
    xlabel="gradient steps on the same 12 samples", ylabel="probability of the favourite lever"
)
axes.set_ylim(0, 1.05)
axes.legend(frameon=False)
show(
    figure,
    "Probability of the favourite lever against gradient steps on the same 12 samples. Mean of the "
    "last 50 steps: "
    + "; ".join(f"{label} {line[-50:].max(1).mean():.2f}" for label, line in probabilities.items())
    + ". With a clip the lines rise quickly and then oscillate.",
    "11_clip",
)  # fmt: skip

# %%
question.explain(
    "Without a clip the policy becomes certain of one lever, from 12 samples: it overfits their noise. "
    "With ε = 0.2 the probability stays near (1 + 0.2) / 3 = 0.4, and with ε = 0.5 near 0.5. The lines "
    "oscillate there, and the reason is the minimum: beyond the limit the *paid* pulls of the "
    "favourite lever have no gradient any more, but its *unpaid* pulls still have one, and push the "
    "probability back. To move further, PPO needs **new data of the new policy**. That is the price of "
    "being on-policy."
)

# %% [markdown]
# ## 4 · The Q-learning target
#
# **Q-learning** (Watkins 1989) is an off-policy method that learns **action values**: Q(x, a) is the
# return after action a if one acts *greedily* from then on. A **deep Q-network** (DQN; Mnih et al. 2015)
# is a network with one output per action. It regresses Q(x, a) to a bootstrapped target:
#
# $$y=r+\gamma\,(1-\text{terminal}')\,\max_{a'}Q(x',a')$$
#
# The policy that collected (x, a, r, x') does not occur in y: the maximum asks what the *best* next action
# is worth, not what the policy did next. Therefore old data can be replayed.
#
# Three additions make this stable:
#
# * A **target network** computes the target. Its weights are an **exponential moving average** of the
#   **online network**'s, so that the target moves slowly. (Mnih et al. copy the weights instead, every
#   10,000 updates. Dreamer's slow critic is *not* a target network: it regularises.)
# * **Double Q-learning** (van Hasselt et al. 2016) lets the online network *choose* the next action and the
#   target network *evaluate* it. The maximum over noisy estimates is biased upwards.
# * **ε-greedy exploration**: with probability ε the agent takes a uniformly random action. This ε has
#   nothing to do with PPO's. Q-learning needs it, because a greedy policy has no entropy of its own.

# %% [markdown]
# With online network Q and target network Q̄ the target is (Eq. 4 of van Hasselt et al.)
#
# $$y=r+\gamma\,(1-\text{terminal}')\,\bar Q(x',a^*)\qquad a^*=\arg\max_{a'}Q(x',a')$$
#
# A time limit is no terminal state: the episode could have gone on, so its target is bootstrapped. Shapes,
# with B transitions and A actions: `(B,), (B,), (B, A), (B, A) -> (B,)`.
#
# **A tiny number.** r = 1, γ = 0.5, Q = (1, 2), Q̄ = (5, 4). The online network chooses the second action,
# and the target network values it with 4: y = 1 + 0.5 · 4 = 3. After a terminal state y = 1.
#
# **Exercise 3** · medium · very important · 10 minutes
#
# Write the target of double Q-learning.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two networks, two jobs: `online` gives an index, and `target` gives the number at that index.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Take the argmax of `online` over its last axis, `(B,)`. Pick that entry of `target` in each transition. Multiply
# it by the discount factor, and by 0 where the next state is terminal. Add the reward.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# Picking works like `torch.gather` in PyTorch: `jnp.take_along_axis(target, best[:, None], -1)[:, 0]`.
# </details>


# %% tags=["exercise"]
def my_q_target(
    reward: jax.Array,
    is_terminal: jax.Array,
    online: jax.Array,
    target: jax.Array,
    discount: float | jax.Array,
) -> jax.Array:
    """The target of double Q-learning.

    Args:
      reward: (B,) reward that arrived with the next state.
      is_terminal: (B,) 1 where the next state is terminal, else 0.
      online, target: (B, A) action values of the next state, by the two networks.
      discount: γ, a number or (B,).

    Returns: (B,).
    """
    # BEGIN SOLUTION
    best = jnp.argmax(online, -1)
    value = jnp.take_along_axis(target, best[:, None], -1)[:, 0]
    return reward + discount * (1.0 - is_terminal) * value
    # END SOLUTION


# %% tags=["check"]
q_target = checks.q_target(my_q_target)

# %% [markdown]
# **Maximisation bias.** All actions of a state have the true value 0. Two networks estimate the values, each
# with its own Gaussian noise of standard deviation 1. Your function computes targets with reward 0 and γ = 1:
# once with *one* network in both places, once with two.

# %%
question = predict(
    "The right target is 0. What is the mean target of ONE network with 3 actions?",
    ["-0.8", "0", "0.3", "0.8"],
)

# %%
actions, zero = (2, 3, 6, 12, 18), jnp.zeros(20_000)
bias = {"one network": [], "two networks": []}
for count in actions:
    first, second = jax.random.normal(jax.random.key(seed), (2, len(zero), count))
    bias["one network"].append(float(q_target(zero, zero, first, first, 1.0).mean()))
    bias["two networks"].append(float(q_target(zero, zero, first, second, 1.0).mean()))

# %% tags=["plumbing"]
# @title Draw the bias against the number of actions
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(bias.items()):
    axes.plot(actions, line, label=label, **style(number, len(actions)))
axes.set(xlabel="number of actions", ylabel="mean target; 0 is right", xticks=actions)
axes.legend(frameon=False)
show(
    figure,
    "Mean target against the number of actions, where 0 is right. With 3 and 18 actions: "
    + "; ".join(f"{label} {line[1]:.2f} and {line[-1]:.2f}" for label, line in bias.items()) + ".",
    "11_bias",
)  # fmt: skip

# %%
question.explain(
    "The maximum picks whichever estimate has the largest error, so one network overestimates: by 0.85 "
    "standard deviations with 3 actions (Breakout), by 1.8 with 18 (Atari). A second network whose "
    "errors are independent does not share the error of the choice, and the bias is gone. In practice "
    "the target network is an average of older online networks. Its errors are correlated with theirs, "
    "so double Q-learning reduces the bias and does not remove it."
)

# %% [markdown]
# ## 5 · Training both agents
#
# A rollout of PPO has T = 32 time steps of W = 128 environments. Then come four passes over it in eight
# minibatches of 512, with your `clipped_loss` of the advantages that your `advantages` computed.
#
# The Q-learning agent alternates one time step of all environments with one update on 512 transitions that
# are sampled uniformly from its replay buffer. It has two refinements that your target needs no change for:
# *n-step returns*, where r is the discounted sum of n = 3 rewards and γ becomes γ³, and the Huber loss.
# (For n > 1 the rewards in between are those of the old policy. This off-policy bias is usually accepted
# for faster propagation of rewards.)
#
# Here both collect 128 environment steps per gradient step, and both use each time step **four times**: PPO
# in its four passes, Q-learning with a replay ratio of 4. Each is **one compiled program** with the
# environments inside, mapped over three seeds. The replay ratio is a dial: `dial` in the next cell.
#
# **Negative controls.** They have the same environments, losses and computation per update, but each action is
# judged by the outcome of *another* one: the advantage of the neighbouring environment, or the target
# of another transition of the batch. **Baseline**: random play scores 0.4 bricks.

# %%
config = make_config("minatar/breakout", seed=seed, seeds=3)
dial = dict(worlds=128, train_ratio=4)  # of Q-learning; after the run, try 8 and 64
replaying = make_config("minatar/breakout", seed=seed, seeds=3, **dial)
world: Any = worlds.make(config.world)
rules = {
    "PPO": ppo.Rules(advantages, clipped_loss),
    "PPO, control": ppo.Rules(lambda *x: jnp.roll(advantages(*x), 1, 1), clipped_loss),
}
targets = {
    "Q-learning": q_target,
    "Q-learning, control": lambda *x: jnp.roll(q_target(*x), 1, 0),
}
limits = {
    name: Limits(updates=updates // (4 if "control" in name else 1)) for name in rules | targets
}

# %%
question = predict(
    "Both make 1,200 gradient steps with 512 samples each, from equally many environment steps. Which "
    "agent clears more bricks per episode?",
    ["PPO, clearly", "Q-learning, clearly", "they are close"],
)

# %%
live: dict[str, curves.Curve] = {}
final: dict[str, Any] = {}  # the states at the end
for name, limit in limits.items():
    if name in rules:
        training = ppo.train(config, ppo.Settings(), world, limit, rules=rules[name])
    else:
        program = q_learning.make_program(replaying, q_learning.Settings(), world, targets[name])
        driver = q_learning.make_driver(program)
        training = train(replaying, driver, driver.init(seed), limit)
    *_, (live[name], final[name]) = curves.watch(name, training)
    curve = live[name]
    bricks = ", ".join(f"{x:.1f}" for x in curve.returns[-1])
    print(
        f"{name:20} {curve.agent_steps[-1]:9,.0f} steps of each seed: {bricks} bricks", flush=True
    )

# %% tags=["plumbing"]
# @title Draw the live runs
figure = Figure(figsize=(6.4, 3.4), layout="constrained")
axes = figure.add_subplot()
look = {name: style(number, len(live[name].updates)) for number, name in enumerate(live)}
curves.draw(axes, live, lambda curve: curve.agent_steps, look)
axes.axhline(0.4, color="0.4", linestyle=":", label="random play")
axes.set(xlabel="environment steps of one agent", ylabel="bricks per episode, latest 100")
axes.legend(frameon=False, fontsize=8)
show(
    figure,
    "Bricks per episode against environment steps of the agents trained here, mean and range of three "
    "seeds; random play is at 0.4. At the end: "
    + "; ".join(f"{name} {curve.returns[-1].mean():.1f}" for name, curve in live.items()) + ".",
    "11_live",
)  # fmt: skip

# %%
question.explain(
    "They are close: the bands of the three seeds overlap at the end of the run. With each time step used "
    "four times, being off-policy is no advantage in itself. Its advantage is that this number can be "
    "*raised*: section 6 raises it to 64. We did not try 64 passes of PPO; section 3 shows why they would "
    "bring little: the clip holds the policy where it was after a few steps on the same samples. The "
    "controls are not above random play, so what the agents learned came from the outcomes of their actions."
)

# %% [markdown]
# **Limits.** The returns are those of *training* episodes, exploration included, and the latest 100 of many
# parallel environments over-represent short ones. The controls ran for a quarter of the updates.

# %% [markdown]
# ## 6 · Sample efficiency and wall-clock time
#
# A **learning curve** needs an x-axis, and the choice decides the winner. Against *environment steps* it
# shows sample efficiency. Against *seconds* it shows what you wait for, on one machine with one environment.
#
# Dreamer's curves take longer than this lesson. They are stored, with those of the other agents: three
# seeds each, made by commands such as
#
# ```bash
# taskset -c 0 python -m dreamer_lite.course.curves q_learning_thrifty --out curve.json
# taskset -c 0 dreamer-lite sweep --world minatar/breakout --seeds 0-2 --updates 4000 --parallel 1 --out runs/dreamer
# ```
#
# | label | agent | environments | replay ratio |
# |---|---|---|---|
# | PPO | this notebook's | 128 | none: 4 passes |
# | PPO, 8 environments | the same, with smaller rollouts: 1,024 steps, not 4,096 | 8 | none: 4 passes |
# | Q-learning, ratio 4 | this notebook's | 128 | 4 |
# | Q-learning, ratio 64 | the same with two settings changed | 8 | 64 |
# | Dreamer, ratio 4 | **the library's**, with the settings of the agent of notebook 08 | 128 | 4 |
# | Dreamer, ratio 64 | the same with two settings changed | 8 | 64 |
#
# At the same ratio, Q-learning and Dreamer replay equally many time steps per environment step, 512 in an update. Time is that of
# **one core** including compilation, a third of what three seeds took: in one program, or one run after the
# other (Dreamer).

# %% tags=["plumbing"]
# @title Load the stored curves; one colour for each agent, dashes for the sample-efficient settings
NAMES = {
    "PPO": "ppo", "PPO, 8 environments": "ppo_thrifty",
    "Q-learning, ratio 4": "q_learning", "Q-learning, ratio 64": "q_learning_thrifty",
    "Dreamer, ratio 4": "dreamer", "Dreamer, ratio 64": "dreamer_thrifty",
}  # fmt: skip
stored = {label: curves.load(f"breakout_{name}") for label, name in NAMES.items()}
styles = {
    label: style(number, len(stored[label].updates))
    | {"color": COLOURS[number // 2], "linestyle": "--" if number % 2 else "-"}
    for number, label in enumerate(stored)
}


RACE_ALT = (
    "Bricks per episode against environment steps (left) and against seconds on one core (right), log scales; "
    "six agents, mean and range of three seeds. Steps and seconds to {level:g} bricks: {words}."
)


def in_words(x: float, unit: str = "") -> str:
    return "never" if np.isnan(x) else f"{x:,.0f} {unit}".strip()


# %%
question = predict(
    "Which agent needs the fewest environment steps to 4 bricks, and which the fewest seconds?",
    ["Dreamer, Dreamer", "Dreamer, Q-learning", "Dreamer, PPO", "Q-learning, PPO", "PPO, PPO"],
)

# %%
level = 4.0  # try 2 or 6: bricks per episode
race = {label: curves.when(curve, level) for label, curve in stored.items()}  # (steps, seconds)

# %% tags=["signature"]
figure = Figure(figsize=(9.6, 4.2), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True)
curves.draw(left, stored, lambda curve: curve.agent_steps, styles)
curves.draw(right, stored, curves.seconds_of_one, styles)
for axes in (left, right):
    axes.axhline(0.4, color="0.4", linestyle=":", label="random play")
for name, mark in (("PPO, control", "kx"), ("Q-learning, control", "k+")):
    left.plot(live[name].agent_steps[-1], live[name].returns[-1].mean(), mark, label=name)
left.set(xlabel="environment steps of one agent", ylabel="bricks per episode", xlim=(500, None))
right.set(xlabel="seconds on one core for one agent")
left.legend(frameon=False, fontsize=7)
words = [f"{label} {in_words(n, 'steps')}, {in_words(s, 's')}" for label, (n, s) in race.items()]
show(figure, RACE_ALT.format(level=level, words="; ".join(words)), "11_race")

# %% tags=["plumbing"]
# @title The same as a table
print(
    f"{'':22}ms an update   ms a step   steps to {level:g} bricks   seconds to {level:g} bricks   at the end"
)
for label, curve in stored.items():
    spent = 1000 * np.ptp(curves.seconds_of_one(curve))
    update, step = spent / np.ptp(curve.updates), spent / np.ptp(curve.agent_steps)
    n, s = map(in_words, race[label])
    print(f"{label:22}{update:12.1f}{step:12.2f}{n:>20}{s:>22}{curve.returns[-1].mean():13.1f}")
about = stored["Q-learning, ratio 64"].about
print(f"one core of {about['processor']}, jax {about['versions']['jax']}")

# %%
question.explain(
    "Q-learning with a replay ratio of 64 needs the fewest environment steps, closely followed by Dreamer "
    "with the same ratio. PPO and Q-learning need the fewest seconds, 6 to 9, about half of them for "
    "compilation; which of the two is first lies within the error of the clock. Their updates take 2 to 5 ms. "
    "One of Dreamer takes seven to ten times as long as one of Q-learning: it trains a world model and "
    "imagines rollouts as well. In a compiled environment steps are nearly free, so saving them does not pay."
)

# %% [markdown]
# **What replay contributes, and what the model contributes.** An effect can be attributed to one component
# only by a comparison in which everything else is equal. Our curves offer these:
#
# | comparison | equal | different |
# |---|---|---|
# | Q-learning, ratio 4 and 64 | agent, networks | replay ratio, number of environments |
# | Dreamer, ratio 4 and 64 | agent, networks | the same |
# | PPO, 8 environments, and Q-learning, ratio 64 | environments, encoder | replay, and the algorithm |
# | Q-learning and Dreamer, ratio 64 | environments, encoder, replayed time steps | world model and imagined rollouts, actor-critic, computation |

# %%
pairs = {
    "replay, Q-learning: ratio 4 to 64": ("Q-learning, ratio 4", "Q-learning, ratio 64"),
    "replay, Dreamer: ratio 4 to 64": ("Dreamer, ratio 4", "Dreamer, ratio 64"),
    "replay: PPO, 8 env. to Q, 64": ("PPO, 8 environments", "Q-learning, ratio 64"),
    "model, ratio 64: Q to Dreamer": ("Q-learning, ratio 64", "Dreamer, ratio 64"),
    "model, ratio 4: Q to Dreamer": ("Q-learning, ratio 4", "Dreamer, ratio 4"),
}
print(f"to {level:g} bricks                         steps divided by   seconds multiplied by")
for change, (before, after) in pairs.items():
    (n, s), (m, t) = race[before], race[after]
    print(f"{change:36}{n / m:14.1f}{t / s:24.1f}")

# %% [markdown]
# **Replay.** A replay ratio of 64 instead of 4 divides the steps to 4 bricks by 8 for Q-learning and by 14 for
# Dreamer. The number of environments changes with it, but this explains little: with 8 environments instead of
# 128, and twice as many updates per step, PPO needs three fifths of the steps. That is still 4 times as many as
# Q-learning needs with ratio 64. But Q-learning with ratio *4* needs no fewer steps than PPO. So it is not off-policy
# learning as such that saves steps, but the number of updates per step that a replay buffer allows.
#
# **The model.** At ratio 64, Q-learning needs no more steps than Dreamer, and a ninth of the seconds. At
# ratio 4 Dreamer even needs twice as many steps as Q-learning; whether its model or its actor-critic costs them,
# this comparison cannot say. Its curves stay near random play for the
# first 300 updates, which are 40,000 steps at ratio 4 and 3,000 at ratio 64, probably because the actor
# learns nothing useful before the world model predicts well.
#
# Hence in this environment the advantage in sample efficiency that "PPO against Dreamer" seems to show for the
# model is due to replay.

# %% [markdown]
# **Limits.** This is one small environment. Its observation is a grid with one plane for each kind of object,
# so a learned representation has little to add; section 8 looks at images. Dreamer's preset was tuned for its
# return after five minutes and anneals its learning rate, which holds back its longer curve;
# Q-learning's settings were chosen after four trials with one seed each. And a model offers more than sample
# efficiency: you can look at its predictions, and steer them (notebooks 06 and 10).

# %% [markdown]
# ## 7 · The price of an environment step
#
# The **price** of an environment step is the time that the environment takes for it. In our compiled
# Breakout it is a few microseconds inside the compiled program; a call from Python adds a few tenths of a millisecond. A robot that decides 50 times per second needs 20 ms, and no compiler
# helps. So we give Breakout that clock: its `step` returns 20 ms after it was called.

# %% tags=["plumbing"]
# @title Breakout with steps of 20 ms, and the time of a step with the policy that you trained
import gymnasium

from dreamer_lite.worlds import gymnasium_envs

STEP = 0.02  # seconds


class SlowBreakout(gymnasium.Wrapper):
    """Breakout in which a step ends STEP seconds after it began, never sooner."""

    def step(self, action: Any) -> tuple:
        due = time.perf_counter() + STEP
        result = super().step(action)
        time.sleep(max(0.0, due - time.perf_counter()))
        return result


def seconds_per_step(env: gymnasium.Env, count: int) -> float:
    """Median seconds of an environment step, the choice of its action by the Q-network included."""
    took, (obs, _) = [], env.reset(seed=seed)
    for _ in range(count):  # the first to compile, which a median leaves out
        begun = time.perf_counter()
        obs, _, terminated, truncated, _ = env.step(int(greedy(obs)))
        took.append(time.perf_counter() - begun)
        if terminated or truncated:
            obs, _ = env.reset()
    return float(np.median(took))


gymnasium_envs.register()

# %%
question = predict(
    "How many steps per second does the slow Breakout make, the policy's computation included?",
    ["about 10", "about 30", "nearly 50"],
)

# %%
weights = jax.tree.map(lambda x: x[0], final["Q-learning"].params)  # of the first seed
greedy = jax.jit(lambda obs: jnp.argmax(program.network(weights)(obs), -1))
fast = gymnasium.make("DreamerLite/Breakout-v0")
measured = {
    "compiled Breakout, stepped from Python": seconds_per_step(fast, robot_steps),
    "slow Breakout": seconds_per_step(SlowBreakout(fast), robot_steps),
}
for name, each in measured.items():
    print(f"{name:40} {1000 * each:6.2f} ms a step, {1 / each:5.0f} steps a second")

# %%
question.explain(
    f"Nearly 50 on a free machine, here {1 / measured['slow Breakout']:.0f}: the environment takes its 20 ms, "
    f"and choosing an action adds {1000 * (measured['slow Breakout'] - STEP):.1f} ms. Collecting 100,000 steps "
    "takes more than 33 minutes on this clock, whatever the agent does in them."
)

# %% [markdown]
# To *train* on that clock takes from four minutes to more than an hour, so from here on we compute. An agent that needs n environment
# steps and s seconds of computation, with one robot whose every step takes c seconds, is ready after
#
# $$\text{time}=s+n\,c$$
#
# **Assumptions.** There is *one* robot, and the W environments take turns on it. Acting and learning take
# turns; an agent that learns while the robot moves needs only the larger of s and n c. Resets are free.

# %%
question = predict(
    "At 20 ms per step, which agent is at 4 bricks first?",
    ["PPO, 8 environments", "Q-learning, ratio 64", "Dreamer, ratio 64"],
)

# %%
price = STEP  # try 0.001 and 0.1: seconds per environment step
robots = 1  # try 1000: robots that take the steps in parallel
prices = np.logspace(-6, -0.5, 60)


def total(label: str, cost: Any) -> Any:
    """Seconds until `label` is at `level` bricks, if a step costs `cost` seconds; NaN if never."""
    n, s = race[label]
    return s + n * cost / robots


minutes = {label: total(label, price) / 60 for label in stored}
for label, m in sorted(minutes.items(), key=lambda item: item[1]):
    print(f"{label:22} {m:6.1f} minutes to {level:g} bricks at {1000 * price:g} ms per step")


# %%
def level_price(first: str, second: str) -> float:
    """Price (s) at which both need the same time: below it `second` is faster. NaN: at none."""
    (n, s), (m, t) = race[first], race[second]
    return robots * (s - t) / (m - n) if m > n and s > t else float("nan")


meet = {
    "Dreamer, ratio 64 = PPO, 8 environments": level_price("Dreamer, ratio 64", "PPO, 8 environments"),
    "Dreamer, ratio 64 = Q-learning, ratio 64": level_price("Dreamer, ratio 64", "Q-learning, ratio 64"),
    "Q-learning, ratio 64 = PPO": level_price("Q-learning, ratio 64", "PPO"),
}  # fmt: skip
for pair, cost in meet.items():
    print(
        f"{pair:42}",
        f"{1000 * cost:.3g} ms per step" if cost > 0 else "their lines do not cross",
    )

# %% tags=["plumbing"]
# @title Draw minutes to 4 bricks against the price of a step
figure = Figure(figsize=(6.8, 4.0), layout="constrained")
axes = figure.add_subplot()
for label in stored:
    look = styles[label] | {"markevery": 6}
    axes.plot(1000 * prices, total(label, prices) / 60, label=label, **look)
axes.axvline(20, color="0.4", linestyle=":")
axes.set(xscale="log", yscale="log", xlabel="price of an environment step (ms); dotted: 20")
axes.set_ylabel(f"minutes to {level:g} bricks")
axes.legend(frameon=False, fontsize=8)
axes.grid(alpha=0.25)
show(
    figure,
    f"Minutes to {level:g} bricks against the price of an environment step, on log scales, six agents. "
    f"At {1000 * price:g} ms: "
    + "; ".join(f"{label} {in_words(m, 'minutes')}" for label, m in minutes.items()) + ".",
    "11_price",
)  # fmt: skip

# %%
question.explain(
    "Q-learning with a replay ratio of 64 is first, after about four minutes, and Dreamer with ratio 64 "
    "second. In the figure, an agent that needs many steps is a line that rises early, and one that "
    "computes long is a high line at the left. Where two lines cross decides between them: one of the two PPO "
    "agents is first only where a step costs less than 0.07 ms, as in our compiled environment. Dreamer with ratio 64 overtakes PPO at about 1 ms, and PPO with 8 environments at 2 ms."
)

# %% [markdown]
# **Limits.** One small environment, three seeds, and a level of 4 bricks: the curves with ratio 64 end at 5.5 and 6.5.
# Only the seconds per step are measured, the rest is arithmetic. The stored times are those of one core while the
# other one worked too, and equal runs differed by up to a fifth. On two free cores an update of Dreamer takes about
# two thirds of its stored time. That moves the crossings, some by a third or more, but changes no order at 20 ms.
#
# And many robots divide the price, if the agent has as many environments. With one robot for each environment,
# PPO's 128 make 20 ms into 0.16 ms, and PPO is first again, after 19 s; Q-learning with ratio 64 has 8, and needs
# 38 s. `robots = 1000` shows the limit. So the walking of legged robots is mostly learned by PPO in
# simulation. Rudin et al. (2021) train a four-legged robot on flat ground in under four minutes, in thousands
# of copies on one GPU.

# %% [markdown]
# ## 8 · Published scores: replay, pixels and the model
#
# **Walker Walk** of the DeepMind Control Suite is the task of notebook 09. Hafner et al. publish training
# scores of their runs and of others' agents with their code. These are *all* agents that have scores for
# this task; entries are mean returns, of 1,000 at best.
#
# From **vectors** (joint angles and velocities):
#
# | agent | policy | replay | model | 150,000 frames | 250,000 | 490,000 |
# |---|---|---|---|---|---|---|
# | PPO | on-policy | no | no | 38 | 44 | 58 |
# | MPO | off-policy | yes | no | 414 | 704 | 937 |
# | DMPO | off-policy | yes | no | 434 | 735 | 935 |
# | D4PG | off-policy | yes | no | 508 | 876 | 967 |
# | DDPG | off-policy | yes | no | 585 | 876 | 950 |
# | DreamerV3 | off-policy | yes | yes | 648 | 869 | 941 |
#

# %% [markdown]
# From **images**:
#
# | agent | policy | replay | model | 250,000 frames | 500,000 | 980,000 |
# |---|---|---|---|---|---|---|
# | PPO | on-policy | no | no | 37 | 46 | 84 |
# | SAC | off-policy | yes | no | 47 | 41 | 40 |
# | DrQ-v2 | off-policy | yes | no | 518 | 704 | 767 |
# | CURL | off-policy | yes | no | 578 | 778 | 822 |
# | DreamerV3 | off-policy | yes | yes | 887 | 940 | 960 |
#
# (Means of 5 or 10 seeds over the 50,000 frames before the number given; files in the references.)

# %% [markdown]
# Read the vectors first. With replay, agents *without* a model reach what DreamerV3 reaches: D4PG and DDPG
# at 250,000 frames, all four at 490,000. Only the first column is in DreamerV3's favour, and there the seeds
# overlap (DreamerV3's: 414 to 859; DDPG's: 391 to 786). On this task **replay makes the difference between learning and not**. The
# comparison of PPO with DreamerV3 alone would have credited the model.
#
# From images the model does help. SAC, which learns its encoder from rewards only, fails. CURL adds a
# contrastive loss and DrQ-v2 random shifts of the image, and these learn without a model, but not in every
# seed. At 980,000 frames one of ten seeds of CURL and two of ten of DrQ-v2 are below 60, and the others
# between 860 and 970. All ten seeds of DreamerV3 are between 950 and 970, and it learns faster. Part of what
# its world model contributes is therefore **representation learning**: every frame trains the encoder,
# whether or not there is a reward.
#
# **Limits.** One task out of many, and implementations from different groups. PPO's hyperparameters were
# fixed over all domains, like DreamerV3's. A mean over seeds hides the seeds that fail.
#
# Related work on sample efficiency: *SimPLe* (Kaiser et al. 2020) introduced the Atari 100k benchmark, and
# trains PPO *inside* a learned video model. *MBPO* (Janner et al. 2019) trains SAC, an off-policy agent,
# on short model rollouts that branch from replayed states. *DayDreamer* (Wu et al. 2022) taught a real
# four-legged robot to walk in an hour, without a simulator.

# %% [markdown]
# ## When to take which
#
# | your environment | take | because |
# |---|---|---|
# | compiled, or thousands of parallel copies | PPO | steps are nearly free; it is simple and fast in wall-clock time |
# | steps cost a millisecond or more, observations are vectors or symbols | an off-policy agent with a replay buffer | it is sample-efficient, and an update is cheap |
# | a robot with cameras, a slow simulator with images | a world model, with a high replay ratio | every step counts, and computation is cheap beside it |
# | images, sparse rewards | a world model | each frame trains the representation, whether there is a reward or not |
# | you must inspect what the agent expects | a world model | its imagined rollouts can be watched and measured (notebook 10) |
#
# Measure before you choose: n and s of your task decide, and the replay ratio moves both.

# %% [markdown]
# ## Quiz
#
# These questions cover the whole course.
#
# <details><summary>1. In three sentences: what is a world model, and what is it for?</summary>
#
# It is a network that learns from replayed sequences to predict observations, rewards and continuation,
# in a latent state of its own (notebooks 04 and 05). In it, a policy can be evaluated and improved on
# imagined rollouts, without environment steps (06 and 07). It is accurate only near the data that it
# was trained on, so new data must follow the policy (08).
# </details>
# <details><summary>2. World model, actor, critic: inputs, outputs, and what trains each?</summary>
#
# The world model maps observations and actions to states, and predicts observation, reward and
# continuation from them; replayed sequences train it. The actor maps a state to a distribution over
# actions; advantages of imagined rollouts train it. The critic maps a state to a return; λ-returns of
# imagined rollouts train it, and those of replayed sequences as well.
# </details>
# <details><summary>3. Dreamer and PPO use the same advantage estimate. Where do they differ?</summary>
#
# In the trajectories. PPO's are real and must come from the current policy, so the data are discarded after
# a few passes, and the clip limits each rollout's effect. Dreamer's are imagined by the current policy,
# from any replayed state. The imagined rollouts are on-policy, although the replayed data are not.
# </details>

# %% [markdown]
# <details><summary>4. Somebody shows that Dreamer needs a tenth of PPO's steps, and credits the world model. What is missing?</summary>
#
# A model-free agent with the same replay ratio. PPO has no replay buffer, so the comparison confounds
# replay and model.
# </details>
# <details><summary>5. An agent reaches a return of 8 in Breakout. What do you ask?</summary>
#
# How many seeds, environment steps and seconds; training or evaluation episodes; what random play and a
# negative control score; whether the paddle follows the ball or a rhythm.
# </details>
# <details><summary>6. Your simulator makes 300 steps per second on each of 16 cores. Which agent?</summary>
#
# 4,800 steps per second are 0.2 ms per step. Look at that price in section 7's figure, then measure:
# the answer depends on n and s of *your* task.
# </details>
# <details><summary>7. You raise the replay ratio from 4 to 64, and the return after an hour falls. A bug?</summary>
#
# Not necessarily. Each update costs the same and learns from data that changed less since the last one. The
# gain is in environment steps, not in seconds.
# </details>
# <details><summary>8. Why does PPO need no ε-greedy exploration, and a DQN no entropy bonus?</summary>
#
# PPO samples from a stochastic policy; the entropy term keeps it stochastic. A DQN's policy is the argmax of
# its values and therefore deterministic, so random actions are added from outside.
# </details>

# %% [markdown]
# ## Summary
#
# * An **on-policy** agent learns from data of its current policy only; an **off-policy** agent can replay old
#   data. That is a different question from whether it has a **model**.
# * GAE sums TD errors with weights (γλ)^k. A time limit cuts the sum, a terminal state also removes the value.
# * PPO's clip takes away the gradient of improvements beyond 1 ± ε, so that a rollout can be used a few times.
# * Double Q-learning lets one network choose and another evaluate, which reduces maximisation bias.
# * On our Breakout a higher replay ratio saved the steps, for Q-learning as for Dreamer. Compare a model-based
#   agent with a model-free one of the *same* replay ratio before you credit the model.
# * Time is computation plus steps times their price. Measure both for your task before you choose.

# %% [markdown]
# ## References
#
# * J. Schulman and others: Proximal policy optimization algorithms (2017),
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347).
# * J. Schulman and others: High-dimensional continuous control using generalized advantage
#   estimation (2016), [arXiv:1506.02438](https://arxiv.org/abs/1506.02438).
# * V. Mnih and others: Human-level control through deep reinforcement learning. Nature 518 (2015).
# * H. van Hasselt, A. Guez, D. Silver: Deep reinforcement learning with double Q-learning (2016),
#   [arXiv:1509.06461](https://arxiv.org/abs/1509.06461).
# * M. Hessel and others: Rainbow (2018), [arXiv:1710.02298](https://arxiv.org/abs/1710.02298).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104). The tables of
#   section 8 are ours, from the files `scores/dmc_proprio-*.json.gz` and `scores/dmc_vision-*.json.gz`
#   of [their code](https://github.com/danijar/dreamerv3) at commit e3f0224, task `dmc_walker_walk`.
# * L. Kaiser and others: Model-based reinforcement learning for Atari (2020; SimPLe),
#   [arXiv:1903.00374](https://arxiv.org/abs/1903.00374).
# * M. Janner, J. Fu, M. Zhang, S. Levine: When to trust your model (2019; MBPO),
#   [arXiv:1906.08253](https://arxiv.org/abs/1906.08253).
# * P. Wu and others: DayDreamer (2022), [arXiv:2206.14176](https://arxiv.org/abs/2206.14176).
# * N. Rudin and others: Learning to walk in minutes using massively parallel deep reinforcement
#   learning (2021), [arXiv:2109.11978](https://arxiv.org/abs/2109.11978).
#
# ## Next
#
# This is the last notebook. Take an environment of your own (`--world gym/my_module:MyEnv-v0`), train your
# Dreamer on it, and put one on-policy and one off-policy agent beside it.

# %%
_ = parts.load()
