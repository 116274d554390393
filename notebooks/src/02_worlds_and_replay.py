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
# # 02 · Environments and replay
#
# **An agent learns from windows of a replay buffer, which are correct only if the state is reset
# where an episode begins, and if each observation is paired with the action before it.**
#
# ![](figure:diagram_ring)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 25 | 40 | 2, on 2 CPU cores | [01](01_jax.ipynb): `.at`, keys, `vmap`, `scan` | resets, and the replay buffer: 5 parts |
#
# **You will be able to**
#
# * say what an environment, a time step and an episode are, and what each flag of a step record is for;
# * tell a terminal state from a time limit;
# * reset state and previous action where an episode begins, and prove that nothing leaks through;
# * write a replay buffer: a ring that is overwritten, and windows that are drawn from it;
# * explain off-policy learning, the replay ratio, and what both have to do with sample efficiency;
# * say why stored states become stale, and what DreamerV3 does about it.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup("atari", "dmc")

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # short runs, for tests
seed = 0  # @param {type: "integer"}
collected = 400 if FAST else 1000  # @param {type: "raw"}

# %% tags=["setup"]
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.course import checks, parts
from dreamer_lite.course.notebook import predict, show, show_film
from dreamer_lite.evaluation import rollouts
from dreamer_lite.presets import make_config
from dreamer_lite.show import rings

# %% [markdown]
# ## 1 · Environment, time step, step record
#
# An **environment** is all that the agent does not control. It has a state of its own. It receives
# an **action**, changes its state, and answers with an **observation** and a **reward** (Sutton and
# Barto 2018, chapter 3). What arrives at one moment is a **time step**. An **episode** is the
# sequence of time steps from a reset to an end.
#
# Our small environments are pairs of pure functions, because JAX can then compile them together
# with the agent:
#
# * `reset(key)` returns the first state of an episode and its time step;
# * `step(state, action, key)` returns the next state and its time step.
#
# `worlds.next_timestep` calls `step`, or `reset` if the last time step ended its episode. So a
# stream of time steps never stops, and many environments run side by side with `jax.vmap`. The
# function below collects the time steps of `count` environments under random actions.


# %%
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def play(world: worlds.World, count: int, length: int, key: jax.Array) -> tuple:
    """(time steps, actions), (length, count, ...), under random actions. The key is consumed."""
    start_key, key = jax.random.split(key)
    start = jax.vmap(world.reset)(jax.random.split(start_key, count))

    def step(carry, key):
        state, steps = carry
        action_key, world_key = jax.random.split(key)
        action = jax.random.randint(action_key, (count,), 0, world.action_space.classes)
        keys = jax.random.split(world_key, count)
        new = jax.vmap(worlds.next_timestep, (None, 0, 0, 0, 0))(world, state, steps, action, keys)
        return new, (steps, action)

    return jax.lax.scan(step, start, jax.random.split(key, length))[1]


# %% [markdown]
# In **Catch** (Mnih and others 2014) a ball falls through ten rows of a grid, and a paddle has to
# be below it when it lands. In MinAtar's **Breakout** (Young and Tian 2019) a ball breaks bricks
# until the paddle misses it.

# %% tags=["plumbing"]
# @title Film Catch and Breakout under random actions
catch, breakout = worlds.make("catch"), worlds.make("minatar/breakout")
played = {
    world.name: play(world, 32, collected, jax.random.key(seed)) for world in (catch, breakout)
}
pair = []
for world in (catch, breakout):
    obs = jax.tree.map(lambda x: np.asarray(x[:60, 0]), played[world.name][0].obs)
    pair.append(world.render(obs)[:, ::2, ::2])
gap = np.full((60, 160, 8, 3), 255, np.uint8)
show_film(
    np.concatenate([pair[0], gap, pair[1], gap, gap], 2),
    "Catch on the left, Breakout on the right, 60 time steps under random actions. In Catch the ball "
    "falls while the paddle moves at random, and every ten time steps a new ball starts at the top. "
    "In Breakout the ball moves diagonally under three rows of bricks until the paddle misses it.",
    "02_worlds",
    rows=2,
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_worlds)
# </details>

# %% [markdown]
# In code, what arrives at one moment is a NamedTuple:
#
# ```python
# class TimeStep(NamedTuple):
#     obs: dict[str, jax.Array]
#     reward: jax.Array
#     is_first: jax.Array
#     is_last: jax.Array
#     is_terminal: jax.Array
# ```
#
# Its arrays have further axes in front when many time steps are stacked, as in `steps`, which the
# cells below use for time steps of several moments, environments, or both. A **step record** is a
# time step together with what the agent did there, its action:
#
# | field | meaning |
# |---|---|
# | `obs` | the observation x_t |
# | `reward` | r_t, which arrived *together with* x_t; 0 in the first time step |
# | `is_first` | x_t came from a reset: nothing before it belongs to this episode |
# | `is_last` | the episode ends here, for whatever reason |
# | `is_terminal` | the environment has reached a **terminal state**: no reward can follow |
# | action | a_t, chosen *after* seeing x_t |
#
# The last two flags differ at a **time limit**. A walker that is stopped after 1,000 steps is not
# in a terminal state: it could have walked on and earned more. Gymnasium calls the two cases
# `terminated` and `truncated`. If an agent took a time limit for a terminal state, it would learn
# that walking well for 1,000 steps makes all future reward 0. So what an agent expects of the
# future is cut at `is_terminal` only, and its recurrent state is reset after every `is_last`. If you
# know DQN: its target is r + γ (1 - `is_terminal`) max Q, and never (1 - `is_last`).

