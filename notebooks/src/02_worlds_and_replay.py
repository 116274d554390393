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
# # 02 · Worlds, rows and windows
#
# **Learning starts from rows of experience, and two masks decide whether they make sense: which row
# an episode begins with, and which action led to it.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 20 | 1, on 2 CPU cores | what an episode, an action and a reward are | its worlds and its replay |
#
# **You will be able to**
#
# * read a row and its three flags, and say what each is for;
# * tell a true end from a time limit;
# * build the masks that keep one episode from leaking into the next;
# * pair every observation with the action that led to it;
# * store rows in a ring and cut training windows from it.
#
# ![](figure:agent_world)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup("atari", "dmc")

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
lived = 100 if FAST else 1000  # @param {type: "raw"}

# %% tags=["setup"]
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite import worlds
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show, show_film
from dreamer_lite.evaluation import rollouts
from dreamer_lite.presets import make_config

print(dreamer_lite.__doc__)

# %% [markdown]
# ## Four worlds
#
# In **Catch** a ball falls through ten rows, and a paddle has to be under it when it lands. In
# MinAtar's **Breakout** (Young and Tian 2019) a ball breaks bricks until the paddle misses it. Both
# are written in JAX: a world is two pure functions, `reset` and `step`, over a state that the
# caller carries. So many copies run side by side, compiled, and nothing is hidden.
#
# We play at random. `next_timestep` steps a world, or resets it if the last row ended its episode.


# %%
def live(world: worlds.World, streams: int, count: int, key: jax.Array) -> tuple:
    """Random play: (rows, actions), each (count, streams, ...). The key is consumed."""
    start_key, play_key = jax.random.split(key)
    start = jax.vmap(world.reset)(jax.random.split(start_key, streams))

    def step(carry: tuple, key: jax.Array) -> tuple:
        state, row = carry
        action_key, world_key = jax.random.split(key)
        action = jax.random.randint(action_key, (streams,), 0, world.action_space.classes)
        keys = jax.random.split(world_key, streams)
        after = jax.vmap(worlds.next_timestep, (None, 0, 0, 0, 0))(world, state, row, action, keys)
        return after, (row, action)

    return jax.lax.scan(step, start, jax.random.split(play_key, count))[1]


live = jax.jit(live, static_argnums=(0, 1, 2))
catch, breakout = worlds.make("catch"), worlds.make("minatar/breakout")
played = {world.name: live(world, 16, lived, jax.random.key(seed)) for world in (catch, breakout)}
pair = []
for world in (catch, breakout):
    obs = jax.tree.map(lambda x: np.asarray(x[:60, 0]), played[world.name][0].obs)
    pair.append(world.render(obs)[:, ::2, ::2])
gap = np.full((60, 160, 8, 3), 255, np.uint8)
show_film(
    np.concatenate([pair[0], gap, pair[1], gap, gap], 2),
    "Catch on the left, Breakout on the right, 60 rows of random play. In Catch the ball falls while "
    "the paddle wanders, and every ten rows a new ball starts at the top. In Breakout the ball moves "
    "diagonally under three rows of bricks until the paddle misses it.",
    "02_worlds",
    rows=2,
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_worlds)
# </details>
#
# The labs of most courses use two others, and so does notebook 09. **Pong** is an Atari game in its
# original machine, emulated (Bellemare and others 2013); the agent sees 64 x 64 colour pixels and
# acts on every fourth frame. **Walker Walk** is a body of two legs in a simulator of rigid bodies
# (Tassa and others 2018); the agent feels 24 numbers (angles, height, speeds), pushes six joints
# with a number in [-1, 1] each, and is rewarded for walking upright. Both run on the host, beside
# the compiled program. They give the same rows, so nothing else in the agent differs.

# %%
filmed = {}
for name in ("atari/pong", "dmc/walker-walk"):
    try:
        world = worlds.make(name)
        player = rollouts.make_player(make_config(name), world, film=True)
        stage, trace = player.play(None, player.start(None, seed, 1), 60)
    except ValueError as missing:  # not installed here: what follows does without
        print(missing)
        continue
    stage.world.close()
    filmed[name] = trace
    seen = ", ".join(f"{key} {x.shape[2:]}" for key, x in trace.row.obs.items())
    print(f"{name}: sees {seen}; acts {trace.action.shape[2:] or trace.action.dtype}; one agent "
          f"step is {world.repeat} frames; reward of {len(trace.action)} random steps: "
          f"{trace.row.reward.sum():.2f}")  # fmt: skip

