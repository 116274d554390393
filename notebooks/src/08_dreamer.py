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
# # 08 · Dreamer: the loop
#
# **Six small parts and one loop: act, store, dream, learn, again and again; and an agent learns Breakout while you watch.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 40 | 8, on 2 CPU cores | notebooks 02, 05 and 07 | what drives all of it: optimiser and loop |
#
# **You will be able to**
#
# * clip a gradient by the size of what it changes, and scale it before you average it;
# * say what `train_ratio` means, and turn it into a schedule of whole numbers;
# * write an online queue and the latent write-back, and say what each is for;
# * put world, replay, world model, actor and critic into one compiled loop;
# * say what a part is worth, from ablations over several seeds;
# * watch, pause and stop a training, and say what a setting will cost before you pay.
#
# ![](figure:agent_loop)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 600 if FAST else 4000  # @param {type: "raw"}
changes = {}  # @param {type: "raw"}
folder = ""  # @param {type: "string"}

# %% tags=["setup"]
import dataclasses
import functools
import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show
from dreamer_lite.show.plots import style

run_folder = folder or tempfile.mkdtemp(prefix="dreamer-lite-")
print(dreamer_lite.__doc__)

# %% [markdown]
# ## What is missing
#
# You have a world and a replay (02), a world model (05), and an actor and a critic that learn in
# dreams (07). One loop holds them together:
#
# 1. **act** in all W worlds, and store what was lived and what the agent then knew;
# 2. **sample** B windows from the replay;
# 3. **learn**: one gradient of one sum of losses moves world model, actor and critic;
# 4. **give back** to the replay what the model now makes of those rows.
#
# Small decisions sit in each line: how far to step (sections 1 and 2), whom the critic follows (3),
# how often to learn (4), from which rows (5), and from which memory (6). A folder in `parameters`
# lets a run go on after a restart; left empty, each run begins anew.

# %% [markdown]
# ## 1 · Steps that fit
#
# One net, many losses: a reward of 1,000 or an odd picture can throw a gradient of any size. Clipping
# all gradients at one norm needs a norm to be chosen for each task. *Adaptive gradient clipping*
# (AGC; Brock et al. 2021) asks instead how large the **parameter** is. For each tensor, with
# gradient $g$ and parameter $p$:
#
# $$g\leftarrow \frac{g}{\max\bigl(1,\;\lVert g\rVert / u\bigr)}\qquad
# u=0.3\,\max(10^{-3},\lVert p\rVert)$$
#
# Norms are over the whole tensor here; Brock et al. take them per unit. The floor lets a
# bias that starts at zero move at all.
#
# **A tiny number.** ‖p‖ = 2, so u = 0.6. A gradient of norm 3 is divided by 5; one of norm 0.5 stays.

# %% [markdown]
# **Exercise 1** · easy · important · 10 minutes
#
# Clip one tensor's gradient.
#
# <details><summary>Hint 1</summary>
#
# `jnp.linalg.norm(x.ravel())` is the norm of a tensor of any shape.
# </details>
# <details><summary>Hint 2</summary>
#
# Follow the formula: one line for u, one for the division by the maximum of 1 and ‖g‖ / u.
# </details>


# %% tags=["exercise"]
def my_clip_gradient(grad: jax.Array, param: jax.Array, clip: float, floor: float) -> jax.Array:
    """The gradient, its norm at most clip * max(floor, parameter's norm); (...), (...) -> (...)."""
    # BEGIN SOLUTION
    limit = clip * jnp.maximum(floor, jnp.linalg.norm(param.ravel()))
    return grad / jnp.maximum(1.0, jnp.linalg.norm(grad.ravel()) / limit)
    # END SOLUTION


# %% tags=["check"]
clip_gradient = checks.clip_gradient(my_clip_gradient)

