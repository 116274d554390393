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
# # 10 · Dreams and reality
#
# **Take a trained agent, yours or a shipped one, and measure how good it is, for how many steps its imagined rollouts can be trusted, and what the worst of a hundred has missed.**
#
# ![](figure:10_recorded_film)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 30 | 20 | 3, on 2 CPU cores | notebook 00 | measures of its quality |
#
# **You will be able to**
#
# * evaluate an agent, and state the uncertainty of the result;
# * compare an imagined rollout with the real environment under the same actions: recorded ones, the agent's, yours;
# * say for how many steps a rollout is better than repeating the last frame, with confidence intervals;
# * separate an error of the world model from the noise of sampling, and from randomness of the environment;
# * find the worst rollout of a hundred and what it missed, and export all of it as films.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup("dmc", "atari")

# %% [markdown]
# **Which agent?** `latest` takes the newest agent of your runs: those of notebook 09 and of `dreamer-lite train`, on this disk and,
# with `use_drive` on Colab, on Google Drive. If there is none, it takes the shipped agent of Breakout, and the numbers in the text below
# are of that agent. Or write the name of a shipped agent, a run folder, or a `.safetensors` file.
#
# `episodes = 0` plays as many as suit the environment: 100, or 20 where each environment is a separate
# simulator. `folder` is where the films are stored; empty means beside your agent, or a temporary folder for a
# shipped one.

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # a short run, for tests
agent_name = "latest"  # @param ["latest", "minatar-breakout", "catch", "walker-walk", "road-runner", "pong", "atari-breakout"] {allow-input: true}
use_drive = True  # @param {type: "boolean"}
seed = 3  # @param {type: "integer"}
episodes = 20 if FAST else 0  # @param {type: "raw"}
games = 10  # @param {type: "integer"}
count = 100  # @param {type: "integer"}
folder = ""  # @param {type: "string"}

# %% tags=["setup"]
# @title Imports, and the agent
import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite import worlds
from dreamer_lite.course import checks, judging
from dreamer_lite.course.notebook import predict, show, show_film
from dreamer_lite.course.widgets import OWN, RECORDED, Dream, steer_in_page
from dreamer_lite.evaluation import rollouts
from dreamer_lite.runs import places, process

process.enable_compilation_cache()
agent_name, agent = judging.choose(agent_name, [places.home(), colab.drive(use_drive)])
films = judging.Films(folder, agent_name)
config, params = agent.config, agent.params
world = worlds.make(config.world)  # says which package is missing, if one is
settable = not worlds.is_hosted(world)  # can it be set to a moment of a recording?
episodes = judging.episodes_for(world, episodes)
trained = agent.info.get("trained", agent.info)
print(f"{agent_name}: {config.world}, size {config.size}, {trained['updates']:,} updates")

# %% [markdown]
# ## 1 · Evaluation: mean return and standard error
#
# The **return of one episode** varies: in Breakout the same agent clears one brick in one episode and 30 in the
# next. The **mean** of n returns varies less, and its **standard error** estimates how much: it is the standard
# deviation of the mean, if you played n new episodes again and again.
#
# $$\bar x=\frac1n\sum_i x_i\qquad s^2=\frac{1}{n-1}\sum_i(x_i-\bar x)^2\qquad
# \mathrm{SE}=\frac{s}{\sqrt n}$$
#
# (Agarwal et al. 2021 describe how evaluations in reinforcement learning go wrong without it.) The interval $\bar x\pm1.96\,\mathrm{SE}$ is a
# **95 % confidence interval**: of 100 such intervals, about 95 contain the true mean. Shapes: `returns` (n,) gives two numbers ().
#
# **A tiny number.** Returns 2, 4 and 9: the mean is 5, the deviations are -3, -1 and 4, so $s^2=26/2=13$ and
# $\mathrm{SE}=\sqrt{13/3}=2.08$. With three episodes we know nearly nothing.
#
# Each return must be that of a *whole* episode, and each episode must come from an environment of its own. If you took
# the first n episodes that end in a few environments, you would prefer short episodes. In Breakout those are the bad
# ones, so the estimate would be biased.

# %% [markdown]
# **Exercise 1** · easy · very important · 5 minutes
#
# Write the mean and its standard error.
#
# <details><summary>Hint 1: the idea</summary>
#
# The standard deviation describes single episodes. The mean of n of them varies less, by the square root of n.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Return a pair: the mean, and the standard deviation divided by the root of `len(returns)`. The variance of a
# sample divides by n - 1.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `returns.std(ddof=1)` divides by n - 1; `len(returns) ** 0.5` is the root.
# </details>