# %%
ALTS = {
    "atari/pong": "Pong, 60 rows of random play: the green paddle on the right jerks up and down, "
    "the orange one on the left follows the ball.",
    "dmc/walker-walk": "Walker, 60 rows of random play: a trunk with two legs falls onto a chequered "
    "floor and lies there, kicking.",
}
for name, trace in filmed.items():
    if trace.frame is None:  # played, but nothing on this machine can draw it: see above
        continue
    show_film(trace.frame[:, 0], ALTS[name], f"01_{name.replace('/', '_')}")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_atari_pong)
#
# ![](figure:02_dmc_walker-walk)
# </details>

# %% [markdown]
# ## 1 · A row and its flags
#
# One time step is stored as one row:
#
# | field | meaning |
# |---|---|
# | `obs` | what is seen |
# | `reward` | what arrived *together with* it; 0 in the first row |
# | `is_first` | it came from a reset |
# | `is_last` | the episode ends here |
# | `is_terminal` | a true end: nothing more can be earned. A time limit is last, but not terminal |
# | `action` | what was chosen *after* seeing it |
#
# An agent that took a time limit for death would think that walking well for 1,000 steps kills. So
# the value of the future is cut at `is_terminal` only, while memory is wiped after every `is_last`.
#
# **A tiny number.** An episode of Catch has 9 actions and therefore 10 rows: the reset has a row of
# its own.

# %%
rows, actions = played["catch"]
print("  t  ball      paddle  reward  first  last  terminal  action")
for t in range(8, 13):
    plane = np.asarray(rows.obs["image"][t, 0])
    ball = tuple(int(i) for i in np.argwhere(plane[..., 1])[0])
    paddle = int(plane[9, :, 0].argmax())
    flags = [bool(f[t, 0]) for f in (rows.is_first, rows.is_last, rows.is_terminal)]
    first, last, terminal = ("yes" if flag else "-" for flag in flags)
    name = catch.action_names[int(actions[t, 0])]
    print(f"{t:3d}  {ball!s:9} {paddle:6d} {float(rows.reward[t, 0]):7g}"
          f"  {first:>5}  {last:>4}  {terminal:>8}  {name}")  # fmt: skip

# %% [markdown]
# The action in an `is_last` row leads nowhere: the reset ignores it.
#
# **Exercise 1** · easy · important · 5 minutes
#
# Training windows run across the ends of episodes. Write the mask by which the memory that
# *arrives* at each row is multiplied: 1 where it may go on, 0 where the row begins an episode.
# Shapes: `is_last` (T, B) gives (T, B). Nothing came before row 0, so there it is 0.
#
# <details><summary>Hint 1</summary>
#
# A row is the first of its episode if the row *before* it was the last of another.
# </details>
# <details><summary>Hint 2</summary>
#
# Put a row of True before `is_last[:-1]` with `jnp.concatenate`; then 1 minus that, as float32.
# </details>


# %% tags=["exercise"]
def my_keep_mask(is_last: jax.Array) -> jax.Array:
    """1 where memory goes on into a row, 0 where an episode begins; (T, B) bool -> (T, B) float32."""
    # BEGIN SOLUTION
    begins = jnp.concatenate([jnp.ones_like(is_last[:1]), is_last[:-1]])
    return 1.0 - begins.astype(jnp.float32)
    # END SOLUTION


# %% tags=["check"]
keep_mask = checks.keep_mask(my_keep_mask)

# %% [markdown]
# The package stores `is_first` in every row and masks with it in `Rssm.observe_step`, so a window
# that starts in mid-episode keeps the memory that was stored with it.
#
# ## 2 · The action before
#
# A world model asks: given what I knew and what I *did*, what do I see now? So observation t
# belongs with action t - 1. At the first row of an episode nobody did anything: the embedded action
# is a vector of zeros. Not one-hot action 0, which would say "stay".
#
# $$\tilde a_t=(1-\text{first}_t)\cdot\operatorname{onehot}(a_{t-1})$$
#
# Shapes: `action` (T, B) and `is_first` (T, B) give (T, B, A). **A tiny number.**
# Actions 2, 0, 1 of three, all in one episode that begins with the first row: (0, 0, 0), (0, 0, 1),
# (1, 0, 0).

