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
# **Take a trained agent, your own or a shipped one, and find out how good it is, how far its dreams hold, and what the worst of a hundred of them has missed.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 30 | 2, on 2 CPU cores | notebooks 00 and 06 | judgement |
#
# **You will be able to**
#
# * evaluate an agent, and say how sure you are;
# * put a dream and the real world side by side under the same actions: recorded ones, the agent's, yours;
# * say for how many steps a dream is worth more than a copy of the last picture;
# * tell an error of the model from the bad luck of its dice;
# * find the worst dream of a hundred, and what it misses; and export all of it as films.
#
# ![](figure:agent_whole)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% [markdown]
# `agent_name` is a shipped agent, such as `road-runner`, a game of Atari; a run folder; or a
# `.safetensors` file, as notebook 09 writes one.
# Everything here works for any of them. A Walker needs the extra `dmc`, an Atari agent `atari`: on
# Colab write `colab.setup("dmc", "atari")` above; elsewhere the next cell says what to install.
#
# `folder` is where the films go; if it is empty, a temporary one.

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
agent_name = "minatar-breakout"  # @param {type: "string"}
seed = 3  # @param {type: "integer"}
episodes = 20 if FAST else 100  # @param {type: "raw"}
games = 10  # @param {type: "integer"}
count = 100  # @param {type: "integer"}
folder = ""  # @param {type: "string"}

# %% tags=["setup"]
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite import worlds
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show, show_film
from dreamer_lite.course.widgets import OWN, RECORDED, Dream, DreamPlayer, steer
from dreamer_lite.evaluation import rollouts
from dreamer_lite.evaluation.dreams import ages
from dreamer_lite.evaluation.open_loop import numbers
from dreamer_lite.runs import agents, process
from dreamer_lite.show import video
from dreamer_lite.show.plots import style

print(dreamer_lite.__doc__)
process.enable_compilation_cache()
films = Path(folder or tempfile.mkdtemp(prefix="dreamer-lite-"))
agent = agents.load(agent_name)
config, params = agent.config, agent.params
world = worlds.make(config.world)  # says which package is missing, if one is
settable = not worlds.is_hosted(world)  # can it be set to a moment that was recorded?
trained = agent.info.get("trained", agent.info)
print(f"{agent_name}: {config.world}, size {config.size}, {trained['updates']:,} updates")

# %% [markdown]
# ## 1 · How good is it?
#
# One return says little: in Breakout the same agent breaks 1 brick in one game and 30 in the next. The
# **mean** of n returns says more, and how much more is what its standard error tells: if the n games
# were played anew, the mean would move by about that much.
#
# $$\bar x=\frac1n\sum_i x_i\qquad s^2=\frac{1}{n-1}\sum_i(x_i-\bar x)^2\qquad
# \mathrm{SE}=\frac{s}{\sqrt n}$$
#
# (Bessel's correction and the error of a mean: any book of statistics; Agarwal et al. 2021 on what goes
# wrong in reinforcement learning.) About 95 of 100 true means lie within 1.96 SE. Shapes: `returns`
# (n,) gives two numbers ().
#
# **A tiny number.** Returns 2, 4 and 9: mean 5, deviations -3, -1, 4, so $s^2 = 26 / 2 = 13$ and
# $\mathrm{SE} = \sqrt{13 / 3} = 2.08$. Three games: 5 ± 2, that is, nearly nothing.
#
# Each return must be of a *whole* episode, one from each of n worlds. To take the first n that end,
# from a few worlds, would prefer the short ones, and short games are bad ones here.
#
# **Exercise 1** · easy · very important · 5 minutes
#
# <details><summary>Hint 1</summary>
#
# `returns.std(ddof=1)` divides by n - 1.
# </details>
# <details><summary>Hint 2</summary>
#
# That is the spread of single games. The mean is surer, by the root of n.
# </details>


