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
# # 00 · The dream
#
# **A world model predicts what an agent's actions will lead to. Here you watch such predictions
# beside reality, and then you choose the actions yourself.**
#
# ![](figure:00_dream_film)
#
# Left: a game of Breakout as it happened. Middle: what a trained world model predicts from the same
# actions. After the first image it receives no further observation. Right: where the two differ.
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 25 | 0 | 1, on 2 CPU cores | policy, reward, neural network | nothing |
#
# **You will be able to**
#
# * explain what a world model is: latent state, prior and posterior, predicted observation, reward
#   and continuation;
# * steer an imagined rollout (a dream), and find a place where it goes wrong;
# * judge a world model against a baseline and a negative control;
# * explain how model-based learning differs from model-free learning, and what each costs;
# * describe the loop of DreamerV3: world model, actor and critic.
#
# Nothing is trained here, and there is nothing to write. The agent was trained before, for ten
# minutes on two CPU cores. In the following notebooks you write it.
#
# Choose *Run all* from the menu now. The next three cells are folded: they find the library, set
# two parameters, and import.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # the tests set it, to save time
agent_name = "minatar-breakout"  # @param {type: "string"}
seed = 3  # @param {type: "integer"}

# %% tags=["setup"]
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course import parts
from dreamer_lite.course.notebook import predict, show, show_film
from dreamer_lite.course.widgets import Dream, steer_in_page
from dreamer_lite.evaluation import rollouts
from dreamer_lite.runs import agents
from dreamer_lite.show.plots import style

# %% [markdown]
# ## 1 · Steer an imagined rollout
#
# An **imagined rollout** is a trajectory that a learned model generates without the environment:
# actions go in, predictions come out. This course also calls it a *dream*. Below, you choose the
# actions. On the left, the real environment takes them. On the right, the world model predicts
# their effect; it does not see the left image. Below the right image stand the predicted reward and
# the predicted probability that the episode continues.
#
# The environment is Breakout on a grid of 10 × 10 cells, by the rules of MinAtar (Young and Tian
# 2019). A ball moves along diagonals and breaks bricks, one reward each. When it passes the paddle,
# the episode ends. Try to
#
# 1. move the paddle away, so that the ball is lost. Does the predicted probability of continuation
#    fall at the right step?
# 2. press *left* many times. Does the paddle stay inside the grid?
# 3. meet the ball and hit a brick. Is the reward predicted at the right step?
# 4. let the *agent decide*. How long does it survive in its own imagination?
# 5. press *new sample* and repeat your actions. What differs?
# 6. press *observe reality* when the images have parted. After how many steps do
#    they agree again?
#
# Click on the images, then use the arrow keys, or press a button. The networks run in your browser:
# the images move on while cells run. A page that only displays the notebook, such as GitHub, does
# not show them. Our tests take the actions of `plan`.

# %%
agent = agents.load(agent_name)
world = worlds.make(agent.config.world)
game = rollouts.record(agent.config, agent.params, world, seed, episodes=2 if FAST else 3)
dream = Dream(agent, game, seed=seed, reality=True)
steer_in_page(dream, plan=["left", "left", "right", "stay"])

# %% [markdown]
# Sooner or later the two images part. There are two reasons. The model has *errors*; and the
# environment is *stochastic*: with probability 0.1 it executes the previous action again instead
# of the new one (*sticky actions*, Machado et al. 2018). Which step this happens at, no model can
# predict. Both sides sample it, independently.

