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
# **An agent that has learnt how its world moves can close its eyes and play on, in a dream; and you can take the controls.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 15 | 1, on 2 CPU cores | nothing yet | nothing |
#
# **You will be able to**
#
# * tell what an agent sees from what it dreams;
# * steer a dream, and find a place where it goes wrong;
# * say how one measures whether a dream is any good;
# * name the blocks that make it, and what learning with a model gains and costs.
#
# Nothing is trained here, and there is nothing to write. The agent was trained before, on two CPU
# cores; in the notebooks that follow you build it. These are its blocks:
#
# ![](figure:agent_whole)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
agent_name = "minatar-breakout"  # @param {type: "string"}
seed = 3  # @param {type: "integer"}

# %% tags=["setup"]
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course.notebook import show, show_film
from dreamer_lite.course.widgets import Dream, steer
from dreamer_lite.evaluation import rollouts
from dreamer_lite.runs import agents
from dreamer_lite.show.plots import style

# %% [markdown]
# ## 1 · Awake: the agent plays
#
# The world is Breakout on a grid of ten by ten cells, by the rules of MinAtar (Young and Tian 2019).
# A ball flies on diagonals and breaks bricks, one point each. If it passes the paddle, the game is
# over. Three actions: stay, left, right. One in ten is swapped for the action before (*sticky*
# actions), so even the agent's own moves hold surprises.
#
# Whoever knew nothing, and acted at random, would break about 0.4 bricks a game. This agent breaks
# 16.1 ± 0.5, over 500 games that differ much: with `seed = 0`, the three below break 1, 6 and 25.

# %%
agent = agents.load(agent_name)
world = worlds.make(agent.config.world)
trained = agent.info["trained"]
print(f"learnt for {trained['wall_seconds'] / 60:.0f} minutes, {trained['updates']:,} updates")
print(f"return in training: {agent.info['return_mean']:.1f} ± {agent.info['return_stderr']:.1f}")
game = rollouts.record(agent.config, agent.params, world, seed, episodes=2 if FAST else 3)
ends = np.flatnonzero(game.is_last)
print("bricks in the games recorded here:", *(f"{game.score[row]:.0f}" for row in ends))

# %%
shown = rollouts.annotated_frames(world, game)[: min(ends[0] + 1, 160)]
show_film(
    shown,
    f"The agent plays Breakout: a film of {len(shown)} steps of a game of {ends[0] + 1}, in which it "
    f"breaks {game.score[ends[0]]:.0f} bricks. The paddle meets the ball at the bottom of the grid.",
    "00_play",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:00_play)
# </details>
#
# ## 2 · Asleep: the agent dreams
#
# Now we stop the game at some moment and cover the agent's eyes. From here on it is told one thing
# only: which actions are taken. The world plays on beside it under the same actions. In the middle
# is what the agent believes to see.
#
# Green frame: awake. Purple, dashed: dreaming. On the right, orange is what is only dreamt, striped
# blue what is only real. Below the dream are two more guesses: the reward that comes with the
# picture, and the chance that the game goes on.
#
# **Predict first:** what will the dream lose first: paddle, ball or bricks?

# %%
dream = Dream(agent, game, seed=seed)
film = dream.beside_reality(24)
gap = np.asarray(dream.current.obs["image"]) - game.obs["image"][dream.moment + dream.steps] / 255
wrong = {name: float((gap[..., plane] ** 2).sum()) for plane, name in enumerate(("paddle", "ball"))}
wrong["bricks"] = float((gap[..., 3] ** 2).sum())
show_film(
    film,
    f"Reality, dream and difference side by side, from the moment the eyes close to step {dream.steps}, "
    "under the same actions. Squared error in the last picture, in cells: "
    + ", ".join(f"{name} {x:.1f}" for name, x in wrong.items())
    + ". A paddle or ball in a wrong cell costs 2.",
    "00_dream",
    fps=3,
    columns=1,
    rows=4,
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:00_dream)
# </details>
#
# No picture was copied. After its eyes closed the agent carried 128 numbers, its *memory*, and 8
# small dice, its *guess*, from step to step. A decoder painted each picture from these. A faint ball
# in two places says that the agent is not sure.

