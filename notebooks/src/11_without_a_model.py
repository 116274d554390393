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
# # 11 · Without a model
#
# **PPO, which has no world model, learns our Breakout many times sooner by the clock than Dreamer does: a step is nearly free here. Let a step take 20 ms, as a robot's does, and the agent that dreams is ahead.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 35 | 4, on 2 CPU cores | notebooks 02, 07 and 08 | nothing: it builds a rival, PPO |
#
# **You will be able to**
#
# * compute generalised advantages, and keep them inside their episode;
# * write PPO's clipped objective, and say what it would do without the clip;
# * train PPO and Dreamer on one world, and compare them by real steps and by time;
# * find the price of a step at which one of them overtakes the other;
# * say what world models bring, what they cost, and which agent you would take.
#
# ![](figure:agent_whole)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
seed = 0  # @param {type: "integer"}
updates = 320 if FAST else 4000  # @param {type: "raw"}
robot_steps = 40 if FAST else 200  # @param {type: "raw"}

# %% tags=["setup"]
import time

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import dreamer_lite
from dreamer_lite.course import checks
from dreamer_lite.course.notebook import show
from dreamer_lite.show.plots import COLOURS, style

print(dreamer_lite.__doc__)

# %% [markdown]
# ## The result first
#
# Of the picture above PPO (*proximal policy optimisation*; Schulman et al. 2017) keeps world, encoder,
# actor, critic and loop. There is no RSSM, no decoder, no dream and no replay:
#
# 1. **live** T rows of W worlds with the policy of now;
# 2. **judge** each action by what followed: an advantage;
# 3. **learn** from these rows, a few passes, no further than a clip allows;
# 4. **throw them away**, for they were lived by a policy that is no more.
#
# In notebook 08 Dreamer took minutes to clear a few bricks. PPO will take seconds. That is no
# accident and no mistake: our Breakout is compiled, thousands of its steps cost less than one update
# of a world model, and an agent may as well ask the world itself. The model earns its keep where
# steps are *not* free. Both halves are measured below, and there is a price of a step at which they
# meet.

# %% [markdown]
# ## 1 · What an action was worth
#
# PPO's *surprise* is how much better one step went than the critic expected:
#
# $$\delta_t=r_{t+1}+\gamma\,(1-\text{terminal}_{t+1})\,v_{t+1}-v_t$$
#
# One surprise is full of the critic's errors; the sum of all later ones is full of chance.
# *Generalised advantage estimation* (Schulman et al. 2016) adds them up with fading weights:
#
# $$A_t=\delta_t+\gamma\lambda\,(1-\text{last}_{t+1})\,A_{t+1}\qquad A_T=0$$
#
# Rows are as in notebook 02: the reward arrives *with* row t + 1, and a reset has a row of its own.
# So `is_terminal` takes the value away, and `is_last` cuts the chain: a time limit does the second
# only. Shapes: T + 1 rows give T advantages, (T+1, W) -> (T, W).

# %% [markdown]
# **A tiny number, by hand.** Two steps, then a true end: rewards (-, 0, 1), values (0.5, 0.5, 0.7),
# γ = 0.9, λ = 0.5. From the back: $\delta_1=1-0.5=0.5$, the 0.7 after the end counts for nothing, and
# $A_1=0.5$. $\delta_0=0+0.45-0.5=-0.05$, $A_0=-0.05+0.45\cdot0.5=0.175$.
#
# **Exercise 1** · medium · very important · 15 minutes
#
# Write it as a scan from the back.
#
# <details><summary>Hint 1</summary>
#
# All surprises at once: `reward[1:] + discount * (1.0 - is_terminal[1:]) * value[1:] - value[:-1]`.
# </details>
# <details><summary>Hint 2</summary>
#
# `jax.lax.scan(step, jnp.zeros_like(value[-1]), (surprise, keep), reverse=True)[1]`, where `keep` is
# `discount * lam * (1.0 - is_last[1:])` and `step` returns the new advantage twice.
# </details>


# %% tags=["exercise"]
def my_advantages(
    reward: jax.Array,
    is_last: jax.Array,
    is_terminal: jax.Array,
    value: jax.Array,
    discount: float,
    lam: float,
) -> jax.Array:
    """What each action brought beyond the value of its row; (T+1, W) four times -> (T, W)."""
    # BEGIN SOLUTION
    surprise = reward[1:] + discount * (1.0 - is_terminal[1:]) * value[1:] - value[:-1]
    keep = discount * lam * (1.0 - is_last[1:])

    def step(later: jax.Array, inputs: tuple) -> tuple:
        now = inputs[0] + inputs[1] * later
        return now, now

    return jax.lax.scan(step, jnp.zeros_like(value[-1]), (surprise, keep), reverse=True)[1]
    # END SOLUTION


