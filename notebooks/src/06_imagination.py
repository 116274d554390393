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
# **Give a world model one moment and a plan, and it lives on with closed eyes; how far to trust such a dream can be measured, and so can the place where it breaks.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 30 | 5, on 2 CPU cores | notebooks 04 and 05 | dreams, along a plan or a policy |
#
# **You will be able to**
#
# * write imagination as a scan, along given actions and along a policy;
# * measure a dream against two baselines, with a band that says how sure you are;
# * fork a moment into many plans, and choose one by dreaming;
# * steer a dream by hand;
# * find where a dream breaks, and show by an experiment why.
#
# ![](figure:agent_imagination)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 500 if FAST else 2000  # @param {type: "raw"}
lived = 400  # @param {type: "integer"}

# %% tags=["setup"]
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.agent.rssm import State
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import buttons, live, show
from dreamer_lite.show.plots import style

print(dreamer_lite.__doc__)

# %% [markdown]
# ## 1 · A dream is a loop without eyes
#
# Awake, the state follows the frames. Asleep, there are none, and the *prior* stands in for the
# look (notebook 04):
#
# $$h_t=\mathrm{GRU}(h_{t-1},z_{t-1},a_{t-1})\qquad \hat z_t\sim p(\hat z_t\mid h_t)$$
#
# That is one step. A dream is this step, again and again, each from the state that the last one
# left (Ha and Schmidhuber 2018; Hafner et al. 2019, 2025). No frame is drawn on the way:
# the decoder is only for us who watch. So a dream costs little, and hundreds run side by side.
#
# In JAX such a loop is a *scan*: a function from (carry, inputs of a step) to (new carry, what to
# keep). A Python loop would be compiled step by step, 15 times as long for 15 steps.
#
# Shapes: `start` is a `State` of B moments, `actions` (T, B, A), `noise` (T, B, S), uniform in
# [0, 1), for the draws of $\hat z$. `step(state, action, u)` gives the next state.
#
# **A tiny number.** Let the state be a number and the step state + action. From 5 along (1, 1, -2)
# the dream is 6, 7, 5. The 5 that it starts from is no part of it.

# %% [markdown]
# **Exercise 1** · easy · very important · 10 minutes
#
# Dream along given actions.
#
# <details><summary>Hint 1</summary>
#
# `jax.lax.scan(once, start, (actions, noise))` calls `once(state, (action, u))` for each row of the
# two, in order.
# </details>
# <details><summary>Hint 2</summary>
#
# `once` returns the new state twice: as the carry, and as what is kept. The scan returns (last
# carry, all that was kept).
# </details>


# %% tags=["exercise"]
def my_open_loop(step: Callable, start: State, actions: jax.Array, noise: jax.Array) -> State:
    """The T states dreamt from `start` (B, ...); (T, B, A), (T, B, S) -> (T, B, ...)."""

    # BEGIN SOLUTION
    def once(state: State, inputs: tuple) -> tuple:
        following = step(state, *inputs)
        return following, following

    return jax.lax.scan(once, start, (actions, noise))[1]
    # END SOLUTION


# %% tags=["check"]
open_loop = checks.open_loop(my_open_loop)

# %% [markdown]
# `WorldModel.open_loop` in the package is the same scan. It draws the noise itself, from a key, in
# one go before the loop.
#
# ## A model to dream in
#
# To dream, we need a trained model: that of notebook 05, Breakout learnt from random play, here with
# the package's losses and many updates to a call. It takes about a minute and a half. `play` also
# keeps the *game*, the whole state of each world; we shall want to go back to a moment. `skill` is
# the share of actions with which a player follows the ball; the others are random. For now it is 0.
# As in notebook 05 no dice are in the game itself (`sticky` is 0), so that errors are the model's.

# %%
import dataclasses
import functools
from typing import NamedTuple

from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.agent.learner import loss_scales
from dreamer_lite.agent.optimizer import make_optimizer
from dreamer_lite.agent.world_model import Batch, WorldModel
from dreamer_lite.presets import make_config
from dreamer_lite.training.xla import compiler_options

WORLDS, LENGTH = 128, 16  # worlds side by side; rows of a training window
world = dataclasses.replace(worlds.make("minatar/breakout"), sticky=0.0)
config = make_config("minatar/breakout", batch=16, length=LENGTH)
scales = {"image": config.recon_scale, **loss_scales(config)}
STAY, LEFT, RIGHT = range(3)


class Play(NamedTuple):
    """What WORLDS players lived through; leaves (rows, WORLDS, ...)."""

    row: worlds.TimeStep
    action: jax.Array
    game: tuple  # the world's own state, from which it could go on


# %%
def toward(paddle: jax.Array, column: jax.Array) -> jax.Array:
    """The action that moves the paddle nearer to a column; any shape, ints."""
    return jnp.where(column > paddle, RIGHT, jnp.where(column < paddle, LEFT, STAY))