# %% [markdown]
# ## 2 · What is a world model?
#
# A **world model** is a learned model of an environment's dynamics: given a state and an action, it
# predicts the next state, the reward, and whether the episode continues.
#
# The agent does not see the environment's state, only an *observation* $x_t$: the problem is
# **partially observable** (a POMDP). Here $x_t$ has four planes of 10 × 10 cells: *paddle*, *ball*,
# *trail* (the ball's place one step before) and *bricks*. It does not show which action was
# executed last, which is the one that sticky actions repeat. So the model needs a memory. Dreamer's
# model, a recurrent state-space model (RSSM), keeps a **latent state** $(h_t, z_t)$ that summarises
# the past:
#
# $$h_t = f(h_{t-1}, z_{t-1}, a_{t-1}) \qquad z_t \sim q(z_t \mid h_t, x_t) \qquad
# \hat z_t \sim p(\hat z_t \mid h_t)$$
#
# (Hafner et al. 2025, *World model learning*). While it observes, $z_t$ is sampled from the
# **posterior** $q$, which uses the observation. While it imagines, there is no observation, and
# $\hat z_t$ is sampled from the **prior** $p$, which predicts what the posterior would be. A decoder
# and two heads predict observation, reward and continuation from $(h_t, z_t)$.
#
# ![](figure:diagram_rssm_unrolled)
#
# **A tiny number.** In this agent $h_t$ has 128 numbers and $z_t$ has 8 categorical variables of 8
# classes each. So $z_t$ takes one of $8^8$ = 16,777,216 values, but an observation has only 400
# cells: the model stores no images.

# %% [markdown]
# An imagined rollout that starts at a real moment and gets the actions that were really taken is
# called **open loop**: nothing corrects it on the way. The film below is such a rollout. A green
# frame means that the model still observes (its output is a *reconstruction*); a purple, dashed
# frame means that it imagines. In the difference, orange is what is only imagined, striped blue what
# is only real.

# %%
question = predict(
    "Which plane will an open-loop rollout predict worst after twelve steps?",
    ["the paddle", "the ball", "the bricks"],
)

# %%
film = dream.beside_reality(24)
show_film(
    film,
    "Reality, imagined rollout and difference side by side, from the last observation to step "
    f"{dream.steps} of the open loop, under the same actions.",
    "00_dream",
    fps=3,
    columns=1,
    rows=4,
    moving=True,
)

# %% [markdown]
# One film proves little, so we measure: rollouts from many moments, 12 steps each, under the actions
# that were taken. The error is the squared difference between predicted and real observation, summed
# over the 100 cells of a plane. An object in a wrong cell costs 2 (one cell too few, one too many);
# an object that is predicted nowhere costs 1.

# %%
HORIZON, MOMENTS = 12, 40 if FAST else 200
real = game.obs["image"] / np.float32(255)  # (time steps, 10, 10, 4 planes)
going = [m for m in dream.moments if not game.is_last[m : m + HORIZON].any()]
moments = np.random.default_rng(seed).permutation(going)[:MOMENTS]
times = moments + np.arange(1, HORIZON + 1)[:, None]  # (HORIZON, MOMENTS)


def error(images: np.ndarray) -> np.ndarray:
    """Mean squared error over moments, summed over cells; -> (HORIZON, planes)."""
    return ((images - real[times]) ** 2).sum((2, 3)).mean(1)


noise = seed + np.arange(len(moments))  # a seed for each rollout
imagined, _ = dream.many(moments, noise, HORIZON)
model = error(imagined["image"])
planes = dict(zip(("paddle", "ball", "trail", "bricks"), model.T))