# %% [markdown]
# ## 2 · Scale first, then average
#
# AGC bounds the worst; the usual size still differs from tensor to tensor. So each number is divided
# by the root of its own mean square, and the result is averaged over time:
#
# $$v\leftarrow\beta v+(1-\beta)g^2\qquad
# \tilde g=\frac{g}{\sqrt{v/(1-\beta^t)}+\epsilon}$$
# $$m\leftarrow\mu m+(1-\mu)\tilde g\qquad \text{step}=\frac{m}{1-\mu^t}$$
#
# with $\beta=0.999$, $\mu=0.9$, $\epsilon=10^{-20}$, and t = 1 for the first step. The two
# divisions by $1-\beta^t$ and $1-\mu^t$ undo the start from zero. Adam (Kingma and Ba 2015) averages
# the raw gradient and divides the average. Dividing first is called LaProp (Ziyin et al. 2020): what
# is averaged is then never far above 1, whatever came before.
#
# **A tiny number.** First step, g = 5: v = 0.025, corrected 25, so g̃ = 1; m = 0.1, corrected 1. The
# first step is 1, of any gradient.

# %% [markdown]
# **Exercise 2** · medium · very important · 15 minutes
#
# Write one step. Return v and m uncorrected: they are carried on.
#
# <details><summary>Hint 1</summary>
#
# `decay**t` works for a whole number and for an array. ε stands outside of the root: `1e-20`.
# </details>
# <details><summary>Hint 2</summary>
#
# Four lines: v, the scaled gradient, m, and `return m / (1 - momentum**t), v, m`.
# </details>