# %% [markdown]
# ## 3 · Take the controls
#
# Now *you* choose the actions. There is no game behind these buttons: every picture on the right is
# dreamt. Press a button, or go to it with the Tab key and press the space bar. Try to
#
# 1. move the paddle away, so that the ball is lost. What happens to the probability of continuation?
# 2. press *left* many times. Does the paddle leave the grid?
# 3. catch the ball, and go for a brick. Does the dreamt reward come at the right moment?
# 4. let the *agent decide*, and see how long it survives in its own head.
# 5. press *new noise* and do the same again: what differs?
#
# The buttons need a running kernel: a copy that is only looked at, on GitHub say, does not show them.
# In a script, a short list of actions is played instead.

# %%
steer(dream, plan=["left", "left", "right", "stay"])

# %% [markdown]
# Does the dream listen at all, or does it only run on like a film? A picture for the answer: from
# one moment, with the same dice, three plans.

# %%
plans = {"all left": "left", "all stay": "stay", "all right": "right"}
steps, columns = [1, 3, 5, 7], {}
figure = Figure(figsize=(7.4, 5.4), layout="constrained")
for line, (label, action) in zip(figure.subplots(len(plans), 5), plans.items()):
    dream.begin()
    line[0].imshow(dream.recorded_image(dream.moment))
    for axes in line:
        axes.set(xticks=[], yticks=[])
    line[0].set_ylabel(label)
    for step in range(1, 8):
        dream.step(action)
        if step in steps:
            axes = line[1 + steps.index(step)]
            axes.imshow(dream.draw(dream.current.obs))
            axes.set_title(f"dreamt step {step}", fontsize=9)
    line[0].set_title("real", fontsize=9)
    columns[label] = int(dream.current.obs["image"][..., 0].sum(0).argmax())
show(
    figure,
    "Three rows of Breakout pictures: one real moment, then dreamt steps 1, 3, 5 and 7 under a plan. "
    + ", ".join(f"{label}: paddle in column {column}" for label, column in columns.items())
    + " at step 7, counted from 0 to 9.",
    "00_fork",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:00_fork)
# </details>
#
# ## 4 · How good is it?
#
# One nice film proves nothing. So: many moments, twelve steps each, under the actions that the game
# really took; the squared error, summed over the cells of a picture. Beside the dream stand a
# baseline, **copy the last frame** seen, as if the world stood still; and a negative control,
# **hands crossed**: the same dream, but each left becomes a right and each right a left. If the
# dream did not listen to its actions, crossing them would cost nothing.
#
# **Predict first:** where will the control be?

# %% tags=["signature"]
HORIZON, MOMENTS = 12, 16 if FAST else 40
CROSSED = {0: 0, 1: 2, 2: 1}  # stay, left, right
real = game.obs["image"] / np.float32(255)
whole = [m for m in dream.moments if not game.is_last[m : m + HORIZON].any()]
chosen = np.random.default_rng(seed).permutation(whole)[:MOMENTS]


def error(picture: np.ndarray, row: int) -> float:
    """Squared error of a picture against a real row, summed over the cells."""
    return float(((picture - real[row]) ** 2).sum())


def dream_errors(hands: dict[int, int]) -> np.ndarray:
    """Mean error at each step, (HORIZON,); `hands` says which action stands for which."""
    table = np.zeros((len(chosen), HORIZON))
    for k, moment in enumerate(chosen):
        dream.begin(int(moment), seed=seed + k)
        for h in range(HORIZON):
            dream.step(np.int32(hands[int(game.action[moment + h])]))
            table[k, h] = error(dream.current.obs["image"], moment + h + 1)
    return table.mean(0)


copied = [[error(real[m], m + h + 1) for h in range(HORIZON)] for m in chosen]
lines = {
    "dream": dream_errors({0: 0, 1: 1, 2: 2}),
    "dream, hands crossed": dream_errors(CROSSED),
    "copy the last frame": np.mean(copied, 0),
}