# %% [markdown]
# **A tiny number.** An episode of Catch has 9 actions and therefore 10 time steps, because the
# reset has a time step of its own. Here are the last two of one episode and the first three of the
# next.

# %%
steps, actions = played["catch"]
print("  t  ball    paddle  reward  is_first  is_last  is_terminal  action")
for t in range(8, 13):
    image = np.asarray(steps.obs["image"][t, 0])
    (ball,), paddle = np.argwhere(image[..., 1]).tolist(), int(image[9, :, 0].argmax())
    first, last, terminal = (bool(flag[t, 0]) for flag in steps[2:])  # is_...
    action = catch.action_names[int(actions[t, 0])]
    print(f"{t:3d}  {ball!s:7} {paddle:6d} {float(steps.reward[t, 0]):7g}"
          f"  {first!s:>8} {last!s:>8} {terminal!s:>12}  {action}")  # fmt: skip

# %% [markdown]
# The action at `is_last` leads nowhere, because the environment ignores it and resets. `play` draws
# one there all the same, so that we can see below what it does to a model without resets.
#
# Two environments of most labs, and of notebook 09, run on the host instead of inside the compiled
# program. **Pong** is an Atari game in an emulator (Bellemare and others 2013): the agent observes
# 64 x 64 colour pixels and acts on every fourth frame. **Walker Walk** is a body with two legs in a
# physics simulator (Tassa and others 2018): the agent observes 24 numbers (angles, height,
# velocities) and chooses a **continuous action**, the torques of six joints, each in [-1, 1]. Their
# step records have the same fields, so nothing else in the agent has to change.

# %% tags=["plumbing"]
# @title Play Pong and Walker at random, where they are installed
ALTS = {
    "atari/pong": "Pong, 60 time steps of random play: the green paddle on the right jerks up and "
    "down, the orange one on the left follows the ball.",
    "dmc/walker-walk": "Walker, 60 time steps of random play: a trunk with two legs falls onto a "
    "chequered floor and lies there, kicking.",
}
filmed = {}
for name, alt in ALTS.items():
    try:
        world = worlds.make(name)
        player = rollouts.make_player(make_config(name), world, film=True)
        stage, trace = player.play(None, player.start(None, seed, 1), 60)
    except ValueError as missing:  # not installed here: what follows does without
        print(missing)
        continue
    stage.world.close()
    filmed[name] = trace
    observed = ", ".join(f"{key} {x.shape[2:]}" for key, x in trace.timestep.obs.items())
    print(f"{name}: observes {observed}; action {trace.action.shape[2:] or trace.action.dtype}; "
          f"one agent step is {world.repeat} frames; return of {len(trace.action)} random steps: "
          f"{trace.timestep.reward.sum():.2f}")  # fmt: skip
    if trace.frame is not None:  # else nothing on this machine can draw it: the line above says so
        show_film(trace.frame[:, 0], alt, f"02_{name.replace('/', '_')}")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_atari_pong)
#
# ![](figure:02_dmc_walker-walk)
# </details>

# %% [markdown]
# ## 2 · Resets and previous actions
#
# The agent has a **recurrent state**: its memory of the episode so far. In DreamerV3 it has two
# parts, which notebook 04 builds: a vector h_t, `deter`, and S categorical variables z_t of C
# classes each, `stoch`, as one-hot vectors. At each time step the new state is computed from the
# previous state, **the previous action**, and the present observation:
#
# $$(h_t, z_t) = f(h_{t-1},\ z_{t-1},\ a_{t-1},\ x_t)$$
#
# So x_t belongs with a_{t-1}, the action that led to it, and not with a_t, which was chosen after
# seeing it. Where an episode begins, neither the old state nor the old action has anything to do
# with x_t. There, both are replaced by zeros before f is applied:
#
# $$(h, z, a)_{t-1}\ \leftarrow\ (1-\text{first}_t)\cdot(h, z, a)_{t-1}$$
#
# This is `RSSM._observe` in the [released
# code](https://github.com/danijar/dreamerv3/blob/main/dreamerv3/rssm.py). Actions are **embedded**
# as one-hot vectors (A,). A vector of zeros is none of them: it says "no action", while one-hot
# action 0 would say "stay".
#
# **A tiny number.** Four time steps, and three possible actions:
#
# | t | `is_first` | chosen there, a_t | input beside x_t, the embedded a_{t-1} |
# |---|---|---|---|
# | 0 | True | 2 | (0, 0, 0) |
# | 1 | False | 0 | (0, 0, 1) |
# | 2 | True | 1 | (0, 0, 0) |
# | 3 | False | ... | (0, 1, 0) |
#
# Action 0 of t = 1 is dropped, because the environment was reset at t = 2.

# %% [markdown]
# The class below is **given**: it stands in the file of your agent as you see it. Shapes are
# written with these letters: T time steps, B sequences or environments, A the length of an embedded
# action; D, S and C as above. In states `...` stands for any leading axes. An **RSSM**, a recurrent
# state-space model, is the part of DreamerV3 that keeps and predicts this state.