# %% tags=["exercise"]
def my_mean_and_error(returns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(mean, standard error of the mean) of returns (n,)."""
    # BEGIN SOLUTION
    return returns.mean(), returns.std(ddof=1) / len(returns) ** 0.5
    # END SOLUTION


# %% tags=["check"]
mean_and_error = checks.mean_and_error(my_mean_and_error)

# %%
returns = {
    "this agent": rollouts.evaluate(config, params, world, episodes, seed),
    "random": rollouts.evaluate(config, None, world, episodes, seed),
}
figure = Figure(figsize=(6.4, 2.8), layout="constrained")
axes = figure.add_subplot()
words, line = [], np.linspace(0, 1, episodes)
for number, (label, each) in enumerate(returns.items()):
    mean, error = map(float, mean_and_error(jnp.asarray(each)))
    words.append(f"{label} {mean:.2f} ± {error:.2f}, from {each.min():.0f} to {each.max():.0f}")
    axes.plot(np.sort(each), line, label=label, **style(number, episodes))
    axes.errorbar(mean, 0.5, xerr=1.96 * error, fmt="k|", capsize=4, markersize=14)
    need = (float(each.std(ddof=1)) / max(0.02 * abs(mean), 1e-9)) ** 2
    print(f"{words[-1]}; for an error of 2 % of the mean: {need:,.0f} episodes")
axes.set(xlabel="return of an episode", ylabel="share of episodes up to it")
axes.legend(frameon=False)
show(
    figure,
    f"Returns of {episodes} episodes in order, as shares, each with mean and 1.96 standard errors: "
    f"{'; '.join(words)}.",
    "10_returns",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:10_returns)
# </details>
#
# **A knob.** `episodes = 25`. **Predict first:** by how much does the error grow?
#
# ## 2 · Record what it lives through
#
# Rows of whole episodes: what it saw and did, what it then *knew* (the state of its RSSM), and, in a
# world written in JAX, the world's own state. From such a row both can go on: the agent with closed
# eyes, the world with open cards.


# %%
def keep(name: str, frames: np.ndarray, fps: float) -> None:
    """Write a film into the folder of films."""
    video.write(films / f"{name}.mp4", frames, fps)
    print(f"wrote {films / name}.mp4, {len(frames)} pictures")


game = rollouts.record(config, params, world, seed, games, film=False)
ends = np.flatnonzero(game.is_last)
print("returns recorded:", *(f"{game.score[row]:.0f}" for row in ends))
first = jax.tree.map(lambda x: x[: min(ends[0] + 1, 120)], game)
played = rollouts.annotated_frames(world, first)
keep("play", played, 10)

# %% [markdown]
# ## 3 · Side by side, under the same actions
#
# First the actions that were recorded, as in notebook 00. On the left what came, in the middle what is
# dreamt from the actions alone, on the right where they differ: orange is only dreamt, striped blue only
# real.

# %%
dream = Dream(agent, game, seed=seed, reality=True)
beside = dream.beside_reality(24, RECORDED)
keep("beside_recorded", beside, 3)
show_film(
    beside,
    f"Reality, dream and difference for {dream.steps} steps under the recorded actions. {dream.words()}",
    "10_recorded",
    fps=3,
    columns=1,
    rows=3,
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:10_recorded)
# </details>
#
# Now the *dreaming* agent chooses, in what it dreams, and reality gets those actions, blindly. This is
# harder for the dream: once it errs, it acts on the error, and reality pays. **Predict first:** who loses
# the ball first?
#
# (A world that runs on the host, as Walker and Pong do, cannot be set to a recorded moment: there this
# film is left out. Its dreams stand beside the recording only.)

# %%
if settable:
    beside = dream.beside_reality(24, OWN)
    keep("beside_own", beside, 3)
    show_film(
        beside,
        f"Reality, dream and difference for {dream.steps} steps, the dreaming agent at the controls of "
        f"both. {dream.words()}",
        "10_own",
        fps=3,
        columns=1,
        rows=3,
    )
else:
    print(f"{config.world} cannot be set to a moment: no film of reality under other actions.")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:10_own)
# </details>
#
# ## 4 · Take the controls of both
#
# Each press is one step, in the dream and in reality. *Play* goes on by itself, ten steps a second, as
# *play by* says, and can be paused and gone on with step by step; its square goes back to the start.
# *Horizon* is where it ends. *Real moment* chooses another row of the recording. *Temperature* divides
# the logits of the prior before a latent is drawn: 1 is the model as it is, 0 always takes what it holds
# likeliest, 3 dares a lot. All of it can be reached by the Tab key.
#
# The table shows what the dream says of itself. *Latent entropy* is how unsure the prior was of the
# latent that it drew: $-\sum_{s,c} p_{sc}\ln p_{sc}$, in nats, at most $S\ln C$. Watch it when the ball
# meets a brick.
#
# 1. Play by *as recorded*: reality is the recording. Then *stay*: where do the two part?
# 2. Set the temperature to 0. Does the dream get better? Livelier?
# 3. Move the paddle away from the ball in both. Who notices that it is lost?

# %%
yours = Dream(agent, game, seed=seed, reality=True)  # the cells below have theirs
steer(yours, plan=[RECORDED, RECORDED, next(iter(yours.choices)), OWN], more=True)

# %% [markdown]
# Is it quick enough to play? From a press until the new picture is handed to the browser it takes 28
# ms of one slow core (35 GF/s), that is, 35 pictures a second. By the clock, now:

# %%
taken = DreamPlayer(dream, more=True).seconds_per_frame(10 if FAST else 50)
print(f"{1000 * taken:.0f} ms a picture on this machine, {1 / taken:.0f} pictures a second")

# %% [markdown]
# ## 5 · How far does the dream hold?
#
# Many moments, drawn by seed, each dreamt for 15 steps under the actions that were recorded. Error: the
# squared difference, added up over the cells (for a Walker: the numbers, in symlog) that change at all
# while we look. Where nothing ever moves, any guess is right and would make all errors small.
#
# Beside it stand two guesses without a model: **copy the last frame** seen, and the **mean frame** of the
# recording. And two dreams more: the mean of several, which hedges where a single dream must guess; and
# the negative control, the dream under **another moment's actions**. If the dream did not listen, it
# would cost nothing.
#
# The bands are 1.96 standard errors over the moments, as in notebook 06.
#
# A curve with a crossing asks for a number: for how many steps *from the first on* is the dream better
# than copying? Shapes: `dream` and `copy` (H,) give an int ().
#
# **A tiny number.** dream (1, 2, 5, 3), copy (2, 3, 4, 4): 2 steps. That it is better again at step 4
# does not count.
#
# **Exercise 2** · easy · important · 5 minutes
#
# <details><summary>Hint 1</summary>
#
# `dream < copy` is True where it is better. The product of all up to a step is 0 from the first False on.
# </details>
# <details><summary>Hint 2</summary>
#
# `jnp.cumprod` of that, then add up.
# </details>


# %% tags=["exercise"]
def my_trusted_steps(dream: jax.Array, copy: jax.Array) -> jax.Array:
    """How many steps, from the first on, the dream's error (H,) is below the copy's (H,): ()."""
    # BEGIN SOLUTION
    return jnp.cumprod(dream < copy).sum()
    # END SOLUTION


# %% tags=["check"]
trusted_steps = checks.trusted_steps(my_trusted_steps)

# %%
HORIZON, MANY = 15, 4 if FAST else 8
left = ages(game.is_first[:, None], game.is_last[:, None])[1][:, 0]
moments = np.random.default_rng(seed).permutation([m for m in dream.moments if left[m]])[:count]
dice = seed + np.arange(len(moments))
ahead = np.minimum(moments + np.arange(1, HORIZON + 1)[:, None], len(left) - 1)  # rows (H, M)
valid = np.arange(1, HORIZON + 1)[:, None] <= left[moments]
taken_actions = game.action[np.minimum(moments + np.arange(HORIZON)[:, None], len(left) - 1)]


def flat(obs: dict[str, np.ndarray]) -> np.ndarray:
    """Observations (..., n): pixels in [0, 1], vectors in symlog, classes as one-hot."""
    return np.asarray(numbers(obs, world.obs_space))


real = flat({key: x[ahead] for key, x in game.obs.items()})  # (H, M, n)
last = flat({key: x[moments] for key, x in game.obs.items()})  # (M, n)
changes = ((real != last) & valid[..., None]).any(0)  # (M, n)


def error(guess: np.ndarray) -> np.ndarray:
    """Squared error (H, M) of guesses (H, M, n), over the cells that change."""
    return ((guess - real) ** 2 * changes).sum(-1)


# %% tags=["signature"]
dreamt, signals = dream.many(moments, dice, HORIZON)
several = [flat(dream.many(moments, dice + 1000 * k, HORIZON)[0]) for k in range(1, MANY + 1)]
other, _ = dream.many(moments, dice, HORIZON, actions=np.roll(taken_actions, 1, 1))
errors = {
    "dream": error(flat(dreamt)),
    f"mean of {MANY} dreams": error(np.mean(several, 0)),
    "another's actions": error(flat(other)),
    "copy the last frame": error(last[None]),
    "mean frame": error(flat(game.obs).mean(0)),
}
enough = valid.sum(1) >= 5  # horizons that at least 5 moments reach
lines = {}
for label, wrong in errors.items():
    each = [wrong[h][valid[h]] for h in np.flatnonzero(enough)]
    lines[label] = np.array([(x.mean(), 1.96 * x.std(ddof=1) / len(x) ** 0.5) for x in each]).T
means = {label: mean for label, (mean, _) in lines.items()}
trusted = int(trusted_steps(jnp.array(means["dream"]), jnp.array(means["copy the last frame"])))
hedged = int(
    trusted_steps(*map(jnp.array, (list(means.values())[1], means["copy the last frame"])))
)
print(f"better than copying for {trusted} of {enough.sum()} steps; the mean of {MANY}: {hedged}")

# %%
figure = Figure(figsize=(7.4, 4.2), layout="constrained")
axes = figure.add_subplot()
steps = np.arange(1, enough.sum() + 1)
for number, (label, (mean, band)) in enumerate(lines.items()):
    axes.plot(steps, mean, label=label, **style(number, len(steps)))
    colour = style(number, 1)["color"]
    axes.fill_between(steps, mean - band, mean + band, alpha=0.15, color=colour)
axes.set(xlabel="steps since the eyes closed", ylabel="squared error, cells", ylim=(0, None))
axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
at = sorted({0, len(steps) // 2, len(steps) - 1})
show(
    figure,
    f"Squared error against steps, from {len(moments)} moments, with bands of 1.96 standard errors. At "
    f"steps {', '.join(str(h + 1) for h in at)}: "
    + "; ".join(
        label + " " + ", ".join(f"{mean[h]:.2f} ± {band[h]:.2f}" for h in at)
        for label, (mean, band) in lines.items()
    )
    + ".",
    "10_errors",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:10_errors)
# </details>
#
# The dream errs less than both guesses at each of the 15 steps: by 0.08 ± 0.06 where copying errs by
# 5.4, and still by 1.9 ± 0.4 at the last, where copying errs by 6.9 and the mean frame by 3.3. (Ball,
# trail and paddle all move; each in a wrong cell costs 2.) Under another's actions it errs by 1.1 at once,
# and in the end as much as the mean frame: it listens. The mean of eight dreams is better than a single
# one, 1.35 at the last step, because no single sample can be right every time.
#
# It never crosses the copy. Set `HORIZON = 40` above: where does it cross the *mean frame*?
#
# **A knob.** The temperature. **Predict first:** at 0 a dream never takes an unlikely turn. Is its error
# then smaller than at 1? Than that of the mean of several?

# %%
for temperature in (0.0, 0.5, 1.0, 2.0):
    guess = flat(dream.many(moments, dice, HORIZON, temperature)[0])
    mean = [error(guess)[h][valid[h]].mean() for h in np.flatnonzero(enough)]
    print(f"temperature {temperature:.1f}: " + " ".join(f"{x:5.2f}" for x in mean))

# %% [markdown]
# Smaller, 1.60 at the last step in place of 1.90: the likeliest future is a good bet. But it is one
# future, and the mean of eight, 1.35, is a better one. Above 1 the dream gets worse.
#
# ## 6 · Imagined and real reward
#
# A policy is taught by dreamt rewards, not by pictures. So add them up: what a dream promises in 15
# steps, each reward weighted by the chance that it has not ended before,
# $\sum_t \big(\prod_{s<t}\hat c_s\big)\,\hat r_t$; and what came. Baseline: always the mean of what came,
# the best constant there is. Negative control: the promise of *another* moment.

# %%
alive = np.concatenate([np.ones((1, len(moments))), np.cumprod(signals.cont, 0)[:-1]])
promised = (alive * signals.reward).sum(0)
came = (game.reward[ahead] * valid).sum(0)
misses = {
    "its own dream": np.mean((promised - came) ** 2),
    "another's dream": np.mean((np.roll(promised, 1) - came) ** 2),
    "always the mean": came.var(),
}
figure = Figure(figsize=(5.2, 3.8), layout="constrained")
axes = figure.add_subplot()
jitter = np.random.default_rng(0).uniform(-0.06, 0.06, len(came)) * max(1, np.ptp(came) / 4)
both = np.array([min(promised.min(), came.min()), max(promised.max(), came.max())])
axes.plot(both, both, color="0.5", linestyle=(0, (4, 3)), label="as promised")
axes.plot(promised, came + jitter, "o", color="#0072B2", alpha=0.5, markersize=4)
axes.set(xlabel=f"promised in {HORIZON} steps", ylabel="came (shifted a little)")
axes.legend(frameon=False)
show(
    figure,
    f"Reward that came within {HORIZON} steps against the reward that was dreamt, {len(came)} moments: "
    f"mean {came.mean():.2f} came, {promised.mean():.2f} was promised. Mean squared miss: "
    + "; ".join(f"{label} {x:.2f}" for label, x in misses.items())
    + ".",
    "10_rewards",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:10_rewards)
# </details>
#
# Its own dream misses by 0.61 bricks squared, the best constant by 0.72, another's dream by 2.29. It
# flatters a little: 1.44 bricks were promised, 1.27 came. Most points lie on the line at whole numbers, and
# there it is right. But five dreams promised three to six bricks where none to two came: squared, these few
# misses make up most of the error, so that the dream is barely better than the constant.
#
# ## 7 · The worst dream of a hundred
#
# Means hide what is worth seeing. So rank the moments by the mean error of their dream, over the steps
# that count. Shapes: `errors` and `valid` (H, M) give the number of a moment ().
#
# **A tiny number.** Errors (3, 3, 3) and (5, 1, 1), of the second only the first step valid: means 3 and 5,
# the second is worse. Their sums would say 9 and 5.
#
# **Exercise 3** · medium · useful · 10 minutes
#
# <details><summary>Hint 1</summary>
#
# `jnp.sum(errors, 0, where=valid) / valid.sum(0)` is the mean of each moment.
# </details>
# <details><summary>Hint 2</summary>
#
# Where no step is valid that is 0 / 0, and `argmax` takes a NaN for the largest: put minus infinity there
# by `jnp.where`.
# </details>


# %% tags=["exercise"]
def my_worst_dream(errors: jax.Array, valid: jax.Array) -> jax.Array:
    """Which of M moments has the largest mean error over its valid steps; (H, M), (H, M) -> ()."""
    # BEGIN SOLUTION
    mean = jnp.sum(errors, 0, where=valid) / valid.sum(0)
    return jnp.argmax(jnp.where(valid.any(0), mean, -jnp.inf))
    # END SOLUTION


# %% tags=["check"]
worst_dream = checks.worst_dream(my_worst_dream)

# %%
per_moment = (errors["dream"] * valid).sum(0) / valid.sum(0)
worst = int(worst_dream(jnp.array(errors["dream"]), jnp.array(valid)))
usual = int(np.argsort(per_moment)[len(per_moment) // 2])
for label, k in (("the worst", worst), ("the one in the middle", usual)):
    dream.begin(int(moments[k]), int(dice[k]))
    beside = dream.beside_reality(HORIZON, RECORDED)
    keep(label.split()[-1], beside, 3)
    show_film(
        beside,
        f"{label} of {len(moments)}: reality, dream and difference for {dream.steps} steps from row "
        f"{moments[k]}; mean squared error {per_moment[k]:.2f} cells.",
        f"10_{label.split()[-1]}",
        fps=3,
        columns=1,
        rows=3,
    )

# %% [markdown]
# <details><summary>What you should see</summary>
#
# The worst:
#
# ![](figure:10_worst)
#
# The one in the middle:
#
# ![](figure:10_middle)
# </details>
#
# What does it miss? The error, part by part: planes of Breakout, ninths of a picture, numbers of a body.


# %%
def parts() -> dict[str, np.ndarray]:
    """Which of the n flat cells belong to which part, as masks (n,)."""
    found, begin = {}, 0
    for key, space in sorted(world.obs_space.items()):
        inside = np.zeros((real.shape[-1],), bool)
        for number, cells in enumerate(split(space.shape, space.size)):
            mask = inside.copy()
            mask[begin : begin + space.size][cells.reshape(-1)] = True
            found[PLANES[number] if config.world == "minatar/breakout" else f"{key} {number}"] = (
                mask
            )
        begin += space.size
    return found


PLANES = ("paddle", "ball", "trail", "bricks")


def split(shape: tuple[int, ...], size: int) -> list[np.ndarray]:
    """Masks of the planes of a grid, of the ninths of a large picture, or of single numbers."""
    if len(shape) < 3:
        return [np.arange(size) == i for i in range(size)]  # one number each
    h, w, c = shape
    if h < 20:
        return [np.broadcast_to(np.arange(c) == i, shape) for i in range(c)]
    y, x = np.mgrid[:h, :w]
    ninth = 3 * (3 * y // h) + 3 * x // w
    return [np.broadcast_to((ninth == i)[..., None], shape) for i in range(9)]


squared = (flat(dreamt) - real) ** 2 * changes * valid[..., None]  # (H, M, n)
table = {
    name: squared[..., mask].sum((0, 2)) / valid.sum(0) for name, mask in parts().items()
}  # (M,)
for name, x in sorted(table.items(), key=lambda item: -item[1][worst])[:6]:
    print(f"{name:16} worst {x[worst]:6.2f}   middle {x[usual]:6.2f}   all {x.mean():6.2f}")

# %% [markdown]
# **The model, or its dice?** A dream throws dice at every step. Perhaps these were bad ones. So dream the
# same moment again, 64 times, with other dice. If most of them are as bad, the model does not know the
# place (or reality itself took an unlikely turn, which no dream can foretell); if few are, it was luck.

# %%
again = 16 if FAST else 64
spread = {}
for label, k in (("worst", worst), ("middle", usual)):
    same = np.full(again, moments[k])
    guess = flat(dream.many(same, 5000 + np.arange(again), HORIZON)[0])
    wrong = ((guess - real[:, k : k + 1]) ** 2 * changes[k] * valid[:, k][:, None, None]).sum(
        (0, 2)
    )
    spread[label] = wrong / valid[:, k].sum()
as_bad = float((spread["worst"] >= 0.8 * per_moment[worst]).mean())
for label, each in spread.items():
    low, middle, high = np.percentile(each, [5, 50, 95])
    print(f"{label}: with other dice {middle:.2f}, nine of ten from {low:.2f} to {high:.2f}")
print(f"{as_bad:.0%} of the other dreams from the worst moment are at least 0.8 times as bad")

# %% [markdown]
# The worst dream misses by 4.2 a step, the median one of other samples by 4.0, where the dream in the middle
# misses by 0.8. 70 % of the other samples are nearly as bad, yet some are nearly right (0.06). The reason
# shows in the first row: when its eyes close, the agent is not sure of the paddle, which its reconstruction
# paints in two cells, the fainter of which is the right one. Most samples begin with the paddle in the wrong
# cell. It then meets the ball elsewhere, so that the ball leaves in another direction and breaks another
# brick. And all of it in sharp pictures: a dream does not look wrong.
#
# **Limits.** One agent; moments from a few of its own games, and those of one game are alike, so that the
# bands are a little too narrow. What it never does is not tested: only the player of section 4 goes there.
# And an error of pictures is not the error that hurts: section 6 is nearer to that.
#
# ## 8 · Take it with you

# %%
for file in sorted(films.iterdir()):
    print(f"{file}  {file.stat().st_size / 1000:.0f} kB")
print("Without a notebook: dreamer-lite evaluate | record | dream --agent", agent_name)

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Agent A has 9.9 ± 0.6, agent B 8.9 ± 0.6. Is A better?</summary>
#
# The difference is 1.0, its error $\sqrt{0.6^2 + 0.6^2} = 0.85$: 1.2 standard errors. Not shown. And both
# are one run each: other seeds of training differ more than that.
# </details>
# <details><summary>2. The mean of several dreams errs less than each of them. Why not teach the policy in it?</summary>
#
# A mean of two futures is no future: half a ball in two places cannot be caught. A policy has to meet
# each of them, and to be judged by the mean of what they bring.
# </details>
# <details><summary>3. Temperature 0 gives small errors. What is lost?</summary>
#
# The unlikely. A policy taught in such dreams has never seen a sticky action, or a bad bounce.
# </details>
# <details><summary>4. The dream is worse than a copy of the last frame from step 9 on. Can it still teach?</summary>
#
# Yes, if what it gets wrong does not matter for reward and end: the place of a single brick, say. See
# section 6. And a copy cannot be asked what another action would bring.
# </details>

# %% [markdown]
# ## Summary
#
# * A mean without its error is no result; episodes are taken whole, one from each world.
# * Dream and reality go side by side under any actions, where the world can be set to a moment.
# * A dream is trusted up to the first crossing with a copy of the last frame, on the cells that change.
# * Rewards are judged against the best constant, dreams against other dreams with other dice.
# * The worst dream says more about a model than the mean one.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
# * D. Ha, J. Schmidhuber: World models (2018; temperature of a dream),
#   [arXiv:1803.10122](https://arxiv.org/abs/1803.10122).
# * R. Agarwal and others: Deep reinforcement learning at the edge of the statistical precipice (2021),
#   [arXiv:2108.13264](https://arxiv.org/abs/2108.13264).
# * T. Gneiting, A. E. Raftery: Strictly proper scoring rules, prediction, and estimation. Journal of the
#   American Statistical Association 102 (2007),
#   [doi:10.1198/016214506000001437](https://doi.org/10.1198/016214506000001437).
#
# ## Next
#
# Notebook 11 asks what the model is worth: the same world, learnt without one.
