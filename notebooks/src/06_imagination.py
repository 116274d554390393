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
# # 06 · Imagination
#
# **From one moment of Breakout your world model imagines ten different futures, without a single observation, and the best of them is also the best in the environment, most of the time.**
#
# ![](figure:06_rollout_film)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 30 | 25 | 6, on 2 CPU cores | notebooks 04 and 05 | imagined rollouts, under a plan and under a policy |
#
# **You will be able to**
#
# * write imagination as a scan, along given actions and along a policy;
# * say which gradients pass through an imagined rollout, and which DreamerV3 lets pass;
# * measure how far a rollout can be trusted, with baselines and confidence intervals that are honest;
# * tell compounding error from the error of one step;
# * plan by imagining many futures of one moment, and explain model exploitation;
# * show by an experiment where a world model fails, and why.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
seed = 0  # @param {type: "integer"}
updates = 400 if FAST else 2000  # @param {type: "raw"}

# %% tags=["setup"]
# @title Imports, and the agent made of your parts so far
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course import behavior, checks, data, notebook, parts
from dreamer_lite.course import imagination as im
from dreamer_lite.course import world_models as wm

dreamer = parts.load()
State, feature, Dreamer = dreamer.State, dreamer.feature, dreamer.Dreamer

# %% [markdown]
# ## 1 · Imagined rollouts under a plan
#
# An **imagined rollout** (a *dream*) is a trajectory in the latent space of the world model, produced without any
# observation: the recurrent core moves h on, and z is sampled from the prior. A **plan** is a
# sequence of actions that is fixed beforehand. Under a plan the rollout is the *open loop* of notebook 05:
#
# $$h_t=f(h_{t-1},z_{t-1},a_{t-1}),\qquad \hat z_t\sim p(\hat z_t\mid h_t)$$
#
# (Hafner et al. 2025, *World model learning*). That is your `imagine_step` of notebook 04, repeated: each step starts from the state that the last step left.
# Nothing is decoded on the way. The decoder is only for us who watch, so hundreds of rollouts run
# side by side at little cost.

# %% [markdown]
# In JAX the loop is a **scan** (notebook 01): a function from (carry, inputs of one step) to (new carry,
# what to keep). In PyTorch you would write a `for` loop. JAX compiles the body of a scan once, and a Python
# loop once for every step.
#
# | array | shape | |
# |---|---|---|
# | `start` | h (N, D), z (N, S, C) | N states to start from |
# | `actions` | (H, N, A) | the plan of each rollout |
# | `u` | (H, N, S) | uniform noise in [0, 1) for the samples of z |
# | result | h (H, N, D), z (H, N, S, C) | the states *after* each action; the start is not among them |
#
# **A tiny number.** Let the state be one number, and let a step add the action to it. From 5, under the
# plan (1, 1, -2), the rollout is 6, 7, 5.

# %% [markdown]
# **Exercise 1** · easy · very important · 10 minutes
#
# Write `imagine_plan`. The noise is drawn for you, because the check compares your numbers with ours.
#
# <details><summary>Hint 1: the idea</summary>
#
# The carry of the scan is the state. The inputs of a step are its action and its noise. What you keep is the
# new state.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Define `step(state, inputs)` inside the function. It returns the new state twice: once as the carry, once
# to be kept. A scan over a tuple of arrays hands `step` one slice of each.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jax.lax.scan(step, start, (actions, u))` returns (last carry, all that was kept). You want the second. In
# `step`, `agent.rssm.imagine_step(state, *inputs)`.
# </details>


# %% tags=["exercise", "part:imagine_plan"]
def imagine_plan(agent: Dreamer, start: State, actions: jax.Array, key: jax.Array) -> State:
    """Open loop: the states (H, N, ...) that follow `start` under given actions (H, N, A).

    `agent.rssm.imagine_step(state, action, u)` is one step, for N states at once: state (N, ...),
    action (N, A), noise u (N, S). The key is consumed.
    """
    u = jax.random.uniform(key, (*actions.shape[:2], agent.rssm.c.stoch))

    # BEGIN SOLUTION
    def step(state, inputs):
        state = agent.rssm.imagine_step(state, *inputs)
        return state, state

    return jax.lax.scan(step, start, (actions, u))[1]
    # END SOLUTION


# %% tags=["check"]
imagine_plan = checks.imagine_plan(imagine_plan)