# %% tags=["exercise"]
def my_rms_momentum(
    grad: jax.Array, v: jax.Array, m: jax.Array, t: jax.Array, decay: float, momentum: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(step, v, m) of update t = 1, 2, ...; grad, v, m and step have one shape."""
    # BEGIN SOLUTION
    v = decay * v + (1 - decay) * grad**2
    scaled = grad / (jnp.sqrt(v / (1 - decay**t)) + 1e-20)
    m = momentum * m + (1 - momentum) * scaled
    return m / (1 - momentum**t), v, m
    # END SOLUTION


# %% tags=["check"]
rms_momentum = checks.rms_momentum(my_rms_momentum)

# %% [markdown]
# Does the order matter? Gradients of size 1, then one of 100, then calm at 0.01. **Predict first:**
# which order takes a huge step, and when? Then turn `decay` to 0.99, which our small worlds use, and
# look again.

# %%
decay = 0.5  # turn me: 0.5, 0.9, 0.99
noise = np.random.default_rng(seed).standard_normal(80)
gradients = jnp.float32(np.concatenate([noise[:30], [100.0], 0.01 * noise[31:]]))


def adam(grad, v, m, t, decay, momentum):
    """The other order: average the raw gradient, scale the average."""
    v, m = decay * v + (1 - decay) * grad**2, momentum * m + (1 - momentum) * grad
    return m / (1 - momentum**t) / jnp.sqrt(v / (1 - decay**t)), v, m


def walk(rule) -> np.ndarray:
    """Sizes of 80 steps under a rule."""

    def step(carry: tuple, inputs: tuple) -> tuple:
        size, *carry = rule(inputs[0], *carry, inputs[1], decay, 0.9)
        return tuple(carry), jnp.abs(size)

    inputs = gradients, jnp.arange(1.0, 81.0)
    return np.asarray(jax.jit(lambda: jax.lax.scan(step, (jnp.zeros(()),) * 2, inputs)[1])())


sizes = {"scale, then average": walk(rms_momentum), "average, then scale (Adam)": walk(adam)}
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, size) in enumerate(sizes.items()):
    axes.plot(np.arange(1, 81), size, label=label, **style(number, 80))
axes.set(yscale="log", xlabel="update", ylabel="size of the step", ylim=(1e-3, None))
axes.legend(frameon=False)
show(
    figure,
    f"Sizes of 80 steps on a log scale with decay {decay:g}; gradient 31 is 100 times the others, and "
    "calm follows. Largest step: "
    + "; ".join(
        f"{label} {size.max():.3g}, at update {size.argmax() + 1}" for label, size in sizes.items()
    )
    + ".",
    "08_order",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_order)
# </details>
#
# Once v has forgotten the shock and m has not, Adam divides the old momentum by a new, small root.
# Scaled first, a shock counts as about 1. With a slow v the two orders are close: then the order is
# an insurance.
#
# ## 3 · A slow critic
#
# The critic learns from returns that hold its own guesses, so its errors can feed each other. Dreamer
# keeps a copy that follows slowly, after every update:
#
# $$\text{slow}\leftarrow 0.02\,\text{critic}+0.98\,\text{slow}$$
#
# The copy is no source of returns; the critic is pulled a little towards what the copy
# says (notebook 07). **A tiny number.** After n updates $0.98^n$ of the old copy is left: a half after
# 34, a hundredth after 228.
#
# Mind the first line of code: the copy must be a *copy*. If both names meant the same arrays, a
# program that reuses their memory would fail.

# %% [markdown]
# ## 4 · How often to learn
#
# Living and learning share the clock. `train_ratio` says how: **replayed steps per agent step**. An
# update replays B·T steps; one *row* is a step of all W worlds. So
#
# $$\frac{\text{updates}}{\text{row}}=\frac{\text{train\_ratio}\cdot W}{B\,T}$$
#
# As whole numbers: live `rows` rows, then make `updates` updates. Of all such pairs the
# smallest learns soonest from what was just lived.
#
# **A tiny number.** B = 16, T = 64, W = 16, ratio 32: half an update a row, so (2, 1). Our Breakout has
# B = 64, T = 8, W = 128 and ratio 4: (1, 1).

# %% [markdown]
# **Exercise 3** · easy · very important · 10 minutes
#
# Compute the pair. The ratio may be a fraction such as 0.5.
#
# <details><summary>Hint 1</summary>
#
# `fractions.Fraction` reduces by itself: `Fraction(6, 4)` has numerator 3 and denominator 2.
# </details>
# <details><summary>Hint 2</summary>
#
# `Fraction(str(0.1))` is exactly a tenth; `Fraction(0.1)` is not.
# </details>


# %% tags=["exercise"]
def my_schedule(train_ratio: float, batch: int, length: int, worlds: int) -> tuple[int, int]:
    """(rows, updates): learn `updates` times after every `rows` steps of all worlds."""
    # BEGIN SOLUTION
    from fractions import Fraction

    per_row = Fraction(str(train_ratio)) * worlds / (batch * length)
    return per_row.denominator, per_row.numerator
    # END SOLUTION


# %% tags=["check"]
schedule = checks.schedule(my_schedule)

# %% [markdown]
# **Predict first:** which preset learns most per step that it lives? And how many updates will each
# have made after 100,000 agent steps?

# %%
from dreamer_lite.presets import make_config

print("world              ratio  live rows, learn   agent steps per update   updates per 100,000")
for name in ("minatar/breakout", "pendulum", "atari/pong", "dmc/walker-walk"):
    c = make_config(name)
    rows, times = schedule(c.train_ratio, c.batch, c.length, c.worlds)
    each = rows * c.worlds / times
    print(f"{name:17} {c.train_ratio:6g}  {rows:9}, {times:<5} {each:22g} {100_000 / each:20,.0f}")

# %% [markdown]
# Ratio and batch must be read together. Where a step is costly (a robot, a slow simulator) learn much
# from each: a high ratio. Where steps are nearly free, as in our compiled Breakout, fresh rows of
# what the agent does *now* teach more than old ones.
#
# ## 5 · From which rows
#
# Uniform draws leave gaps: by chance some rows are never drawn before they are overwritten, and a new
# discovery may wait long. The *online queue* hands out every new window once, as soon as it is whole;
# what is left of a batch is drawn uniformly.
#
# The worlds move in step, so the queue is plain counting. Windows of T + 1 rows do not overlap and
# start at rows 1, 1 + (T+1), 1 + 2(T+1), ... of each stream. Ticket j is round j // W of world j % W.
# With `added` rows in each stream (rows 0 to added - 1), a window is *fresh* if its last row is there.
#
# **A tiny number.** T = 3, W = 2, 9 rows: tickets 0 to 3 are fresh; ticket 3 is world 1, rows 5 to 8.

# %% [markdown]
# **Exercise 4** · medium · important · 15 minutes
#
# Where does ticket j lead, and is it fresh?
#
# <details><summary>Hint 1</summary>
#
# `//` and `%` work on arrays. The start of round r is `1 + r * (length + 1)`.
# </details>
# <details><summary>Hint 2</summary>
#
# A window's last row is `start + length`. It is there if that is less than `added`.
# </details>


# %% tags=["exercise"]
def my_fresh_windows(
    ticket: jax.Array, added: jax.Array, length: int, worlds: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(start, world, fresh) of tickets; (B,), () -> (B,) int32 twice, (B,) bool."""
    # BEGIN SOLUTION
    start = 1 + ticket // worlds * (length + 1)
    return start, ticket % worlds, start + length < added
    # END SOLUTION


# %% tags=["check"]
fresh_windows = checks.fresh_windows(my_fresh_windows)

# %% [markdown]
# How often is a row trained on? We simulate batches of 16 x 8 for 800 rows, and look at rows that are
# 200 to 600 rows old. **Predict first:** without the queue, which share was never used? Then turn
# `ratio`.

# %%
ratio = 1  # turn me: 1, 4
WORLDS, BATCH, LENGTH, LIVED = 128, 16, 8, 800
LIVE, LEARN = schedule(ratio, BATCH, LENGTH, WORLDS)


def times_used(queue: bool) -> np.ndarray:
    """How often each row of each world was trained on, (LIVED, WORLDS)."""
    used, rng, queued = np.zeros((LIVED, WORLDS), int), np.random.default_rng(seed), 0
    find = jax.jit(lambda ticket, added: fresh_windows(ticket, added, LENGTH, WORLDS))
    for added in range(LENGTH + 1, LIVED + 1, LIVE):
        for _ in range(LEARN):
            start, world, fresh = map(np.asarray, find(queued + jnp.arange(BATCH), added))
            fresh = fresh & queue
            start = np.where(fresh, start, rng.integers(0, added - LENGTH, BATCH))
            world = np.where(fresh, world, rng.integers(0, WORLDS, BATCH))
            np.add.at(used, (start + 1 + np.arange(LENGTH)[:, None], world), 1)
            queued += int(fresh.sum())
    return used


counts = {
    label: np.bincount(times_used(queue)[LIVED - 600 : LIVED - 200].ravel(), minlength=6)
    for label, queue in (("uniform only", False), ("with the queue", True))
}
shares = {label: count / count.sum() for label, count in counts.items()}
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, share) in enumerate(shares.items()):
    places = np.arange(6) + 0.4 * number - 0.2
    axes.bar(places, share[:6], 0.38, label=label, hatch=("", "//")[number],
             color=("#D55E00", "#0072B2")[number])  # fmt: skip