@functools.partial(jax.jit, static_argnums=2)
def play(skill: jax.Array, key: jax.Array, rows: int) -> Play:
    """Players who follow the ball with a share `skill` (WORLDS,) of their actions. Uses the key."""
    reset_key, key = jax.random.split(key)
    begin = jax.vmap(world.reset)(jax.random.split(reset_key, WORLDS))

    def live_on(carry: tuple, key: jax.Array) -> tuple:
        game, row = carry
        who_key, what_key, world_key = jax.random.split(key, 3)
        follows = jax.random.uniform(who_key, (WORLDS,)) < skill
        random = jax.random.randint(what_key, (WORLDS,), 0, 3)
        action = jnp.where(follows, toward(game.paddle, game.column), random)
        keys = jax.random.split(world_key, WORLDS)
        following = jax.vmap(worlds.next_timestep, (None, 0, 0, 0, 0))(
            world, game, row, action, keys
        )
        return following, Play(row, action, game)

    return jax.lax.scan(live_on, begin, jax.random.split(key, rows))[1]


random_player = jnp.zeros(WORLDS)
rows = play(random_player, jax.random.key(seed), lived)
ends = int(rows.row.is_last.sum())
print(f"{rows.action.size:,} rows, {ends:,} episodes of {rows.action.size / ends:.1f} rows")

# %%
graph, weights = nnx.split(
    WorldModel(world.obs_space, world.action_space.classes, config, np.random.default_rng(seed))
)
first_params = nnx.to_pure_dict(weights)
optimizer = make_optimizer(config)
CHUNK = 20  # updates in one call


def windows(rows: Play, start: jax.Array, place: jax.Array, length: int) -> Batch:
    """Windows of `length` rows from `start` (B,) in worlds `place` (B,), as a Batch (T, B, ...)."""
    index = start + jnp.arange(length)[:, None]
    cut = jax.tree.map(lambda x: x[index, place], rows.row)
    before = jax.nn.one_hot(rows.action[index - 1, place], world.action_space.classes)
    blank = nnx.merge(graph, first_params).rssm.initial(len(start))
    return Batch(**cut._asdict(), previous_action=before, context=blank)


@functools.partial(jax.jit, compiler_options=compiler_options())  # made for small products
def learn(params: dict, state: tuple, rows: Play, key: jax.Array) -> tuple:
    """CHUNK updates on windows from anywhere: (params, state, mean losses). The key is consumed."""

    def update(carry: tuple, key: jax.Array) -> tuple:
        params, state = carry
        start_key, place_key, model_key = jax.random.split(key, 3)
        start = jax.random.randint(start_key, (config.batch,), 1, len(rows.action) - LENGTH + 1)
        place = jax.random.randint(place_key, (config.batch,), 0, WORLDS)
        batch = windows(rows, start, place, LENGTH)

        def loss(params: dict) -> tuple:
            recon, losses, *_ = nnx.merge(graph, params).loss(batch, model_key)
            means = jax.tree.map(jnp.mean, recon | losses)
            return sum(scales[name] * mean for name, mean in means.items()), means

        slope, means = jax.grad(loss, has_aux=True)(params)
        step, state = optimizer.update(slope, state, params)
        return (jax.tree.map(jnp.add, params, step), state), means

    (params, state), means = jax.lax.scan(update, (params, state), jax.random.split(key, CHUNK))
    return params, state, jax.tree.map(jnp.mean, means)


# %%
def train(rows: Play, title: str, name: str = "") -> dict:
    """A world model after `updates` updates from the first weights, and its curve while it grows."""
    draw, history = live(), {"image": [], "dyn": []}
    params = jax.tree.map(jnp.array, first_params)
    state = optimizer.init(params)
    calls = updates // CHUNK
    for call in range(calls):
        key = jax.random.fold_in(jax.random.key(seed), call)
        params, state, means = learn(params, state, rows, key)
        for loss in history:
            history[loss].append(float(means[loss]))
        if (call + 1) % max(1, calls // 10) and call + 1 < calls:
            continue
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, values) in enumerate(history.items()):
            at = CHUNK * np.arange(1, len(values) + 1)
            axes.plot(at, values, label=label, **style(number, len(values)))
        news = f"update {CHUNK * (call + 1):,} of {updates:,}"
        axes.set(yscale="log", xlabel="updates", ylabel="nats", xlim=(0, updates))
        axes.set_title(f"{title}: {news}", fontsize=10)
        axes.legend(frameon=False, ncols=2)
        words = ", ".join(f"{label} {values[-1]:.2f}" for label, values in history.items())
        alt = f"Losses of the world model on a log scale. {title}, {news}: {words} nats."
        draw(figure, alt, name if call + 1 == calls else "")
    return params


print("The first picture comes when all is compiled, after some seconds.", flush=True)
params = train(rows, "random player", "06_curve")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_curve)
# </details>
#
# Now to moments of **new** random play. The model watches 6 rows, then closes its eyes. A horizon
# counts at a moment only as long as the real episode lasts: a reset cannot be foretold, and is not
# part of any dream.

