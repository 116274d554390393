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
# # 08 · Dreamer: the training loop
#
# **Your agent is complete: it acts, stores, imagines and learns, and it learns Breakout while you watch its curves and its dreams.**
#
# ![](figure:08_training)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 45 | 120 | 10, on 2 CPU cores | notebooks 02, 05, 06 and 07 | optimizer, acting, the whole loss, the loop |
#
# **You will be able to**
#
# * write adaptive gradient clipping and LaProp, and say when the order of RMS and momentum matters;
# * act with a recurrent agent, and store what happened so that it can be trained on;
# * add up all losses of DreamerV3, and say who learns from which;
# * write the training loop in plain Python, and read the compiled one line by line;
# * read the curves of a training, and find a bug by them;
# * say what a part is worth, from ablations over several seeds.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
seed = 0  # @param {type: "integer"}
updates = 100 if FAST else 1500  # @param {type: "raw"}
changes = {}  # @param {type: "raw"}
folder = ""  # @param {type: "string"}
case = 1  # @param {type: "integer"}

# %% tags=["setup"]
# @title Imports, and the agent made of your parts so far
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course import bugs, checks, curves, notebook, parts, stories
from dreamer_lite.course.own_run import OwnRun
from dreamer_lite.course.widgets import Ablations, Beside, OwnDashboard, Panel
from dreamer_lite.course.widgets.own_board import meanings
from dreamer_lite.presets import make_config
from dreamer_lite.show.plots import style

dreamer = parts.load()
Batch, Config, Dreamer, Learner, Replay, Run, State = (
    dreamer.Batch, dreamer.Config, dreamer.Dreamer, dreamer.Learner, dreamer.Replay, dreamer.Run,
    dreamer.State,
)  # fmt: skip
feature, lambda_returns, critic_loss = dreamer.feature, dreamer.lambda_returns, dreamer.critic_loss
world_model_loss, weighted_sum = dreamer.world_model_loss, dreamer.weighted_sum
imagine, dream_losses, train_step = dreamer.imagine, dreamer.dream_losses, dreamer.train_step
add, sample, cut, write_back = dreamer.add, dreamer.sample, dreamer.cut, dreamer.write_back
sg = jax.lax.stop_gradient

# %% [markdown]
# ## What is missing
#
# You have a replay buffer (02), a world model (05), imagination (06), and the losses of actor and critic (07). What is missing holds them together:
#
# ```python
# for _ in range(updates):
#     state, action = act(agent, state, action, steps, key)    # infer the state, sample an action
#     replay = add(replay, steps, action, state)               # store what happened
#     world, steps = step(world, action)                       # the environments move on
#     place, env = sample(replay, batch, length, key)          # choose windows
#     batch = cut(replay, place, env, classes)
#     learner, losses, states = update(learner, batch, key)    # one gradient step on everything
#     replay = write_back(replay, place, env, states)          # refresh the stored states
# ```
#
# These eight lines are DreamerV3. (Each `key` stands for a new one.) Sections 1 to 3 write the optimizer, 4 the acting, 5 to 7 the update, and 8 the loop. Then your agent
# learns (9), you compare seeds, ablations and settings (10 to 12), and find bugs in the agents of others (13).

# %% [markdown]
# ## 1 · Adaptive gradient clipping
#
# **Gradient clipping** bounds the norm of a gradient, so that one unusual batch cannot throw the parameters far away. One
# bound for all tensors must be chosen anew for each task. **Adaptive gradient clipping** (AGC; Brock et al. 2021) compares the gradient of each tensor with the
# *parameter*. For a gradient $g$ and a parameter $p$:
#
# $$g\leftarrow \frac{g}{\max\bigl(1,\;\lVert g\rVert / \ell\bigr)}\qquad
# \ell=0.3\,\max(10^{-3},\lVert p\rVert)$$
#
# The norm is over the whole tensor; Brock et al. take it for each unit. The floor of 10⁻³ lets a tensor move that is all zeros, such as a bias.
#
# **A tiny number.** ‖p‖ = 2, so ℓ = 0.6. A gradient of norm 3 is divided by 5. A gradient of norm 0.5 stays as it is.

# %% [markdown]
# **Exercise 1** · easy · important · 5 minutes
#
# Clip the gradient of one tensor.
#
# <details><summary>Hint 1: the idea</summary>
#
# The direction stays; only the length changes, and only if it is above the limit.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# One line for ℓ, one for the division by the maximum of 1 and ‖g‖ / ℓ. `jnp.linalg.norm(x.ravel())` is the norm of a tensor of any shape.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `limit = clip * jnp.maximum(1e-3, jnp.linalg.norm(param.ravel()))`
# </details>


# %% tags=["exercise", "part:clip_gradient"]
def clip_gradient(gradient: jax.Array, param: jax.Array, clip: float = 0.3) -> jax.Array:
    """Adaptive gradient clipping: a norm of at most `clip` times the parameter's norm.

    gradient, param: one tensor, both of the same shape (...), that of the result. The parameter's
    norm counts as at least 0.001.
    """
    # BEGIN SOLUTION
    limit = clip * jnp.maximum(1e-3, jnp.linalg.norm(param.ravel()))
    return gradient / jnp.maximum(1.0, jnp.linalg.norm(gradient.ravel()) / limit)
    # END SOLUTION


# %% tags=["check"]
clip_gradient = checks.clip_gradient(clip_gradient)

# %% [markdown]
# ## 2 · LaProp: RMS first, then momentum
#
# Clipping bounds the worst case. The usual size of gradients still differs from tensor to tensor. **LaProp** (Ziyin et al. 2020) divides each number of
# the gradient by the root of its own mean square, and then averages over time (**momentum**):
#
# $$v\leftarrow\beta v+(1-\beta)g^2\qquad
# \tilde g=\frac{g}{\sqrt{v/(1-\beta^n)}+\epsilon}$$
#
# $$m\leftarrow\mu m+(1-\mu)\tilde g\qquad \text{step}=\frac{m}{1-\mu^n}$$
#
# Here n = 1, 2, ... counts the updates, μ = 0.9 and ε = 10⁻²⁰. Both averages start at zero, and the divisions by $1-\beta^n$ and $1-\mu^n$
# correct for that. **Adam** (Kingma and Ba 2015) has the other order: it averages the raw gradient and divides the average.
#
# About β: **the paper prints 0.99, the released code has 0.999.** Our small agents use 0.99.
#
# How large can $\tilde g$ become? After a calm time one large gradient g fills v with $(1-\beta)g^2$, so $\tilde g$ is at most
# $1/\sqrt{1-\beta}$: 10 at 0.99, and 31.6 at 0.999. Scaling alone does *not* make a shock count as 1. Momentum then takes a tenth of it, so the shock moves a step by at most 1 at
# β = 0.99, and by 3.2 at 0.999. Adam has the same bound for its step. (If the shock comes early, v is corrected by a larger factor, and the bound is not reached.)
#
# **A tiny number.** First step, g = 5, β = 0.999: v = 0.025, corrected 25, so $\tilde g$ = 1; m = 0.1, corrected 1. The first step is 1 for any gradient.

