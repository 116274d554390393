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
# # 09 · A full run
#
# **The loop of notebook 08, unchanged, on a body that learns to walk, or on a game of Atari: planned before it is paid for, and not lost when the machine is taken away.**
#
# | Minutes to read | Minutes to run | You should know | Adds to the agent |
# |---|---|---|---|
# | 20 | 20, on 2 CPU cores; goes on where it stopped | notebook 08 | nothing |
#
# **You will be able to**
#
# * tell frames, agent steps, replayed steps and updates from each other, and compare with others;
# * say what so many minutes bring on *your* machine, and what others had there;
# * choose numbers (bfloat16 or float32) that the device is made for;
# * keep a run alive through kills and disconnects;
# * judge the result by fresh episodes, beside two agents that have learnt nothing.
#
# Nothing new is built, and there is nothing to write. All blocks are at work:
#
# ![](figure:agent_whole)

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup("dmc", "atari")

# %% [markdown]
# ## What to choose
#
# | `world_name` | on | worth knowing |
# |---|---|---|
# | `dmc/walker-walk` | CPU (size `small`), GPU | 24 numbers to see, 6 torques; 1000 is perfect |
# | `dmc/walker-walk/pixels` | GPU | the same from 64 x 64 pixels |
# | `atari/road_runner` | CPU (size `pixels-cpu`), GPU | a bird on the run; it learns to run within 12 minutes on one core |
# | `atari/pong` | GPU | 20 to 21 points a game, and for a long time it loses them all |
# | `atari/breakout` | GPU | at the budgets of a course: 10 to 30, not 400 |
#
# An empty `size` is the smallest that makes sense on the device. Training ends after `updates`, a
# number that no load on the machine can change; `minutes` is only what the plan is made for. To go
# further later, raise `updates` and run all again.
#
# `mirror` is a folder for a copy of the run; with `use_drive`, on Colab, it is on your Google Drive.

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # set by the tests; leave it to them
world_name = "dmc/walker-walk"  # @param ["dmc/walker-walk", "dmc/walker-walk/pixels", "atari/road_runner", "atari/pong", "atari/breakout"]
size = ""  # @param ["", "small", "pixels-cpu", "1m", "12m", "25m"]
minutes = 15  # @param {type: "number"}
updates = 30 if FAST else 3000  # @param {type: "raw"}
seed = 0  # @param {type: "integer"}
changes = {}  # @param {type: "raw"}
folder = ""  # @param {type: "string"}
mirror = ""  # @param {type: "string"}
use_drive = False  # @param {type: "boolean"}

# %% tags=["setup"]
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from dreamer_lite import worlds
from dreamer_lite.agent import devices
from dreamer_lite.course import planner
from dreamer_lite.course.notebook import show, show_film
from dreamer_lite.evaluation import rollouts
from dreamer_lite.presets import make_config
from dreamer_lite.runs import agents, process
from dreamer_lite.show.plots import style
from dreamer_lite.tools import doctor
from dreamer_lite.training import memory, replay

process.enable_compilation_cache()  # so that planning and training compile once between them
world = worlds.make(world_name)
size = size or planner.sizes(world_name)[0]
config = make_config(world_name, size, seed=seed, **changes)
name = f"09-{world_name.replace('/', '-')}-{size}-s{seed}"
usual = tempfile.mkdtemp(prefix="dreamer-lite-") if FAST else f"runs/{name}"
run_folder = Path(folder or usual)
if use_drive:
    mirror = str(colab.drive("dreamer-lite"))
mirror_folder = Path(mirror) / name if mirror else ""
print(f"{config.world}, size {config.size}, in {run_folder}")
print(f"copy: {mirror_folder or 'none; what is lost with this disk is lost'}")

# %% [markdown]
# ## 1 · What is here
#
# Before hours of training, half a second of looking. What is marked MISS says below it what to do;
# you need it only for the worlds that it names.

# %%
print(doctor.as_text(doctor.examine()))

# %% [markdown]
# **Which numbers?** Parameters, losses and the optimiser are always float32. Activations may be
# bfloat16, half as many bits: eight for the exponent, as in float32, so nothing overflows, and eight
# for the digits, so 1.003 is rounded to 1. GPUs from compute capability 8.0 on (A100, L4, H100) have
# units that multiply it several times as fast. A T4 (7.5) has none, and a CPU is slower in it: there,
# `precision = "auto"` stays at float32, and asking for bfloat16 on a T4 is refused.
#
# **Does the replay fit?** It lies on the device, and its size is known before it is taken.