axes.set(xlabel="times a row was trained on", ylabel="share of the rows")
axes.legend(frameon=False)
show(
    figure,
    "How often rows were trained on. "
    + "; ".join(
        f"{label}: never {share[0]:.0%}, once {share[1]:.0%}, twice {share[2]:.0%}"
        for label, share in shares.items()
    )
    + ".",
    "08_queue",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_queue)
# </details>
#
# At ratio 1 the queue fills nearly the whole batch. The rows that stay unused are the first of each
# window, its context, as long as nobody draws them by chance. A batch of new rows only has a price:
# what was rare is never seen twice. At ratio 4, which our presets for small grids have, a quarter of
# what is learnt from is new; Catch is caught far more surely so (assets/README.md).
#
# ## 6 · From which memory
#
# A window begins in mid-life. Its state before the first step comes from the replay, which holds the
# latents $(h, z)$ that the *acting* agent had. They grow stale: the model has learnt since. So each
# update writes the states that it has just computed over the old ones.
#
# Row i of a stream lies at place i % L of the ring. A window that starts at s is rows s to s + T. Row s
# is context; an update has fresh states for rows s+1 to s+T.
#
# Shapes: ring (L, W, D), states (T, B, D), start and world (B,). **A tiny number.** L = 9, T = 3, s = 16:
# the states of rows 17, 18 and 19 go to places 8, 0 and 1.

# %% [markdown]
# **Exercise 5** · medium · important · 10 minutes
#
# Write the fresh states back.
#
# <details><summary>Hint 1</summary>
#
# Build the places as an array (T, B): `start + 1 + jnp.arange(T)[:, None]`, modulo L.
# </details>
# <details><summary>Hint 2</summary>
#
# `ring.at[places, world].set(states)`: `world` (B,) is broadcast to (T, B).
# </details>