# %% tags=["exercise"]
def my_mean_and_error(returns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean of the returns and its standard error.

    Args:
      returns: (n,) undiscounted returns of n episodes.

    Returns: two numbers ().
    """
    # BEGIN SOLUTION
    return returns.mean(), returns.std(ddof=1) / len(returns) ** 0.5
    # END SOLUTION


# %% tags=["check"]
mean_and_error = checks.mean_and_error(my_mean_and_error)

# %%
question = predict(
    "How many episodes does it take to know the mean return to within 2 % (one standard error)?",
    ["about 20", "about 100", "about 1,500", "about 100,000"],
)

# %%
returns = {}
for label, player in {"this agent": params, "random play": None}.items():
    returns[label] = rollouts.evaluate(config, player, world, episodes, seed)
    mean, error = map(float, mean_and_error(jnp.asarray(returns[label])))
    needed = (returns[label].std(ddof=1) / max(0.02 * abs(mean), 1e-9)) ** 2
    print(f"{label}: {mean:.2f} ± {error:.2f}; for an error of 2 %: {needed:,.0f} episodes")

# %%
show(*judging.returns_figure(returns), "10_returns")

# %%
question.explain(
    "For the shipped agent of Breakout about 1,500. Its returns have a standard deviation of "
    "three quarters of their mean, and the error falls only with the root of n: four times as many episodes "
    "halve it. Much of the variance is the environment's: sticky actions and the first "
    "direction of the ball."
)

# %% [markdown]
# <details><summary>The figure that you should see</summary>
#
# ![](figure:10_returns)
# </details>
#
# A line shows for each return which fraction of the episodes had at most that much. The crosses are the means, with their intervals.
#
# **Limits.** This is the error over episodes of *one* trained agent. Other seeds of the training differ by more (notebook 08).

# %% [markdown]
# ## 2 · A recording
#
# A **recording** holds whole episodes: each time step with its observation, action, reward, and the posterior state of the
# agent's RSSM. For an environment in JAX it also holds the simulator's own state. So from any time step we can
# continue twice: the world model in an **open loop**, from the posterior state without further observations, and the
# real environment, from its own state.

# %%
game = rollouts.record(config, params, world, seed, games, film=False)
ends = np.flatnonzero(game.is_last)
print("returns of the recorded episodes:", *(f"{game.score[t]:.0f}" for t in ends))
first = jax.tree.map(lambda x: x[: min(ends[0] + 1, 500)], game)
films.keep("play", rollouts.annotated_frames(world, first), 10)

# %% [markdown]
# ## 3 · Side by side, under the same actions
#
# An **imagined rollout** (a *dream*) starts at a time step of the recording. In the film, the left panel is the
# real environment, the middle panel is decoded from the imagined state, and the right panel shows the difference: orange is only imagined, striped blue
# only real. First, both receive the recorded actions.

# %%
dream = Dream(agent, game, seed=seed, reality=True)
beside = dream.beside_reality(24, RECORDED)
films.keep("beside_recorded", beside, 3)
show_film(
    beside,
    f"Film of reality, imagined rollout and their difference for {dream.steps} steps under the "
    f"recorded actions. At the end: {dream.words()}",
    "10_recorded", fps=3, columns=1, rows=2, moving=True,
)  # fmt: skip

# %% [markdown]
# You should see the film at the top of this page.
#
# Now the agent's policy chooses the actions, from the *imagined* states, and the real environment receives the
# same actions. Small errors of the model now lead to other actions: **errors compound**.
#
# The real environment takes new random numbers here. In Breakout an action is *sticky*: with probability 0.1 the previous
# action is repeated instead. No model can predict that, so a difference of one paddle position is not necessarily an error of the
# model.
#
# (Walker and Atari run outside of JAX and cannot be set to a recorded moment. For them this film is left out.)

# %%
question = predict(
    "The policy acts on imagined states, for 16 steps. Where do dream and reality differ first?",
    ["the paddle", "the ball", "the bricks", "nowhere"],
)

# %%
if settable:
    beside = dream.beside_reality(16, OWN)
    films.keep("beside_own", beside, 3)
    show_film(
        beside,
        f"Film of reality, imagined rollout and their difference for {dream.steps} steps; the agent "
        f"chooses the actions of both, from imagined states. At the end: {dream.words()}",
        "10_own", fps=3, columns=1, rows=2,
    )  # fmt: skip
else:
    print(f"{config.world} cannot be set to a moment: no film of reality under other actions.")

# %%
question.explain(
    "Nowhere, for the shipped agent and seed 3: no action was sticky when it mattered, and every "
    "rebound and every brick is right. With another `seed` it is the paddle first, because only the "
    "paddle feels a sticky action. If it then meets the ball at another place, the ball leaves in "
    "another direction, and the two are different games from there on."
)

# %% [markdown]
# <details><summary>Two frames of the film that you should see</summary>
#
# ![](figure:10_own)
# </details>
#
# ## 4 · Take the controls of both
#
# Below is the page of notebook 00 with *this* agent. Click on the images, then use the arrow keys, or press a button: each is one
# step, in the dream and in reality. *Play* goes on by itself with the actions of *play by*. The page starts from real moments
# that the agent has just reached; *next moment* takes another one. The networks run in your browser, so it answers while cells
# run, and it is still there in a saved copy.
#
# **Temperature** τ divides the logits of the prior before z is sampled: τ = 1 is the model as trained, towards 0 it takes the
# most probable classes, and above 1 it samples improbable ones more often.
#
# The table shows what the model predicts. **Prior entropy** is $-\sum_{s,c}p_{sc}\ln p_{sc}$ in nats, at most $S\ln C$ for $S$ categorical
# variables of $C$ classes. It is a
# warning light: it rises where the model is uncertain, for example when the ball meets a brick.
#
# 1. Press *agent decides* until the two images differ. Which object differs first? Press *new sample* and repeat: is it the same?
# 2. Set the temperature to 0. Does the rollout become more accurate? Does anything unlikely still happen?
# 3. Move the paddle away from the ball in both. Does the model predict that the episode ends?
#
# (For Walker and Atari, reality is a recording. It is known as long as you press *as recorded*.)

# %%
steer_in_page(dream, plan=[RECORDED, RECORDED, next(iter(dream.choices)), OWN])

# %% [markdown]
# ## 5 · Error against horizon
#
# For how many steps is a rollout good? We start from many moments, drawn at random, and imagine 15 steps under the
# recorded actions. The **error** is the squared difference between predicted and real frame, summed over the cells that
# change at all within these steps; the others need no prediction. For a Walker these are numbers, as
# $\mathrm{symlog}(x)=\mathrm{sign}(x)\ln(1+|x|)$.
#
# | predictor | what it is |
# |---|---|
# | dream | one imagined rollout from each moment |
# | mean of 8 dreams | the mean of their frames; it can hedge between possible futures |
# | another's actions | the **negative control**: a rollout under the actions of another moment |
# | repeat the last frame | a baseline without a model |
# | mean frame | the mean of the recording, a second baseline |
# | environment, run again | the real environment from the same state under the same actions, with other random numbers, once (in notebook 00 it was the mean of 16 runs): the error of a *perfect* model that samples one future |
#
# The intervals are 95 % confidence intervals over the moments, as in section 1.
#
# **Walker and Atari.** The last line is missing, because they cannot be set to a moment. It would be zero: they are
# deterministic (the Atari games of this course have no sticky actions). So the whole error is due to the model and its sampling.

# %% [markdown]
# **Exercise 2** · easy · important · 5 minutes
#
# One number for a curve: the **trusted horizon** is the number of steps *from the first on* at which the dream's error is below
# that of repeating the last frame. Shapes: two curves (H,) give an integer ().
#
# **A tiny number.** dream (1, 2, 5, 3), repeat (2, 3, 4, 4): 2 steps. Step 4 does not count, because the curves have crossed
# at step 3.
#
# <details><summary>Hint 1: the idea</summary>
#
# Count the leading `True` values of `dream < repeat`.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# The product of all comparisons up to a step is 1 as long as all are true, and 0 from the first `False` on. The sum of these
# products is the number.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.cumprod(...)`, then `.sum()`.
# </details>


# %% tags=["exercise"]
def my_trusted_steps(dream: jax.Array, repeat: jax.Array) -> jax.Array:
    """How many steps, from the first on, the dream is better than repeating the last frame.

    Args:
      dream: (H,) error of the imagined rollout at steps 1 to H.
      repeat: (H,) error of the last observed frame.

    Returns: a whole number ().
    """
    # BEGIN SOLUTION
    return jnp.cumprod(dream < repeat).sum()
    # END SOLUTION


# %% tags=["check"]
trusted_steps = checks.trusted_steps(my_trusted_steps)

# %%
question = predict(
    "Another's actions: how large is that error at the first step, beside the dream's?",
    ["the same", "a little larger", "ten times as large"],
)

# %% tags=["signature"]
HORIZON, MANY = 15, 4 if FAST else 8
test = judging.moments(dream, count, HORIZON, seed)
dreamt, signals = judging.rollouts(dream, test)
several = [judging.rollouts(dream, test, again=k)[0] for k in range(1, MANY + 1)]
predictions = {
    "dream": dreamt,
    f"mean of {MANY} dreams": np.mean(several, 0),
    "another's actions": judging.rollouts(dream, test, actions=np.roll(test.actions, 1, 1))[0],
    "repeat the last frame": test.last,
    "mean frame": test.mean,
}
if settable:
    predictions["environment, run again"] = judging.run_again(dream, test)
errors = {label: judging.errors(test, x) for label, x in predictions.items()}

# %%
lines = {label: judging.means(test, error) for label, error in errors.items()}
repeat = jnp.asarray(lines["repeat the last frame"][:, 0])
for label in ("dream", f"mean of {MANY} dreams"):
    steps = int(trusted_steps(jnp.asarray(lines[label][:, 0]), repeat))
    print(f"{label}: better than repeating the last frame for {steps} of {len(repeat)} steps")
show(*judging.errors_figure(test, lines), "10_errors")

# %%
wrong = lines["another's actions"][0, 0] / max(lines["dream"][0, 0], 1e-9)
question.explain(
    f"{wrong:.0f} times as large. So the model does use the actions: a model that ignored them would have the "
    "same error twice. At the end, the error under another's actions is that of the mean frame: that rollout shows "
    "a plausible game, and not this one."
)

# %% [markdown]
# <details><summary>The figure that you should see</summary>
#
# ![](figure:10_errors)
# </details>
#
# **How to read it** (shipped agent of Breakout). Ball, trail and paddle move; each in a wrong cell costs 2. The dream's error is below
# *both* baselines at all 15 steps, so the trusted horizon is at least 15. The sixth line is the surprise: **the environment itself, run again, differs from
# the recording as much as the dream does.** The growing error is mostly due to sticky actions, which nobody can predict, and not to
# the model. The mean of eight dreams has a lower error than any single future, because it hedges.
#
# An error without this line would have been blamed on the model. Set `HORIZON = 40` above: which line crosses the *mean frame*? Then
# set it back to 15.
#
# <details><summary>The answer</summary>
#
# The environment, run again, does so at step 25: one possible future is then a worse prediction than the mean. The dream stays below the mean
# frame for all 40 steps. One reason is in notebook 00, *Limits*: the recorded actions were chosen in reaction to what really happened.
# </details>

# %%
question = predict(
    "At temperature 0 a rollout never takes an improbable class. Is its error after 15 steps lower than at temperature 1?",
    ["lower", "equal", "higher"],
)

# %%
late = {}
for temperature in (0.0, 0.5, 1.0, 2.0):
    error = judging.errors(test, judging.rollouts(dream, test, temperature)[0])
    late[temperature] = judging.means(test, error)[:, 0]
    print(f"temperature {temperature:.1f}: " + " ".join(f"{x:5.2f}" for x in late[temperature]))

# %%
question.explain(
    f"{late[0.0][-1]:.2f} at temperature 0, {late[1.0][-1]:.2f} at 1 and {late[2.0][-1]:.2f} at 2. For Breakout it is lower at 0: "
    "the most probable future is a good single prediction of the frame. But it is only one future. The mean of "
    f"{MANY} samples has {lines[f'mean of {MANY} dreams'][-1, 0]:.2f}. And a policy that is trained at temperature 0 never meets a sticky action."
)

# %% [markdown]
# ## 6 · Predicted and observed reward
#
# A policy learns from imagined *rewards*, not from frames. So we compare sums of rewards over 15 steps. The predicted sum weights each
# reward with the probability that the rollout has not ended before it, $\sum_t\big(\prod_{s<t}\hat c_s\big)\,\hat r_t$.
#
# The baseline is the best constant prediction: the mean of what was observed. The negative control is the prediction for *another* moment.

# %%
predicted, observed = judging.predicted_reward(signals), test.reward
misses = {
    "its own dream": float(np.mean((predicted - observed) ** 2)),
    "another moment's dream": float(np.mean((np.roll(predicted, 1) - observed) ** 2)),
    "always the mean": float(observed.var()),
}
show(*judging.rewards_figure(predicted, observed, misses, HORIZON), "10_rewards")

# %% [markdown]
# <details><summary>The figure that you should see</summary>
#
# ![](figure:10_rewards)
# </details>
#
# **How to read it** (shipped agent of Breakout). Most points lie on the diagonal, at whole numbers of bricks: there the prediction is right.
# A few lie far below it: the model predicted three to six bricks, and none to two came. Squared, these few moments make up most
# of the error, so that the mean squared error of the dream is barely below that of the best constant. The predicted mean is also
# too high. An actor would exploit such errors (notebook 07, *model exploitation*).

# %% [markdown]
# ## 7 · The worst rollout of a hundred
#
# Means hide what is most instructive. So we rank the moments by the mean error of their rollout, over the
# steps before the episode ends. Shapes: `errors` and `valid` (H, M) give the index of a moment ().
#
# **A tiny number.** Errors (3, 3, 3), and (5, 1, 1) with only the first step valid: the means are 3 and 5, so
# the second is worse. The sums 9 and 5 would say the opposite.
#
# **Exercise 3** · medium · useful · 10 minutes
#
# <details><summary>Hint 1: the idea</summary>
#
# Mean over the *valid* steps of each moment, then the index of the largest mean.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Divide the sum of the valid errors by their number. A moment without any valid step gives 0 / 0, which is not a
# number, and `argmax` returns it. Replace it by minus infinity first.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.sum(errors, 0, where=valid) / valid.sum(0)`, then `jnp.where(valid.any(0), mean, -jnp.inf)`, then `jnp.argmax`.
# </details>


# %% tags=["exercise"]
def my_worst_dream(errors: jax.Array, valid: jax.Array) -> jax.Array:
    """The moment whose rollout has the largest mean error over its valid steps.

    Args:
      errors: (H, M) errors of M rollouts at H steps.
      valid: (H, M) bool, false where the episode had ended. A moment may have no valid step.

    Returns: the index of the moment ().
    """
    # BEGIN SOLUTION
    mean = jnp.sum(errors, 0, where=valid) / valid.sum(0)
    return jnp.argmax(jnp.where(valid.any(0), mean, -jnp.inf))
    # END SOLUTION


# %% tags=["check"]
worst_dream = checks.worst_dream(my_worst_dream)

# %%
per_moment = judging.mean_error(test, errors["dream"])
worst = int(worst_dream(jnp.asarray(errors["dream"]), jnp.asarray(test.valid)))
typical = judging.median(per_moment)
for label, k in (("median", typical), ("worst", worst)):
    dream.begin(int(test.moments[k]), int(test.seeds[k]))
    beside = dream.beside_reality(HORIZON, RECORDED)
    films.keep(label, beside, 3)
show_film(
    beside,
    f"Film of the worst rollout of {len(test.moments)}: reality, imagined rollout and difference "
    f"for {dream.steps} steps; mean squared error {per_moment[worst]:.2f}, in the median rollout "
    f"{per_moment[typical]:.2f}.",
    "10_worst", fps=3, columns=1, rows=2, moving=True,
)  # fmt: skip

# %% [markdown]
# <details><summary>The film of the worst rollout that you should see</summary>
#
# ![](figure:10_worst_film)
# </details>
#
# What did it miss? The next table splits the error into parts: planes of Breakout, ninths of an image, or numbers of a body.

# %%
table = judging.by_part(dream, test, dreamt)
for name, x in sorted(table.items(), key=lambda item: -item[1][worst])[:6]:
    print(f"{name:16} worst {x[worst]:6.2f}   median {x[typical]:6.2f}   all {x.mean():6.2f}")

# %% [markdown]
# **The model, its sampling, or the environment?** A rollout samples z at every step, and perhaps this sample was improbable. So we
# imagine the same moment 64 times, with other sampling noise. If most samples are as bad, the noise is not the reason. We also run the
# real environment again, where that is possible, with other random numbers. If its error is as large, a perfect model would have been as wrong.

# %%
question = predict(
    "Of 64 rollouts from the worst moment, how many have at least 80 % of its error?",
    ["hardly any", "about a quarter", "more than half"],
)

# %%
again = 16 if FAST else 64
spread = {}
for label, k in (("worst", worst), ("median", typical)):
    spread[label] = judging.resampled(dream, test, k, again)
    if settable:
        spread[f"{label}, environment"] = judging.rerun(dream, test, k, again)
for label, each in spread.items():
    low, middle, high = np.percentile(each, [5, 50, 95])
    print(f"{label:20} half of them below {middle:.2f}, 90 % from {low:.2f} to {high:.2f}")
as_bad = float((spread["worst"] >= 0.8 * per_moment[worst]).mean())

# %%
question.explain(
    f"{as_bad:.0%}. For the shipped agent of Breakout it is more than half, so it is not one improbable sample. The environment, run again, differs less: it is the *model* that does not know this moment. "
    "The first frame of the film shows why: the reconstruction has the paddle in two cells, with the fainter one in the right place. "
    "The posterior is uncertain, most samples begin with the paddle in the wrong cell, "
    "and it then meets the ball at another place. From there on it is another game, after a few steps in sharp frames: a "
    "wrong rollout does not look wrong."
)

# %% [markdown]
# **Limits.** One agent, and moments of a few of its own episodes. Moments of the same episode are alike, so the confidence intervals are a little
# too narrow. States that the agent never visits are not tested; only the player of section 4 goes there. And an error
# of frames is not yet an error that harms the policy: section 6 is closer to that.
#
# ## 8 · The films
#
# | file | what it shows |
# |---|---|
# | `play.mp4` | an episode in the real environment |
# | `beside_recorded.mp4`, `beside_own.mp4` | reality beside the imagined rollout, under recorded actions and under the agent's |
# | `worst.mp4`, `median.mp4` | the worst and the median rollout |

# %%
print(films.listed())
if films.temporary:
    colab.download(*films.files())  # on Colab; elsewhere they are on your disk
print("In a terminal: dreamer-lite evaluate | record | dream --agent", agent_name)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Agent A has 9.9 ± 0.6, agent B has 8.9 ± 0.6 (standard errors). Is A better?</summary>
#
# The difference is 1.0, and its standard error is $\sqrt{0.6^2+0.6^2}=0.85$: 1.2 standard errors, so it is not shown. Besides, each is a single
# training run, and other seeds differ by more than that.
# </details>
# <details><summary>2. The mean of several rollouts has a lower error than each of them. Why not train the policy on the mean?</summary>
#
# A mean of two futures is not a possible future: half a ball in each of two cells cannot be caught. The policy must act in each sampled
# future, and is judged by the mean of the *returns*.
# </details>
# <details><summary>3. Temperature 0 gives lower errors here. What does a policy lose if it is trained that way?</summary>
#
# It never experiences improbable events, such as a sticky action, and its value estimates ignore them.
# </details>
# <details><summary>4. A rollout is worse than repeating the last frame from step 9 on. Can a policy still learn from it?</summary>
#
# Yes, if what it gets wrong does not matter for reward and continuation, for example the place of a single brick. Section 6 measures that. And
# the last frame cannot tell what another action would lead to.
# </details>

# %% [markdown]
# ## Summary
#
# * A mean return without its standard error is not a result. Take whole episodes, one from each environment.
# * An imagined rollout and the real environment can be compared under any actions, if the environment can be set to a moment.
# * The trusted horizon ends where the error first crosses that of repeating the last frame, on the cells that change.
# * Other sampling noise, and the environment run again, show which part of an error is the model's. In Breakout that part is small on average.
# * The worst rollout says more about a model than the mean: it is sharp, plausible and wrong.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * D. Ha, J. Schmidhuber: World models (2018; temperature of imagined rollouts),
#   [arXiv:1803.10122](https://arxiv.org/abs/1803.10122).
# * R. Agarwal and others: Deep reinforcement learning at the edge of the statistical precipice (2021),
#   [arXiv:2108.13264](https://arxiv.org/abs/2108.13264).
# * M. C. Machado and others: Revisiting the Arcade Learning Environment (2018; sticky actions),
#   [arXiv:1709.06009](https://arxiv.org/abs/1709.06009).
#
# ## Next
#
# Notebook 11 asks what the world model contributes: the same environment, learned without one.