# %%
need = replay.bytes_needed(config, world.obs_space, world.action_space)
free = memory.free_bytes()
print(f"{config.precision} means {devices.compute_dtype(config.precision).__name__} here")
print(
    f"a replay of {config.capacity:,} steps takes {need / 2**30:.2f} GiB"
    + (f" of {free / 2**30:.1f} that are free" if free else "")
)

# %% [markdown]
# ## 2 · What is a step?
#
# Papers count four things, and mix them up at their peril:
#
# * a **frame** of the environment; scores are drawn against these;
# * an **agent step**: one action. Walker repeats each action over 2 frames, Atari over 4:
#   $\text{frames} = r \cdot N$;
# * a **replayed step**: one row in one batch. `train_ratio` $\rho$ is how many there are for each agent
#   step: $U \cdot B \cdot T = \rho \cdot N$ (notebook 08);
# * an **update** $U$: one batch of $B \cdot T$ rows.
#
# **A tiny number.** `small` Walker: $B\,T = 16 \cdot 32 = 512$ rows a batch, $\rho = 128$. An update for
# every $512 / 128 = 4$ agent steps, that is, 8 frames. 3,000 updates: 12,000 steps, 24,000 frames;
# ten minutes of a body's life at 20 actions a second. Of these the agent replays 1.5 million steps.

# %% [markdown]
# ## 3 · What will it cost, and what will it bring?
#
# 20 updates are timed here, after compiling. The rest is arithmetic, and the curves that others
# published. Whoever replays less than they did has made fewer updates after as many frames. So we look
# at *two* points of their curve: after as many replayed steps, and after as many lived ones. What
# comes should lie between the two, if networks and settings were the same; they never quite are. For
# `small`, and for Road Runner with `pixels-cpu`, there is a run of our own with these very settings: one
# line in place of a band.
#
# **Predict first:** how many updates a second, on this machine?

# %%
plans = planner.survey(
    world_name, minutes, {"seed": seed, **changes}, config.size if FAST else "", 4 if FAST else 20
)
for plan in plans:
    print(planner.describe(plan), end="\n\n")
chosen = planner.choose(plans)
print(f"For {minutes:g} minutes here: size {chosen.config.size}, {chosen.updates:,} updates.")

# %%
budgets = [5, 15, 60, 240, 720]
curve = planner.curve_of(config)
figure = Figure(figsize=(7.4, 3.8), layout="constrained")
axes = figure.add_subplot()
words = []
for number, plan in enumerate(plans):
    longer = [planner.plan(plan.config, m, plan.seconds_per_update) for m in budgets]
    low, high = np.array([(p.low, p.high) for p in longer]).T
    label = f"size {plan.config.size}, {1 / plan.seconds_per_update:.2g} updates/s"
    axes.plot(budgets, high, label=label, **style(number, len(budgets)))
    axes.fill_between(budgets, low, high, alpha=0.15, color=style(number, 1)["color"])
    parts = (f"{m} minutes {a:.3g} to {b:.3g}" for m, a, b in zip(budgets, low, high))
    words.append(f"{label}: {', '.join(parts)}")
axes.axvline(minutes, color="0.4", linestyle=(0, (1, 3)), label=f"{minutes:g} minutes")
axes.set(xscale="log", xlabel="minutes on this machine", ylabel="return of earlier runs there")
axes.set_xticks(budgets, budgets, minor=False)
axes.minorticks_off()
axes.legend(frameon=False)
show(
    figure,
    "Return of earlier runs against minutes on this machine, a band from what they had after as "
    f"many replayed steps to what they had after as many lived ones. {'; '.join(words)}.",
    "09_plan",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:09_plan)
# </details>
#
# A band is no promise. Its two edges are means over seeds, which differ by the spread that stands
# above; a line of our own is one seed, and another does otherwise; and a curve's end, where it goes on
# flat, is not the end of learning.
#
# **A knob.** Set `changes = {"train_ratio": 32}` and run this section again: more frames in the same
# minutes, and the band is higher at its upper edge, lower at its lower one. Which of the two edges
# would you believe?