# %% tags=["exercise"]
def my_write_latents(
    ring: jax.Array, states: jax.Array, start: jax.Array, world: jax.Array
) -> jax.Array:
    """The ring with fresh states; (L, W, D), (T, B, D), (B,), (B,) -> (L, W, D)."""
    # BEGIN SOLUTION
    places = (start + 1 + jnp.arange(len(states))[:, None]) % len(ring)
    return ring.at[places, world].set(states)
    # END SOLUTION


# %% tags=["check"]
write_latents = checks.write_latents(my_write_latents)

# %% [markdown]
# ## 7 · The loop
#
# Now all of it. What you wrote stands beside what the package brings: `learning.loss` is the sum
# of all losses of notebooks 05 and 07, `policy_step` runs the policy and stores, `replay` gathers
# windows. First the update. The two averages run over all parameters as one long vector: one small
# program in place of fifty.

# %%
from jax.flatten_util import ravel_pytree

from dreamer_lite import worlds
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.behavior import ReturnRange
from dreamer_lite.agent.learner import LearnerState
from dreamer_lite.agent.optimizer import learning_rate
from dreamer_lite.training import loop as training
from dreamer_lite.training import replay as rp
from dreamer_lite.training.xla import compiler_options

config = make_config("minatar/breakout", seed=seed, **changes)
world = worlds.make(config.world)
program = training.make_program(config, world)
graph = program.learner.graph
rate = learning_rate(config)  # rises for 100 updates, then falls; see config.py


class Averages(NamedTuple):
    """What the optimiser remembers, of all P parameters as one vector."""

    v: jax.Array  # (P,) mean squares
    m: jax.Array  # (P,) mean scaled gradients
    t: jax.Array  # () int32, updates so far


def begin(seed: int) -> LearnerState:
    """Parameters, slow critic, averages and return range before any update."""
    params = graph.init(seed)
    size = sum(x.size for x in jax.tree.leaves(params))
    averages = Averages(jnp.zeros(size), jnp.zeros(size), jnp.int32(0))
    slow = jax.tree.map(jnp.copy, params["critic"])
    return LearnerState(params, slow, averages, ReturnRange(jnp.zeros(()), jnp.zeros(())))


def move(params: dict, grads: dict, old: Averages) -> tuple[dict, Averages]:
    """One step of all parameters against their gradients."""
    clipped = jax.tree.map(
        lambda g, p: clip_gradient(g, p, config.clip, config.clip_floor), grads, params
    )
    flat, as_tree = ravel_pytree(clipped)
    t = old.t + 1
    step, v, m = rms_momentum(flat, old.v, old.m, t, config.rms_decay, config.momentum)
    return jax.tree.map(jnp.add, params, as_tree(-rate(old.t) * step)), Averages(v, m, t)


# %%
def update(state: LearnerState, batch, key: jax.Array) -> tuple:
    """One update of everything: (state, posterior states (T, B, ...), metrics). Uses the key."""
    slope = jax.grad(learning.loss, has_aux=True)
    grads, (_, states, returns, metrics) = slope(state.params, program.learner, state, batch, key)
    params, averages = move(state.params, grads, state.optimizer)
    keep = 1 - config.slow_rate
    slow = jax.tree.map(
        lambda fast, slow: (1 - keep) * fast + keep * slow, params["critic"], state.slow_critic
    )
    return LearnerState(params, slow, averages, returns), states, metrics