# %%
figure = Figure(figsize=(6.4, 3.6), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(lines.items()):
    axes.plot(np.arange(1, HORIZON + 1), line, label=label, **style(number, HORIZON))
axes.set(xlabel="steps with closed eyes", ylabel="squared error, cells", ylim=(0, None))
axes.legend(frameon=False)
show(
    figure,
    f"Squared error against steps with closed eyes, over {len(chosen)} moments. At step 1, 6 and 12: "
    + "; ".join(
        f"{label} {line[0]:.2f}, {line[5]:.2f}, {line[11]:.2f}" for label, line in lines.items()
    )
    + ".",
    "00_errors",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:00_errors)
# </details>
#
# **Limits.** One agent, one small world, moments from a few games that this agent itself played. It
# has hardly seen what it never does, such as losing the ball on purpose in the middle of a good
# game: you may have found that there its dreams break. Notebook 10 looks for such places with more
# care.
#
# ## 5 · What you just saw
#
# | you saw | the block that does it | you build it in |
# |---|---|---|
# | frames, rewards and ends that a game gives | world and replay | 01 |
# | rewards and chances said as numbers, of any size | predictions: symlog, two-hot | 02 |
# | 128 numbers that remember, 8 dice that guess | RSSM, the recurrent state-space model | 03 |
# | pictures, reward, "goes on", painted from these | decoder and heads | 04 |
# | one action after another with eyes closed | imagination | 05 |
# | *agent decides*; what the critic expects | actor and critic | 06 |
# | how all of it was learnt together | optimiser and loop | 07 |

# %% [markdown]
# ## 6 · Learning with and without a model
#
# ![](figure:with_and_without)
#
# *Without a model*, rows of the real world teach the policy itself. PPO uses each row for a few
# passes and throws it away; DQN keeps rows and replays them, but can only ask about what it did. All
# that such an agent learns of the world is what reward tells it, and reward is rare.
#
# *With a model*, rows teach a simulator first, and every cell of every picture is a lesson. The
# policy then practises in dreams, which cost no real step, begin anywhere, and show what the policy
# of *today* would do. The idea is Sutton's (Dyna, 1991); Ha and Schmidhuber (2018) let an agent
# learn inside its own dream; Dreamer made it one recipe for many worlds.
#
# The gain is fewer real steps. That is worth much where they are slow, costly or dangerous. The
# price: dreaming takes computing, and a policy can learn to please the mistakes of the model. Where
# the world is cheap, as here, an agent without a model may well be quicker by the clock; notebook
# 11 races the two.

# %%
config = agent.config
real_steps = config.batch * config.length / config.train_ratio
dreamt_steps = config.batch * (config.starts or config.length) * config.horizon
print(f"for each update this agent lived {real_steps:.0f} steps in all its worlds together,")
print(f"and dreamt {dreamt_steps:,}: {dreamt_steps / real_steps:.1f} dreamt steps for a real one.")

# %% [markdown]
# ## Quiz
#
# <details><summary>1. The dream runs beside reality. What does the agent still get from reality?</summary>
#
# The actions, and nothing else: no picture, no reward.
# </details>
# <details><summary>2. Why can the dreamt paddle be one column off, though the actions are known?</summary>
#
# One action in ten is replaced by the one before. Which one, only eyes could tell; the dream rolls
# its own dice.
# </details>
# <details><summary>3. Copying the last frame errs less for step 1 than for step 5. Why?</summary>
#
# Two cells of ball and trail change at once, so it errs early; paddle and bricks change later.
# </details>
# <details><summary>4. What would "hands crossed" as good as "dream" have meant?</summary>
#
# That the dream ignores its actions. It could not be used to choose any.
# </details>

# %% [markdown]
# ## Summary
#
# * A world model carries a small state from step to step; pictures are painted from it.
# * Asleep, it needs the actions only. So one can steer it, fork it, and learn in it.
# * A dream is judged against reality under the same actions, beside a baseline and a control.
# * Dreams save real steps and cost computing.
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
#
# ## Next
#
# Notebook 02 begins at the beginning: what a world gives, row by row, and how it is kept.