# %% [markdown]
# **Exercise 2** · easy · very important · 10 minutes
#
# Write the embedded previous action of every row. Row 0 of a window has no row before it: zeros
# too.
#
# <details><summary>Hint 1</summary>
#
# `jax.nn.one_hot(action, count)` is (T, B, A). Shift it by one row, with zeros in front.
# </details>
# <details><summary>Hint 2</summary>
#
# `is_first[..., None]` has the shape to multiply with.
# </details>


# %% tags=["exercise"]
def my_previous_action(action: jax.Array, is_first: jax.Array, count: int) -> jax.Array:
    """The one-hot action before each row, zeros at resets; (T, B), (T, B) -> (T, B, count)."""
    # BEGIN SOLUTION
    onehot = jax.nn.one_hot(action, count)
    before = jnp.concatenate([jnp.zeros_like(onehot[:1]), onehot[:-1]])
    return before * (1.0 - is_first[..., None])
    # END SOLUTION


# %% tags=["check"]
previous_action = checks.previous_action(my_previous_action)

# %% [markdown]
# `replay.gather` in the package does the shift by cutting T + 1 rows and leaving out the last
# action; the wiping at `is_first` is done by the RSSM, together with the state's.
#
# ## 3 · A ring of rows, and windows
#
# What was lived goes into a ring of L rows: row i lies at place i mod L, so the oldest is
# overwritten. A training window is T + 1 rows in a row, its start drawn uniformly among all windows
# that are whole in the ring. Row 0 of a window only gives context: the state and the
# action to start from.
#
# **A tiny number.** A ring of 8 after 11 rows holds rows 3 to 10; row 3 lies at place 3, row 8 at
# place 0. Windows of 4 rows can start at 3, 4, 5, 6 or 7.
#
# **Predict first:** are all rows trained on equally often? Turn `window`.

# %%
window, ring, added = 9, 64, 100  # turn me
place = np.arange(added) % ring
kept = np.full(ring, -1)
kept[place] = np.arange(added)  # later rows overwrite earlier ones
oldest, newest = max(0, added - ring), added - window
rng = np.random.default_rng(seed)
starts = rng.integers(oldest, newest + 1, 4000)
cut = kept[(starts[:, None] + np.arange(window)) % ring]  # (4000, window) rows
assert (np.diff(cut, axis=1) == 1).all(), "a window must be consecutive rows"
often = np.bincount(cut.ravel(), minlength=added) / len(starts) * (newest - oldest + 1)
figure = Figure(figsize=(6.8, 2.6), layout="constrained")
axes = figure.add_subplot()
axes.bar(np.arange(added), often, color="#0072B2", width=0.9)
axes.axvline(oldest - 0.5, color="0.3", linestyle="--", linewidth=1)
axes.set(xlabel="row", ylabel="how often, per start", xlim=(0, added))
show(
    figure,
    f"How often each of {added} rows is in a window. Rows before {oldest} were overwritten: never. "
    f"From there it climbs over {window} rows to about {window}, stays level, and falls again over "
    f"the last {window} rows.",
    "02_ring",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_ring)
# </details>
#
# The newest rows are in few windows: what has just been learnt of the world would be trained on
# late. DreamerV3 therefore also puts every new window once into an *online queue*, which is served
# first. `replay.sample` does both.

# %% [markdown]
# ## The result: what goes wrong without the masks
#
# The simplest world model there is: a table. It foretells the paddle's column in Catch from the
# column before and the action before, by counting what followed most often. With the right inputs
# this is a game without chance. We feed it five ways, fill the table from the first half of the
# streams, and ask how often it is right in the second half: in ordinary rows, and in rows that
# begin an episode, where the paddle jumps to column 5.
#
# The baseline always says the most frequent column. The negative control gets its actions from
# *another* stream.