# %%
AWAKE, HORIZON, MOMENTS = 6, 15, 512
test = play(random_player, jax.random.key(seed + 1000), lived)


class Moments(NamedTuple):
    """M moments of some play: where they are, and what really followed."""

    time: np.ndarray  # (M,)
    place: np.ndarray  # (M,)
    actions: jax.Array  # (HORIZON, M, A) taken from there on, one-hot
    frames: np.ndarray  # (HORIZON + 1, M, 10, 10, 4) in [0, 1]; row 0 is the last that is seen
    valid: np.ndarray  # (HORIZON, M) bool, the row belongs to the moment's episode
    alive: np.ndarray  # (HORIZON, M) bool, and the episode goes on after it


def draw_moments(rows: Play, count: int = MOMENTS) -> Moments:
    """Moments drawn by seed among all rows from which a step follows."""
    goes_on = ~np.asarray(rows.row.is_last)[AWAKE : lived - HORIZON]
    time, place = np.nonzero(goes_on)
    chosen = np.random.default_rng(seed).permutation(len(time))[:count]
    time, place = time[chosen] + AWAKE, place[chosen]
    ahead = windows(rows, time, place, HORIZON + 1)
    valid, alive = (
        ~np.logical_or.accumulate(np.asarray(flag)[1:]) for flag in (ahead.is_first, ahead.is_last)
    )
    frames = np.asarray(ahead.obs["image"], np.float32) / 255
    return Moments(time, place, ahead.previous_action[1:], frames, valid, alive)


@jax.jit
def fall_asleep(params: dict, rows: Play, time: jax.Array, place: jax.Array) -> State:
    """The state (M, ...) after watching the AWAKE rows up to each moment."""
    model = nnx.merge(graph, params)
    seen = windows(rows, time - AWAKE + 1, place, AWAKE)
    embed, key = model.encoder(seen.obs), jax.random.key(seed)
    states = model.rssm.observe(seen.context, embed, seen.previous_action, seen.is_first, key)[0]
    return jax.tree.map(lambda x: x[-1], states)


# %%
class Dream(NamedTuple):
    """What dreamt states look and feel like."""

    frames: jax.Array  # (T, M, 10, 10, 4)
    reward: jax.Array  # (T, M)
    alive: jax.Array  # (T, M) chance that the dream has not ended, discount taken out


def look(model: WorldModel, states: State) -> Dream:
    """Ask decoder, reward head and continue head about dreamt states (T, M, ...)."""
    cont = jnp.minimum(1.0, model.cont(states.feature).mean() / config.discount)
    frames = model.decoder(states.deter, states.stoch)["image"].mean()
    return Dream(frames, model.reward(states.feature).mean(), jnp.cumprod(cont, 0))


@jax.jit
def dream_along(params: dict, start: State, actions: jax.Array, key: jax.Array) -> Dream:
    """Dreams from `start` (M, ...) under `actions` (T, M, A). The key is consumed."""
    model = nnx.merge(graph, params)
    noise = jax.random.uniform(key, (*actions.shape[:2], config.stoch))
    return look(model, open_loop(model.rssm.imagine_step, start, actions, noise))


moments = draw_moments(test)
start = fall_asleep(params, test, moments.time, moments.place)
dream = dream_along(params, start, moments.actions, jax.random.key(seed))

# %% [markdown]
# One moment, reality above, dream below, the same actions in both. **Predict first:** which of
# paddle, ball and bricks will the dream get wrong first? Of the moments that last 15 steps, the one
# with the middle error is shown. Turn `which`.