# %% [markdown]
# **Exercise 2** · medium · very important · 10 minutes
#
# Write one step. Return v and m as they are carried on, without the correction.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two exponential moving averages, one after the other: the first of squares, the second of what has been scaled by it.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Four lines: v, the scaled gradient, m, and the three results. `decay**count` works for a number and for an array. ε stands outside of the root.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `scaled = gradient / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)`, and in the end
# `return m / (1 - momentum**count), v, m`.
# </details>


# %% tags=["exercise", "part:laprop"]
def laprop(gradient, v, m, count, decay: float, momentum: float = 0.9):
    """LaProp: scale by the root mean square first, then momentum. Returns (step, v, m).

    gradient, v, m: arrays of one shape. count: the number of this update, 1 for the first.
    decay: β of the mean square. momentum: μ. The learning rate comes later.
    """
    # BEGIN SOLUTION
    v = decay * v + (1 - decay) * gradient**2
    scaled = gradient / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)
    m = momentum * m + (1 - momentum) * scaled
    return m / (1 - momentum**count), v, m
    # END SOLUTION


# %% tags=["check"]
laprop = checks.laprop(laprop)

# %% [markdown]
# **Exercise 3** · easy · important · 5 minutes
#
# Write Adam, for comparison. It is no part of the agent.
#
# <details><summary>Hint 1: the idea</summary>
#
# The same two averages. Now m is an average of the raw gradient, and the division comes last.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# v as before; m without scaling; the step is the corrected m divided by the root of the corrected v.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `step = m / (1 - momentum**count) / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)`
# </details>


# %% tags=["exercise"]
def adam(
    gradient: jax.Array, v: jax.Array, m: jax.Array, count: jax.Array, decay: float,
    momentum: float = 0.9,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """Adam: momentum of the raw gradient, then scale it. Arguments and results as in `laprop`."""
    # BEGIN SOLUTION
    v = decay * v + (1 - decay) * gradient**2
    m = momentum * m + (1 - momentum) * gradient
    step = m / (1 - momentum**count) / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)
    return step, v, m
    # END SOLUTION


# %% tags=["check"]
adam = checks.adam(adam)

# %% [markdown]
# **Does the order matter?** We feed gradients of size 1, one of size 100 at update 31, and then small ones of size 0.01, to your LaProp and to Adam.

# %%
question = notebook.predict(
    "At which β does Adam's order take far larger steps than LaProp's after the shock?",
    ["0.5", "0.99", "0.999", "all three"],
)

# %%
noise = np.random.default_rng(seed).standard_normal(80)
gradients = jnp.float32(np.concatenate([noise[:30], [100.0], 0.01 * noise[31:]]))

# %% tags=["plumbing"]
# @title Run and draw both orders


def walk(rule: Callable, decay: float) -> np.ndarray:
    """Sizes of 80 steps under a rule."""

    def step(carry: tuple, inputs: tuple) -> tuple:
        size, *carry = rule(inputs[0], *carry, inputs[1], decay)
        return tuple(carry), jnp.abs(size)

    inputs = gradients, jnp.arange(1.0, 81.0)
    return np.asarray(jax.jit(lambda: jax.lax.scan(step, (jnp.zeros(()),) * 2, inputs)[1])())


sizes = {
    beta: {"LaProp": walk(laprop, beta), "Adam": walk(adam, beta)} for beta in (0.5, 0.99, 0.999)
}
figure = Figure(figsize=(9.0, 2.9), layout="constrained")
for axes, (beta, lines) in zip(figure.subplots(1, 3, sharey=True), sizes.items()):
    for number, (label, size) in enumerate(lines.items()):
        axes.plot(np.arange(1, 81), size, label=label, **style(number, 80))
    axes.set(title=f"β = {beta:g}", yscale="log", xlabel="update", ylim=(1e-3, 200))
figure.axes[0].set_ylabel("size of the step")
figure.axes[0].legend(frameon=False)
largest = {beta: {k: x[30:].max() for k, x in lines.items()} for beta, lines in sizes.items()}
notebook.show(
    figure,
    "Sizes of 80 steps of LaProp and Adam on a log scale; gradient 31 is 100 times the others, and small ones follow. Largest step from there on: "
    + "; ".join(
        f"β = {beta:g}: " + ", ".join(f"{k} {x:.2g}" for k, x in found.items())
        for beta, found in largest.items()
    )
    + ".",
    "08_order",
)
question.explain(
    f"Only at 0.5: Adam's largest step is {largest[0.5]['Adam']:.0f}, LaProp's {largest[0.5]['LaProp']:.2f}. There v forgets the shock faster than m does, and old "
    "momentum is divided by a new, small root. That needs √β < μ, so β below 0.81. At the values that are used in practice, 0.99 and 0.999, "
    f"both orders take nearly the same steps ({largest[0.99]['Adam']:.2f} and {largest[0.99]['LaProp']:.2f} at 0.99). The order is a safeguard that lets one choose a smaller β."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:08_order)
# </details>
#
# ## 3 · The optimizer and its learning rate
#
# An **optax optimizer** is a pair of pure functions: `init(params)` returns the memory, `update(gradient, memory, params)` returns the steps and the new memory. The steps are *added* to the parameters, so they point downhill. `optax.chain` puts
# several in a row. `optax.stateless_with_tree_map` calls a function for each tensor, here your `clip_gradient`. `optax.flatten` hands all parameters to the next one as a single vector, which is faster than fifty small ones.
#
# The **learning rate** rises linearly during the first updates (**warm-up**), when v is an average of few gradients:
#
# $$\text{rate}_n=\alpha\,\min\Bigl(1,\frac{n}{\text{warmup}}\Bigr)\frac{1}{\sqrt{1+n/\text{decay}}}$$
#
# Here n counts the updates made before. The last factor is ours; with `decay` 0 it is left out.
#
# | | paper and released code | our preset for Breakout |
# |---|---|---|
# | learning rate α | 4·10⁻⁵, never falls | 3·10⁻³, falls to 0.7 in 1,000 updates |
# | warm-up | 1,000 updates | 100 updates |
# | entropy coefficient η | 3·10⁻⁴ in every task | 10⁻² |
#
# The paper's claim is that *one* setting works everywhere. We tune ours for each environment, so that a small network learns in minutes on two cores. **So this course does not
# test that claim.**
#
# **A tiny number.** warmup = 100, decay = 1,000: n = 0 gives 0 (the very first update moves nothing), n = 50 gives 0.49 α, n = 3,000 gives 0.5 α.