# %% tags=["given"]
class State(NamedTuple):
    """The latent state of the RSSM."""

    deter: jax.Array  # h (..., D) deterministic
    stoch: jax.Array  # z (..., S, C) stochastic, one-hot


# %% [markdown]
# The first **part** of your agent follows. When its check passes, your function is kept in the file
# `my_dreamer.py`, in the folder of this notebook (on Colab in `dreamer_lite` on your Google Drive, if
# it is mounted). It may use `jax`, `jnp`, `np`, what is given, and earlier parts; helper functions go
# inside it. If you change it later and the check fails, the file keeps what passed before.

# %% [markdown]
# **Exercise 1 · `mask_reset`** · easy · very important · 10 minutes
#
# Set state and previous action to zero in those of B environments that begin an episode. This is
# what the agent does at every time step, while it acts (B environments) and while it learns (B
# sequences). It runs under `jit`, where a boolean mask as an index fails.
#
# <details><summary>Hint 1: the idea</summary>
#
# Multiply by a number that is 1 where the state is kept and 0 where an episode begins.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `is_first` is (B,), but `deter` and `action` are (B, n) and `stoch` is (B, S, C). An axis of
# length 1 at the end makes shapes agree, as in PyTorch: `x[:, None]`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `keep = 1.0 - is_first[:, None]` has the shape for `deter` and `action`, `keep[..., None]` that
# for `stoch`. Return `State(..., ...), action * keep`.
# </details>


# %% tags=["exercise", "part:mask_reset"]
def mask_reset(state: State, action: jax.Array, is_first: jax.Array) -> tuple[State, jax.Array]:
    """Set state and previous action to zero where an episode begins.

    state: `deter` (B, D) and `stoch` (B, S, C), of the time step before
    action: (B, A) the embedded action of the time step before
    is_first: (B,) bool, whether the present time step begins an episode
    Returns the new state and the new action, of the same shapes.
    """
    # BEGIN SOLUTION
    keep = 1.0 - is_first[:, None]
    stoch = state.stoch * keep[..., None]
    return State(state.deter * keep, stoch), action * keep
    # END SOLUTION


# %% tags=["check"]
mask_reset = checks.mask_reset(mask_reset)

# %% [markdown]
# How can one *prove* that nothing leaks through a reset? By a **perturbation**: change everything
# before it, run again, and compare what comes after it. If it is the same to the last bit, no
# information has passed. Below, a small recurrent model runs over two sequences of 12 time steps.
# Sequence 1 is reset at t = 6. Then the first state, and all actions that were chosen before t = 6,
# are changed. `previous[t]` is the action that led to x_t, so it was chosen at t - 1.

# %%
question = predict(
    "Which states of sequence 1 will change, and which of sequence 0?",
    ["all of both", "before t = 6 in both", "0: all; 1: before t = 6", "only the first of each"],
)


# %%
def remember(start: jax.Array, previous: jax.Array, is_first: jax.Array) -> jax.Array:
    """h (T, B, 3) of a recurrent model, h = tanh(0.9 h + a), with your resets."""

    def step(h, inputs):
        state, action = mask_reset(State(h, jnp.zeros((2, 1, 1))), *inputs)
        h = jnp.tanh(0.9 * state.deter + action)
        return h, h

    return jax.lax.scan(step, start, (previous, is_first))[1]


past = jnp.arange(12)[:, None, None] <= 6  # previous[6] was chosen at t = 5
is_first = jnp.zeros((12, 2), bool).at[6, 1].set(True)
previous = jax.random.normal(jax.random.key(1), (12, 2, 3))
before = remember(jnp.zeros((2, 3)), previous, is_first)
after = remember(jnp.ones((2, 3)), previous + past, is_first)
changed = np.abs(after - before).max(-1).T  # (sequence, t)

# %% tags=["plumbing"]
# @title Draw the change of each state
figure = Figure(figsize=(6.8, 1.9), layout="constrained")
axes = figure.add_subplot()
shown = axes.imshow(changed, cmap="cividis", vmin=0)
for (i, t), value in np.ndenumerate(changed):
    axes.text(t, i, "0" if value == 0 else f"{value:.2f}", ha="center", va="center", fontsize=8,
              color="white" if value < 0.5 * changed.max() else "black")  # fmt: skip
axes.axvline(5.5, color="#D55E00", linewidth=3)
axes.set(xlabel="time step t", xticks=range(12), yticks=(0, 1))
axes.set_yticklabels(["sequence 0: no reset", "sequence 1: reset at 6"])
show(
    figure,
    "How much each state changes when the past before t = 6 is changed. Sequence 0, without a reset: "
    f"all 12 states change, the last by {changed[0, -1]:.3f}. Sequence 1, with a reset at t = 6: the "
    f"states before it change, the 6 from it on by exactly {changed[1, 6:].max():g}.",
    "02_perturbation",
)
question.explain(
    "All states of sequence 0 change, because the state carries the past on; the change fades, but it "
    "is not 0. In sequence 1 the states from t = 6 on are equal to the last bit. The action of t = 5 "
    "belongs to the old episode, so it must not reach t = 6 either."
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_perturbation)
# </details>