# %%
whole = np.flatnonzero(moments.valid.all(0))  # moments whose episode lasts the whole horizon
gaps = ((np.asarray(dream.frames) - moments.frames[1:]) ** 2).mean((0, 2, 3, 4))[whole]
ranked = whole[gaps.argsort()]  # from the best dream to the worst
which = int(ranked[len(ranked) // 2])  # turn me: ranked[0] is the best, ranked[-1] the worst
steps = [1, 3, 5, 8, 11, 15]
figure = Figure(figsize=(8.4, 2.9), layout="constrained")
strips = {"reality": moments.frames[1:], "dream": np.asarray(dream.frames)}
for line, (label, strip) in zip(figure.subplots(2, len(steps)), strips.items()):
    for axes, h in zip(line, steps):
        axes.imshow(world.render({"image": strip[h - 1, which]}))
        axes.set(xticks=[], yticks=[])
        if label == "reality":
            axes.set_title(f"step {h}", fontsize=9)
    line[0].set_ylabel(label, fontsize=9)


def ball_at(picture: np.ndarray) -> str:
    row, column = np.unravel_index(picture[..., 1].argmax(), picture.shape[:2])
    return f"row {row} column {column}"


show(
    figure,
    "Reality above a dream, six steps of Breakout under the same actions. The ball is at, in reality "
    "and dream: "
    + "; ".join(
        f"step {h}, {ball_at(strips['reality'][h - 1, which])} and "
        f"{ball_at(strips['dream'][h - 1, which])}"
        for h in steps
    )
    + ".",
    "06_strip",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_strip)
# </details>
#
# ## 2 · Who chooses?
#
# An agent that learns in dreams (notebook 07) has no given plan. A *policy* chooses each action
# from the dreamt state itself, and what it chooses shapes the next state:
#
# $$a_t\sim\pi(a_t\mid s_t)\qquad s_{t+1}\sim\text{step}(s_t,a_t)$$
#
# H steps give H actions, but H + 1 states, for the start is one of them: the first
# action was chosen there.
#
# Shapes: `keys` (H,) for the policy's dice, `noise` (H, N, S); states (H+1, N, ...), actions
# (H, N, A). **A tiny number.** State + action again, and the policy "action = -state / 2": from 8,
# the states are 8, 4, 2 and the actions -4, -2.

# %% [markdown]
# **Exercise 2** · medium · very important · 10 minutes
#
# Dream with a policy.
#
# <details><summary>Hint 1</summary>
#
# Scan over `(keys, noise)`. Inside, first `action = policy(state, key)`, then the step. Keep both.
# </details>
# <details><summary>Hint 2</summary>
#
# A `State` is a tree of two arrays. `jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start,
# states)` puts the start in front of each.
# </details>


# %% tags=["exercise"]
def my_dream_on(
    step: Callable, policy: Callable, start: State, keys: jax.Array, noise: jax.Array
) -> tuple[State, jax.Array]:
    """States (H+1, N, ...), the start first, and the actions (H, N, A) that led on."""

    # BEGIN SOLUTION
    def once(state: State, inputs: tuple) -> tuple:
        key, u = inputs
        action = policy(state, key)
        following = step(state, action, u)
        return following, (following, action)

    _, (states, actions) = jax.lax.scan(once, start, (keys, noise))
    states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)
    return states, actions
    # END SOLUTION


# %% tags=["check"]
dream_on = checks.dream_on(my_dream_on)

# %% [markdown]
# The package's is `behavior.imagine`, with the actor as the policy.
#
# Two policies by hand: one plays at random, one opens the decoder's picture and moves the paddle
# toward the ball that it *dreams*. Neither touches the game. The continue head says how likely each
# dream still goes on. **Predict first:** how many of 100 random dreams are alive after 15 steps?


# %%
@functools.partial(jax.jit, static_argnums=2)
def dream_by(params: dict, start: State, choose, key: jax.Array) -> Dream:
    """Dreams from `start`, their actions chosen by `choose(frames, key)`. The key is consumed."""
    model = nnx.merge(graph, params)
    noise_key, policy_key = jax.random.split(key)
    noise = jax.random.uniform(noise_key, (HORIZON, *start.stoch.shape[:-1]))

    def policy(state: State, key: jax.Array) -> jax.Array:
        frames = model.decoder(state.deter, state.stoch)["image"].mean()
        return jax.nn.one_hot(choose(frames, key), world.action_space.classes)

    keys = jax.random.split(policy_key, HORIZON)
    states, _ = dream_on(model.rssm.imagine_step, policy, start, keys, noise)
    return look(model, jax.tree.map(lambda x: x[1:], states))


def at_random(frames: jax.Array, key: jax.Array) -> jax.Array:
    return jax.random.randint(key, frames.shape[:1], 0, 3)


def after_the_ball(frames: jax.Array, key: jax.Array) -> jax.Array:
    paddle, ball = (frames[..., plane].max(-2).argmax(-1) for plane in (0, 1))
    return toward(paddle, ball)


policies = {"at random": at_random, "after the dreamt ball": after_the_ball}
alive = {
    label: np.asarray(dream_by(params, start, choose, jax.random.key(seed)).alive.mean(1))
    for label, choose in policies.items()
}
alive["at random, in reality"] = moments.alive.mean(1)
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(alive.items()):
    axes.plot(np.arange(1, HORIZON + 1), line, label=label, **style(number, HORIZON))
axes.set(xlabel="steps with closed eyes", ylabel="share still alive", ylim=(0, 1.05))
axes.legend(frameon=False)
show(
    figure,
    "Share of dreams still alive against steps. After 15: "
    + "; ".join(f"{label} {line[-1]:.2f}" for label, line in alive.items())
    + ".",
    "06_policies",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_policies)
# </details>
#
# The random dreams die as fast as random play really does: the model knows when the game is over.
# And a policy that never saw the game can already be told from a better one. That is all that an
# actor will need.
#
# ## 3 · How long can it be trusted?
#
# One strip proves nothing. Take many moments, and at each horizon h the mean error over the $n_h$
# moments that still count, with a band of 95 % confidence:
#
# $$\bar e_h=\frac1{n_h}\sum_i e_{h,i}\qquad
# \bar e_h\pm1.96\,\frac{s_h}{\sqrt{n_h}}\qquad
# s_h^2=\frac1{n_h-1}\sum_i(e_{h,i}-\bar e_h)^2$$
#
# The band says how well we know the *mean*, not how far single dreams lie apart. It grows where few
# episodes last so long.
#
# Shapes: `errors` (H, M), `valid` (H, M) bool. **A tiny number.** Errors 1 and 3, and a third whose
# episode is over: mean 2, s = 1.414, band 1.96 · 1.414 / 1.414 = 1.96.

# %% [markdown]
# **Exercise 3** · easy · important · 10 minutes
#
# Write mean and half width of the band.
#
# <details><summary>Hint 1</summary>
#
# `jnp.sum(errors, 1, where=valid)` adds up only what counts; `valid.sum(1)` says how many there are.
# </details>
# <details><summary>Hint 2</summary>
#
# Take the mean off with `errors - mean[:, None]`, square, sum with `where=valid`, divide by n - 1.
# </details>


# %% tags=["exercise"]
def my_mean_and_band(errors: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean (H,) and 1.96 standard errors (H,) over what is valid; (H, M), (H, M) bool."""
    # BEGIN SOLUTION
    count = valid.sum(1)
    mean = jnp.sum(errors, 1, where=valid) / count
    square = jnp.sum((errors - mean[:, None]) ** 2, 1, where=valid) / (count - 1)
    return mean, 1.96 * jnp.sqrt(square / count)
    # END SOLUTION


# %% tags=["check"]
mean_and_band = checks.mean_and_band(my_mean_and_band)

# %% [markdown]
# Beside the dream stand two that know no rules: **copy the last frame** seen, and **the mean frame**
# of all play. The error is squared and added up over the cells, so a ball in a wrong place costs 2.
# The negative control is **another's dream**: the dream of a different moment.
#
# The package measures a little differently (`dreams.compare`, notebook 10): an agent plays, and only
# cells that change count, so that a wall at rest does not flatter anyone. It also draws the mean of
# several dreams, because with dice in the game a single dream has to guess.
#
# **Predict first:** where does the dream meet the mean frame: at step 5, 15, or later?

# %% tags=["signature"]
mean_frame = np.asarray(rows.row.obs["image"]).mean((0, 1)) / 255
guesses = {
    "dream": np.asarray(dream.frames),
    "copy the last frame": moments.frames[:1],
    "mean frame": mean_frame,
    "another's dream": np.roll(dream.frames, 1, 1),
}


def cell_error(guess: np.ndarray, moments: Moments = moments) -> np.ndarray:
    """Squared error added up over the cells, (HORIZON, M)."""
    return ((guess - moments.frames[1:]) ** 2).sum((-3, -2, -1))


errors = {
    label: np.array(mean_and_band(cell_error(guess), moments.valid))
    for label, guess in guesses.items()
}
figure = Figure(figsize=(7.4, 3.8), layout="constrained")
axes = figure.add_subplot()
horizon = np.arange(1, HORIZON + 1)
for number, (label, (mean, band)) in enumerate(errors.items()):
    look_like = style(number, HORIZON)
    axes.plot(horizon, mean, label=label, **look_like)
    axes.fill_between(horizon, mean - band, mean + band, alpha=0.2, color=look_like["color"])
axes.set(xlabel="steps with closed eyes", ylabel="squared error, cells", ylim=(0, None))
axes.legend(frameon=False, ncols=2)
counts = moments.valid.sum(1)
for h in (1, 5, 10, 15):
    words = "  ".join(f"{k} {m[h - 1]:.2f} ± {b[h - 1]:.2f}" for k, (m, b) in errors.items())
    print(f"step {h:2}, {counts[h - 1]:3} moments:  {words}")
show(
    figure,
    f"Squared error in cells against steps, with bands of 95 %, from {counts[0]} moments at step 1 "
    f"to {counts[-1]} at step 15. At step 1, 5, 10 and 15: "
    + "; ".join(
        f"{k} " + ", ".join(f"{m[h - 1]:.2f}" for h in (1, 5, 10, 15))
        for k, (m, _) in errors.items()
    )
    + ".",
    "06_errors",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_errors)
# </details>
#
# Of 512 moments, at step 1 the dream errs by 0.07 ± 0.03 cells, at step 15 by 0.38 ± 0.23 (76
# moments are left). Copying errs by 5.19 and 6.95, the mean frame by 3.05 and 4.08, another's dream
# by about 6 throughout. So the dream does not meet the mean frame within 15 steps. But the *mean*
# hides something: most dreams are right to the cell, and a few are wrong from the start. Look at
# `ranked[-1]` above. Which these are, the last section shows.
#
# ## Fork the dream
#
# A dream can do what life cannot: try one moment twice. A *plan* here is "go to column k, and wait".
# We fork one moment into four plans, k = 0, 3, 6 and 9. And since we kept the game, we can fork
# reality as well, and see who was right. (The model gets no look at it.)


# %%
def plan_for(paddle: jax.Array, column: jax.Array, steps: int) -> jax.Array:
    """Actions (steps, ...) that take the paddle to a column, and then wait."""
    away = jnp.abs(column - paddle)
    index = jnp.arange(steps).reshape(-1, *[1] * away.ndim)
    return jnp.where(index < away, toward(paddle, column), STAY)


@jax.jit
def live_through(game: tuple, actions: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the plans (T, M) really bring: frames (T, M, ...), reward (T, M), alive (T, M)."""

    def once(carry: tuple, action: jax.Array) -> tuple:
        game, alive = carry
        keys = jax.random.split(jax.random.key(0), len(action))  # no dice: sticky is 0
        game, row = jax.vmap(world.step)(game, action, keys)
        reward = jnp.where(alive, row.reward, 0.0)
        alive = alive & ~row.is_last
        return (game, alive), (row.obs["image"] / 255, reward, alive)

    return jax.lax.scan(once, (game, jnp.ones(actions.shape[1], bool)), actions)[1]


COLUMNS = jnp.arange(10)
count = len(moments.time)
game = jax.tree.map(lambda x: x[moments.time, moments.place], test.game)


def fork(x: jax.Array) -> jax.Array:
    """Each of M moments ten times, (M, ...) -> (10 M, ...), for the ten plans."""
    return jnp.repeat(x, len(COLUMNS), 0)


plans = plan_for(fork(game.paddle), jnp.tile(COLUMNS, count), HORIZON)
dreamt = dream_along(
    params, jax.tree.map(fork, start), jax.nn.one_hot(plans, 3), jax.random.key(seed + 1)
)
real_frames, real_reward, real_alive = live_through(jax.tree.map(fork, game), plans)

# %% [markdown]
# **Predict first:** what does a dream show after the ball is lost? Turn `moment`.

# %%
shown = [0, 3, 6, 9]
fates = np.asarray(real_alive)[-1].reshape(count, 10)
differ = np.flatnonzero(
    (fates[:, shown].sum(1) == 1) & np.asarray(real_alive)[3].reshape(count, 10).all(1)
)
moment = int(differ[0])  # turn me: any number below 512; here one of four plans survives
forked = [np.asarray(x).reshape(HORIZON, count, 10, *x.shape[2:])[:, moment] for x in (
    dreamt.frames, dreamt.alive, real_frames, real_alive)]  # fmt: skip
steps = [1, 4, 7, 10]
figure = Figure(figsize=(8.4, 4.9), layout="constrained")
grid = figure.subplots(len(shown), 2 * len(steps))
for line, k in zip(grid, shown):
    for number, axes in enumerate(line):
        side, h = divmod(number, len(steps))
        frame, alive_now = forked[2 * side][steps[h] - 1, k], forked[2 * side + 1][steps[h] - 1, k]
        axes.imshow(world.render({"image": frame}), alpha=0.25 + 0.75 * float(alive_now))
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(f"alive {float(alive_now):.0%}", fontsize=7)
        if k == 0:
            axes.set_title(f"{'reality' if side else 'dream'} {steps[h]}", fontsize=9)
    line[0].set_ylabel(f"column {k}", fontsize=9)
show(
    figure,
    "One moment, four plans, each dreamt for 10 steps beside what it really brought; pictures fade "
    "as the chance to be alive falls. Alive at step 10, dreamt and real: "
    + "; ".join(f"column {k} {forked[1][9, k]:.0%} and {forked[3][9, k]:.0%}" for k in shown)
    + ".",
    "06_fork",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_fork)
# </details>
#
# The dream says rightly which plan survives. Look at column 3 once more: after the bounce its ball is
# where the real one is, and there is a second one, faint. The decoder paints a mean: the dream was not
# quite sure which way the ball would fly.
#
# Where a dream has ended, its pictures mean nothing: no row of training ever followed an end. They
# are not wiped, they are *weighed*: by the product of all chances to go on (notebook 07).
#
# Is a dream good for choosing, not only for looking? At all 512 moments the model dreams ten plans,
# and takes the one with the most bricks, $\sum_t w_{t-1}\,\hat r_t$, plus the chance to be alive at
# the end, which breaks ties. Then the plan is really played. Below it, a plan at random, and, as the
# negative control, the choice of *another* moment's dream. Above it, the best in hindsight.


# %%
def worth(reward: jax.Array, alive: jax.Array) -> np.ndarray:
    """Bricks, counted while alive, and the chance to be alive at the end; (T, 10 M) -> (M, 10)."""
    before = jnp.concatenate([jnp.ones_like(reward[:1]), alive[:-1]])
    return np.asarray(jnp.sum(before * reward, 0) + alive[-1]).reshape(count, 10)


hoped = worth(dreamt.reward, dreamt.alive)
came = worth(real_reward, real_alive)
best = hoped.argmax(1)
chooser = {
    "a plan at random": came.mean(1),
    "another's dream": came[np.arange(count), np.roll(best, 1)],
    "its own dream": came[np.arange(count), best],
    "best in hindsight": came.max(1),
}
everyone = np.ones((1, count), bool)
scores = {k: np.array(mean_and_band(x[None], everyone))[:, 0] for k, x in chooser.items()}
figure = Figure(figsize=(6.4, 2.6), layout="constrained")
axes = figure.add_subplot()
means, bands = np.array(list(scores.values())).T
axes.barh(list(scores), means, xerr=bands, color=["#767676", "#D55E00", "#0072B2", "#009E73"])
axes.invert_yaxis()
axes.set(xlabel="bricks in 15 steps, plus 1 if alive after them")
words = "; ".join(f"{k} {mean:.2f} ± {band:.2f}" for k, (mean, band) in scores.items())
show(figure, f"What ten plans from 512 moments brought, by who chose: {words}.", "06_chosen")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_chosen)
# </details>
#
# Its own dream's choice brings 1.49 ± 0.08, the best in hindsight 1.60 ± 0.08, a plan at random
# 0.58 ± 0.04. Another's dream brings 0.76: a little more than chance, for many moments are alike, the
# game always starts in one of two corners. The model was never told what is good to do. It foretells,
# and choosing is left to arithmetic. This is planning, as PlaNet does it (Hafner et al. 2019), with
# ten plans in place of a thousand.
#
# ## Steer it
#
# Now you. Type a `plan`, one letter a step (l, r, s for stay), or press the buttons below the strip:
# each press is one step of the same RSSM. Nothing of the game is left in it.

# %%
plan = "rrrrsslllls"  # turn me
hand = {"l": LEFT, "r": RIGHT, "s": STAY}


@jax.jit
def one_step(params: dict, state: State, action: jax.Array, u: jax.Array) -> tuple:
    """(next state, frame, reward, chance to go on) of one dream."""
    model = nnx.merge(graph, params)
    following = model.rssm.imagine_step(state, jax.nn.one_hot(action, 3)[None], u)
    dreamt = look(model, jax.tree.map(lambda x: x[None], following))
    return following, *jax.tree.map(lambda x: x[0, 0], dreamt)


class Steering:
    """A dream that goes on by one step at each call."""

    def __init__(self):
        self.state = jax.tree.map(lambda x: x[which][None], start)
        self.steps, self.bricks, self.alive = 0, 0.0, 1.0

    def __call__(self, letter: str) -> tuple[np.ndarray, str]:
        """The next frame, and in words how things stand."""
        u = jax.random.uniform(
            jax.random.fold_in(jax.random.key(seed), self.steps), (1, config.stoch)
        )
        self.state, frame, reward, cont = one_step(params, self.state, hand[letter], u)
        self.bricks += self.alive * float(reward)
        self.alive *= float(cont)
        self.steps += 1
        words = f"step {self.steps}, {self.bricks:.1f} bricks, alive {self.alive:.0%}"
        return np.asarray(frame), words


# %%
steering = Steering()
strip = [(letter, *steering(letter)) for letter in plan]
figure = Figure(figsize=(8.4, 1.7), layout="constrained")
for axes, (letter, frame, words) in zip(figure.subplots(1, len(plan)), strip):
    axes.imshow(world.render({"image": frame}))
    axes.set(xticks=[], yticks=[], title=letter)
    axes.set_xlabel(words.split(", ")[-1], fontsize=6)
show(
    figure,
    f"A dream steered by hand along {plan}. "
    + "; ".join(words for _, _, words in strip[::2])
    + ".",
    "06_steer",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_steer)
# </details>
#
# With this plan the paddle runs past the ball, and at step 8 life is over; what the pictures show
# after it is nonsense that looks like a game. Find a plan that catches the ball.

# %%
dreaming = {"now": Steering()}


def press(label: str) -> tuple[Figure, str]:
    """What a button does: the next frame of the dream, or a new dream from the same moment."""
    if label == "again":
        dreaming["now"] = Steering()
    frame, words = dreaming["now"]("s" if label == "again" else label[0])
    figure = Figure(figsize=(3.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(world.render({"image": frame}))
    axes.set(xticks=[], yticks=[])
    return figure, words


buttons(["left", "stay", "right", "again"], press)

# %% [markdown]
# ## Where it breaks, and why
#
# The random player lost the ball so soon that it never saw a wall with more than a few holes. Let a
# player who follows the ball, and never loses it, lead the model to walls like that. Same game, same
# rules; only the *places* are new. **Predict first:** what will the dream make of a wall that is
# half gone?
#
# Two explanations are possible. The model may be too small for such walls, or it may just not have
# seen them. So train a second one: the same first weights, the same number of updates, but on rows
# of which half are of the player who follows the ball. If that one sees, it was the rows.

# %%
follower = jnp.ones(WORLDS)
mixed_rows = play(jnp.float32(jnp.arange(WORLDS) % 2), jax.random.key(seed + 1), lived)
mixed_params = train(mixed_rows, "half of the players follow the ball", "06_curve_mixed")

# %%
far = play(follower, jax.random.key(seed + 2000), lived)
far_moments = draw_moments(far)
walls = np.asarray(far.game.bricks.sum((-2, -1)))[far_moments.time, far_moments.place]
guesses_far = {"copy the last frame": far_moments.frames[:1]}
for label, who in {"trained on random rows": params, "trained on mixed rows": mixed_params}.items():
    begin = fall_asleep(who, far, far_moments.time, far_moments.place)
    far_dream = dream_along(who, begin, far_moments.actions, jax.random.key(seed))
    guesses_far[label] = np.asarray(far_dream.frames)
groups = {"30 to 26": (26, 30), "25 to 16": (16, 25), "15 to 6": (6, 15), "5 to 0": (0, 5)}
AT = 5  # steps ahead
by_wall = {
    label: [
        np.array(mean_and_band(cell_error(guess, far_moments)[AT - 1 : AT], inside[None]))[:, 0]
        for low, high in groups.values()
        for inside in [(walls >= low) & (walls <= high)]
    ]
    for label, guess in guesses_far.items()
}
figure = Figure(figsize=(7.4, 3.4), layout="constrained")
axes = figure.add_subplot()
for number, (label, bars) in enumerate(by_wall.items()):
    means, bands = np.array(bars).T
    at = np.arange(len(groups)) + 0.27 * (number - 1)
    colour, hatch = [("#767676", ""), ("#D55E00", "//"), ("#0072B2", "")][number]
    axes.bar(at, means, 0.25, yerr=bands, label=label, color=colour, hatch=hatch)
axes.set_xticks(range(len(groups)), groups)
axes.set(xlabel="bricks left when the eyes close", ylabel=f"squared error at step {AT}, cells")
axes.legend(frameon=False)
show(
    figure,
    f"Squared error {AT} steps ahead by bricks left, {', '.join(groups)}: "
    + "; ".join(f"{k} " + ", ".join(f"{m:.2f}" for m, _ in bars) for k, bars in by_wall.items())
    + ".",
    "06_walls",
)

# %%
half = int(np.abs(walls - 13).argmin())  # turn me: any number below 512
figure = Figure(figsize=(7.4, 2.6), layout="constrained")
pictures = {
    "last frame seen": far_moments.frames[0, half],
    "reality": far_moments.frames[AT, half],
    "random rows": guesses_far["trained on random rows"][AT - 1, half],
    "mixed rows": guesses_far["trained on mixed rows"][AT - 1, half],
}
for axes, (label, picture) in zip(figure.subplots(1, len(pictures)), pictures.items()):
    axes.imshow(world.render({"image": picture}))
    axes.set(xticks=[], yticks=[])
    axes.set_title(label, fontsize=9)
show(
    figure,
    f"A wall with holes, {AT} steps after the eyes closed. Bricks, added up: "
    + "; ".join(f"{label} {picture[..., 3].sum():.1f}" for label, picture in pictures.items())
    + ".",
    "06_holes",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:06_walls)
# ![](figure:06_holes)
# </details>
#
# It rebuilds the wall: 13 bricks are left, and the model trained on random rows dreams 25.0 in their
# place. The fewer bricks, the worse; with 5 or less it errs by 24.5 cells, where copying errs by 9.1.
# It is not too small: with mixed rows the same network errs by 1.0 there. A model knows the places
# where its rows have been. (The price: with so much more to learn, 2,000 updates leave its picture
# loss at 2.06 nats on its rows, against 0.33 on the narrow ones.)

# %% [markdown]
# So dreams end in three ways. *Places*: no row has been there; new rows mend it. *Time*: each step
# adds an error, and a wrong state is never looked at again; short dreams from many starts mend it
# (the paper's are 15 steps long). *Dice*: where the game throws them, one dream can only guess; many
# dreams, or `sticky = 0.1` and the mean of several, show it. A dream cannot be better than its odds.
#
# **Limits.** One seed, one small game without dice, moments of two kinds of players. The bands are
# over moments, not over trained models.
#
# ## Quiz
#
# <details><summary>1. Which part of the model draws the next latent in a dream, and what has it not seen?</summary>
#
# The prior. It has h, that is, all the past and the action, but not the frame.
# </details>
# <details><summary>2. Why does the band grow to the right although the number of moments was fixed?</summary>
#
# Only moments whose episode still lasts count, and those become few. Besides, errors spread.
# </details>
# <details><summary>3. A dream goes on after the ball was lost. Is that a fault?</summary>
#
# No. The chance to go on is nearly 0 there, and multiplies all that follows.
# </details>
# <details><summary>4. The error is small on random play. Is the model good enough to train a better player in?</summary>
#
# Only until that player reaches places that the random one did not. Then new rows are needed: that
# is why the full agent acts and learns in turn.
# </details>

# %% [markdown]
# ## Summary
#
# * Imagination is a scan of one step: the GRU rolls on, the prior draws. No frame is needed.
# * With a policy inside, H steps give H + 1 states and H actions.
# * A dream is measured from many moments, beside predictors that know no rules, with a band.
# * One moment can be forked into many plans, and the best of them chosen: planning by dreaming.
# * It breaks where no row of training has been, and new rows mend it.
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
# To try ten plans at every step is dear, and ten are few. Notebook 07 lets a network learn, in
# dreams alone, which action to take.