def sample(replay: rp.Replay, key: jax.Array) -> tuple[rp.Replay, rp.Windows]:
    """The places of a batch: fresh windows first, the rest uniform. The key is consumed."""
    uniform = dataclasses.replace(config, online_queue=False)
    _, places = rp.sample(replay, uniform, key)
    oldest = jnp.maximum(0, replay.added - len(replay.deter))
    rounds_lost = jnp.maximum(0, -(-(oldest - 1) // (config.length + 1)))  # overwritten
    first = jnp.maximum(replay.queued, rounds_lost * config.worlds)
    ticket = first + jnp.arange(config.batch)
    start, place, fresh = fresh_windows(ticket, replay.added, config.length, config.worlds)
    fresh = fresh & config.online_queue
    places = rp.Windows(
        jnp.where(fresh, start, places.start), jnp.where(fresh, place, places.world)
    )
    return replay._replace(queued=first + fresh.sum()), places


# %% [markdown]
# Then living and learning, and the loop around both. Nothing leaves the device between two reports:
# worlds, replay and networks are one compiled program.


# %%
def live(state: training.RunState) -> training.RunState:
    """One row of every world: look, act, store, step."""
    row, params = state.envs.timestep, state.learner.params
    state, action, key = training.policy_step(program, params, state, row)
    keys = jax.random.split(key, config.worlds)
    following, row = jax.vmap(worlds.next_timestep, (None, 0, 0, 0, 0))(
        world, state.envs.world, row, action, keys
    )
    envs = training.keep_score(state.envs._replace(world=following, timestep=row))
    return state._replace(envs=envs)


@jax.jit  # so that it is traced once
def learn(state: training.RunState) -> tuple:
    """Sample, update, give back: (state, metrics)."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates)
    sample_key, learn_key = jax.random.split(key)
    replay, places = sample(state.replay, sample_key)
    batch = rp.gather(replay, places, config, world.action_space)
    learner, latents, metrics = update(state.learner, batch, learn_key)
    classes = jnp.argmax(latents.stoch, -1).astype(jnp.uint8)
    replay = replay._replace(
        deter=write_latents(replay.deter, latents.deter, *places),
        stoch=write_latents(replay.stoch, classes, *places),
    )
    state = state._replace(learner=learner, replay=replay, updates=state.updates + 1)
    return state, metrics


@functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
def advance(state: training.RunState, times: int, rows: int, updates: int) -> tuple:
    """`times` times, live `rows` rows, then learn `updates` times: (state, mean metrics)."""

    def once(_, carry: tuple) -> tuple:
        state = jax.lax.fori_loop(0, rows, lambda _, state: live(state), carry[0])
        return training.learn_times(learn, (state, carry[1]), updates)

    nothing = training.zero_metrics(learn, state)
    state, sums = jax.lax.fori_loop(0, times, once, (state, nothing))
    return state, jax.tree.map(lambda x: x / jnp.maximum(1, times * updates), sums)


# %%
@jax.jit
def first(learner: LearnerState, key: jax.Array) -> training.RunState:
    """All worlds reset, an empty replay. The key is consumed."""
    world_key, run_key = jax.random.split(key)
    states, row = jax.vmap(world.reset)(jax.random.split(world_key, config.worlds))
    state = training.blank_state(program, learner, run_key)
    return state._replace(envs=state.envs._replace(world=states, timestep=row))


loop = training.Driver(lambda seed: first(begin(seed), jax.random.key(seed)), advance)
LIVE, LEARN = schedule(config.train_ratio, config.batch, config.length, config.worlds)
print(f"{sum(x.size for x in jax.tree.leaves(graph.init(seed))):,} parameters")
print(f"live {LIVE} row of {config.worlds} worlds, learn {LEARN} time; again and again")


# %% [markdown]
# Is it the package's loop? From the same seed both must say the same after a few updates, but for
# rounding; and with ε = 10⁻²⁰ rounding counts: a gradient that should be 0 and is 10⁻¹² makes a whole
# step. So expect a few thousandths, not a perfect match. (Fast mode leaves this out: it compiles a
# second time.)


# %%
def after(driver: training.Driver, times: int) -> dict[str, float]:
    """Mean metrics of the first updates."""
    state = driver.init(seed)
    state, _ = driver.advance(state, 1, config.steps_before_learning, 0)
    metrics = jax.device_get(driver.advance(state, times, LIVE, LEARN)[1])
    return {name: float(x) for name, x in metrics.items()}


if not FAST:
    mine = after(loop, 5)
    theirs = after(training.make_driver(config, world), 5)
    gaps = {name: abs(x - theirs[name]) / max(1, abs(theirs[name])) for name, x in mine.items()}
    worst = max(gaps, key=lambda name: gaps[name])
    print(f"{len(gaps)} metrics compared; the largest difference, of {worst}: {gaps[worst]:.1e}")

# %% [markdown]
# ## The result: Breakout, live
#
# The dashboard trains and draws: the return of the latest 100 games with its error, the losses with
# the line of the free nats, and what the agent dreams right now. In JupyterLab it works in the
# background: press *pause*, *go on* or *stop*, which saves. On Colab the cell is busy; its square stop
# button stops and saves. Running the cell again goes on from there. In a script there are lines to
# read.
#
# **Predict first:** which comes first, a good picture or a good return? And does `dyn` reach the line?

# %%
from dreamer_lite.course.widgets import Dashboard
from dreamer_lite.show import plots

dashboard = Dashboard(config, updates, run_folder, loop)
dashboard.start("08_training")

# %% [markdown]
# The next cell waits until training ends, and the buttons above sleep meanwhile. Watch first, then run
# it; or interrupt it, which stops and saves.

# %%
dashboard.wait()
print(dashboard.words())

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_training)
# </details>
#
# First the picture, then the return: while the decoder cannot say where the ball is, dreams teach
# nothing. `dyn` touches the line early, as long as $z$ says nothing, and then rises (notebook 05). The
# picture's loss rises now and then *because* the agent gets better: it sees walls that it never saw.
#
# How good is it? A hundred new games. The baseline acts at random, in a thousand of them. The negative
# control is the same
# agent in a world where ball and trail are *hidden* from it: if it had only learnt a lucky rhythm of
# moves, it would not mind.

# %% tags=["signature"]
from dreamer_lite.evaluation import rollouts
from dreamer_lite.worlds import Breakout, TimeStep


@dataclasses.dataclass(frozen=True)
class HiddenBall(Breakout):
    """Breakout by the same rules; the agent cannot see ball and trail."""

    def reset(self, key: jax.Array) -> tuple:
        state, row = super().reset(key)
        return state, self.hide(row)

    def step(self, state, action: jax.Array, key: jax.Array) -> tuple:
        state, row = super().step(state, action, key)
        return state, self.hide(row)

    def hide(self, row: TimeStep) -> TimeStep:
        shown = jnp.array([1, 0, 0, 1], jnp.uint8)  # paddle, ball, trail, bricks
        return row._replace(obs={"image": row.obs["image"] * shown})


agent = dashboard.agent()
returns = {
    "this agent": rollouts.evaluate(config, agent.params, world, 100, seed),
    "the ball hidden": rollouts.evaluate(config, agent.params, HiddenBall(), 100, seed),
    "random": rollouts.evaluate(config, None, world, 1000, seed),
}
scores = {label: (x.mean(), x.std(ddof=1) / len(x) ** 0.5) for label, x in returns.items()}
for label, (mean, error) in scores.items():
    print(f"{label:16} {mean:5.2f} ± {error:.2f} bricks a game")

# %%
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (mean, error) in enumerate(scores.values()):
    axes.barh(number, mean, 0.6, xerr=2 * error, color="#0072B2", hatch=("", "//", "..")[number])
axes.set_yticks(range(len(scores)), scores)
axes.invert_yaxis()
axes.set(xlabel="bricks a game; bars of error are two standard errors")
show(
    figure,
    "Mean bricks a game: "
    + "; ".join(f"{label} {mean:.2f} ± {error:.2f}" for label, (mean, error) in scores.items())
    + ".",
    "08_returns",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_returns)
# </details>
#
# **Limits.** One seed, one small world, some minutes. Returns grow in steps, whenever a way past the
# next brick is found, and seeds differ much: in three runs of 5 minutes on a fast core the package's
# own came to 10.1, 9.4 and 6.9. Nothing here says that any one of the six parts is *needed* in this world; that takes
# other experiments.

# %% [markdown]
# ## Three seeds, one program
#
# One run is an anecdote. `seeds=3` trains three agents side by side by `jax.vmap`, from seeds that
# follow each other, and the program is compiled once. The line is their mean, the band goes from the
# worst to the best. We take Catch, a minute's task; **predict first:** will the three agree at the end?
# (Fast mode leaves this out: it compiles again.)

# %%
if not FAST:
    three = Dashboard(make_config("catch", seed=seed, seeds=3), 600)
    three.start("08_seeds")
    three.wait()
    print(three.words() + plots.describe_spread(three.records[-1]))

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_seeds)
# </details>
#
# They take off together, after some 500 updates, and are far apart at once: at the end their mean is 0.33
# of the balls, and the band goes from 0.22 to 0.46. One run would have told you 0.2 or 0.5, and both are
# true. The losses lie on each other: seeds differ in what the actor finds, hardly in what the model sees.
#
# ## What each part is worth
#
# Take one part out, leave the rest, train three seeds for 4,000 updates: an *ablation*. That takes a
# quarter of an hour of one core each, so they are stored, each with the command that made it. Four of
# them here: numbers told by a symlog in place of two-hot (notebook 03), returns that are not
# normalised (07), dreams of 1 step and of 30 (06). **Predict first:** which one hurts most? Which helps?

# %%
from dreamer_lite.course.widgets import Ablations

ablations = Ablations()
for label in ("no two-hot", "no percentile normaliser", "horizon 1", "horizon 30"):
    ablations.toggle(label, True)
show(ablations.figure(), ablations.sentence(), "08_ablations")
print(ablations.words())

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:08_ablations)
# </details>
#
# Less than one would think. Without two-hot the curve is the same: Breakout pays 1 a brick, and a symlog
# says that as well. Without the normaliser the mean is the same and the seeds lie further apart. Dreams
# of one step hurt: news of a brick then passes through the critic alone. Dreams of 30 steps help by the
# update; by the clock, at nearly twice the price, they are behind.
#
# **Limits.** One world, three seeds, one length of training. A part that is not missed *here* is there for
# worlds that pay 0.01 or 10,000 (notebook 03), so that one setting does for all. An ablation says what a
# part is worth where it was measured, and no more.
#
#
# All that are stored, to tick; and against what you pay with: steps, or seconds.

# %%
Ablations().show()

# %% [markdown]
# ## A panel of settings
#
# Each field of `Config` knows its range and its unit, and a panel can be built from that. Open a group
# and turn something. Below stand the command and the lines for the `parameters` cell that say the
# same: copy them there and *Run all* to train with them. *Time 20 updates* measures, on this machine,
# what the change would cost.

# %% tags=["panel"]
from dreamer_lite.course.widgets import Panel

panel = Panel(config, updates)
panel.show()

# %% [markdown]
# The same without a mouse. **Predict first:** dreams three times as long, horizon 30: three times the cost of an
# update? (Fast mode does not time it.)

# %%
trial = Panel(config, updates)
trial.set(horizon=30)
if not FAST:
    trial.time()
print(trial.words())

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A tensor is all zeros. By how much can its first step move it?</summary>
#
# AGC lets a gradient of norm 0.3 · 0.001 through. Then the scaling divides by its own size, and the
# step is about 1 in each number, times the learning rate. AGC bounds surprises, not usual steps.
# </details>
# <details><summary>2. You halve the batch and keep `train_ratio`. What happens to updates per step?</summary>
#
# They double: each update replays half as many steps, and their total is kept.
# </details>
# <details><summary>3. Why does the queue hand out windows of T + 1 rows, though T are trained on?</summary>
#
# The first row is context: its stored latents and action are where the window starts from.
# </details>
# <details><summary>4. Stored latents are not written back. What goes wrong slowly?</summary>
#
# Windows start from states of an older model. The younger the model was, the less they mean to the
# present one, and the first rows of each window teach it to cope with nonsense.
# </details>

# %% [markdown]
# ## Summary
#
# * AGC measures a gradient by its parameter; scaling before averaging keeps a shock from echoing.
# * The slow critic follows by 2 % an update, and steadies the one that learns.
# * `train_ratio` is replayed steps per agent step; with B, T and W it gives a schedule.
# * The queue uses each new window once and soon; fresh latents are written back.
# * Act, store, sample, learn and give back are one compiled program.
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
# Notebook 09 takes this loop to a larger world and a GPU, and plans the budget first.