# %% [markdown]
# ## 3 · Replay buffer: a ring of step records
#
# A **replay buffer** is a store of past step records, from which training data is drawn at random
# (Lin 1992). Four terms belong to it:
#
# * **On-policy** algorithms, such as PPO, can learn only from data that the present policy has
#   collected, and throw it away after an update. **Off-policy** algorithms can learn from what any
#   policy has collected, so they can use a replay buffer. DreamerV3 trains its world model
#   off-policy, from replay. Actor and critic learn in rollouts that the present policy imagines
#   (the critic from replay as well, notebook 08).
# * The **replay ratio** is the number of time steps that are replayed for each one that is
#   collected (`train_ratio`). At 4, each time step is trained on 4 times on average.
# * **Sample efficiency** is how few environment steps an agent needs for a given return. A higher
#   replay ratio makes an agent more sample-efficient, because each time step is used more often,
#   and slower in wall-clock time, because it takes more updates for each step.
# * **Exploration** is to try actions whose outcome is not known yet. Replay cannot replace it,
#   because a buffer holds only what some policy has tried.

# %% [markdown]
# Our buffer is a **ring** of L places for each of W environments (W is the number of environments
# that play at once; B is that of the sequences in a batch). Time step i lies at place i mod L, so
# that the newest overwrites the oldest, and nothing is moved. The agent's state is stored
# too: `deter`, and of `stoch` the class index of each of the S variables, as uint8, one byte each.
# Section 5 says why.
#
# **A tiny number.** A ring of 8 places to which 11 time steps were added (0 to 10) holds the time
# steps 3 to 10. Time step 3 lies at place 3, time step 8 at place 0, and 11 will go to place 3.


# %% tags=["given"]
class Replay(NamedTuple):
    """Time step i of every environment lies at place i % L of the ring."""

    steps: Any  # worlds.TimeStep (L, W, ...)
    action: jax.Array  # (L, W, A) chosen after the observation
    deter: jax.Array  # (L, W, D) the state inferred from it
    stoch: jax.Array  # (L, W, S) the classes of it
    added: jax.Array  # () int32, time steps ever added


# %% [markdown]
# **Exercise 2 · `add`** · easy · important · 10 minutes
#
# Store one time step of all W environments, and return the new buffer. Arrays are immutable, so
# "storing" means `ring.at[place].set(new)`. `steps` is a pytree of arrays (a `TimeStep`, in which
# `obs` is a dict), so `jax.tree.map` does it for all of them. In the agent this runs inside a
# compiled program whose buffers are donated, so nothing is copied.
#
# <details><summary>Hint 1: the idea</summary>
#
# The place is the same for all arrays and all environments: `added` modulo the length of the ring.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Compute `place`; then build `Replay(steps=..., action=..., deter=..., stoch=..., added=...)`.
# `jax.tree.map(lambda ring, new: ..., replay.steps, steps)` changes all arrays of `steps`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `place = replay.added % replay.action.shape[0]`, and `replay.action.at[place].set(action)`. The
# classes are `state.stoch.argmax(-1).astype(jnp.uint8)`.
# </details>


# %% tags=["exercise", "part:add"]
def add(replay: Replay, steps: Any, action: jax.Array, state: State) -> Replay:
    """Store one time step of all W environments.

    replay: the ring; L is `replay.action.shape[0]`, and `replay.added` time steps were added so far
    steps: a worlds.TimeStep of arrays (W, ...)
    action: (W, A) chosen after the observation
    state: `deter` (W, D) and `stoch` (W, S, C) one-hot; of `stoch` the classes (W, S) are stored
    Returns the new ring, with `added` one higher.
    """
    # BEGIN SOLUTION
    place = replay.added % replay.action.shape[0]
    return Replay(
        steps=jax.tree.map(lambda ring, new: ring.at[place].set(new), replay.steps, steps),
        action=replay.action.at[place].set(action),
        deter=replay.deter.at[place].set(state.deter),
        stoch=replay.stoch.at[place].set(state.stoch.argmax(-1).astype(jnp.uint8)),
        added=replay.added + 1,
    )
    # END SOLUTION


# %% tags=["check"]
add = checks.add(add)

# %% [markdown]
# ## 4 · Windows: sampling sequences
#
# A **window** is T + 1 consecutive time steps of one environment. Windows may overlap, and they may
# run across the end of an episode: the flags and `mask_reset` take care of that. A batch has B
# windows, each drawn uniformly among all that are whole in the ring. Whole numbers are drawn by
# `jax.random.randint(key, shape, low, high)`, which never draws `high`.
#
# **A tiny number.** The ring of 8 places holds the time steps 3 to 10. Windows of 4 time steps (T =
# 3) can begin with time step 3, 4, 5, 6 or 7. The window that begins with 7 lies at the places 7,
# 0, 1, 2. No window may begin with time step 8: it would need time step 11, and at its place lies
# time step 3.

# %% [markdown]
# **Exercise 3 · `sample`** · medium · very important · 15 minutes
#
# Draw the number of each window's first time step, and an environment for each. Split the key: one
# half for the first time steps, one for the environments. The argument `length` is T. `added` is
# traced inside the compiled program: use `jnp.maximum`, not Python's `max`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Think in numbers of time steps (0 to `added - 1`), and convert to places at the end. Which one is
# the oldest in the ring? With which one does the newest whole window begin?
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `oldest`, `newest`, then `jax.random.randint`, from `oldest` to `newest` inclusive. Add
# `jnp.arange(length + 1)[:, None]` to get (T+1, B).
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `oldest = jnp.maximum(0, replay.added - capacity)`, `newest = replay.added - (length + 1)`; the
# limits of `randint` are `oldest` and `newest + 1`.
# </details>