# %% tags=["plumbing"]
# @title Draws errors against the step of the rollout
def draw(lines: dict[str, np.ndarray], name: str) -> None:
    """A line for each entry, (HORIZON,)."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, line) in enumerate(lines.items()):
        axes.plot(np.arange(1, HORIZON + 1), line, label=label, **style(number, HORIZON))
    axes.set(xlabel="step of the open loop", ylabel="squared error, cells", ylim=(0, None))
    axes.legend(frameon=False)
    numbers = (f"{label} {x[0]:.2f}, {x[5]:.2f}, {x[11]:.2f}" for label, x in lines.items())
    about = f"Squared error against the step of the open loop, mean of {len(moments)} rollouts."
    show(figure, f"{about} At steps 1, 6 and 12: {'; '.join(numbers)}.", name)


# %%
draw(planes, "00_planes")
question.explain(
    "Squared errors after twelve steps: "
    + ", ".join(f"{name} {line[-1]:.2f}" for name, line in planes.items())
    + ". The paddle is worst, although the actions that move it are known. Its errors come from "
    "sticky actions: the environment sometimes executed the previous action, the rollout samples "
    "such events at other steps, and a paddle that is one column off stays so. The ball is "
    "deterministic until it meets the paddle."
)

# %% [markdown]
# Is this explanation right? If it is, then an ideal simulator must err as well, because nobody can
# predict random numbers. We have one: the environment itself. We run it again from the same moments,
# under the same actions, with other random numbers, 16 times, and take the mean of these runs as its
# prediction. The error that remains is the **irreducible error**: it is due to stochasticity.

# %%
RUNS = 16
many = np.tile(moments, RUNS)  # RUNS times each moment
runs = dream.many_real(many, np.arange(len(many)), HORIZON)["image"] / np.float32(255)
again = error(runs.reshape(HORIZON, RUNS, *real[moments].shape).mean(1))  # (HORIZON, planes)
compared = {
    "paddle, world model": model[:, 0],
    "paddle, environment run again": again[:, 0],
    "other planes, world model": model[:, 1:].sum(-1),
    "other planes, environment run again": again[:, 1:].sum(-1),
}
draw(compared, "00_irreducible")
least, found = again[-1, 0], model[-1, 0]
print(f"paddle, step {HORIZON}: model {found:.2f}, environment run again {least:.2f}")

# %% [markdown]
# So most of the paddle's error is due to stochasticity. The model's line also lies above the other because
# each rollout commits to *one sample* of the random events, but the mean of 16 runs does not. For the
# other planes the environment run again even lies above the model; *Limits* below says how that can be.
#
# **A tiny number.** The paddle is equally likely in two columns. A sampled image is right or costs 2,
# so it costs 1 on average. The mean image has 0.5 in both cells and always costs 0.5² + 0.5² = 0.5.

# %% [markdown]
# ## 3 · Action-conditioned prediction
#
# A model is **action-conditioned** if its predictions depend on the actions that it is given. A
# model that ignored them could continue a film plausibly, but no agent could use it to compare
# actions. The test is a *fork*: three rollouts from one moment, with the same sampling noise, under
# three plans.

# %%
question = predict(
    "After eight steps, how far apart are the predicted paddles of 'all left' and 'all right'?",
    ["in the same column", "2 or 3 columns", "more than 4 columns"],
)

# %%
PLANS = {"all left": 1, "stay": 0, "all right": 2}
STEPS = 8
actions = np.tile(np.array(list(PLANS.values()), np.int32), (STEPS, 1))  # (STEPS, plans)
fork, _ = dream.many(np.full(3, dream.moment), np.full(3, seed), STEPS, actions=actions)
paddles = fork["image"][-1, ..., 0].sum(1).argmax(-1)  # (plans,) the likeliest column
columns = dict(zip(PLANS, paddles.tolist()))

# %% tags=["plumbing"]
# @title Draws the three rollouts
figure = Figure(figsize=(7, 4.6), layout="constrained")
shown = [1, 3, 5, 8]
for plan, (label, line) in enumerate(zip(PLANS, figure.subplots(len(PLANS), 1 + len(shown)))):
    pictures = [dream.recorded_image(dream.moment)]
    pictures += [dream.draw({"image": fork["image"][step - 1, plan]}) for step in shown]
    for axes, title, picture in zip(line, ["real", *(f"step {step}" for step in shown)], pictures):
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        if plan == 0:
            axes.set_title(title, fontsize=10)
    line[0].set_ylabel(label)
show(
    figure,
    "Three rows of Breakout images: the same real moment, then steps 1, 3, 5 and 8 of the rollout "
    "under a plan. "
    + ", ".join(f"{label}: paddle in column {column}" for label, column in columns.items())
    + " at step 8, counted from 0 to 9.",
    "00_fork",
)

# %%
question.explain(
    f"The paddles end in columns {columns['all left']} and {columns['all right']}, counted from 0. "
    "The model has learned what the actions do, and that walls stop the paddle. Nobody told it: "
    "both follow from predicting what was observed after each action."
)

# %% [markdown]
# ## 4 · Evaluation: a baseline and a negative control
#
# A number such as "squared error 1.2" means nothing alone. Two comparisons give it a meaning.
#
# * A **baseline** is the simplest method that could also do the task. Here it is *repeat the last
#   frame*: predict that nothing changes. A model that is not clearly better has learned little.
# * A **negative control** is a version that must fail if our explanation is right. We claim that the
#   model uses the actions. So we give the same model wrong actions, left instead of right and right
#   instead of left, and compare with the same reality. If it did as well as before, the claim would
#   be refuted, however good the number.

# %%
question = predict(
    "Where will the error of the rollouts with swapped actions lie?",
    ["on that of the world model", "between model and baseline", "above the baseline"],
)

# %% tags=["signature"]
SWAP = np.array([0, 2, 1], np.int32)  # stay, left, right -> stay, right, left
taken = game.action[times - 1]  # (HORIZON, MOMENTS)
swapped, _ = dream.many(moments, noise, HORIZON, actions=SWAP[taken])
lines = {
    "world model": model.sum(-1),
    "negative control: actions swapped": error(swapped["image"]).sum(-1),
    "baseline: repeat the last frame": error(real[moments][None]).sum(-1),
    "environment run again: mean of 16": again.sum(-1),
}
draw(lines, "00_errors")

# %%
at = {name.split(":")[0]: line[5] for name, line in lines.items()}
question.explain(
    "Squared errors at step 6: "
    + ", ".join(f"{name} {x:.2f}" for name, x in at.items())
    + ". The control shares everything with the model except the actions. The gap between the two "
    "lines is therefore what the actions contribute."
)

# %% [markdown]
# **Limits.** This is one agent in one small environment, and the moments come from a few episodes
# that this agent itself played; they overlap, so that they are not independent. The model has hardly
# seen what the agent never does, such as missing a ball on purpose in the middle of a good game. You
# may have found in section 1 that its rollouts break there. The environment run again is no exact
# lower bound: we took only moments after which the real episode went on, and the recorded actions
# were chosen in reaction to what really happened, so that a model may have learned to infer it from
# them. Notebooks 06 and 10 measure with more care.

# %% [markdown]
# ## 5 · Model-free and model-based learning
#
# **Model-free** reinforcement learning improves a policy or a value function directly from
# experience. **Model-based** learning first learns a model, and uses it to choose actions (planning)
# or, as Dreamer does, to train a policy on imagined experience. This idea is Sutton's Dyna (1991); Ha
# and Schmidhuber (2018) trained a policy inside a learned latent model.
#
# ![](figure:with_and_without)
#
# | | model-free, on-policy (PPO) | model-free, off-policy (DQN) | model-based (Dreamer) |
# |---|---|---|---|
# | real experience | is used for a few passes, then discarded | is kept in a replay buffer and reused | is kept in a replay buffer and reused |
# | it trains | policy and value | action values | the world model, and the critic |
# | learning signal | rewards | rewards | every observation, and rewards |
# | the policy improves on | its own recent trajectories | estimated values of all actions at replayed states | imagined rollouts of the present policy, from replayed states |
# | main weakness | sample efficiency | values of actions that were never tried there are extrapolated, and the maximum prefers overestimates | errors of the model |

# %% [markdown]
# **What a model gains** is *sample efficiency*: fewer steps in the real environment for the same
# return. It matters where real steps are slow, expensive or dangerous. An observation teaches a model
# something even when there is no reward. And imagined rollouts are *on-policy*: they show what the
# policy of today would do, although the replayed data came from older ones.
#
# **What a model costs** is computation, and its errors. *Compounding errors*: each prediction builds
# on the one before, so rollouts must stay short. Dreamer imagines 15 steps in the paper and 10 here;
# a critic estimates the rest of the return (**bootstrapping**). *Model exploitation*: a policy
# that maximises imagined return also seeks states in which the model is wrong in its favour. New real
# data, which the present policy collects, corrects this. And where real steps cost almost nothing, a
# model-free agent may reach the same return in less time. Notebook 11 compares them by steps and by
# seconds.
#
# **A tiny number.** If a prediction is right with probability 0.95 at each step, twelve in succession
# are right with probability $0.95^{12}$ = 0.54, and fifty with probability 0.08.

# %%
question = predict(
    "For each step in the real environment, on how many imagined steps was this policy trained?",
    ["about 0.1", "about 1", "about 10", "about 100"],
)

# %%
c = agent.config
real_steps = c.batch * c.length / c.train_ratio  # between two updates, all environments together
imagined_steps = c.batch * (c.starts or c.length) * c.horizon
print(f"each update: {real_steps:.0f} real steps, {imagined_steps:,} imagined steps")
question.explain(
    f"About {imagined_steps / real_steps:.0f}: an update replays {c.batch} sequences, imagines "
    f"{c.horizon} steps from the last {c.starts or c.length} states of each, and comes once in "
    f"{real_steps:.0f} real steps. The paper's agents imagine far more: from every replayed state."
)

# %% [markdown]
# ## 6 · The loop of DreamerV3
#
# **DreamerV3** learns three things at once, each with its own loss:
#
# 1. **Collect.** The actor chooses an action from the latent state $(h_t, z_t)$. The time step goes
#    into the replay buffer.
# 2. **World model.** On replayed sequences it learns to reconstruct observations, to predict rewards
#    and continuation, and to bring prior and posterior together. It is a *variational autoencoder*
#    for sequences, trained on a variant of the evidence lower bound (ELBO).
# 3. **Imagine.** From replayed states, prior and actor generate rollouts of H steps.
# 4. **Critic.** It learns to predict the return of these rollouts: the discounted sum of rewards. With
#    a smaller weight it also learns from the replayed sequences.
# 5. **Actor.** A *policy gradient* raises the probability of actions whose imagined return exceeds
#    the critic's prediction (their difference is the **advantage**). An entropy bonus keeps it
#    exploring (**exploration**).
#
# No step of 3 to 5 needs a decoded image: learning happens in **latent space**. The images that you
# saw were decoded for you alone.
#
# ![](figure:agent_whole)
#
# The result: the policy that was trained on nothing but imagined rollouts plays the real game.

# %%
ends = np.flatnonzero(game.is_last)
print("bricks broken in the episodes recorded here:", *(f"{game.score[t]:.0f}" for t in ends))
frames = rollouts.annotated_frames(world, game)[: min(ends[0] + 1, 160)]
frames = np.pad(frames, ((0, 0), (4, 4), (4, 4), (0, 0)), constant_values=255)  # a white margin
show_film(
    frames,
    f"The agent plays Breakout: the first {len(frames)} of {ends[0] + 1} steps of an episode in which "
    f"it breaks {game.score[ends[0]]:.0f} bricks. The paddle meets the ball at the bottom.",
    "00_play",
)

# %% [markdown]
# | policy | bricks broken per episode | measured on |
# |---|---|---|
# | this agent | 16.1 ± 0.5 (mean, standard error) | 500 episodes |
# | random actions | 0.4 | 1,000 episodes |
#
# Single episodes differ much: some end at the first ball, others after dozens of bricks. So three
# episodes, as above, say little.
#
# ## 7 · What you will write
#
# | you saw | part of the agent | notebook |
# |---|---|---|
# | time steps of an environment | replay buffer, resets | 02 |
# | predicted rewards and probabilities | symlog, two-hot, categorical distributions | 03 |
# | the latent state, observing and imagining | RSSM: GRU, prior, posterior | 04 |
# | decoded images, reward, continuation | encoder, decoder, heads, their losses | 05 |
# | rollouts under a plan and under a policy | imagination | 06 |
# | *agent decides* | actor and critic | 07 |
# | that all of it was learned together | optimizer, training loop | 08 |
#
# Notebook 01 introduces JAX to readers who know PyTorch. Every exercise has hints, a solution in a
# fold, and a check that names the mistake. A part that passes is kept in `my_dreamer.py`, and from
# notebook 04 on everything is trained with your parts.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. In the open-loop film, what does the model still receive from reality?</summary>
#
# The actions, and nothing else: no observation, no reward.
# </details>
# <details><summary>2. What is the difference between prior and posterior?</summary>
#
# Both are distributions over the stochastic state z given h, which summarises the past. The posterior
# is also given the present observation. The prior is not, and therefore can be used to imagine.
# </details>
# <details><summary>3. Why can the imagined paddle be one column off, although the actions are known?</summary>
#
# With probability 0.1 the environment repeats the previous action. Only an observation reveals when.
# The rollout samples these events independently of reality.
# </details>
# <details><summary>4. What would follow if swapped actions gave the same error as the true ones?</summary>
#
# The model would ignore its actions. No agent could use it to compare actions, however sharp the
# images.
# </details>
# <details><summary>5. DQN also replays old experience. What can Dreamer do with it that DQN cannot?</summary>
#
# DQN can only evaluate actions at the states in its buffer, and it extrapolates for actions not tried
# there. Dreamer can start at such a state, take an action that was never taken there, and generate
# what follows, as far as its model can be trusted.
# </details>
# <details><summary>6. The imagined return of a policy rises, its real return falls. What is the likely reason?</summary>
#
# Model exploitation: the policy has found states in which the model predicts too much reward.
# </details>

# %% [markdown]
# ## Summary
#
# * A world model predicts next latent state, reward and continuation from state and action.
# * While observing, the stochastic state comes from the posterior; while imagining, from the prior.
# * Open-loop rollouts are judged against reality under the same actions, beside a baseline and a
#   negative control. Their errors compound.
# * Model-based learning trades computation, and the risk of model exploitation, for sample efficiency.
# * DreamerV3 trains a world model on replayed sequences, and actor and critic on imagined rollouts in
#   latent space.
#
# ## References
#
# * R. S. Sutton: Dyna, an integrated architecture for learning, planning, and reacting. SIGART
#   Bulletin 2(4) (1991), [doi:10.1145/122344.122377](https://doi.org/10.1145/122344.122377).
# * D. Ha, J. Schmidhuber: World models (2018), [arXiv:1803.10122](https://arxiv.org/abs/1803.10122).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * J. Schulman and others: Proximal policy optimization algorithms (PPO, 2017),
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347).
# * V. Mnih and others: Human-level control through deep reinforcement learning (DQN). Nature 518
#   (2015), [doi:10.1038/nature14236](https://doi.org/10.1038/nature14236).
# * K. Young, T. Tian: MinAtar (2019), [arXiv:1903.03176](https://arxiv.org/abs/1903.03176).
# * M. C. Machado and others: Revisiting the Arcade Learning Environment (2018),
#   [arXiv:1709.06009](https://arxiv.org/abs/1709.06009).
#
# ## Next
#
# In track A of the lab, notebook 09 is next. If you write the agent and JAX is new to you, take 40
# minutes for notebook 01. Then notebook 02 begins the agent: what an
# environment returns at each time step, and how it is stored. This is how far your agent is now:

# %%
dreamer = parts.load()