# %% [markdown]
# ## 4 · What survives
#
# A run is killed without warning: by a lid, by Colab, by a full disk. Four rules make that harmless
# (`dreamer_lite/runs/run.py`, `checkpoints.py`, `mirror.py`):
#
# 1. **Order.** First the line of metrics, then the checkpoint, then the summary. A kill between two of
#    them leaves nothing that contradicts: lines beyond the checkpoint are cut off, and the summary is
#    made again.
# 2. **All of it.** Parameters alone are not the run: optimiser, slow critic, return range, replay,
#    random key and counters are in the checkpoint too. Without the replay an agent would relearn from
#    nothing but its newest rows.
# 3. **Beside, then swap.** A new checkpoint is written beside the old one, which goes only when the new
#    one is whole.
# 4. **A copy that may arrive late.** Google Drive uploads when it likes. So the mirror has two slots
#    that are written in turn, each with a checksum; rows of the replay are written once, in chunks. A
#    slot that did not arrive whole leaves the one before.
#
# Every minute there is a checkpoint, every five minutes a copy, and both at the end. So a kill costs
# a minute, and the loss of the machine five.

# %% [markdown]
# Try it: interrupt the kernel in the middle of the next cell, restart it, *Run all*. (Our tests do it
# the hard way, with SIGKILL.) On a JAX world the run that went on equals the uninterrupted one bit for
# bit; Walker and Atari cannot be saved in mid-flight, so their worlds start a new episode.
#
# ## 5 · The run
#
# The same dashboard as in notebook 08, with a copy. In the first seconds it compiles, or finds that in
# its cache. **Predict first:** when does the return begin to rise, and what does the body do by then?

# %%
from dreamer_lite.course.widgets import Dashboard

dashboard = Dashboard(config, updates, run_folder, mirror=mirror_folder)
dashboard.start("09_training")

# %%
dashboard.wait()
print(dashboard.words())

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:09_training)
# </details>
#
# Was the plan right? And what lies on the disk now?

# %%
summary = json.loads((run_folder / "summary.json").read_text())
took = summary["wall_seconds"] / summary["updates"]
print(f"planned {plans[0].seconds_per_update:.3g} s an update, took {took:.3g}, all included")
print(f"{summary['agent_steps']:,} agent steps, {summary['env_frames']:,} frames")
for place in filter(None, (run_folder, mirror_folder)):
    print(place)
    for file in sorted(Path(place).iterdir()):
        parts = [file, *file.rglob("*")] if file.is_dir() else [file]
        print(f"  {sum(f.stat().st_size for f in parts if f.is_file()) / 1e6:8.2f} MB  {file.name}")

# %% [markdown]
# ## The result: fresh episodes
#
# The return in the dashboard is that of the last episodes of training, played by a policy that changed
# while they lasted. So we play new ones with the last policy. The baseline acts at random. The negative
# control is *the same network before any update*: it has the same shapes, the same limits on its
# torques, and no knowledge.

# %% tags=["signature"]
from dreamer_lite.agent.agent import make_agent

agent = dashboard.agent()
episodes = 2 if FAST else 10
untrained = make_agent(config, world.obs_space, world.action_space).init(seed)
players = {"trained": agent.params, "untrained": untrained, "random": None}
returns = {
    label: rollouts.evaluate(config, params, world, episodes, seed)
    for label, params in players.items()
}
scores = {label: (x.mean(), x.std(ddof=1) / len(x) ** 0.5) for label, x in returns.items()}
for label, (mean, error) in scores.items():
    each = ", ".join(f"{x:.0f}" for x in returns[label])
    print(f"{label:10} {mean:7.1f} ± {error:.1f}   each: {each}")
frames = summary["env_frames"]
print(planner.expectation(config, summary["updates"] * config.batch * config.length, frames))

# %%
figure = Figure(figsize=(6.4, 2.6), layout="constrained")
axes = figure.add_subplot()
for number, (label, each) in enumerate(returns.items()):
    mean, error = scores[label]
    axes.barh(number, mean, 0.6, xerr=2 * error, color="#0072B2", hatch=("", "//", "..")[number])
    axes.plot(each, np.full(len(each), number), "k|", markersize=10)