# %%
def foretell(column: np.ndarray, action: np.ndarray, truth: np.ndarray, half: int) -> np.ndarray:
    """Table look-up, filled from streams below `half`; all (T, B) whole numbers -> guesses (T, B)."""
    counts = np.zeros((12, 5, 10))
    np.add.at(counts, (column[:, :half], action[:, :half], truth[:, :half]), 1)
    return counts.argmax(-1)[column, action]


rows, actions = played["catch"]
truth = np.asarray(rows.obs["image"][:, :, 9, :, 0].argmax(-1))
count, half = catch.action_space.classes, truth.shape[1] // 2
keep = np.asarray(keep_mask(rows.is_last)) > 0
embedded = np.asarray(previous_action(actions, rows.is_first, count))
NOTHING = 10  # the table's word for a wiped column
before = np.concatenate([truth[:1] * 0 + NOTHING, truth[:-1]])
masked = np.where(keep, before, NOTHING)
did = np.where(embedded.any(-1), embedded.argmax(-1), count)  # `count` stands for all zeros
raw = np.concatenate([0 * np.asarray(actions[:1]), np.asarray(actions[:-1])])
inputs = {
    "both masks": (masked, did),
    "own action": (masked, np.asarray(actions)),
    "no masks": (before, raw),
    "another's actions": (masked, np.roll(did, 1, 1)),
}

# %% [markdown]
# **Predict first:** which mistake costs most, and in which rows?

# %% tags=["signature"]
later = np.arange(truth.shape[1]) >= half
right = {}
for label, (column, action) in inputs.items():
    hit = foretell(column, action, truth, half) == truth
    right[label] = (hit[keep & later].mean(), hit[~keep & later].mean())
common = np.bincount(truth[:, :half].ravel()).argmax()
right["always the same"] = (
    (truth == common)[keep & later].mean(),
    (truth == common)[~keep & later].mean(),
)

print("right guesses".ljust(20), "ordinary rows", "first rows")
for label, (ordinary, first) in right.items():
    print(label.ljust(20), f"{ordinary:13.0%} {first:10.0%}")
figure = Figure(figsize=(6.8, 3.0), layout="constrained")
axes = figure.add_subplot()
places = np.arange(len(right))
ordinary, first = np.array(list(right.values())).T
axes.bar(places - 0.2, ordinary, 0.38, label="ordinary rows", color="#0072B2")
axes.bar(places + 0.2, first, 0.38, label="first rows", color="#E69F00", hatch="//")
axes.set_xticks(places, list(right), fontsize=9)
axes.set(ylabel="share of right guesses", ylim=(0, 1.25))
axes.legend(frameon=False, ncols=2, loc="upper center")
words = "; ".join(f"{k} {a:.0%} and {b:.0%}" for k, (a, b) in right.items())
show(figure, f"Share of right guesses in ordinary and in first rows: {words}.", "02_masks")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:02_masks)
# </details>
#
# With both masks the table knows the game. With each row's *own* action it learns nothing from
# actions, and does as badly as with another's: the commonest bug in code of this kind, and the loss
# still falls. Without masks ordinary rows are fine, but the table looks for the start of an episode
# in the end of the one before, and cannot find it.
#
# **Limits.** A table has no memory to spoil. In an agent, a leak also teaches the memory to carry
# what it must forget, and a model large enough would learn to detect resets by itself; it would
# only waste what it has.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A walker is stopped after 1,000 steps. Which flags has the last row?</summary>
#
# is_last, not is_terminal: more could have been earned.
# </details>
# <details><summary>2. Why does the reward of row t belong to action t - 1?</summary>
#
# It arrives together with observation t, which that action led to.
# </details>
# <details><summary>3. Ten episodes of Catch: how many rows, how many actions that count?</summary>
#
# 100 rows, 90 actions.
# </details>

# %% [markdown]
# ## Summary
#
# * A row holds what arrived, three flags, and the action chosen after it.
# * Memory is wiped at is_first; the future is cut at is_terminal.
# * Observation t goes with action t - 1, and with zeros at a reset.
# * A ring keeps the newest rows; windows of T + 1 run across episodes.
#
# ## References
#
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
# Rewards can be 0.01 or 10,000. Notebook 03 predicts both with one network.