# %% [markdown]
# **Exercise 4** · medium · important · 10 minutes
#
# Write the inside of `scale`. It is given the flat gradient (P,) and its memory, the tuple (v, m, n). It returns the steps and the new memory. The frame around it is given. Two
# hyperparameters have similar names: `c.rms_decay` is LaProp's β, and `c.decay` is that of the learning rate. n is an array inside a compiled program, `c.decay` is a Python number.
#
# <details><summary>Hint 1: the idea</summary>
#
# Unpack the memory, make one step of LaProp, compute the rate, and return minus the rate times the step, with the new memory.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `count` in the memory is the number of updates made before: LaProp needs `count + 1`, the rate needs `count`. `c.decay` is a Python number, so `if` works for it. The check reports a NaN if LaProp is given a count of 0, or if you divide by a `c.decay` of 0.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `rate = c.learning_rate * jnp.minimum(1.0, count / c.warmup)`, then `rate *= jax.lax.rsqrt(1 + count / c.decay) if c.decay else 1.0`, then
# `return -rate * step, (v, m, count + 1)`.
# </details>


# %% tags=["exercise", "part:make_optimizer"]
def make_optimizer(c: Config) -> optax.GradientTransformation:
    """Clipping for each tensor, then LaProp over all parameters as one vector.

    c: hyperparameters; here c.learning_rate, c.warmup, c.decay and c.rms_decay count.
    """

    def scale(gradient, memory, params=None):
        # BEGIN SOLUTION
        v, m, count = memory
        step, v, m = laprop(gradient, v, m, count + 1, c.rms_decay)
        rate = c.learning_rate * jnp.minimum(1.0, count / c.warmup)
        rate *= jax.lax.rsqrt(1 + count / c.decay) if c.decay else 1.0
        return -rate * step, (v, m, count + 1)
        # END SOLUTION

    laprops = optax.GradientTransformation(lambda p: (0.0 * p, 0.0 * p, jnp.int32(0)), scale)
    return optax.chain(optax.stateless_with_tree_map(clip_gradient), optax.flatten(laprops))


# %% tags=["check"]
make_optimizer = checks.make_optimizer(make_optimizer)

# %% [markdown]
# ## 4 · Acting, and what is stored
#
# While acting, the agent knows its state and its action of the time step before, and a new observation. It infers the new state (the **posterior** of
# notebook 04), and samples an action from its policy. Sampling is its **exploration**: it has no other.
#
# Shapes, for W environments side by side: `state` (W, ...), `action` (W, A), `steps.obs` (W, ...), `steps.is_first` and `steps.is_last` (W,).
#
# | at time step t | is |
# |---|---|
# | before | $h_{t-1},z_{t-1},a_{t-1}$ and the observation $x_t$ |
# | inferred | $h_t=f(h_{t-1},z_{t-1},a_{t-1})$, $z_t\sim q(z\mid h_t,e_t)$; both reset where `is_first` |
# | chosen | $a_t\sim\pi(a\mid h_t,z_t)$; zero where `is_last`, because the next time step is a reset |
#
# **A tiny number.** W = 2, the second environment has just ended its episode: its action is (0, 0, 0), whatever the policy sampled.

# %% [markdown]
# **Exercise 5** · medium · very important · 10 minutes
#
# Write `act`. Split the key in two: the first for u, the second to sample the action. What you call:
#
# | call | returns |
# |---|---|
# | `agent.encoder.embed(obs)` (notebook 05) | $e_t$ |
# | `agent.rssm.observe_step(state, embed, action, is_first, u)` (notebook 04) | (new state, posterior); it resets by itself |
# | `agent.actor.policy(feat)` (notebook 07), with `feat` = `feature(state)` | a distribution, which has `.sample(key)` |
#
# u is uniform noise (W, S), one number for each group of z, from which `observe_step` makes the sample.
#
# <details><summary>Hint 1: the idea</summary>
#
# Encode, infer, sample. The agent acts on what it sees now, so the policy is given the *new* state.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `state.stoch` is (W, S, C), so u has the shape `state.stoch.shape[:-1]`. Take the first result of `observe_step`. `steps.is_last` is (W,) and the action is (W, A): the mask needs a second axis.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `u = jax.random.uniform(u_key, state.stoch.shape[:-1])`; the last line is
# `return state, action * (1.0 - steps.is_last[:, None])`.
# </details>


# %% tags=["exercise", "part:act"]
def act(agent: Dreamer, state: State, action: jax.Array, steps: Any, key: jax.Array):
    """Infer the new state of W environments and sample an action for each; (state, action).

    agent: the networks. state: State (W, ...) of the time step before. action: (W, A) chosen there.
    steps: a worlds.TimeStep (W, ...), the new observations with their flags.
    key: a random key; it is split into one for u and one for the actions.
    """
    # BEGIN SOLUTION
    u_key, key = jax.random.split(key)
    u = jax.random.uniform(u_key, state.stoch.shape[:-1])
    embed = agent.encoder.embed(steps.obs)
    state = agent.rssm.observe_step(state, embed, action, steps.is_first, u)[0]
    action = agent.actor.policy(feature(state)).sample(key)
    return state, action * (1.0 - steps.is_last[:, None])
    # END SOLUTION


# %% tags=["check"]
act = checks.act(act)

# %% [markdown]
# `Run` is the NamedTuple of all that a run is: what is saved, and what the loop carries.
#
# | field | is |
# |---|---|
# | `learner` | networks, slow critic, optimizer's memory, range of returns: section 6 |
# | `replay` | the ring of notebook 02; `replay.added` counts the time steps |
# | `world`, `steps` | the environments' own states (the argument `world` is their rules); the time step that is not yet acted on |
# | `state`, `action` | what the agent knew and did last |
# | `seed` | every random key is made of it and of `replay.added`, so a resumed run goes on exactly |
# | `score`, `latest` | (W,) return of the running episode; of the latest finished one |
#
# One time step of all environments: `act`, `add`, and one step of the environments. What is stored together is the time step, the action chosen *after* it, and the state
# inferred *from* it.

# %% [markdown]
# **Exercise 6** · medium · important · 12 minutes
#
# Write the rest of `collect`. The keys are given: `keys[0]` for `act`, `keys[1:]` for the environments. `step(world states, steps, choices, keys)` moves all environments and returns (world
# states, steps). An environment takes a discrete action as a number (`world.action_space.is_discrete`), a continuous one as it is.
# `seed` and `learner` stay.
#
# <details><summary>Hint 1: the idea</summary>
#
# The old time step `run.steps` is stored; the new one goes into the new run. The score begins at 0 where an episode begins.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `act`; `add`; `choice`; `step`; `score`: the old one or 0, plus the new reward; `latest`: the score where the new time step is the last. Then a new `Run` of all nine fields, in the order
# of the table.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `choice = action.argmax(-1) if world.action_space.is_discrete else action`, and
# `score = jnp.where(steps.is_first, 0.0, run.score) + steps.reward`.
# </details>