# %% [markdown]
# ## 2 · A world model to imagine in
#
# We train your world model of notebook 05 once more: on Breakout, from random play only, without sticky
# actions, so that errors are the model's and not the environment's. `play` is (T, B, ...): 400 time steps of 128
# environments. The training is the one of notebook 05, with your `sample`, `cut`, `world_model_loss` and `train_step`.

# %%
dreamer = parts.load()  # with your imagine_plan, if it passed
world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
c = dreamer.Config(batch=16, length=16)
model = wm.networks(dreamer, c, world, seed)
play = data.random_play(world, 400, 128, jax.random.key(seed))
replay = data.store(dreamer, c, play)
training = wm.Training(dreamer, c, model.graph, model.params, replay, seed)
params = training.run(updates, updates // (4 if FAST else 10), "06_curve")

# %% [markdown]
# <details><summary>The curve that you should see</summary>
#
# ![](figure:06_curve)
# </details>
#
# Now the test data: **new** random play in 256 environments. In each environment we choose at most one moment, so that
# moments are independent of each other. The model observes everything up to the moment (`states` are its posterior states);
# from there on it imagines.

# %%
OBSERVED, HORIZON = 5, 15
test, game = data.collect_states(
    world, 120, 256, jax.random.key(seed + 1000), data.uniform(world.action_space)
)
observe = behavior.observer(dreamer, c, model.graph)
states = observe(params, test, jax.random.key(seed))
lasting = data.moments(test, OBSERVED, HORIZON, seed)  # the episode lasts the whole horizon
any_moment = data.moments(jax.tree.map(lambda x: x[:-HORIZON], test), OBSERVED, 1, seed)
print(
    f"{len(lasting.time)} moments with {HORIZON} more steps, {len(any_moment.time)} with at least one"
)

# %%
question = notebook.predict(
    "Reality and rollout receive the same actions. Which part of the frame does the rollout get wrong first?",
    ["the paddle", "the ball", "the bricks"],
)

# %%
predict = wm.open_loop(dreamer, model.graph, OBSERVED, HORIZON)
shown = predict(params, test, lasting, jax.random.key(seed))["image"]  # (20, M, 10, 10, 4)
frames = (
    np.asarray(wm.around(test.steps.obs["image"], lasting, OBSERVED, HORIZON), np.float32) / 255
)
predicted, real, last_seen = shown[OBSERVED:], frames[OBSERVED:], frames[OBSERVED - 1]
late = ((predicted - real) ** 2).sum((-3, -2, -1))[-1]  # (M,) squared error at step 15

# %%
middle = int(late.argsort()[len(late) // 2])  # the moment with the median error; try others
notebook.show_film(
    wm.film(world, test, lasting, shown, [middle], OBSERVED),
    "Film of Breakout in three panels: reality, your model's prediction, their difference, under the same actions. Five "
    f"frames are observed, then 15 imagined. At step 15 the squared error is {late[middle]:.2f} cells, the median.",
    "06_rollout", fps=3, columns=1, rows=4, moving=True,
)  # fmt: skip

# %% tags=["plumbing"]
# @title What the rollouts got wrong, plane by plane
by_plane = ((predicted - real) ** 2).sum((2, 3)).mean(1)  # (H, 4)
planes = dict(zip(("paddle", "ball", "trail of the ball", "bricks"), by_plane.T))
question.explain(
    f"The {max(planes, key=lambda k: planes[k][4])}: at step 5 it has the largest error. Over {len(lasting.time)} moments, at "
    "steps 1, 5 and 15, in cells:\n\n"
    + "\n".join(f"* {k}: {x[0]:.3f}, {x[4]:.3f}, {x[-1]:.3f}" for k, x in planes.items())
    + "\n\nA paddle or a ball in a wrong cell costs 2. The paddle follows the actions, which the model is given, so it is easy. "
    "The ball turns at walls, bricks and paddle, and a brick is lost only where the ball hit: their errors have the same cause."
)

# %% [markdown]
# ## 3 · Imagined rollouts under a policy
#
# A **policy** $\pi(a\mid s)$ is a distribution over actions given the state. An agent that learns in imagination
# has no plan: at each step it samples the action from its policy, in the state that was just imagined, and the
# action shapes the next state:
#
# $$a_t\sim\pi(a_t\mid s_t),\qquad s_{t+1}\sim p(s_{t+1}\mid s_t,a_t),\qquad s_t=(h_t,z_t)$$
#
# Data that a policy produces itself are **on-policy** data. That is what a policy gradient needs (notebook
# 07), and imagination makes as much of them as you like. The replay buffer holds **off-policy** data: older
# policies acted there. The world model may learn from them, because what an action leads to does not depend on
# who chose it.
#
# H steps give H actions, but **H + 1 states**: the first action was chosen in the start.
#
# | array | shape |
# |---|---|
# | `keys` | H keys, one for each action that is sampled |
# | `u` | (H, N, S) |
# | result | states (H+1, N, ...), the start first; actions (H, N, A) |
#
# **A tiny number.** A state is a number, a step adds the action, and the policy says "half of the state, negative".
# From 8 the states are 8, 4, 2 and the actions -4, -2.

# %% [markdown]
# **Exercise 2** · medium · very important · 15 minutes
#
# Write `imagine`. `agent.actor.policy(feat)` is a distribution over actions for the features (N, D + S C) of N states, and
# `.sample(key)` draws one-hot actions (N, A).
#
# <details><summary>Hint 1: the idea</summary>
#
# As in exercise 1, with one more thing to do in each step: choose the action, in the carried state, *before* the step
# that it leads to.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Scan over `(keys, u)`. `step` returns the new state as the carry, and keeps the pair (new state, action). After the scan,
# put the start in front of the states.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `action = agent.actor.policy(feature(state)).sample(key)`. A `State` is a pytree of two arrays: `jax.tree.map(lambda
# x, xs: jnp.concatenate([x[None], xs]), start, states)` puts the start in front of both.
# </details>


# %% tags=["exercise", "part:imagine"]
def imagine(agent: Dreamer, start: State, horizon: int, key: jax.Array) -> tuple[State, jax.Array]:
    """Let the actor act in the model: states (H+1, N, ...) from `start`, and actions (H, N, A).

    The first state is the start (N, ...); action t was chosen in state t. `feature(state)` is what
    the policy is given. The key is consumed.
    """
    u_key, action_key = jax.random.split(key)
    u = jax.random.uniform(u_key, (horizon, *start.stoch.shape[:-1]))
    keys = jax.random.split(action_key, horizon)

    # BEGIN SOLUTION
    def step(state, inputs):
        key, u = inputs
        action = agent.actor.policy(feature(state)).sample(key)
        new = agent.rssm.imagine_step(state, action, u)
        return new, (new, action)

    _, (states, actions) = jax.lax.scan(step, start, (keys, u))
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), start, states), actions
    # END SOLUTION


# %% tags=["check"]
imagine = checks.imagine(imagine)

# %% [markdown]
# Two policies act in your model. One is the actor of an agent that has not been trained, which acts nearly at random. The
# other is written by hand: it decodes the imagined state, and moves the paddle towards the ball that it finds there. For
# comparison, both also go on from the same moments in the environment. The continue head (notebook 05) predicts the probability that an episode goes on;
# the product of these probabilities is the probability that a rollout is still alive.

# %%
question = notebook.predict(
    "Of 100 imagined rollouts with random actions, how many are still alive after 15 steps?",
    ["about 10", "about 40", "about 70"],
)

# %%
dreamer = parts.load()  # now with your imagine
begin = data.at_offsets(states, any_moment, [0])
begin = jax.tree.map(lambda x: x[0], begin)
act = im.under_a_policy(dreamer, c, model.graph, HORIZON)
alive = {
    label: np.asarray(act(params, begin, jax.random.key(seed), follow)[1])
    for label, follow in {"imagined, at random": False, "imagined, follows the ball": True}.items()
}
ends = np.asarray(data.at_offsets(test.steps.is_last, any_moment, np.arange(1, HORIZON + 1)))
alive["real, at random"] = 1.0 - np.logical_or.accumulate(ends)
here = jax.tree.map(lambda x: x[0], data.at_offsets(game, any_moment, [0]))
now = data.at_offsets(test.steps.obs["image"], any_moment, [0])[0]
alive["real, follows the ball"] = 1.0 * np.asarray(im.following(world, here, now, HORIZON))

# %% tags=["plumbing"]
# @title Draw the fraction of rollouts that are alive
bands = {label: wm.interval(line) for label, line in alive.items()}
notebook.show(
    im.with_bands(bands, "steps", "fraction alive"),
    f"Fraction of {len(any_moment.time)} rollouts still alive against steps, with 95 % confidence intervals. After 15: "
    + "; ".join(f"{label} {line[-1].mean():.2f}" for label, line in alive.items())
    + ".",
    "06_policies",
)
survived = {label: float(line[-1].mean()) for label, line in alive.items()}
question.explain(
    f"{100 * survived['imagined, at random']:.0f} of 100 in imagination, {100 * survived['real, at random']:.0f} in the environment: "
    "the model has learned when an episode ends, because it was trained on random play. And imagination alone can tell a better "
    f"policy from a worse one: following the ball, {100 * survived['imagined, follows the ball']:.0f} survive in imagination, and "
    f"{100 * survived['real, follows the ball']:.0f} if the same player really goes on from these moments. Where the two numbers differ, "
    "the model errs: a player who follows the ball soon leaves what random play has shown (section 7). But the order of the two "
    "policies is right, and an order is what an actor needs to learn from."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:06_policies)
# </details>
#
# ## 4 · Gradients in imagination
#
# A rollout is a differentiable program, so one could train the actor by **backpropagation through the
# dynamics**: differentiate the imagined reward with respect to the actions, as Dreamer's first version did (Hafner et al. 2020).
# DreamerV3 does not. It uses a **policy gradient** (REINFORCE, notebook 07), which needs only the probabilities of
# the actions that were taken. Therefore it treats rollouts as data:
#
# * `imagine_step` puts a **stop-gradient** on the sampled z (your line of notebook 04);
# * the losses of actor and critic put one on the features of all imagined states (notebook 07).
#
# So no loss of actor or critic changes the world model. If it did, the model could learn to *imagine* rewards
# instead of predicting them.
#
# A zero gradient does not mean that nothing depends on the cause. The next cell measures both for the last state of
# a rollout of 5 steps: the largest derivative with respect to the first h and the first action, and the fraction of rollouts that change if the cause
# is changed.

# %%
agent = nnx.merge(model.graph, params)
plan = jax.nn.one_hot(jax.random.randint(jax.random.key(1), (5, len(any_moment.time)), 0, 3), 3)
depends = im.sensitivity(dreamer, agent, begin, plan, jax.random.key(seed))
print("cause   effect   largest derivative   rollouts that change")
for (cause, effect), (slope, fraction) in depends.items():
    print(f"{cause:7} {effect:8} {slope:18.2g} {fraction:22.0%}")

# %% [markdown]
# The derivative of z is exactly zero, although z depends on the cause: it is the stop-gradient that you see. h has a
# derivative, along the deterministic path through the recurrent core. It passes `imagine_step`, and the losses of notebook 07 stop it.

# %% [markdown]
# ## 5 · Error against horizon
#
# **Compounding error** is the growth of a rollout's error because each step starts from a state that is
# already a prediction. To see it, compare two predictions of the *same* frame:
#
# * **open loop**: imagined h steps ahead, each step from the imagined state before it;
# * **one step**: imagined one step ahead, from the state that the model *observed* just before the frame.
#
# If the two are level, then single steps are hard and errors do not add up. If the open loop grows away, errors compound. Both
# predict the same frames, so their difference is taken moment by moment; it can be clear although the two bands overlap.
#
# The **baselines** know no rules: *repeat the last frame* that was observed, and *the mean image of the data set*. The negative control
# is *another moment's rollout*: a model that produced plausible frames, but not of this moment, would be as good.
#
# The mean of M errors has the 95 % **confidence interval**
#
# $$\bar e_h\pm1.96\,\frac{s_h}{\sqrt M},\qquad s_h^2=\frac1{M-1}\sum_{i=1}^M(e_{h,i}-\bar e_h)^2$$
#
# It is honest only if the M errors are **independent**. Overlapping windows of the same episode are not: their errors are alike,
# s is right, but M counts the same evidence several times, and the interval is too narrow. Hence one moment for each environment.
#
# **A tiny number.** Errors 1, 3, 2 and 2 have mean 2 and s = 0.82, so the interval is 2 ± 0.80. Written down ten times each,
# the same four errors would seem to give 2 ± 0.22.

# %%
question = notebook.predict(
    "At which step does the rollout's error reach that of the mean image?",
    ["about 5", "about 15", "later"],
)

# %%
ahead = np.arange(1, HORIZON + 1)
before = data.at_offsets(states, lasting, ahead - 1)
single = im.one_step(dreamer, model.graph)
predictions = {
    "open loop": predicted,
    "one step": np.asarray(
        single(params, before, wm.taken(test, lasting, HORIZON), jax.random.key(1))
    ),
    "repeat the last frame": last_seen,
    "mean image": np.asarray(play.steps.obs["image"]).mean((0, 1)) / 255,
    "another moment's rollout": np.roll(predicted, 1, 1),
}
errors = {label: ((x - real) ** 2).sum((-3, -2, -1)) for label, x in predictions.items()}  # (H, M)
lines = {label: wm.interval(x) for label, x in errors.items()}

# %% tags=["signature"]
words = "; ".join(
    f"{label} " + ", ".join(f"{mean[h]:.2f} ± {half[h]:.2f}" for h in (0, 4, 14))
    for label, (mean, half) in lines.items()
)
alt = f"Squared error of {len(lasting.time)} independent moments at horizons 1, 5 and 15: {words}."
names = "horizon (imagined steps)", "squared error, summed over cells"
figure = im.with_bands(lines, *names, closer=("open loop", "one step"))
notebook.show(figure, alt, "06_errors")
print(alt.replace("; ", "\n"))

# %% tags=["plumbing"]
# @title Where the rollout's error reaches the mean image's
crossing = np.flatnonzero(lines["open loop"][0] >= lines["mean image"][0])
where = f"At step {crossing[0] + 1}" if len(crossing) else "Not within 15 steps"
spread = np.sort(errors["open loop"][-1])
more, half = behavior.interval(errors["open loop"][-1] - errors["one step"][-1])
question.explain(
    f"{where}. After 15 steps the open loop errs by {lines['open loop'][0][-1]:.2f} cells, one step by "
    f"{lines['one step'][0][-1]:.2f}. Both predict the same frames, so compare them moment by moment: the open loop errs by "
    f"{more:.2f} ± {half:.2f} cells more. The mean hides something: at step 15 {(spread < 0.5).mean():.0%} of the rollouts err by "
    f"less than half a cell, and the worst tenth by more than {np.quantile(spread, 0.9):.2f}. Most rollouts are right to the cell; "
    "a few have lost the ball, and these make the mean."
)

# %% [markdown]
# <details><summary>The curves that you should see</summary>
#
# ![](figure:06_errors)
# </details>
#
# **Limits.** One seed and one environment. The intervals are over moments, not over trained models. All moments are of episodes that lasted at
# least 20 steps, because only they have a real frame to compare with; random play that lasts is not typical random play.
#
# ## 6 · Planning by imagining: forks of one moment
#
# **Planning** is choosing actions by predicting what they lead to. The model makes it possible to *fork* a moment: one state, many
# plans, many futures. The environment allows that only if its state can be copied. Ours can, so we can check every imagined
# future against the real one (the model never sees the environment's state).
#
# A plan here is "go to column k and wait", for the ten columns. Its **score** over 15 steps is
#
# $$\text{score}=\sum_{t=1}^{15}p(\text{alive before }t)\;\hat r_t\;+\;1\cdot p(\text{alive at the end})$$
#
# The unit of the first term is bricks. The second is a **survival bonus**: to be alive at the end counts as much as one brick. The
# weight 1 is our choice. Without the bonus, a plan that breaks a brick and then loses the ball would be as good as one that goes on.
#
# Choosing the best of candidates by a model is the idea of PlaNet (Hafner et al. 2019). PlaNet
# does much more: it samples about a thousand plans, refines them in several rounds (the cross-entropy method), executes one action, and plans anew.

# %%
question = notebook.predict(
    "The ball is lost in an imagined rollout. What do its frames show afterwards?",
    ["nothing", "the lost ball", "a game that goes on"],
)

# %%
imagine_plans = im.under_a_plan(dreamer, c, model.graph)
forks = im.fork(world, imagine_plans, params, begin, here, jax.random.key(seed), HORIZON)
columns = [0, 3, 6, 9]  # try others
fates = np.asarray(forks.real.alive[-1]).reshape(-1, 10)[:, columns]
moment = int(np.flatnonzero(fates.sum(1) == 1)[0])  # here one of four plans survives

# %%
imagined_alive, real_alive = (np.asarray(x.alive[-1]).reshape(-1, 10)[moment] for x in forks[:2])
notebook.show_film(
    im.fork_film(world, forks, moment, columns),
    "One moment, four plans: imagined above, real below. Frames fade as the probability to be alive falls. Alive after 15 steps, "
    "imagined and real: "
    + "; ".join(f"to column {k} {imagined_alive[k]:.0%} and {real_alive[k]:.0%}" for k in columns)
    + ".",
    "06_fork",
    fps=3,
    columns=2,
    rows=2,
)

# %%
question.explain(
    "A game that goes on. No frame of the training data ever followed an end, so the frames after it mean nothing. They are not "
    "removed, they are *weighted*: by the predicted probability to be alive, which is nearly 0 (notebook 07 calls the weight w)."
)

# %% [markdown]
# Is imagination good enough to choose by? At every moment the plan with the highest imagined score is executed in the
# environment. The comparison: a plan at random, and, as the negative control, the plan that *another* moment's rollouts prefer.

# %%
chosen = im.choices(forks)
bars = {label: behavior.interval(x) for label, x in chosen.items()}
figure = Figure(figsize=(7.4, 2.6), layout="constrained")
axes = figure.add_subplot()
means, halves = np.array(list(bars.values())).T
axes.barh(list(bars), means, xerr=halves, color=["#767676", "#D55E00", "#0072B2", "#009E73"])
axes.invert_yaxis()
axes.set(xlabel="real score in 15 steps: bricks, plus 1 if alive at the end")
words = "; ".join(f"{k} {m:.2f} ± {e:.2f}" for k, (m, e) in bars.items())
alt = f"Real score of the plan chosen at {len(fates)} moments, by who chose: {words}."
notebook.show(figure, alt, "06_chosen")

# %%
hit = np.isclose(chosen["by its own rollouts"], chosen["the best in hindsight"]).mean()
print(
    words.replace("; ", "\n"),
    f"\nAt {hit:.0%} of the moments no other plan would have brought more.",
)

# %% [markdown]
# <details><summary>The bars that you should see</summary>
#
# ![](figure:06_chosen)
# </details>
#
# The model was never told what is good to do. It predicts, and a maximum over ten scores does the rest.
#
# **Steer a rollout yourself.** Each button is one `imagine_step`. The environment is not running.

# %%
first = jax.tree.map(lambda x: x[moment][None], begin)
steering = im.Steering(dreamer, c, model.graph, params, first, seed)


def press(label: str) -> tuple[Figure, str]:
    """One more imagined step, or the same moment again."""
    if label == "again":
        steering.again()
    image, words = steering.step("stay" if label == "again" else label)
    figure = Figure(figsize=(3.2, 3.2), layout="constrained")
    figure.add_subplot(xticks=[], yticks=[]).imshow(world.render({"image": image}))
    return figure, words


notebook.buttons(["left", "stay", "right", "again"], press)

# %% [markdown]
# ## 7 · States that the data never covered
#
# A learned model is right only where its data have been. The random player loses the ball so soon that it never saw a wall with
# more than a few holes. A player who follows the ball hardly ever loses it, and reaches walls that are half gone. Same
# environment, same rules, other states: a **distribution shift**.
#
# If the model fails there, there are two explanations: the network is too small for such walls, or it has not seen them. An
# experiment separates them: the same network, the same first parameters, as many updates, but data of which half are of the player who follows the ball.

# %%
question = notebook.predict(
    "The model of random play starts from a wall with 13 bricks left. How many does it imagine five steps later?",
    ["13", "about 20", "more than 20"],
)

# %%
covering = data.collect(world, 400, 128, jax.random.key(seed + 1), im.half_follow)
training = training.anew(model.params, data.store(dreamer, c, covering))
wide = training.run(updates, updates // (4 if FAST else 10), "06_curve_mixed")

# %%
far, far_game = data.collect_states(world, 400, 256, jax.random.key(seed + 2000), im.follow_ball)
far_moments = data.moments(jax.tree.map(lambda x: x[:-HORIZON], far), OBSERVED, HORIZON, seed)
bricks = np.asarray(data.at_offsets(far_game.bricks, far_moments, [0])[0].sum((-2, -1)))
AT = 5
far_frames = data.at_offsets(far.steps.obs["image"], far_moments, [0, AT])
seen, truth = np.asarray(far_frames, np.float32) / 255
look_ahead = wm.open_loop(dreamer, model.graph, 1, AT)
far_images = {"repeat the last frame": seen} | {
    label: look_ahead(weights, far, far_moments, jax.random.key(seed))["image"][-1]
    for label, weights in {"random play": params, "both players": wide}.items()
}
far_errors = {k: ((x - truth) ** 2).sum((-3, -2, -1)) for k, x in far_images.items()}

# %% tags=["plumbing"]
# @title Draw the error by the number of bricks left
groups = {"30 to 26": (26, 30), "25 to 16": (16, 25), "15 to 6": (6, 15), "5 to 0": (0, 5)}
groups = {k: g for k, g in groups.items() if ((bricks >= g[0]) & (bricks <= g[1])).sum() > 2}
by_wall = {
    label: [
        behavior.interval(x[(bricks >= low) & (bricks <= high)]) for low, high in groups.values()
    ]
    for label, x in far_errors.items()
}
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
axes = figure.add_subplot()
for number, (label, values) in enumerate(by_wall.items()):
    means, halves = np.array(values).T
    colour, hatch = [("#767676", ""), ("#D55E00", "//"), ("#0072B2", "")][number]
    name = label if number == 0 else f"model of {label}"
    axes.bar(
        np.arange(len(groups)) + 0.27 * (number - 1),
        means,
        0.25,
        yerr=halves,
        label=name,
        color=colour,
        hatch=hatch,
    )
axes.set_xticks(range(len(groups)), groups)
axes.set(xlabel="bricks left at the moment", ylabel=f"squared error at step {AT}, in cells")
axes.legend(frameon=False)
notebook.show(
    figure,
    f"Squared error {AT} steps ahead by bricks left, {', '.join(groups)}: "
    + "; ".join(f"{k} " + ", ".join(f"{m:.2f}" for m, _ in v) for k, v in by_wall.items())
    + ".",
    "06_walls",
)

# %% tags=["plumbing"]
# @title Draw a wall with holes, and what the two models make of it
half_gone = int(np.abs(bricks - 13).argmin())
images = {"observed": seen[half_gone], "real, 5 steps later": truth[half_gone]}
images |= {f"model of {k}": far_images[k][half_gone] for k in ("random play", "both players")}
walls = {label: float(image[..., 3].sum()) for label, image in images.items()}
figure = Figure(figsize=(8.0, 2.5), layout="constrained")
for axes, (label, image) in zip(figure.subplots(1, len(images)), images.items()):
    axes.imshow(world.render({"image": image}))
    axes.set(xticks=[], yticks=[])
    axes.set_title(label, fontsize=9)
notebook.show(
    figure,
    "A wall with holes. Bricks, summed over cells: "
    + "; ".join(f"{k} {x:.1f}" for k, x in walls.items())
    + ".",
    "06_holes",
)
question.explain(
    f"{walls['model of random play']:.0f}: it rebuilds the wall that it knows. The same network, trained on both players' data, keeps "
    f"{walls['model of both players']:.0f} of {walls['real, 5 steps later']:.0f}. So the network is large enough, and the data were the reason."
)

# %% [markdown]
# <details><summary>The pictures that you should see</summary>
#
# ![](figure:06_walls)
# ![](figure:06_holes)
# </details>
#
# ## 8 · Model exploitation
#
# **Model exploitation** is what happens when an optimizer maximises a model's *prediction*: it finds the inputs at which the model is wrong in
# its favour. Ten plans are enough to see it. For the plan with the highest imagined score, compare that
# score with the real one, at moments that random play covered, and at the follower's moments that it did not. The last column of the
# table says how much of the difference is survival: the imagined probability that the plan is alive at the end, minus the real one. The rest is bricks.

# %%
places = {"covered": (test, game, any_moment), "not covered": (far, far_game, far_moments)}
gaps, survival = {}, {}
for place, (source, envs, moments) in places.items():
    for label, weights in {"random play": params, "both players": wide}.items():
        latent = observe(weights, source, jax.random.key(seed))
        latent, inside = (data.at_offsets(x, moments, [0]) for x in (latent, envs))
        latent, inside = jax.tree.map(lambda x: x[0], (latent, inside))
        branches = im.fork(
            world, imagine_plans, weights, latent, inside, jax.random.key(2), HORIZON
        )
        hoped, came = branches.chosen()
        gaps[label, place] = [behavior.interval(x) for x in (hoped, came, hoped - came)]
        survival[label, place] = behavior.interval(np.subtract(*branches.survival()))

# %%
print("model of        moments       imagined score   real score     difference     of it survival")
for pair, values in gaps.items():
    numbers = (f"{mean:8.2f} ± {half:.2f}" for mean, half in [*values, survival[pair]])
    print(f"{pair[0]:15} {pair[1]:12}", *numbers)

# %% [markdown]
# The difference is what the model overestimates. The model of random play is exploited where its data have not been, and not where they have: away from
# its data it rebuilds the wall (section 7), and its planner expects bricks that are long gone.
#
# The model of both players is exploited at both kinds of moments, although section 7 showed small errors for it. This is no contradiction. Section 7 measured
# the error along the actions that the *follower* took, and the follower hardly ever loses the ball. Many of the ten plans here do lose it, and the model
# must predict when. Half of its data are of a player who shows that hardly ever, and in half-broken walls nobody else has played. So this planner overestimates survival
# as well, which the last column shows. The model also had more to learn in as many updates: its reconstruction loss ends several times above that of the other model.
#
# So coverage of *states* is necessary, and not enough: the data must also hold the actions that a planner will try, and the model must have
# fitted them. More plans, or a policy that is trained for many updates, search harder for such errors. Notebook 07 measures that.

# %% [markdown]
# Three kinds of error end a rollout, and each has its own remedy:
#
# | error | cause | remedy |
# |---|---|---|
# | coverage | the data have not been there | collect new data with the present policy, again and again (notebook 08) |
# | compounding | each step starts from a prediction | short rollouts from many observed states (the paper's have 15 steps) |
# | stochasticity | the environment draws | no single rollout can be right; average over many |
#
# **Limits.** One seed, one small environment without randomness, and data of two hand-written players. The intervals are over moments,
# not over trained models.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Which distribution is z sampled from in an imagined rollout, and what has it not seen?</summary>
#
# The prior. It is given h, that is, all the past and the last action, but not the observation.
# </details>
# <details><summary>2. Are imagined data on-policy or off-policy?</summary>
#
# On-policy: the present actor chose every action. Only their starts come from the replay buffer.
# </details>
# <details><summary>3. The derivative of the imagined z with respect to the action is zero. Does z not depend on the action?</summary>
#
# It does: change the action, and z changes. The derivative is zero because of the stop-gradient on the sample.
# </details>
# <details><summary>4. 512 windows of 128 episodes overlap. What is wrong with their confidence interval?</summary>
#
# It is too narrow. The windows of one episode are not independent, and the formula counts each as new evidence.
# </details>
# <details><summary>5. An imagined rollout goes on after the ball was lost. Is that a fault?</summary>
#
# No. The predicted probability to be alive is nearly 0 there, and it weights all that follows.
# </details>
# <details><summary>6. The error is small on random play. Is the model good enough to train a better player in?</summary>
#
# Only until that player reaches states that random play never reached. There it may find rewards that do not exist.
# </details>

# %% [markdown]
# ## Summary
#
# * Imagination is a scan of `imagine_step`. Under a policy, H steps give H + 1 states and H actions.
# * DreamerV3 treats rollouts as data: stop-gradients keep actor and critic from changing the world model.
# * Rollouts are judged at independent moments, beside two baselines and a negative control. Errors compound.
# * One moment can be forked into many futures, and the best plan chosen by a score whose unit you can name.
# * A model fails where its data have not been, and an optimizer that maximises its predictions finds these places: model exploitation.
#
# ## References
#
# * D. Ha, J. Schmidhuber: World models (2018), [arXiv:1803.10122](https://arxiv.org/abs/1803.10122).
# * D. Hafner and others: Learning latent dynamics for planning from pixels (PlaNet, 2019),
#   [arXiv:1811.04551](https://arxiv.org/abs/1811.04551).
# * D. Hafner and others: Dream to control (Dreamer, 2020),
#   [arXiv:1912.01603](https://arxiv.org/abs/1912.01603).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
#
# ## Next
#
# Ten plans are few, and to search at every step is expensive. In notebook 07 a network learns, in imagination alone,
# which action to take.

# %%
dreamer = parts.load()