# %% tags=["check"]
advantages = checks.advantages(my_advantages)

# %% [markdown]
# You have met this before. Dreamer's lambda-return less the value *is* this advantage: the two
# agents judge alike. What differs is **whose** steps are judged, dreamt or real ones.
#
# Two games of Catch: one lost, the next one won. The critic is young and says 0. **Predict first:**
# without the cut at `is_last`, what would the last action of the lost game be told? Turn `lam`.

# %%
from dreamer_lite.agent import behavior
from dreamer_lite.presets import make_config

lam = 0.95  # turn me: 0, 0.8, 1
last = jnp.zeros((20, 1), bool).at[9].set(True).at[19].set(True)  # 9 actions and a reset, twice
reward, silent = jnp.zeros((20, 1)).at[19].set(1.0), jnp.zeros((20, 1))
told = {
    "cut at the border": advantages(reward, last, last, silent, 0.99, lam)[:, 0],
    "not cut": advantages(reward, jnp.zeros_like(last), last, silent, 0.99, lam)[:, 0],
}
returns = behavior.lambda_returns(reward, 0.99 * (1.0 - last), lam * (1.0 - last), silent)[:, 0]
print(f"largest difference from Dreamer's lambda-return: {abs(told['cut at the border'] - returns).max():.1e}")  # fmt: skip
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(told.items()):
    axes.plot(line, label=label, **style(number, 19))
axes.axvline(9, color="0.4", linestyle=":")
axes.set(xlabel="row; the first game ends at 9, lost, the second at 19, won", ylabel="advantage")
axes.legend(frameon=False)
show(
    figure,
    f"Advantages along two games with lambda {lam:g}. At row 8, the last action of the lost game: "
    + "; ".join(f"{label} {line[8]:.2f}" for label, line in told.items())
    + ". In the second game the lines are the same and rise to 1 at row 18.",
    "11_border",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:11_border)
# </details>
#
# Without the cut, the lost game is praised for the luck of the next one.
#
# ## 2 · Which of them count
#
# The action at a last row was ignored by the world: it must neither teach nor be averaged in. So each
# action has a weight $w$, 0 there and else 1. Then advantages are brought to one scale, batch by
# batch, where Dreamer divides by a moving range of returns (notebook 07):
#
# $$\hat A=w\,\frac{A-\mu}{\sigma+10^{-8}}\qquad
# \mu=\frac{\sum wA}{\sum w}\qquad\sigma^2=\frac{\sum w\,(A-\mu)^2}{\sum w}$$
#
# **A tiny number.** A = (1, 3, 100), w = (1, 1, 0): μ = 2, σ = 1, so (-1, 1, 0).

# %% [markdown]
# **Exercise 2** · easy · important · 5 minutes
#
# Normalise among those that count.
#
# <details><summary>Hint 1</summary>
#
# The mean is `(weight * advantage).sum() / weight.sum()`.
# </details>
# <details><summary>Hint 2</summary>
#
# The same mean of `(advantage - mean) ** 2`, then its root. Multiply the result by `weight`.
# </details>