# %% tags=["exercise", "part:collect"]
def collect(graph, c: Config, world: Any, run: Run) -> Run:
    """One time step of all environments: act, store, step.

    graph: the structure of the agent, for nnx.merge. c: hyperparameters; c.worlds is W.
    world: the environment. run: the run so far. Returns the run after the time step.
    """
    key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added)
    keys = jax.random.split(key, c.worlds + 1)
    agent = nnx.merge(graph, run.learner.params)
    step = jax.vmap(lambda *args: worlds.next_timestep(world, *args))
    # BEGIN SOLUTION
    state, action = act(agent, run.state, run.action, run.steps, keys[0])
    replay = add(run.replay, run.steps, action, state)
    choice = action.argmax(-1) if world.action_space.is_discrete else action
    world_state, steps = step(run.world, run.steps, choice, keys[1:])
    score = jnp.where(steps.is_first, 0.0, run.score) + steps.reward
    latest = jnp.where(steps.is_last, score, run.latest)
    return Run(run.learner, replay, world_state, steps, state, action, run.seed, score, latest)
    # END SOLUTION


# %% tags=["check"]
collect = checks.collect(collect)

# %% [markdown]
# ## 5 · The critic's loss on replayed time steps
#
# In imagination all rewards are predictions. DreamerV3 also trains the critic on replayed sequences, whose **rewards are real**, with weight 0.3. The λ-returns of such a sequence need values to
# bootstrap from. They come from imagination: at each replayed state the rollout that starts there has a λ-return, $R^{\text{imag}}$, and that is the `bootstrap` (T, B):
#
# $$R_t=r_{t+1}+c_{t+1}\bigl((1-\lambda_{t+1})\,R^{\text{imag}}_{t+1}+\lambda_{t+1}\,R_{t+1}\bigr)$$
#
# Two kinds of end must be told apart:
#
# | flag | means | effect |
# |---|---|---|
# | `is_terminal` | the episode is really over | $c=0$: nothing comes after it; otherwise $c=\gamma$ |
# | `is_last` | last time step, also by a time limit | $\lambda=0$: what follows in the replay is another episode |
#
# The last time step of an episode has no action, and the next entry is a reset: its own loss counts 0.
#
# Gradients: the critic learns, **and so does the world model**, because the states are not stopped here. The slow critic and the returns are constants: your `critic_loss`
# stops both, and an `sg` around the slow critic says so to the reader.
#
# **A tiny number.** A time limit at t + 1, reward 1, $R^{\text{imag}}_{t+1}$ = 5, γ = 0.99: $R_t$ = 1 + 0.99 · 5 = 5.95. With a terminal state it would be 1.

# %% [markdown]
# **Exercise 7** · medium · important · 12 minutes
#
# Write the loss with your `lambda_returns(reward, cont, value, lam)` and `critic_loss(logits, slow_logits, returns)`. `lambda_returns` is given all T time steps and shifts by itself: it
# returns (T-1, B).
#
# <details><summary>Hint 1: the idea</summary>
#
# The same two functions as in imagination. Only rewards, continuations and λ come from the replay.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `cont` and `lam` from the two flags, all (T, B); `returns` (T-1, B); the features of the first T - 1 states; the mask from `is_last[:-1]`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `cont, lam = (1.0 - steps.is_terminal) * c.discount, (1.0 - steps.is_last) * c.lam`. The slow critic's logits are `sg(slow(feat))`.
# </details>


# %% tags=["exercise", "part:replay_value_loss"]
def replay_value_loss(agent, slow, c: Config, batch: Batch, states: State, bootstrap: jax.Array):
    """The critic's loss (T-1, B) on replayed time steps, whose rewards are real.

    agent.critic, slow: critic and slow critic, features (..., F) to logits (..., K).
    c: hyperparameters; here c.discount and c.lam count. batch: its steps are (T, B).
    states: State (T, B, ...), which passes the gradient on. bootstrap: (T, B), imagined returns.
    """
    # BEGIN SOLUTION
    steps = batch.steps
    cont, lam = (1.0 - steps.is_terminal) * c.discount, (1.0 - steps.is_last) * c.lam
    returns = lambda_returns(steps.reward, cont, bootstrap, lam)
    feat = feature(states)[:-1]
    return (1 - steps.is_last[:-1]) * critic_loss(agent.critic(feat), sg(slow(sg(feat))), returns)
    # END SOLUTION


# %% tags=["check"]
replay_value_loss = checks.replay_value_loss(replay_value_loss)

# %% [markdown]
# ## 6 · The whole objective
#
# `total_loss` is everything that DreamerV3 minimises, as one number: your world-model loss on replayed sequences, your imagination from the states that were inferred on
# the way, your losses of actor and critic there, and the loss of section 5.
#
# | loss | weight | trains |
# |---|---|---|
# | recon | `c.recon` (paper 1) | encoder, RSSM, decoder |
# | reward, cont | 1 | encoder, RSSM, the head |
# | dyn | 1 | prior; through $h_t$ also the RSSM and, at earlier time steps, the encoder |
# | rep | 0.1 | encoder, posterior, RSSM |
# | policy | 1 | actor only |
# | value | 1, of which the slow critic's term is as heavy as the returns' | critic only |
# | replay_value | 0.3 | critic, encoder, RSSM |
#
# One sum, one backward pass: the stop-gradients keep the losses apart, as you proved in notebooks 05 and 07.
#
# Imagination starts from the last `c.starts` states of each sequence (0 means all of them, as in the paper; ours takes 2, which is four times as
# fast). It uses a `frozen` copy of the agent, `nnx.merge(graph, sg(params))`: nothing in it learns, and JAX need not even try.
#
# `Learner` holds what learning changes: `params`; `slow`, the parameters of the slow critic; `memory` of the optimizer; `range` of the returns.
#
# **A tiny number.** B = 64, T = 8, `c.starts` = 2, H = 10: 128 rollouts of 10 steps, 1,280 imagined steps from 512 replayed ones.

# %% [markdown]
# **Exercise 8** · hard · very important · 25 minutes
#
# Write `total_loss`. The extra that it returns are the mean of each loss, the states (stopped, T of them), and the new range. Your functions of the notebooks before:
#
# | call | returns |
# |---|---|
# | `world_model_loss(agent, c, batch, key)` (05) | (losses (T, B) by name, states (T, B, ...)) |
# | `imagine(agent, start, horizon, key)` (06), `start` (N, ...) | (states (H+1, N, ...), actions (H, N, A)) |
# | `dream_losses(agent, slow, c, states, actions, old_range)` (07) | (losses (H, N) by name, returns (H, N), new range) |
# | `weighted_sum(losses, c)` (05) | the sum, one number; the weights are inside |
#
# The name of the new loss is `"replay_value"`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Three networks: `agent` learns, `frozen` imagines, `slow` regularises. Then five calls one after another: `world_model_loss`, `imagine`, `dream_losses`, `replay_value_loss`,
# `weighted_sum`. Between them the states must be cut and reshaped.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `nnx.merge(graph, params)` makes networks of a structure and parameters; the critic's structure is `nnx.graphdef(agent.critic)`, the slow one's parameters are `learner.slow`.
# `last, tail` are the last `c.starts` states and time steps: `jax.tree.map(lambda x: x[-c.starts :], ...)` on `(states, batch._replace(start=None))`. `start` is `last`, stopped, (starts · B, ...).
# `returns[0]` is the λ-return at each start; as (starts, B) it is the bootstrap of `replay_value_loss(agent, slow, c, tail, last, bootstrap)`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `start = jax.tree.map(lambda x: sg(x).reshape(-1, *x.shape[2:]), last)`; `bootstrap = returns[0].reshape(last.deter.shape[:2])`;
# `losses |= more | {"replay_value": ...}`; `return weighted_sum(losses, c), (means, sg(states), new_range)`.
# </details>