# %% tags=["exercise", "part:sample"]
def sample(replay: Replay, batch: int, length: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Choose B = `batch` windows of T + 1 = `length` + 1 time steps, uniformly and independently.

    replay: the ring; L and W are `replay.action.shape[:2]`. It holds at least one window.
    key: a random key; it is consumed
    Returns places (T+1, B) int32 in the ring, from 0 to L - 1, and environments (B,) int32.
    """
    # BEGIN SOLUTION
    capacity, worlds = replay.action.shape[:2]
    start_key, world_key = jax.random.split(key)
    oldest = jnp.maximum(0, replay.added - capacity)
    newest = replay.added - (length + 1)
    start = jax.random.randint(start_key, (batch,), oldest, newest + 1)
    world = jax.random.randint(world_key, (batch,), 0, worlds)
    return (start + jnp.arange(length + 1)[:, None]) % capacity, world
    # END SOLUTION


# %% tags=["check"]
sample = checks.sample(sample)

# %% [markdown]
# Now your ring at work, as in the picture at the top of this page: 24 places, one environment,
# episodes of 10 time steps. Your `add` stores four time steps, then your `sample` draws two windows
# of 4 + 1, and so on. The triangle is the write head, at the place that is written next. Windows
# lie anywhere in the ring, also across its seam between the places 23 and 0, but never across the
# write head.

# %% tags=["plumbing"]
# @title Your ring at work, on film
dreamer = parts.load()


def ring(capacity: int, added: int, length: int, batch: int) -> tuple:
    """Add `added` time steps one by one; for each: the ring's records (L,) and sampled places."""
    records = {name: jnp.zeros((capacity, 1), jnp.int32) for name in ("number", "episode", "first")}
    records["number"] -= 1
    state = dreamer.State(jnp.zeros((1, 1)), jnp.zeros((1, 1, 2)))
    full = jnp.zeros((capacity, 1, 1))
    replay = dreamer.Replay(records, full, full, full.astype(jnp.uint8), jnp.int32(0))

    def step(replay, i):
        new = {"number": i, "episode": i // 10, "first": (i % 10 == 0).astype(jnp.int32)}
        new = {name: x[None] for name, x in new.items()}
        replay = dreamer.add(replay, new, jnp.zeros((1, 1)), state)
        place, _ = dreamer.sample(replay, batch, length, jax.random.key(i))
        seen = {name: x[:, 0] for name, x in replay.steps.items()}
        return replay, seen | {"place": jnp.where(i >= length, place, -1)}

    return jax.jit(jax.lax.scan, static_argnums=0)(step, replay, jnp.arange(added))


moments = jax.tree.map(np.asarray, ring(24, 28 if FAST else 56, 4, 2)[1])
order, learning = [], []  # of the film: four time steps are collected, then a batch is drawn
for i in range(4, len(moments["number"])):
    order += [i, i, i, i] if i % 4 == 3 else [i]
    learning += [False, True, True, True] if i % 4 == 3 else [False]
number, episode, first = (moments[name][order] for name in ("number", "episode", "first"))
windows = np.where(np.array(learning)[:, None, None], moments["place"][order], -1)
show_film(
    rings.film(number, episode, first > 0, windows)[5:],
    "A ring of 24 places, numbered with the time steps that lie there; two shades of blue tell "
    "episodes apart. A triangle, the write head, goes round clockwise, and time steps of 24 and more "
    "overwrite the oldest ones. After every four time steps two arcs of five places appear inside the "
    "ring, orange and green: sampled windows. They lie anywhere, but never across the write head.",
    "02_ring",
    fps=6,
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_ring)
# </details>

# %%
question = predict(
    "A ring holds the time steps 36 to 99. Windows of 8 + 1 are drawn uniformly. Is each of these "
    "time steps drawn equally often?",
    ["yes", "no: the oldest less often", "no: the newest less often", "no: both ends less often"],
)

# %%
window, capacity, added = 9, 64, 100  # hyperparameters to change
replay, _ = ring(capacity, added, window - 1, 1)
places, _ = dreamer.sample(replay, 4000, window - 1, jax.random.key(seed))
numbers = np.asarray(replay.steps["number"][:, 0])[places]  # (T+1, 4000) time steps drawn
assert (np.diff(numbers, axis=0) == 1).all(), "a window must be consecutive time steps"
oldest, newest = max(0, added - capacity), added - window
often = np.bincount(numbers.ravel(), minlength=added) / 4000 * (newest - oldest + 1)

# %% tags=["plumbing"]
# @title Draw how often each time step is drawn
figure = Figure(figsize=(6.8, 2.6), layout="constrained")
axes = figure.add_subplot()
axes.bar(np.arange(added), often, color="#0072B2", width=1)
axes.axvline(oldest - 0.5, color="0.3", linestyle="--", linewidth=1)
axes.set(
    xlabel="number of the time step", ylabel="windows that contain it", xlim=(-0.5, added - 0.5)
)
axes.text(oldest - 1.5, 0.5, "overwritten", ha="right", color="0.3")
show(
    figure,
    f"How many windows contain each of {added} time steps, estimated from 4,000 samples. Time steps "
    f"before {oldest} were overwritten: none. From there it climbs over {window} time steps to about "
    f"{window}, stays level, and falls again over the last {window}.",
    "02_often",
)
question.explain(
    "Both ends are drawn less often, because fewer windows contain them: the newest time step is in "
    "one window only, one in the middle is in T + 1 of them."
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_often)
# </details>
#
# Uniform sampling under-samples the newest experience, which is what a changing policy needs most.
# DreamerV3 therefore has an **online queue** beside the ring. Whenever `length` new time steps of
# an environment have arrived, the window of these time steps is queued, and queued windows are
# served before random ones. These windows do not overlap, so each new time step is served once,
# soon after it was collected. `dreamer_lite`'s [replay.py](../dreamer_lite/training/replay.py) has
# this queue; your agent draws uniformly.

# %% [markdown]
# ## 5 · From windows to batches: the first time step is context
#
# A **batch** is what one update learns from: B sequences of T time steps, the action *before* each
# of them, and the state to start from. Both need one time step more, which is why a window has T +
# 1:
#
# | time step of the window | 0 | 1 | 2 | ... | T |
# |---|---|---|---|---|---|
# | its step record | - | trained on | trained on | | trained on |
# | its stored action | before 1 | before 2 | before 3 | | not used |
# | its stored state | `start` | - | - | | - |
#
# So a window that begins in the middle of an episode does not begin with an empty memory: it starts
# from the state that the agent had there. And the shift between an observation and its previous
# action is done here, by reading the actions one place earlier.
#
# **A tiny number.** T = 2, places 2, 0, 1 of a ring of 3: the step records come from the places 0
# and 1, the actions from 2 and 0, and the start from 2.


# %% tags=["given"]
class Batch(NamedTuple):
    """B sequences of T time steps, time first, and the state before them."""

    steps: Any  # worlds.TimeStep (T, B, ...): obs, reward, is_first, is_last, is_terminal
    action: jax.Array  # (T, B, A) the action *before* each observation
    start: State  # (B, ...)


# %% [markdown]
# **Exercise 4 · `cut`** · medium · very important · 10 minutes
#
# Cut the chosen windows out of the ring. An array (L, W, ...) that is indexed with `ring[place,
# world]`, where `place` is (T, B) and `world` is (B,), gives (T, B, ...), as in PyTorch and NumPy.
# `jax.nn.one_hot(x, classes)` makes classes one-hot vectors again.
#
# <details><summary>Hint 1: the idea</summary>
#
# Three readings at different places: step records from the second place on, actions up to the last
# place but one, the state at the first place only.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `steps` by `jax.tree.map` with `place[1:]`; `action` with `place[:-1]`; `deter` and `stoch` with
# `place[0]`. The ring holds classes; a `State` has one-hot vectors: `jax.nn.one_hot`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `steps = jax.tree.map(lambda ring: ring[place[1:], world], replay.steps)`, and
# `stoch = jax.nn.one_hot(replay.stoch[place[0], world], classes)`.
# </details>


# %% tags=["exercise", "part:cut"]
def cut(replay: Replay, place: jax.Array, world: jax.Array, classes: int) -> Batch:
    """Cut windows out of the ring. Their first time step gives the start and the first action.

    place: (T+1, B) places of the windows' time steps
    world: (B,) the environment of each window
    classes: C, the length of the one-hot vectors
    Returns a Batch of T time steps.
    """
    # BEGIN SOLUTION
    steps = jax.tree.map(lambda ring: ring[place[1:], world], replay.steps)
    action = replay.action[place[:-1], world]
    stoch = jax.nn.one_hot(replay.stoch[place[0], world], classes)
    return Batch(steps, action, State(replay.deter[place[0], world], stoch))
    # END SOLUTION


# %% tags=["check"]
cut = checks.cut(cut)

# %% [markdown]
# ## 6 · Stale states, and latent write-back
#
# A stored state is **stale** when the network that inferred it has changed since. The state at a
# window's start was inferred by the world model of that time, maybe thousands of updates ago. The
# present model would infer another one from the same observations. So it would start from a state
# that it may never infer itself, and learn to continue from there.
#
# R2D2 (Kapturowski and others 2019) studied this for recurrent Q-learning: it stores states too,
# and first runs the network over some time steps without learning from them (a **burn-in**).
# DreamerV3 spends nothing on that ("Experience replay" in the Methods of its paper). An update
# computes the T states of each window with the present model anyway, so it **writes them back**
# into the ring, and the next window that begins there starts from a fresh one.
#
# **A tiny number.** At a replay ratio of 4, a time step is replayed 4 times on average before it is
# overwritten, so its state is written 5 times: once by `add` and 4 times by `write_back`. In a ring
# of 800 places, time steps are 0 to 800 time steps old, 400 on average, and without write-back so are
# their states. With it, a time step is replayed at random once in 800 / 4 = 200 time steps, so the
# state of one of age n was written 200 (1 - exp(-n / 200)) time steps ago on average. The mean of
# this over all ages is about 150.

# %% [markdown]
# **Exercise 5 · `write_back`** · easy · important · 10 minutes
#
# Put the states of the T trained time steps where the old ones lay. Nothing else changes.
# `replay._replace(field=value)` returns a copy of a NamedTuple with another value in a field.
#
# <details><summary>Hint 1: the idea</summary>
#
# The reverse of `cut`: the same places, but `.at[...].set(...)`. The states belong to the time
# steps 1 to T of the window, because time step 0 was only context.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `replay._replace(deter=..., stoch=...)` returns a copy of a NamedTuple with two fields changed.
# The classes are made as in `add`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `index = place[1:], world`, then `replay.deter.at[index].set(states.deter)`.
# </details>


# %% tags=["exercise", "part:write_back"]
def write_back(replay: Replay, place: jax.Array, world: jax.Array, states: State) -> Replay:
    """Replace stored states by those that the present world model infers.

    place: (T+1, B) places of the windows' time steps
    world: (B,) the environment of each window
    states: `deter` (T, B, D) and `stoch` (T, B, S, C), of the time steps 1 to T of the windows
    Returns the ring with these states; all else is as it was.
    """
    # BEGIN SOLUTION
    stoch = states.stoch.argmax(-1).astype(jnp.uint8)
    index = place[1:], world
    return replay._replace(
        deter=replay.deter.at[index].set(states.deter), stoch=replay.stoch.at[index].set(stoch)
    )
    # END SOLUTION


# %% tags=["check"]
write_back = checks.write_back(write_back)

# %% [markdown]
# ## 7 · The result: what goes wrong without the masks
#
# The simplest world model is a **lookup table**. It predicts the column of the paddle in Catch from
# the column before and the action before, by counting which column followed most often. With the
# right inputs this prediction is deterministic: column 4 and "right" give column 5, and a reset
# always puts the paddle into column 5.
#
# All data goes through your parts. The buffer is filled with `add`; the "recurrent state" is the
# paddle's column as a one-hot vector, an agent that remembers the last column exactly. Batches come
# from `sample` and `cut`, and resets from `mask_reset`.


# %% tags=["plumbing"]
# @title Fill a replay buffer with random play of Catch, through your `add`
dreamer = parts.load()


def paddle(steps: Any) -> jax.Array:
    """The column of the paddle, one-hot (..., 10)."""
    return jax.nn.one_hot(steps.obs["image"][..., 9, :, 0].argmax(-1), 10)


def fill(steps: Any, actions: jax.Array) -> Any:
    """A replay buffer with all of this play; its recurrent state is the paddle's column."""
    onehot, deter = jax.nn.one_hot(actions, 3), paddle(steps)
    stoch = jnp.zeros((*actions.shape, 1), jnp.uint8)

    def store(replay, new):
        steps, action, deter = new
        state = dreamer.State(deter, jnp.zeros((len(deter), 1, 2)))
        return dreamer.add(replay, steps, action, state), None

    empty = jax.tree.map(jnp.zeros_like, (steps, onehot, deter, stoch))
    replay = dreamer.Replay(*empty, jnp.int32(0))
    return jax.jit(jax.lax.scan, static_argnums=0)(store, replay, (steps, onehot, deter))[0]


def index_of(onehot: jax.Array) -> np.ndarray:
    """The class of one-hot vectors (..., n), or n for a vector of zeros."""
    return np.asarray(jnp.where(onehot.any(-1), onehot.argmax(-1), onehot.shape[-1]))


# %% [markdown]
# The table is filled from the first half of the environments, and its **accuracy** is measured in
# the other half, in ordinary time steps and in those that begin an episode. Four variants of the
# inputs are compared: with resets; without; with each time step's *own* action, a_t instead of
# a_{t-1}; and, as the **negative control**, with the actions of another environment. The
# **baseline** always predicts the most frequent column.

# %%
replay = fill(*played["catch"])
place, env = dreamer.sample(replay, 512, 16, jax.random.key(seed))
batch = dreamer.cut(replay, place, env, 2)
column = paddle(batch.steps)
earlier = jnp.concatenate([batch.start.deter[None], column[:-1]])  # the state before each step
before = dreamer.State(earlier, jnp.zeros((*column.shape[:2], 1, 2)))
masked, action = jax.vmap(dreamer.mask_reset)(before, batch.action, batch.steps.is_first)
inputs = {
    "with resets": (masked.deter, action),
    "no resets": (before.deter, batch.action),
    "own action": (masked.deter, replay.action[place[1:], env]),
    "another's actions": (masked.deter, jnp.roll(action, 1, 1)),
}

# %%
question = predict(
    "Without resets: where will the table be wrong?",
    ["everywhere", "where an episode begins", "in ordinary time steps", "nowhere"],
)


# %% tags=["signature"]
def accuracy(hit: np.ndarray) -> tuple[float, float]:
    """The fraction of right predictions in ordinary and in first time steps, of held-out data."""
    test, first = np.asarray(env) >= 16, np.asarray(batch.steps.is_first)
    return tuple(hit[test & flag].mean() for flag in (~first, first))


truth, train = index_of(column), np.asarray(env) < 16
right = {}
for label, (state, previous) in inputs.items():
    table, keys = np.zeros((11, 4, 10)), (index_of(state), index_of(previous))
    np.add.at(table, (keys[0][:, train], keys[1][:, train], truth[:, train]), 1)
    right[label] = accuracy(table.argmax(-1)[keys] == truth)
right["most frequent column"] = accuracy(truth == np.bincount(truth[:, train].ravel()).argmax())

# %% tags=["plumbing"]
# @title Draw the accuracy of each variant
figure = Figure(figsize=(7.2, 3.0), layout="constrained")
axes = figure.add_subplot()
at = np.arange(len(right))
ordinary, first = np.array(list(right.values())).T
for shift, heights, label, colour, hatch in (
    (-0.2, ordinary, "ordinary time steps", "#0072B2", ""),
    (0.2, first, "first time steps", "#D55E00", "//"),
):
    bars = axes.bar(at + shift, heights, 0.38, label=label, color=colour, hatch=hatch)
    axes.bar_label(bars, [f"{x:.0%}" for x in heights], fontsize=8)
axes.set_xticks(at, [label.replace(" ", "\n", 1) for label in right], fontsize=9)
axes.set(ylabel="accuracy", ylim=(0, 1.3))
axes.legend(frameon=False, ncols=2, loc="upper center")
words = "; ".join(f"{k} {a:.0%} and {b:.0%}" for k, (a, b) in right.items())
show(figure, f"Accuracy in ordinary and in first time steps: {words}.", "02_masks")
question.explain(
    "Where an episode begins. In ordinary time steps the inputs are the same with and without resets. "
    "At a reset the table looks for the first column in the last column of the episode before, where "
    "it cannot be found."
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_masks)
# </details>
#
# With resets the table predicts every column. (The baseline is right in all first time steps,
# because the most frequent column is the one of a reset.) With each time step's *own* action it is
# no better than with another environment's actions, because a_t has no influence on x_t. This error
# is easily overlooked: a model with memory predicts much without the action, so its loss still
# falls.
#
# **Limits.** A table has no memory, so the leak cannot spread beyond one time step. In an agent it
# can. A large model may also learn to recognise resets by itself from the observation, and then
# only wastes capacity. Random play under-represents states that a better policy would visit.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A walker is stopped after 1,000 steps. Which flags has its last time step?</summary>
#
# `is_last`, but not `is_terminal`: it could have earned more.
# </details>
# <details><summary>2. Why does the reward r_t belong to a_{t-1}?</summary>
#
# It arrives together with x_t, which a_{t-1} led to.
# </details>
# <details><summary>3. Ten episodes of Catch: how many time steps, and how many actions that have an effect?</summary>
#
# 100 time steps and 90 actions, because the action at `is_last` is ignored.
# </details>
# <details><summary>4. A ring of 100 places, 250 time steps added. Where does time step 230 lie, and what was overwritten there?</summary>
#
# At place 30. Time steps 30 and 130 lay there before.
# </details>
# <details><summary>5. PPO cannot use this buffer. Why not?</summary>
#
# PPO is on-policy: its policy gradient is an average over what the present policy does, while the
# buffer holds what older policies did.
# </details>
# <details><summary>6. Why is the state stored with each time step, if it becomes stale?</summary>
#
# A window that begins in the middle of an episode would otherwise start without memory. Write-back
# keeps the stored states nearly fresh.
# </details>

# %% [markdown]
# ## Summary
#
# * A step record holds an observation, the reward that came with it, three flags, and the action
#   chosen after it.
# * The state is reset at `is_first`; only `is_terminal` says that no reward can follow.
# * x_t belongs with a_{t-1}, and with zeros where an episode begins. A perturbation proves it.
# * A ring buffer overwrites the oldest time steps; windows of T + 1 time steps run across episodes.
# * The first time step of a window gives the start state and the first action.
# * Stored states become stale; each update writes fresh ones back.

# %% [markdown]
# `parts.load()` makes your agent from `my_dreamer.py`, with the course's functions for the parts that
# you have not written yet, and says which are yours.

# %%
dreamer = parts.load()

# %% [markdown]
# ## References
#
# * R. Sutton, A. Barto: Reinforcement Learning: An Introduction (2018), 2nd edition,
#   [incompleteideas.net/book](https://incompleteideas.net/book/the-book-2nd.html).
# * L.-J. Lin: Self-improving reactive agents based on reinforcement learning, planning and teaching.
#   Machine Learning 8 (1992): experience replay.
# * S. Kapturowski and others: Recurrent experience replay in distributed reinforcement learning
#   (R2D2), ICLR 2019, [openreview.net](https://openreview.net/forum?id=r1lyTjAqYX).
# * K. Young, T. Tian: MinAtar (2019), [arXiv:1903.03176](https://arxiv.org/abs/1903.03176).
# * M. Bellemare, Y. Naddaf, J. Veness, M. Bowling: The Arcade Learning Environment (2013),
#   [arXiv:1207.4708](https://arxiv.org/abs/1207.4708).
# * Y. Tassa and others: DeepMind Control Suite (2018),
#   [arXiv:1801.00690](https://arxiv.org/abs/1801.00690).
# * V. Mnih and others: Recurrent models of visual attention (2014), where Catch comes from,
#   [arXiv:1406.6247](https://arxiv.org/abs/1406.6247).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104).
#
# ## Next
#
# Rewards can be 0.01 or 10,000. [Notebook 03](03_predicting_anything.ipynb) predicts both with one
# network.