axes.set_yticks(range(len(scores)), scores)
axes.invert_yaxis()
axes.set(xlabel="return; strokes are episodes, bars of error two standard errors")
show(
    figure,
    f"Mean return of {episodes} new episodes: "
    + "; ".join(f"{label} {mean:.1f} ± {error:.1f}" for label, (mean, error) in scores.items())
    + ".",
    "09_returns",
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:09_returns)
# </details>
#
# 3,000 updates took 9 minutes on one fast core (6.4 a second at the end; a slow one takes twice as
# long). They brought 180 ± 10; the untrained network has 46 ± 5, random play 38 ± 1. The body has come to
# its knees and holds its back upright, and it does not walk. The plan had said so: at 25,000 frames the
# run behind it had 176 ± 37. Standing alone pays 167, walking up to 1,000. That run had 361 at 100,000
# frames, 575 at 250,000 and 919 at 450,000, under three hours here: set `updates` to 58,600 and run all
# again, it goes on from where it is. We have not run it on a GPU.
#
# **Limits.** One seed here, and one behind the plan. The spread between seeds is larger than the error
# over episodes: the published curve's is 93 at 50,000 frames. And these settings were tried on this one
# body.

# %% [markdown]
# ## Watch it
#
# One whole episode is filmed, and written into the run folder beside the agent. A world that can draw
# is drawn; where MuJoCo has no way to draw, you see its numbers as gauges.

# %%
from dreamer_lite.show import video

recording = rollouts.record(agent.config, agent.params, world, seed, film=not FAST)
rows = jax.tree.map(lambda x: x[:60], recording) if FAST else recording
film = rollouts.annotated_frames(world, rows)
video.write(run_folder / "episode.mp4", film, fps=20)
shown = film[:: max(1, len(film) // 120)][:, ::2, ::2]
show_film(
    shown,
    f"The trained agent in {world_name}: {len(shown)} pictures of {len(film)} steps of an episode with "
    f"a return of {recording.score[-1]:.1f}.",
    "09_episode",
    fps=10,
)
print(f"the whole film: {run_folder / 'episode.mp4'}")

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:09_episode)
# </details>
#
# Last, the agent as one file that can be passed on: parameters and settings, without replay and
# optimiser. Put its path into the `parameters` cell of notebook 10 to look into its dreams.

# %%
file = run_folder / "agent.safetensors"
info = agents.export(run_folder, file)
print(f"{file}: return {info['return_mean']:.1f} in its last training episodes")
print("The same training as a command:\n" + agents.command(config, updates))

# %% [markdown]
# ## Quiz
#
# <details><summary>1. Two papers give the score "at 1 M steps" on Walker, one in frames, one in agent steps. How do you compare?</summary>
#
# Halve the frames: an action lasts two of them. And look for `train_ratio` too, or the updates: the
# same steps can hold very different amounts of learning.
# </details>
# <details><summary>2. Why does the copy on Drive keep two slots, and not one?</summary>
#
# While one is being written or uploaded it is not whole. If the machine goes at that moment, the other
# is.
# </details>
# <details><summary>3. Why is the line of metrics written before the checkpoint, not after?</summary>
#
# A kill between the two leaves a line too many, and that is easily seen and cut off: it counts more
# updates than the checkpoint. The other way round a line would be missing for ever.
# </details>
# <details><summary>4. Your plan says 700 ± 150 and you reach 600. Is something wrong?</summary>
#
# Nothing that one run can show. Run three seeds before you look for a fault.
# </details>

# %% [markdown]
# ## Summary
#
# * Frames, agent steps, replayed steps and updates are four things; the train ratio ties the last two.
# * A plan is 20 timed updates, arithmetic, and a published curve with its spread.
# * The order of writing makes a kill harmless; two slots with checksums make a late upload harmless.
# * A result is fresh episodes with an error, beside those of agents that have learnt nothing.
#
# ## References
#
# * D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap: Mastering diverse control tasks through world
#   models. Nature 640 (2025); [arXiv:2301.04104](https://arxiv.org/abs/2301.04104). The curves are the
#   `scores` of [its code](https://github.com/danijar/dreamerv3).
# * Y. Tassa and others: DeepMind Control Suite (2018),
#   [arXiv:1801.00690](https://arxiv.org/abs/1801.00690).
# * M. C. Machado and others: Revisiting the Arcade Learning Environment (2018),
#   [arXiv:1709.06009](https://arxiv.org/abs/1709.06009).
# * P. Micikevicius and others: Mixed precision training (2018),
#   [arXiv:1710.03740](https://arxiv.org/abs/1710.03740).
# * R. Agarwal and others: Deep reinforcement learning at the edge of the statistical precipice (2021),
#   [arXiv:2108.13264](https://arxiv.org/abs/2108.13264).
#
# ## Next
#
# Notebook 10 loads an agent, this one or the shipped one, and looks for the places where its dreams
# break.