# %% tags=["exercise", "part:total_loss"]
def total_loss(params, graph, c: Config, learner: Learner, batch: Batch, key: jax.Array):
    """The objective of DreamerV3: (sum, (mean losses, states, new range)).

    params: all networks' parameters, with respect to which it is differentiated. graph: their
    structure. c: hyperparameters. learner: slow critic and range. batch: sequences (T, B, ...).
    key: split in two, for the world model and for imagination. The mean losses are a dictionary.
    """
    # BEGIN SOLUTION
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
    # END SOLUTION


# %% tags=["check"]
total_loss = checks.total_loss(total_loss)

# %% [markdown]
# ## 7 · One update, and the slow critic
#
# An update is your `train_step` on `total_loss`. Then the **slow critic** follows by an exponential moving average:
#
# $$\text{slow}\leftarrow 0.98\,\text{slow}+0.02\,\text{critic}$$
#
# Notebook 07 said what it is for: the critic is drawn towards its prediction with weight 1.0, as much as towards the returns. It is a regulariser and **not a target network**, because the
# returns bootstrap from the critic itself.
#
# **A tiny number.** After n updates $0.98^n$ of the old parameters is left: a half after 34 updates, a hundredth after 228.

# %% [markdown]
# **Exercise 9** · easy · very important · 8 minutes
#
# Write `update`. `train_step(loss, optimizer, params, memory, *inputs)` passes `inputs` on to the loss, behind `params`, and
# returns (new params, new memory, extra). The networks' parameters are a dictionary by name, such as `params["critic"]`, itself a tree of arrays.
#
# <details><summary>Hint 1: the idea</summary>
#
# A new `Learner` has four fields, and all four are new.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# The inputs of `total_loss` behind `params` are `graph, c, learner, batch, key`. The extra is `(losses, states, new_range)`. A tree has no arithmetic of its own: `jax.tree.map` with a function of two arrays averages.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `params, memory, (losses, states, new_range) = train_step(total_loss, optimizer, *inputs)` with
# `inputs = learner.params, learner.memory, graph, c, learner, batch, key`.
# </details>


# %% tags=["exercise", "part:update"]
def update(graph, c: Config, optimizer, learner: Learner, batch: Batch, key: jax.Array):
    """One gradient step on everything; the slow critic follows. (learner, losses, states).

    graph: the structure of the agent. optimizer: that of `make_optimizer`. learner: what learning
    changes. batch: sequences (T, B, ...). key: for `total_loss`. losses: {name: mean}.
    """
    # BEGIN SOLUTION
    inputs = learner.params, learner.memory, graph, c, learner, batch, key
    params, memory, (losses, states, new_range) = train_step(total_loss, optimizer, *inputs)
    slow = jax.tree.map(lambda s, p: 0.98 * s + 0.02 * p, learner.slow, params["critic"])
    return Learner(params, slow, memory, new_range), losses, states
    # END SOLUTION


# %% tags=["check"]
update = checks.update(update)

# %% [markdown]
# ## 8 · The loop
#
# **The run before its first time step.** All environments are reset, the agent knows nothing, the ring is empty, the slow critic is a *copy* of the critic, and no episode has ended. A ring for
# W environments has L = `c.capacity // c.worlds` places; `Replay` has the fields (steps, action, deter, stoch, added), and the classes in `stoch` are stored as `uint8`, (L, W, S). The range
# of returns begins at (0, 0).
#
# Mind the copy: if the slow critic were the very same arrays, a program that reuses their memory would fail. And all numbers of a run are arrays, also `seed` and `added` (`jnp.int32`), because the loop carries them.

# %% [markdown]
# **Exercise 10** · medium · useful · 12 minutes
#
# Write `begin`. `world.reset(key)` returns the state of one environment and its first time step. The fields of
# `Run` and of `Learner` are in sections 4 and 6.
#
# <details><summary>Hint 1: the idea</summary>
#
# Nearly everything is zeros. Only shapes and types need care, and `jax.tree.map` over what is stored *once* makes the whole ring.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# W resets: `jax.vmap(world.reset)` on W keys of `jax.random.key(seed)`. Then state, action, the ring of (steps, action, deter, classes), the learner, and three numbers: seed, scores,
# latest returns (NaN).
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `stored = steps, action, state.deter, jnp.zeros((c.worlds, c.stoch), jnp.uint8)`, and
# `ring = jax.tree.map(lambda x: jnp.zeros((c.capacity // c.worlds, *x.shape), x.dtype), stored)`; then `Replay(*ring, jnp.int32(0))`.
# </details>