# %% tags=["exercise"]
def my_normalise(advantage: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean 0 and deviation 1 among those of weight 1, 0 elsewhere; (n,) twice -> (n,)."""
    # BEGIN SOLUTION
    centred = advantage - (weight * advantage).sum() / weight.sum()
    deviation = jnp.sqrt((weight * centred**2).sum() / weight.sum())
    return weight * centred / (deviation + 1e-8)
    # END SOLUTION


# %% tags=["check"]
normalise = checks.normalise(my_normalise)

# %% [markdown]
# ## 3 · Not too far at once
#
# REINFORCE (notebook 07) may use a row once: after one step the policy has changed, and the row tells
# of another one. PPO would like several passes. With the *ratio*
#
# $$\rho_t=\frac{\pi(a_t\mid o_t)}{\pi_\text{old}(a_t\mid o_t)}$$
#
# the product $\rho_tA_t$ says what the new policy would gain, as long as it is near the old one. So
# the gain beyond a small distance is not paid:
#
# $$L_t=-\min\bigl(\rho_tA_t,\;\operatorname{clip}(\rho_t,1-\epsilon,1+\epsilon)\,A_t\bigr)$$
#
# (Schulman et al. 2017, Eq. 7; ε = 0.2.) The minimum matters: a *bad* action that became likelier is
# still pushed back, however far it went. At ρ = 1 the slope for ln π is -A: REINFORCE.
#
# **A tiny number.** ε = 0.2. A = 2, ρ = 1.5: the products are 3 and 2.4, L = -2.4, slope 0. A = -2,
# ρ = 1.5: they are -3 and -2.4, L = 3, and the slope is still there.

# %% [markdown]
# **Exercise 3** · medium · very important · 10 minutes
#
# Write the clipped loss.
#
# <details><summary>Hint 1</summary>
#
# A ratio of probabilities is `jnp.exp` of a difference of logarithms.
# </details>
# <details><summary>Hint 2</summary>
#
# `jnp.clip(ratio, 1 - clip, 1 + clip)`; multiply *both* by the advantage, then take the minimum.
# </details>


# %% tags=["exercise"]
def my_clipped_loss(
    log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float
) -> jax.Array:
    """Minus the gain, paid for within the clip only; (n,) three times, a number -> (n,)."""
    # BEGIN SOLUTION
    ratio = jnp.exp(log_prob - old_log_prob)
    bounded = jnp.clip(ratio, 1 - clip, 1 + clip)
    return -jnp.minimum(ratio * advantage, bounded * advantage)
    # END SOLUTION


# %% tags=["check"]
clipped_loss = checks.clipped_loss(my_clipped_loss)

# %% [markdown]
# Three levers pay 1 with chance 0.4, 0.5 and 0.6. The actor pulls 12 times, then makes 200 steps on
# these same 12 pulls. **Predict first:** how sure of a lever does it become with the clip, and without?
# Turn `clips`.

# %%
from dreamer_lite.agent.distributions import OneHot

clips = (0.2, 0.5, 1e9)  # turn me; the last one is no clip
draw = np.random.default_rng(seed)
action = jax.nn.one_hot(jnp.asarray(draw.integers(0, 3, 12)), 3)
paid = jnp.asarray(draw.random(12) < np.asarray(action) @ [0.4, 0.5, 0.6], jnp.float32)
gain = normalise(paid, jnp.ones(12))


@jax.jit
def many_steps(clip: jax.Array) -> jax.Array:
    """Odds of the three levers along 200 steps on the same pulls, (200, 3)."""
    old = OneHot.mix(jnp.zeros((12, 3))).log_prob(action)

    def step(raw: jax.Array, _: None) -> tuple:
        def loss(raw: jax.Array) -> jax.Array:
            policy = OneHot.mix(jnp.tile(raw, (12, 1)))
            return clipped_loss(policy.log_prob(action), old, gain, clip).mean()

        return raw - jax.grad(loss)(raw), OneHot.mix(raw).probs

    return jax.lax.scan(step, jnp.zeros(3), length=200)[1]


odds = {f"clip {clip:g}" if clip < 1e8 else "no clip": many_steps(clip) for clip in clips}
figure = Figure(figsize=(6.4, 3.0), layout="constrained")
axes = figure.add_subplot()
for number, (label, line) in enumerate(odds.items()):
    axes.plot(line.max(1), label=label, **style(number, 200))
axes.set(xlabel="steps on the same 12 pulls", ylabel="odds of the favourite lever", ylim=(0, 1.05))
axes.legend(frameon=False)
show(
    figure,
    "Odds of the favourite lever against steps on the same 12 pulls. At the end: "
    + "; ".join(f"{label} {line[-1].max():.2f}" for label, line in odds.items())
    + ".",
    "11_clip",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:11_clip)
# </details>
#
# Without a clip, 12 lucky pulls are taken for the truth. With it the policy stops a little beyond
# 1.2 times the old odds, and has to go and look again. That is PPO's price: **new rows, all the time**.
#
# ## 4 · PPO, whole
#
# The same world, the same number of worlds, the same encoder and heads in width and depth as our
# Dreamer has. First the rows, judged by your function. `shift` is for the negative control: with 1,
# each action is judged by what happened in the *neighbour's* world.

# %%
import functools
from typing import Any

from dreamer_lite import worlds
from dreamer_lite.agent.agent import make_agent
from dreamer_lite.baselines import ppo
from dreamer_lite.training import loop as training
from dreamer_lite.training.xla import compiler_options

SEEDS = 3  # agents side by side in one program
config = make_config("minatar/breakout", seed=seed, seeds=SEEDS)
settings = ppo.Settings()
world: Any = worlds.make(config.world)
made = ppo.make_ppo(config, settings, world)  # of it we take the networks and the first state


def live(state: ppo.State, shift: jax.Array) -> tuple[ppo.State, ppo.Samples]:
    """T rows of W worlds under one policy, and what each action was worth: samples (T * W, ...)."""
    agent = made.merge(state.params)

    def step(state: ppo.State, _: None) -> tuple:
        row = state.envs.row
        key = jax.random.fold_in(jax.random.fold_in(state.key, 0), state.rows)
        act_key, world_key = jax.random.split(key)
        policy, value = agent(row.obs)
        sample = policy.sample(act_key)
        keys = jax.random.split(world_key, config.worlds)
        following, new = jax.vmap(worlds.next_timestep, (None, 0, 0, 0, 0))(
            world, state.envs.world, row, jnp.argmax(sample, -1).astype(jnp.int32), keys
        )
        envs = training.keep_score(state.envs._replace(world=following, row=new))
        state = state._replace(envs=envs, rows=state.rows + 1)
        return state, (row, value, sample, policy.log_prob(sample))

    state, (row, value, action, log_prob) = jax.lax.scan(step, state, length=settings.length)
    end = state.envs.row
    value = jnp.concatenate([value, agent(end.obs)[1][None]])  # and what the last row promises
    ends = [
        jnp.concatenate([getattr(row, name), getattr(end, name)[None]])
        for name in ("reward", "is_last", "is_terminal")
    ]
    found = advantages(*ends, value, settings.discount, settings.lam)
    judged = jnp.roll(found, shift, 1)  # a shift of 0 changes nothing
    samples = ppo.Samples(row.obs, action, log_prob, judged, found + value[:-1], 1.0 - row.is_last)
    return state, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)


# %% [markdown]
# Then a few passes over them in shuffled minibatches. Beside the clipped loss there are a squared
# error for the critic, a plain number here, and the entropy (Eq. 9 of the paper).

# %%
optimizer = ppo.make_optimizer(settings)  # Adam, behind a limit on the gradient's norm
STEPS = settings.epochs * settings.minibatches  # gradient steps of a round


def learn(state: ppo.State, samples: ppo.Samples) -> ppo.State:
    """Four passes over the samples, eight steps in each."""
    count = settings.length * config.worlds
    keys = jax.random.split(
        jax.random.fold_in(jax.random.fold_in(state.key, 1), state.updates), settings.epochs
    )
    order = jnp.concatenate([jax.random.permutation(key, count) for key in keys])

    def step(carry: tuple, places: jax.Array) -> tuple:
        params, averages = carry
        part = jax.tree.map(lambda x: x[places], samples)

        def loss(params: dict) -> jax.Array:
            policy, value = made.merge(params)(part.obs)
            gain = normalise(part.advantage, part.weight)
            log_prob = policy.log_prob(part.action)
            each = clipped_loss(log_prob, part.log_prob, gain, settings.clip)
            each += settings.value_scale * 0.5 * (value - part.returns) ** 2
            each -= settings.entropy * policy.entropy()
            return (part.weight * each).sum() / part.weight.sum()

        change, averages = optimizer.update(jax.grad(loss)(params), averages, params)
        return (jax.tree.map(jnp.add, params, change), averages), None

    carry = state.params, state.optimizer
    (params, averages), _ = jax.lax.scan(step, carry, order.reshape(STEPS, -1))
    return state._replace(params=params, optimizer=averages, updates=state.updates + STEPS)


@functools.partial(jax.jit, donate_argnums=0, compiler_options=compiler_options())
@functools.partial(jax.vmap, in_axes=(0, None, None))
def advance(state: ppo.State, rounds: int, shift: int) -> ppo.State:
    """Live and learn, `rounds` times, SEEDS agents side by side. The state is donated."""
    return jax.lax.fori_loop(0, rounds, lambda _, state: learn(*live(state, shift)), state)


# %% [markdown]
# Is it the package's? After two rounds from the same seeds the parameters must agree, but for
# rounding. (Fast mode leaves this out: it compiles a second time.)

# %%
start = time.perf_counter()
mine: Any = jax.block_until_ready(advance(made.init(seed), 0, 0))
print(f"compiled in {time.perf_counter() - start:.0f} s")
if not FAST:
    mine, theirs = advance(mine, 2, 0), made.advance(made.init(seed), 2)[0]
    gaps = jax.tree.map(lambda a, b: abs(a - b).max(), mine.params, theirs.params)
    print(
        f"after 2 rounds the largest difference of a parameter is {max(jax.tree.leaves(gaps)):.1e}"
    )
dreamer = make_agent(make_config(config.world), world.obs_space, world.action_space)
sizes = [sum(x.size for x in jax.tree.leaves(p)) for p in (made.init(seed).params, dreamer.init(0))]
print(f"parameters: PPO {sizes[0] // SEEDS:,}, Dreamer {sizes[1]:,}")

# %% [markdown]
# Now three seeds at once, live. **Predict first:** how many bricks a game after a minute? Random play
# clears 0.4, and Dreamer in the 4,000 updates of notebook 08 five to eight, in minutes and alone.


# %%
def latest(state: ppo.State) -> np.ndarray:
    """Mean return of the latest 100 games of each seed, (SEEDS,)."""
    finished = np.minimum(np.asarray(state.envs.episodes), training.EPISODES)
    return np.asarray(state.envs.scores).sum(1) / np.maximum(1, finished)  # unused places are 0


def train(shift: int, rounds: int, news: int = 10) -> tuple:
    """(agent steps (n,), returns (n, SEEDS), seconds by the clock, parameters of all seeds)."""
    state: Any = made.init(seed)
    steps, returns, begun, done = [], [], time.perf_counter(), 0
    while done < rounds:
        some = min(max(1, rounds // news), rounds - done)
        state, done = advance(state, some, shift), done + some
        steps.append(done * settings.length * config.worlds)
        returns.append(latest(state))
        if not FAST:
            words = ", ".join(f"{x:5.2f}" for x in returns[-1])
            print(f"{steps[-1]:9,} agent steps each: {words}", flush=True)
    return np.array(steps), np.array(returns), time.perf_counter() - begun, state.params


rounds = max(1, updates // STEPS)
live_steps, live_returns, live_seconds, learnt = train(0, rounds)
print(f"three agents took {live_seconds:.0f} s: "
      f"{SEEDS * live_steps[-1] / live_seconds:,.0f} agent steps a second, learning included")  # fmt: skip
control_rounds = max(1, min(rounds, 20))
control_steps, control, *_ = train(1, control_rounds)
print(
    f"judged by the neighbour's luck, after {control_rounds} rounds: {control[-1].mean():.2f} bricks"
)

# %% [markdown]
# The control had the same rows, the same losses and as much computing. Only, what an action was told
# did not follow from it, and it learnt nothing.

# %% [markdown]
# ## 5 · The race
#
# Dreamer takes longer than this lesson, so its curves are stored, three seeds each, and PPO's beside
# them, all from the same machine by one command each:
#
# ```bash
# taskset -c 0 python -m dreamer_lite.course.curves dreamer --out dreamer.json
# ```
#
# and so with `dreamer_thrifty`, `ppo` and `ppo_thrifty`. Time there is CPU time of **one core**, compiling
# included, a third of what three seeds side by side took. Who is who:
#
# * `dreamer`: the preset of notebook 08. 128 worlds, train ratio 4: it lives freely, as living is cheap;
# * `dreamer_thrifty`: 8 worlds, train ratio 64: sixteen times as much learnt from each step;
# * `ppo`: what you just built. 128 worlds, a learning after every 4,096 steps;
# * `ppo_thrifty`: 8 worlds, a learning after every 1,024 steps.
#
# **Predict first:** of these four, who is best after 10,000 steps? And after 100 seconds?

# %%
from dreamer_lite.course import curves

NAMES = {
    "ppo": "PPO",
    "ppo_thrifty": "PPO, thrifty",
    "dreamer": "Dreamer, preset",
    "dreamer_thrifty": "Dreamer, thrifty",
}
stored = {label: curves.load(f"breakout_{name}") for name, label in NAMES.items()}
about = stored["PPO"].about
print(f"{about['cores']} core of {about['processor']}, jax {about['versions']['jax']}")
for label, curve in stored.items():
    last = ", ".join(f"{x:.1f}" for x in curve.returns[-1])
    print(f"{label:16} {curve.agent_steps[-1]:11,.0f} steps, {curve.updates[-1]:7,.0f} updates, "
          f"{curve.seconds[-1] / SEEDS:5.0f} s: {last} bricks; {curve.about['command']}")  # fmt: skip


def draw(axes: Any, xs: dict[str, np.ndarray], x_label: str) -> None:
    """Mean return of each stored curve against its own x, with a band from worst to best seed."""
    for number, (label, x) in enumerate(xs.items()):
        y = stored[label].returns
        axes.plot(x, y.mean(1), label=label, **style(number, len(x)))
        axes.fill_between(x, y.min(1), y.max(1), alpha=0.15, color=COLOURS[number])
    axes.axhline(0.4, color="0.4", linestyle=":", label="random play")
    axes.set(xscale="log", xlabel=x_label)
    axes.grid(alpha=0.25)


# %% tags=["signature"]
steps = {label: curve.agent_steps for label, curve in stored.items()}
seconds = {label: curves.seconds_of_one(curve) for label, curve in stored.items()}
figure = Figure(figsize=(9.6, 4.0), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True)
draw(left, steps, "agent steps of one agent")
left.plot(live_steps, live_returns.mean(1), "k*", label="PPO, yours, just now")
left.plot(control_steps, control.mean(1), "kx", label="control, just now")
left.set(ylabel="bricks a game, latest 100 games", xlim=(500, None))
left.legend(frameon=False, fontsize=8)
draw(right, seconds, "seconds of one core for one agent")
level = 4.0  # bricks a game


def in_words(x: float, unit: str) -> str:
    return "never" if np.isnan(x) else f"{x:,.0f} {unit}"


race = {label: curves.when(curve, level) for label, curve in stored.items()}
show(
    figure,
    "Bricks a game of four agents, mean and range of three seeds, on the left against agent steps, on "
    "the right against seconds, both on log scales. 4 bricks are reached after "
    + "; ".join(
        f"{in_words(n, 'steps')} and {in_words(s, 's')} by {label}"
        for label, (n, s) in race.items()
    )
    + ".",
    "11_race",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:11_race)
# </details>
#
# What did an update and a step cost each of them?

# %%
print("                  ms an update   ms an agent step   steps to 4 bricks   seconds to 4 bricks")
for label, curve in stored.items():
    spent = seconds[label][-1] - seconds[label][0]
    update, step = 1000 * spent / np.ptp(curve.updates), 1000 * spent / np.ptp(curve.agent_steps)
    n, s = (in_words(x, "") for x in race[label])
    print(f"{label:16} {update:13.1f} {step:18.2f} {n:>19} {s:>21}")

# %% [markdown]
# **By the clock PPO wins, whichever way either is set.** A gradient step of Dreamer costs more than
# ten times as much: it has to learn to see and to foretell before its actor hears of anything. That work
# pays where it saves steps. Look at the left picture: the *thrifty* Dreamer gets furthest with few
# steps. Its own preset, made for the clock, has given that away: it spends more steps than PPO for the
# same return. **A model saves steps only if you learn much from each**; that is `train_ratio`. PPO has
# no such dial: made thrifty, it begins sooner and is at 4 bricks no earlier, for it may not go on
# learning from rows that it did not just live.
#
# ## 6 · When a step takes 20 ms
#
# A robot that decides 50 times a second needs 20 ms for a step, and no compiler helps. We make such a
# world of Breakout: a Gymnasium environment whose `step` returns 20 ms after it was called. PPO's policy
# plays in it, really. **Predict first:** how many steps a second? Does thinking count?

# %%
import gymnasium

from dreamer_lite.worlds import gymnasium_envs

STEP = 0.02  # seconds


class SlowBreakout(gymnasium.Wrapper):
    """Breakout on a robot's clock: a step is over STEP seconds after it began, never sooner."""

    def step(self, action: Any) -> tuple:
        due = time.perf_counter() + STEP
        result = super().step(action)
        time.sleep(max(0.0, due - time.perf_counter()))
        return result


gymnasium_envs.register()
if "SlowBreakout-v0" not in gymnasium.registry:
    gymnasium.register(
        "SlowBreakout-v0",
        entry_point=lambda **options: SlowBreakout(gymnasium.make("DreamerLite/Breakout-v0", **options)),
    )  # fmt: skip


# %%
@jax.jit
def choose(params: dict, obs: dict, t: int) -> jax.Array:
    """The action for one observation at step t."""
    key = jax.random.fold_in(jax.random.key(seed), t)
    return jnp.argmax(made.merge(params)(obs)[0].sample(key), -1)


def seconds_per_step(id: str, count: int) -> float:
    """What a step of the world and a thought of the agent take together."""
    env, params = gymnasium.make(id), jax.tree.map(lambda x: x[0], learnt)
    for _ in range(2):  # once to compile
        (obs, _), begun = env.reset(seed=seed), time.perf_counter()
        for t in range(count):
            obs, _, terminated, truncated, _ = env.step(int(choose(params, obs, t)))
            if terminated or truncated:
                obs, _ = env.reset()
        took = time.perf_counter() - begun
    return took / count


measured = {id: seconds_per_step(id, robot_steps) for id in ("DreamerLite/Breakout-v0", "SlowBreakout-v0")}  # fmt: skip
for id, each in measured.items():
    print(f"{id:24} {1000 * each:6.2f} ms a step, {1 / each:5.0f} steps a second")
in_scan = live_seconds / (SEEDS * live_steps[-1])
print(f"inside PPO's program, learning included: {1000 * in_scan:.3f} ms a step")

# %% [markdown]
# On the slow clock a step costs 20 ms and little more: acting is lost in it. To *learn* there would
# take from minutes to an hour, so from here we compute. For an agent that has lived n steps and computed for s
# seconds, with one robot whose every step takes c:
#
# $$\text{time}=s+n\,c$$
#
# **What this assumes.** *One* robot: W worlds take turns, n counts all their steps. Acting and learning
# take turns too; an agent that learns while the robot moves needs only the larger of s and n c. Resets
# are free, which no robot grants. And the world does not change while we think.
#
# **Predict first:** at which price of a step are the two thrifty agents level? Turn `robots`, `level` and
# `price`.

# %%
robots = 1  # turn me: 1, 10, 1000
level = 4.0  # turn me: bricks a game
price = STEP  # turn me: seconds of a step
needs = {label: curves.when(curve, level) for label, curve in stored.items()}


def total(label: str, cost: Any) -> Any:
    """Seconds until `label` is at `level`, if a step costs `cost` seconds; NaN if it never is."""
    n, s = needs[label]
    return s + n * cost / robots


clock = {label: seconds[label] + steps[label] * price / robots for label in stored}
costs = np.logspace(-6, -0.5, 60)
rivals = "PPO, thrifty", "Dreamer, thrifty"
saved, spent = (
    needs[rivals[0]][0] - needs[rivals[1]][0],
    needs[rivals[1]][1] - needs[rivals[0]][1],
)
meet = robots * spent / saved if saved > 0 else np.nan  # NaN too where one is never at `level`
print(f"to {level:g} bricks {rivals[1]} saves {saved:,.0f} steps, computes {spent:,.0f} s longer:")
print(f"the two are level where a step costs {1000 * meet:.1f} ms")

# %%
figure = Figure(figsize=(9.6, 4.0), layout="constrained")
left, right = figure.subplots(1, 2)
draw(
    left,
    {label: x / 60 for label, x in clock.items()},
    f"minutes, a step costs {1000 * price:g} ms",
)
left.set_ylabel("bricks a game, latest 100 games")
left.legend(frameon=False, fontsize=8)
for number, label in enumerate(stored):
    right.plot(1000 * costs, total(label, costs) / 60, label=label, **style(number, len(costs)))
right.axvline(20, color="0.4", linestyle=":")
right.set(xscale="log", yscale="log", xlabel="price of a step (ms); dotted: 20",
          ylabel=f"minutes until {level:g} bricks")  # fmt: skip
right.grid(alpha=0.25)
show(
    figure,
    f"Left: bricks a game of four agents against minutes where a step costs {1000 * price:g} ms. Right: "
    f"minutes until {level:g} bricks against the price of a step, both on log scales; at the left PPO is "
    f"lowest. At {1000 * price:g} ms: "
    + "; ".join(f"{label} {in_words(total(label, price) / 60, 'minutes')}" for label in stored)
    + f". The thrifty two are level at {1000 * meet:.1f} ms.",
    "11_price",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:11_price)
# </details>
#
# A steep line at the right is an agent that needs many steps, a high one at the left an agent that
# computes long. They cross, and where they cross decides, not which agent is "better".
#
# **Limits.** One small world, three seeds, and a price that is arithmetic but for the seconds per step.
# Only the first bricks are compared: the stored Dreamers stop at 5 and 7, where PPO, with its many
# steps, goes on beyond 10. Neither agent was tuned for few steps beyond the one change
# that the names tell. And *many* robots share the price: with a simulator that runs a thousand at once
# (`robots = 1000`), 20 ms are 20 µs, and PPO is ahead again. So walking is mostly learnt by PPO, in
# simulation: Rudin et al. (2021) teach a four-legged robot flat ground in under four minutes, in
# thousands of copies on one GPU.

# %% [markdown]
# ## 7 · What others report
#
# Scores of PPO with fixed settings and of DreamerV3, from the score files that Hafner et al. publish with
# their code, means over their seeds; how we read them is in the notebook's references:
#
# | task | real frames | PPO | DreamerV3 |
# |---|---|---|---|
# | Pong, Atari 100k | 0.4 M | -20.3 | -4.0 |
# | Breakout, Atari 100k | 0.4 M | 2.7 | 9.7 |
# | Walker Walk, numbers | 0.49 M | 65 | 881 |
# | Walker Walk, pictures | 0.98 M | 86 | 963 |
# | Pong, Atari | 200 M | 18.7 | 19.9 |
# | Breakout, Atari | 200 M | 289 | 394 |
#
# Few frames, and the model makes the difference between learning and not; many frames, and in Pong the
# two end side by side. *Atari 100k*, 100,000 agent steps or about two hours of play, was proposed with
# SimPLe (Kaiser et al. 2020), which trains PPO *inside* a learnt video model. MBPO (Janner et al. 2019)
# does it with dreams of a few steps from real states. On real robots DayDreamer (Wu et al. 2022) taught
# a four-legged one to walk in an hour, without a simulator.

# %% [markdown]
# ## When to take which
#
# | your world | take | because |
# |---|---|---|
# | compiled, or thousands of copies | PPO | steps are nearly free, computing is not |
# | a robot, a plant, a slow simulator, a person | a world model | every step counts; computing waits for it anyway |
# | rewards are rare, pictures are rich | a world model | each picture teaches the model, reward or not |
# | you must see what it expects | a world model | its dreams can be watched, and measured (10) |
# | simple, to be trusted tomorrow | PPO | 200 lines, few ways to go wrong |
#
# Between them lies a dial, not a wall: `train_ratio` moves Dreamer along it, the number of worlds and of
# passes moves PPO, but not far: old rows are not its policy's.

# %% [markdown]
# ## Quiz
#
# These go over the whole course.
#
# <details><summary>1. In three sentences: what is a world model, and what is it for?</summary>
#
# It is a network that learns, from lived rows, what comes next and what it pays, in a state of its own
# (04, 05). In it a policy can try what it never did, at no real step (06, 07). It is only as good as what
# was lived: where the policy goes, rows must follow (08).
# </details>
# <details><summary>2. World model, actor, critic: what does each take in, put out, and learn from?</summary>
#
# The model takes rows and gives states, pictures, rewards, the chance to go on; it learns from replay.
# The actor takes a state and gives an action; it learns from advantages. The critic takes a state and
# gives a return; it learns from lambda-returns. Both learn in dreams, the critic on replay too.
# </details>
# <details><summary>3. Dreamer and PPO use the same advantage. Where do they differ then?</summary>
#
# In whose steps are judged: dreamt ones of the policy of now, from any replayed state, or real ones, used
# for a few passes and thrown away. Hence PPO needs the clip, and Dreamer needs a model it can trust.
# </details>

# %% [markdown]
# <details><summary>4. Somebody shows you a return of 8 in Breakout, and a film. What do you ask?</summary>
#
# How many seeds, steps and minutes; training or new games; what random play and a broken control score.
# In the film: does it move before the ball comes down, or follow a rhythm? Hide the ball (08). In its dream
# beside reality: at which step do they part, and is it the policy or the model that fails (10)?
# </details>
# <details><summary>5. You have a simulator at 300 steps a second on 16 cores. Which agent?</summary>
#
# About 5,000 steps a second: 0.2 ms a step. See the picture of section 6, then measure: the answer depends
# on how many steps the task needs, and both agents' curves are needed to say.
# </details>
# <details><summary>6. You raise `train_ratio` from 4 to 64 and the return by the clock falls. A bug?</summary>
#
# No. Each update costs the same, but learns from rows that changed less since the last one. What you
# gain is on the other axis.
# </details>

# %% [markdown]
# ## Summary
#
# * PPO judges real steps by the advantage that Dreamer uses on dreamt ones, and clips how far it goes.
# * Advantages stop at an episode's end; a time limit keeps the value, a true end does not; what a reset
#   ignored does not count.
# * Where steps are free PPO wins by the clock; where they are dear the agent wins that needs fewer.
# * Time is computing plus steps times their price: measure both, for your world, before you choose.
#
# ## References
#
# * J. Schulman and others: Proximal policy optimization algorithms (2017),
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347).
# * J. Schulman and others: High-dimensional continuous control using generalized advantage
#   estimation (2016), [arXiv:1506.02438](https://arxiv.org/abs/1506.02438).
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104). Scores: the folder
#   `scores` of [its code](https://github.com/danijar/dreamerv3), training episodes. Atari 100k: Breakout
#   and Pong as means of the episodes that end at 390,000 to 400,000 frames; Walker and 200 M: the last
#   bin of at most so many frames.
# * L. Kaiser and others: Model-based reinforcement learning for Atari (2020; SimPLe),
#   [arXiv:1903.00374](https://arxiv.org/abs/1903.00374).
# * M. Janner, J. Fu, M. Zhang, S. Levine: When to trust your model (2019; MBPO),
#   [arXiv:1906.08253](https://arxiv.org/abs/1906.08253).
# * P. Wu and others: DayDreamer (2022), [arXiv:2206.14176](https://arxiv.org/abs/2206.14176).
# * N. Rudin and others: Learning to walk in minutes using massively parallel deep reinforcement
#   learning (2021), [arXiv:2109.11978](https://arxiv.org/abs/2109.11978).
#
# ## Next
#
# This is the last notebook. Take an environment of your own (`--world gym/my_module:MyEnv-v0`), train
# Dreamer on it, and put PPO, or whatever you trust, beside it.