# %% tags=["exercise", "part:begin"]
def begin(c: Config, world: Any, optimizer, params, seed: int) -> Run:
    """The state of a run before its first time step.

    c: hyperparameters; c.worlds, c.deter, c.stoch, c.classes and c.capacity count. world: one
    environment; an action has `world.action_space.classes` numbers, or `shape[0]` if it is
    continuous. optimizer: that of `make_optimizer`. params: the new parameters of all networks.
    """
    # BEGIN SOLUTION
    world_state, steps = jax.vmap(world.reset)(jax.random.split(jax.random.key(seed), c.worlds))
    state = State(jnp.zeros((c.worlds, c.deter)), jnp.zeros((c.worlds, c.stoch, c.classes)))
    action = jnp.zeros((c.worlds, world.action_space.classes or world.action_space.shape[0]))
    stored = steps, action, state.deter, jnp.zeros((c.worlds, c.stoch), jnp.uint8)
    ring = jax.tree.map(lambda x: jnp.zeros((c.capacity // c.worlds, *x.shape), x.dtype), stored)
    slow = jax.tree.map(jnp.copy, params["critic"])
    learner = Learner(params, slow, optimizer.init(params), jnp.zeros(2))
    numbers = jnp.int32(seed), jnp.zeros(c.worlds), jnp.full(c.worlds, jnp.nan)
    return Run(learner, Replay(*ring, jnp.int32(0)), world_state, steps, state, action, *numbers)
    # END SOLUTION


# %% tags=["check"]
begin = checks.begin(begin)

# %% [markdown]
# `learn` is the other half of the loop: sample a batch, update, and write the states that were just inferred back into the ring (notebook 02: stored states were inferred by an older model).

# %% [markdown]
# **Exercise 11** · easy · important · 8 minutes
#
# Write the rest of `learn`. `sample_key` is for `sample`, `key` for `update`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Four of the eight lines at the top of this notebook.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `sample(replay, c.batch, c.length, key)`, `cut(replay, place, env, c.classes)`, `update`, `write_back(replay, place, env, states)`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `return run._replace(learner=learner, replay=write_back(run.replay, place, env, states)), losses`
# </details>


# %% tags=["exercise", "part:learn"]
def learn(graph, c: Config, optimizer, run: Run) -> tuple[Run, dict]:
    """Sample a batch, make one update, and write the new states back.

    graph: the structure of the agent. c: hyperparameters; c.batch, c.length and c.classes count.
    optimizer: that of `make_optimizer`. run: the run so far. Returns (run, mean losses).
    """
    key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added + 1)
    sample_key, key = jax.random.split(key)
    # BEGIN SOLUTION
    place, env = sample(run.replay, c.batch, c.length, sample_key)
    batch = cut(run.replay, place, env, c.classes)
    learner, losses, states = update(graph, c, optimizer, run.learner, batch, key)
    return run._replace(learner=learner, replay=write_back(run.replay, place, env, states)), losses
    # END SOLUTION


# %% tags=["check"]
learn = checks.learn(learn)

# %% [markdown]
# How many time steps between two updates? The **train ratio** (or replay ratio) is the number of *replayed* time steps per *collected* one. An update replays B · T of
# them, and one call of `collect` adds W:
#
# $$\text{steps between two updates}=\frac{B\,T}{W\cdot\text{train ratio}}$$
#
# **A tiny number.** Breakout: B = 64, T = 8, W = 128, ratio 4: one call of `collect` per update. Atari at ratio 32 with B = 16, T = 64, W = 16: two.
#
# Where a time step is expensive (a robot, a slow simulator), a high ratio makes the agent **sample-efficient**. Where it is nearly free, as in our compiled Breakout, fresh
# time steps are worth more than old ones.

# %% [markdown]
# **Exercise 12** · easy · very important · 8 minutes
#
# Write the loop in plain Python. `collect_once(run)` returns a run, `learn_once(run)` returns (run, losses).
#
# <details><summary>Hint 1: the idea</summary>
#
# Collect first: an update should see the newest time steps.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# A `for` in a `for`; a list that the losses are appended to.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `run, losses = learn_once(run)` after the inner loop, then `history.append(losses)`.
# </details>


# %% tags=["exercise"]
def loop(
    collect_once: Callable, learn_once: Callable, run: Any, steps: int, updates: int
) -> tuple[Any, list]:
    """`updates` times: collect `steps` time steps, then learn once. Returns (run, all losses)."""
    # BEGIN SOLUTION
    history = []
    for _ in range(updates):
        for _ in range(steps):
            run = collect_once(run)
        run, losses = learn_once(run)
        history.append(losses)
    return run, history
    # END SOLUTION


# %% tags=["check"]
loop = checks.loop(loop)

# %% [markdown]
# **The same loop, compiled.** Your loop returns to Python after every function. `make_program` of the single-file agent turns it into *one* program: environments, replay buffer and networks never leave the
# device. It is given, and calls your `collect` and `learn`:


# %% tags=["given"]
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


# %% [markdown]
# | line | what it does |
# |---|---|
# | `nnx.graphdef(...)` | splits the structure of the networks from their parameters: structure is fixed, parameters travel in `run` |
# | `jax.lax.fori_loop(0, times, f, run)` | your inner `for`: `run = f(i, run)`, `times` times |
# | `begin(...)` | your `Run` before the first time step |
# | `play(..., 2 * c.length)` | windows of T + 1 time steps can be sampled only when there are some |
# | `jax.lax.scan(once, run, length=updates)` | your outer `for`; `once` returns (new carry, output), just as your `learn` does |
# | `jax.tree.map(jnp.mean, losses)` | scan stacked the losses of all updates: their means are reported |
# | `static_argnums=1` | the number of updates is part of the program: another number compiles anew |
# | `donate_argnums=0` | the old run's memory is reused for the new one, so the old one may not be used any more |
#
# Two things of the released code are left out here, and are in `dreamer_lite`: a schedule of fractions, for ratios that give no whole number of steps; and an *online queue*, which puts each new window into a batch once before windows are sampled uniformly.

# %%
question = notebook.predict(
    "How much faster is an update of the one compiled program than of the plain loop, whose two halves are compiled apart?",
    ["no difference", "up to 3 times", "more than 3 times"],
)

# %%
dreamer = parts.load()  # now with all your parts
training = OwnRun(dreamer, "minatar/breakout", updates, seed, folder, changes)
c, world, init, advance = training.c, training.world, training.init, training.advance
print(f"{sum(x.size for x in jax.tree.leaves(init(seed).learner.params)):,} parameters")


def timed(go: Callable[[], Any]) -> float:
    """Seconds of a call, when everything is compiled."""
    begun = time.perf_counter()
    jax.block_until_ready(go())
    return time.perf_counter() - begun


# %% tags=["plumbing"]
# @title Time both loops (not in fast mode: it compiles)
if not FAST:
    count, optimizer = 50, dreamer.make_optimizer(c)
    graph = nnx.graphdef(dreamer.Dreamer(c, world, 0))
    halves = (
        jax.jit(functools.partial(dreamer.collect, graph, c, world)),
        jax.jit(functools.partial(dreamer.learn, graph, c, optimizer)),
    )
    first, _ = loop(*halves, init(seed), 1, 3)  # compiles
    same, _ = advance(init(seed), count)  # compiles
    plain = timed(lambda: loop(*halves, first, 1, count // 5)) / (count // 5)
    whole = timed(lambda: advance(same, count)) / count
    print(f"plain loop {1000 * plain:.0f} ms per update, compiled {1000 * whole:.0f} ms")
    question.explain(
        f"{plain / whole:.1f} times, on this machine just now. Most of the arithmetic is that of `learn`, which is compiled in both cases. The plain loop goes back to Python after each call, and "
        "each call copies the whole replay buffer, because it does not donate its memory. On a GPU, where every call must be launched from Python, the difference is larger."
    )

# %% [markdown]
# (The factor depends on the machine and on the size of the replay buffer.)
#
# ## 9 · The result: your agent learns Breakout
#
# The dashboard trains *your* agent and draws what it does: its return, the losses of the world model, actor and critic, and what it imagines right now. In JupyterLab
# it works in the background: press *pause*, *go on* or *stop*, which saves. The buttons are grey while a cell runs. On Colab the cell is busy; its square stop button stops and saves. Running the cell again goes on from there. In a script it prints
# lines. The grey band is the stored training of three seeds (section 10).
#
# What each curve means, and when to worry:

# %% tags=["plumbing"]
# @title The curves of the dashboard
if notebook.in_notebook():
    from IPython.display import Markdown, display

    display(Markdown(meanings()))
else:
    print(meanings())

# %%
question = notebook.predict(
    "Which comes first: a good reconstruction, or a good return?",
    ["the reconstruction", "the return", "both at once"],
)

# %%
stored = stories.load("breakout_own")
own = stored.stories[stories.HEALTHY]
beside = Beside("three seeds, stored", own.updates, own.values["return_mean"])
dashboard = OwnDashboard(training, beside)
dashboard.start("08_training")

# %% [markdown]
# The next cell waits until the training ends, and the buttons above sleep meanwhile. Watch first, then run it.

# %% tags=["signature"]
dashboard.wait()
print(dashboard.words())

# %%
sharp = next((r for r in training.history if r["loss/recon"] < 5), training.history[-1])
question.explain(
    f"The reconstruction: it is below 5 nats after {sharp['updates']} updates, where the return is {sharp['return_mean']:.1f}. After {training.history[-1]['updates']:,} updates the return is "
    f"{training.history[-1]['return_mean']:.1f}. Imagined rollouts teach nothing as long as the model does not know where the ball will be. **dyn** is low at first, as long as z says nothing, and rises when z "
    "carries the ball. Later the reconstruction loss rises now and then *because* the agent gets better: it sees walls that it has never seen."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:08_training)
# </details>
#
# (On this scale the small rises of the reconstruction loss are hard to see. The right panel of section 10 shows them, after update 1,300.)
#
# **How good is it?** We play 100 new episodes. The baseline acts at random. The **negative control** is the same agent in an environment where ball and trail are
# *hidden* from it. What it still earns there does not come from watching the ball.

# %%
question = notebook.predict(
    "What does the agent earn when it cannot see the ball?",
    ["as much", "less, but more than random play", "no more than random play"],
)

# %% tags=["plumbing"]
# @title Play 100 episodes of each
from dreamer_lite.evaluation import rollouts
from dreamer_lite.worlds import Breakout, TimeStep


@dataclasses.dataclass(frozen=True)
class HiddenBall(Breakout):
    """Breakout by the same rules; the agent cannot see ball and trail."""

    def reset(self, key: jax.Array) -> tuple:
        state, steps = super().reset(key)
        return state, self.hide(steps)

    def step(self, state, action: jax.Array, key: jax.Array) -> tuple:
        state, steps = super().step(state, action, key)
        return state, self.hide(steps)

    def hide(self, steps: TimeStep) -> TimeStep:
        shown = jnp.array([1, 0, 0, 1], jnp.uint8)  # paddle, ball, trail, bricks
        return steps._replace(obs={"image": steps.obs["image"] * shown})


returns = {
    "your agent": training.returns(100, seed=seed),
    "ball hidden": training.returns(100, HiddenBall(), seed),
    "random play": rollouts.evaluate(make_config("minatar/breakout"), None, world, 1000, seed),
}
scores = {label: (x.mean(), x.std(ddof=1) / len(x) ** 0.5) for label, x in returns.items()}
figure = Figure(figsize=(6.4, 2.4), layout="constrained")
axes = figure.add_subplot()
for number, (mean, error) in enumerate(scores.values()):
    axes.barh(number, mean, 0.6, xerr=1.96 * error, color="#0072B2", hatch=("", "//", "..")[number])
axes.set_yticks(range(len(scores)), scores)
axes.invert_yaxis()
axes.set(xlabel="bricks per episode, with 95 % confidence intervals")
words = "; ".join(f"{label} {mean:.2f} ± {1.96 * e:.2f}" for label, (mean, e) in scores.items())
notebook.show(figure, f"Mean bricks per episode: {words}.", "08_returns")
question.explain(
    f"{words}. The agent sees the ball and acts on it. Without the ball it still earns more than random play: it has learned where a ball begins and how long it flies, and moves "
    "accordingly. And such observations never occurred in training, which is a second reason why it falls so far."
)

# %% [markdown]
# <details><summary>The bars that you should see</summary>
#
# ![](figure:08_returns)
# </details>
#
# **Keep it.** `complete` writes `my_dreamer.py`, your parts and the course's for what is missing, as one file that runs by itself, here or anywhere:
# `python my_dreamer.py --world minatar/breakout --minutes 5` trains, prints its progress, saves, and films a dream. With `--out FOLDER` it goes on with the run above, if you set `folder`.

# %%
path = parts.complete()

# %% [markdown]
# ## 10 · Three seeds
#
# One run is an anecdote: networks, environments and actions are random, and early random actions decide what the agent learns from. So the single-file agent was trained from three **seeds** until it had learned.
# The curves are stored with the command that made them.

# %% tags=["plumbing"]
# @title Draw three seeds, and your run
figure = Figure(figsize=(8.6, 3.0), layout="constrained")
left, right = figure.subplots(1, 2)
for number in range(3):
    line = own.values["return_mean"][:, number]
    left.plot(own.updates, line, label=f"seed {number}", **style(number, len(line)))
    right.plot(own.updates, own.values["loss/recon"][:, number], **style(number, len(own.updates)))
mine = [(r["updates"], r["return_mean"]) for r in training.history]
left.plot(*zip(*mine), color="black", label="yours")
left.axhline(scores["random play"][0], color="0.4", linestyle=":", label="random play")
left.set(xlabel="updates", ylabel="return (bricks per episode)")
left.legend(frameon=False, fontsize=8)
right.set(xlabel="updates", ylabel="reconstruction loss (nats)", yscale="log")
ends = own.values["return_mean"][-4:].mean(0)
notebook.show(
    figure,
    f"Return and reconstruction loss of three seeds against updates. Returns at the end: {', '.join(f'{x:.1f}' for x in ends)}; random play {scores['random play'][0]:.1f}.",
    "08_seeds",
)
print("made by:", stored.about["command"], f"({stored.about['wall_seconds'] / 60:.0f} minutes)")

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:08_seeds)
# </details>
#
# The reconstruction losses lie close together, and the returns do not: seeds differ in what the actor finds, hardly in what the model sees. The return grows in steps, whenever
# the agent finds a way past the next row of bricks. (With `seed = 0` your curve lies on that of seed 0: all randomness comes from the seed, and only rounding differs.) **Limits.** Three seeds are few, and Breakout is small.
#
# ## 11 · Ablations: what a part is worth
#
# An **ablation** removes one part, leaves the rest, and trains again. These were made with the library's agent, three seeds of 4,000 updates each. Four of them: rewards and values predicted by a symlog regression instead of two-hot
# (notebook 03), returns that are not normalised (07), and imagined rollouts of 1 and of 30 steps.

# %%
question = notebook.predict(
    "Which of the four hurts most in Breakout?",
    ["no two-hot", "no percentile normaliser", "horizon 1", "horizon 30"],
)

# %%
ablations = Ablations()
for label in ("no two-hot", "no percentile normaliser", "horizon 1", "horizon 30"):
    ablations.toggle(label, True)
notebook.show(ablations.figure(), ablations.sentence(), "08_ablations")
print(ablations.words())
question.explain(
    "Horizon 1: the news of a brick then passes through the critic alone. Without two-hot or without the normaliser it ends within 0.2 of the preset, less than what separates seeds: all rewards "
    "in Breakout are 0 or 1. Rollouts of 30 steps end one or two bricks higher after as many updates; in seconds, at nearly twice the price, they are behind. "
    "Do not build on so small a difference: horizon 15 has 8.2 in these curves and the preset 6.5, but on another machine it had 6.6 (two seeds) and the preset 6.3. "
    "**An ablation says what a part is worth where it was measured.** A part that is not missed here is there for rewards of 0.01 or 10,000."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:08_ablations)
# </details>
#
# All that are stored, to tick; against updates, agent steps, or seconds:

# %%
Ablations().show()

# %% [markdown]
# ## 12 · A panel of hyperparameters
#
# The library's agent has all settings of the released code, each with its range and unit, and the panel is made of them. Open a group, change something, and press *train*: it trains with your settings on a dashboard, beside the
# stored curve of the preset (grey). *time 20 updates* measures what the change costs on this machine. Below stands the same as a command. (For your own agent, `changes` in the parameters at
# the top does the same: `changes = {"horizon": 5}`.)

# %% tags=["panel"]
config, preset = make_config("minatar/breakout", seed=seed), curves.load("breakout_dreamer")
reference = Beside("the preset, three seeds (stored)", preset.updates, preset.returns)
panel = Panel(config, 1000, reference)
panel.show()

# %%
question = notebook.predict(
    "Imagined rollouts three times as long, horizon 30 instead of 10: what does an update cost?",
    ["hardly more", "about twice", "three times"],
)

# %%
trial = Panel(config, 100, reference)
trial.set(horizon=30)
if not FAST:  # it compiles
    trial.train().wait()
print(trial.command())

# %%
longer = curves.load("breakout_horizon_30")
prices = [np.ptp(curves.seconds_of_one(x)) / np.ptp(x.updates) for x in (preset, longer)]
question.explain(
    f"{prices[1] / prices[0]:.1f} times: {1000 * prices[1]:.0f} ms instead of {1000 * prices[0]:.0f} ms, from the stored curves. Only imagination, actor and critic get longer, not the world model on replayed sequences."
)

# %% [markdown]
# ## 13 · Find the bug
#
# Three agents have **one** planted bug each, in one part, and learn **Catch** (notebook 07): episodes are short there, rewards come at the end only, and the return of a healthy agent begins to rise within 600 updates. That makes it a good *probe*: debug on the smallest
# environment that can fail. All three run, no error is raised, and none of the world model's losses explodes. Choose your patient by `case` in the parameters at the top (1, 2 or 3).
#
# | evidence | a healthy agent |
# |---|---|
# | return | rises |
# | imagined return (λ-returns) | rises too, near the critic's prediction |
# | imagined rewards: the sum of predicted rewards along the same rollouts | near the imagined return |
# | critic − imagined return | near 0 |
# | KL at the second time step of an episode, where the first action after a reset counts | as the blue curve: rises while z learns to carry the ball, then falls |
# | reward loss | falls |

# %% tags=["plumbing"]
# @title The evidence: your patient beside a healthy agent
evidence = stories.load("catch_bugs")
bug = bugs.of_case(bugs.LOOP, case)
notebook.show(
    stories.draw(evidence, bug.name, "patient"),
    f"Evidence. {stories.describe(evidence, bug.name, 'patient')}",
    "08_bug",
)
print("made by:", evidence.about["command"], f"({evidence.about['wall_seconds'] / 60:.0f} minutes)")

# %%
diagnosis = notebook.predict(
    "Which bug has the patient?", [b.name for b in sorted(bugs.LOOP)] + ["none"]
)
witness = notebook.predict("Which of the six metrics shows it best?", list(stories.EVIDENCE))

# %%
diagnosis.explain(f"**{bug.name[0].upper() + bug.name[1:]}**, in `{bug.part}`. {bug.tell}")
witness.explain("The answer above names it.")

# %% [markdown]
# Now the other two: change `case` at the top, run that cell, and the cells of this section. To see a bug at work in your own agent, plant it: `broken = parts.load(force=bugs.plant(bug))`, and train
# `OwnRun(broken, "catch", 800)` on a dashboard as in section 9.
#
# **Limits.** Three bugs, one environment, one seed. A bug that costs a tenth of the return would not be seen in any of these curves. Tests of single parts, such as the checks of this course, find those.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A tensor is all zeros. By how much can its first step move it?</summary>
#
# AGC lets a gradient of norm 0.3 · 0.001 through. LaProp then divides by its own size, so the step is about 1 in each number, times the learning rate. AGC bounds surprises, not usual steps.
# </details>
# <details><summary>2. What β does the paper print for the mean square, and what has the released code?</summary>
#
# The paper 0.99, the code 0.999. The order of RMS and momentum hardly matters for either.
# </details>
# <details><summary>3. Which losses train the encoder?</summary>
#
# recon, reward, cont, rep, and replay_value. dyn does not train the posterior that it is compared with (stopped), but reaches the encoder of earlier time steps through $h_t$. The policy loss and the value loss on imagined rollouts do not train it.
# </details>
# <details><summary>4. You halve the batch and keep the train ratio. What happens to updates per time step?</summary>
#
# They double: each update replays half as many time steps, and their total is kept.
# </details>
# <details><summary>5. Stored states are not written back. What goes wrong slowly?</summary>
#
# Sequences start from states that an older model inferred. The present model has to cope with starts that it would not have inferred itself.
# </details>
# <details><summary>6. The imagined return is 10⁷ and the predicted rewards add up to 0.1. Where do you look?</summary>
#
# At the critic's gradients: something other than the returns teaches it.
# </details>

# %% [markdown]
# ## Summary
#
# * AGC bounds a gradient by the size of its parameter. LaProp scales by the root mean square, and then averages.
# * Acting is encode, infer, sample. Time step, action and state are stored together.
# * One weighted sum of eight losses, one backward pass; stop-gradients keep them apart.
# * The slow critic follows by 2 % an update and regularises with weight 1.0. It is no target network.
# * The train ratio is replayed per collected time steps; the whole loop is one compiled program.
# * Curves have healthy ranges. Compare quantities that should agree: critic and return, imagined and real.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * A. Brock, S. De, S. L. Smith, K. Simonyan: High-performance large-scale image recognition without
#   normalization (2021; AGC), [arXiv:2102.06171](https://arxiv.org/abs/2102.06171).
# * L. Ziyin, Z. T. Wang, M. Ueda: LaProp, separating momentum and adaptivity in Adam (2020),
#   [arXiv:2002.04839](https://arxiv.org/abs/2002.04839).
# * D. P. Kingma, J. Ba: Adam, a method for stochastic optimization (2015),
#   [arXiv:1412.6980](https://arxiv.org/abs/1412.6980).
# * K. Young, T. Tian: MinAtar (2019), [arXiv:1903.03176](https://arxiv.org/abs/1903.03176).
#
# ## Next
#
# [Notebook 09](09_full_run.ipynb) takes this loop to larger environments and a GPU, and plans the budget first.
# [Notebook 11](11_without_a_model.ipynb) asks what the world model is worth, beside agents that have none.

# %%
dreamer = parts.load()
