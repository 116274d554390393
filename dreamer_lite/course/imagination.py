"""What notebook 06 does with imagined rollouts of Breakout: policies by hand, forks, films.

`dreamer` is the reader's agent as a module, `parts.load()`, and `c` its `Config`. All states are
imagined by the functions of that module.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from dreamer_lite.course import behavior
from dreamer_lite.show import images
from dreamer_lite.show.plots import decorate, style
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds import breakout

HAND = {"left": breakout.LEFT, "stay": breakout.STAY, "right": breakout.RIGHT}
BONUS = 1.0  # what survival counts in a score, in bricks


def toward(paddle: jax.Array, column: jax.Array) -> jax.Array:
    """The action that moves the paddle nearer to a column; any shape, integers."""
    move = jnp.where(column < paddle, breakout.LEFT, breakout.STAY)
    return jnp.where(column > paddle, breakout.RIGHT, move)


def column_of(image: jax.Array, plane: int) -> jax.Array:
    """The column (...) in which a plane of images (..., 10, 10, 4) is brightest."""
    return image[..., plane].max(-2).argmax(-1)


def follow_ball(obs: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """A policy for `data.collect` that keeps the paddle below the ball. It hardly loses one."""
    return toward(column_of(obs["image"], breakout.PADDLE), column_of(obs["image"], breakout.BALL))


def half_follow(obs: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """Every other environment follows the ball, the others act at random."""
    count = len(obs["image"])
    random = jax.random.randint(key, (count,), 0, 3)
    return jnp.where(jnp.arange(count) % 2 == 0, follow_ball(obs, key), random)


class Follower:
    """An actor by hand: it decodes the imagined state, and moves towards the ball that it shows."""

    def __init__(self, dreamer: Any, agent: Any):
        self.dreamer, self.agent = dreamer, agent

    def policy(self, feat: jax.Array) -> Any:
        image = self.agent.decoder.predict(feat)["image"]
        move = toward(column_of(image, breakout.PADDLE), column_of(image, breakout.BALL))
        return self.dreamer.Categorical(jnp.log(1e-6 + jax.nn.one_hot(move, 3)))


def under_a_policy(dreamer: Any, c: Any, graph: Any, horizon: int) -> Callable:
    """run(params, start, key, follow) -> (rewards, alive) (H, N), by `dreamer.imagine`.

    The actor is the agent's own, which acts at random before it is trained, or a `Follower`.
    """

    @functools.partial(jax.jit, static_argnums=3)
    def run(params: dict, start: Any, key: jax.Array, follow: bool) -> tuple:
        agent = nnx.merge(graph, params)
        actor = Follower(dreamer, agent) if follow else agent.actor
        mixed = SimpleNamespace(rssm=agent.rssm, actor=actor)
        states, _ = dreamer.imagine(mixed, start, horizon, key)
        return behavior.outlook(dreamer, c, agent, jax.tree.map(lambda x: x[1:], states))

    return run


class Outlook(NamedTuple):
    """What the model predicts along imagined states."""

    image: jax.Array  # (H, N, 10, 10, 4) probabilities
    reward: jax.Array  # (H, N)
    alive: jax.Array  # (H, N) probability that the episode goes on after the step


def under_a_plan(dreamer: Any, c: Any, graph: Any) -> Callable:
    """run(params, start, actions, key) -> Outlook, by `dreamer.imagine_plan`; compiled once."""

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def run(params: dict, start: Any, actions: jax.Array, key: jax.Array) -> Outlook:
        agent = nnx.merge(graph, params)
        states = dreamer.imagine_plan(agent, start, actions, key)
        image = jax.nn.sigmoid(agent.decoder.predict(dreamer.feature(states))["image"])
        return Outlook(image, *behavior.outlook(dreamer, c, agent, states))

    return run


def sensitivity(dreamer: Any, agent: Any, start: Any, actions: jax.Array, key: jax.Array) -> dict:
    """How the last imagined state depends on the first h, and on the first action.

    {(cause, effect): (largest derivative, fraction of rollouts that change)}. A derivative is that
    of the sum of the effect. The cause is changed by 1 in all places, or to another action.
    """

    def last(deter: jax.Array, first: jax.Array) -> Any:
        plan = actions.at[0].set(first)
        states = dreamer.imagine_plan(agent, start._replace(deter=deter), plan, key)
        return jax.tree.map(lambda x: x[-1], states)

    now = start.deter, actions[0]
    base = jax.jit(last)(*now)
    changed = {"h": (now[0] + 1.0, now[1]), "action": (now[0], jnp.roll(now[1], 1, -1))}
    found = {}
    for effect in ("deter", "stoch"):
        slopes = jax.jit(
            jax.grad(lambda *x, effect=effect: getattr(last(*x), effect).sum(), (0, 1))
        )(*now)
        for (cause, inputs), slope in zip(changed.items(), slopes):
            other = getattr(jax.jit(last)(*inputs), effect)
            differs = (other != getattr(base, effect)).reshape(len(other), -1).any(-1)
            name = {"deter": "h", "stoch": "z"}[effect]
            found[cause, name] = (float(jnp.abs(slope).max()), float(differs.mean()))
    return found


def one_step(dreamer: Any, graph: Any) -> Callable:
    """run(params, states, actions, key) -> images (H, M, 10, 10, 4), each one step ahead.

    `states` (H, M, ...) are those *observed* before each step, `actions` (H, M, A) lead on: no
    error of one step can enter the next. Compiled once.
    """

    @jax.jit
    def run(params: dict, states: Any, actions: jax.Array, key: jax.Array) -> jax.Array:
        agent, lead = nnx.merge(graph, params), actions.shape[:2]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (states, actions))
        ahead = dreamer.imagine_plan(agent, flat[0], flat[1][None], key)
        raw = agent.decoder.predict(dreamer.feature(ahead))["image"]
        return jax.nn.sigmoid(raw).reshape(*lead, *raw.shape[2:])

    return run


def plan_for(paddle: jax.Array, column: jax.Array, steps: int) -> jax.Array:
    """Actions (steps, ...) that take the paddle to a column, and wait there."""
    away = jnp.abs(column - paddle)
    index = jnp.arange(steps).reshape(-1, *[1] * away.ndim)
    return jnp.where(index < away, toward(paddle, column), breakout.STAY)


@functools.partial(jax.jit, static_argnums=0)
def try_plans(world: Any, state: Any, actions: jax.Array) -> Outlook:
    """What plans (H, N) of actions bring in the environment, from its own states (N, ...).

    The environment must not draw anything (`sticky` is 0). Rewards after the end are 0.
    """

    def step(carry: tuple, action: jax.Array) -> tuple:
        state, alive = carry
        keys = jax.random.split(jax.random.key(0), len(action))
        state, steps = jax.vmap(world.step)(state, action, keys)
        reward = jnp.where(alive, steps.reward, 0.0)
        alive = alive & ~steps.is_last
        image = steps.obs["image"].astype(jnp.float32) / 255
        return (state, alive), Outlook(image, reward, alive.astype(jnp.float32))

    return jax.lax.scan(step, (state, jnp.ones(actions.shape[1], bool)), actions)[1]


@functools.partial(jax.jit, static_argnums=(0, 3))
def following(world: Any, state: Any, image: jax.Array, steps: int) -> jax.Array:
    """Whether the player who follows the ball is alive (steps, N), in the environment itself.

    It goes on from the environment's own states and their images (N, 10, 10, 4); `sticky` is 0.
    """

    def step(carry: tuple, _: None) -> tuple:
        state, alive, image = carry
        action = toward(column_of(image, breakout.PADDLE), column_of(image, breakout.BALL))
        keys = jax.random.split(jax.random.key(0), len(action))
        state, new = jax.vmap(world.step)(state, action, keys)
        alive = alive & ~new.is_last
        return (state, alive, new.obs["image"]), alive

    return jax.lax.scan(step, (state, jnp.ones(len(image), bool), image), None, steps)[1]


def score(outlook: Outlook) -> np.ndarray:
    """Bricks while alive, plus BONUS times the probability to be alive at the end; (H, N) -> (N,).

    The bonus is a choice: without it a plan that loses the ball after its last brick is as good.
    """
    before = jnp.concatenate([jnp.ones_like(outlook.alive[:1]), outlook.alive[:-1]])
    return np.asarray(jnp.sum(before * outlook.reward, 0) + BONUS * outlook.alive[-1])


class Fork(NamedTuple):
    """M moments, each continued by all plans "go to column k": imagined, and in the environment."""

    imagined: Outlook  # (H, 10 M, ...)
    real: Outlook  # the same
    hoped: np.ndarray  # (M, 10) imagined scores
    came: np.ndarray  # (M, 10) real scores

    def chosen(self) -> tuple[np.ndarray, np.ndarray]:
        """(imagined, real) scores (M,) of the plan with the highest imagined score."""
        return self._of_the_best(self.hoped), self._of_the_best(self.came)

    def survival(self) -> tuple[np.ndarray, np.ndarray]:
        """(imagined, real) probabilities (M,) that the same plan is alive at the end."""
        ends = (np.asarray(side.alive[-1]) for side in (self.imagined, self.real))
        imagined, real = (self._of_the_best(end.reshape(self.hoped.shape)) for end in ends)
        return imagined, real

    def _of_the_best(self, values: np.ndarray) -> np.ndarray:
        best = self.hoped.argmax(1)[:, None]
        return np.take_along_axis(values, best, 1)[:, 0]


def fork(
    world: Any, run: Callable, params: dict, start: Any, state: Any, key: jax.Array, steps: int
) -> Fork:
    """Fork M moments: `start` are the model's states, `state` the environment's, (M, ...).

    `run` is `under_a_plan(...)`. The key is consumed.
    """
    count = len(state.paddle)
    ten = functools.partial(jax.tree.map, lambda x: jnp.repeat(x, breakout.SIZE, 0))
    plans = plan_for(ten(state.paddle), jnp.tile(jnp.arange(breakout.SIZE), count), steps)
    imagined = run(params, ten(start), jax.nn.one_hot(plans, 3), key)
    real = try_plans(world, ten(state), plans)
    return Fork(imagined, real, score(imagined).reshape(count, -1), score(real).reshape(count, -1))


def choices(forks: Fork) -> dict[str, np.ndarray]:
    """Real scores (M,) by who chooses among the plans, from the least informed to the best."""
    best, every = forks.hoped.argmax(1), np.arange(len(forks.hoped))
    return {
        "a plan at random": forks.came.mean(1),
        "by another moment's rollouts": forks.came[every, np.roll(best, 1)],
        "by its own rollouts": forks.came[every, best],
        "the best in hindsight": forks.came.max(1),
    }


def fork_film(world: Any, forks: Fork, moment: int, columns: Sequence[int]) -> np.ndarray:
    """Frames (H, h, w, 3) of one moment: a column for each plan, imagined above, real below.

    A frame fades with the probability that the episode still goes on.
    """
    frames = []
    for h in range(len(forks.real.reward)):
        rows = []
        for name, side in (("imagined", forks.imagined), ("real", forks.real)):
            panels = []
            for k in columns:
                at = moment * breakout.SIZE + k
                alive = float(side.alive[h, at])
                picture = world.render({"image": np.asarray(side.image[h, at])})[::2, ::2]
                ground = np.array(images.GROUND)
                faded = ground + (0.25 + 0.75 * alive) * (picture - ground)
                words = images.caption(160, 20, f"{name}: to {k}", f"alive {alive:.0%}", 12)
                gap = np.broadcast_to(np.uint8(ground), (180, 8, 3))
                panels += [np.concatenate([words, faded.astype(np.uint8)]), gap]
            rows.append(np.concatenate(panels[:-1], 1))
        header = images.caption(168 * len(columns) - 8, 20, f"step {h + 1}", "", 13)
        frames.append(np.concatenate([header, *rows]))
    return np.stack(frames)


def with_bands(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    closer: Sequence[str] = (),
) -> Figure:
    """Means (H,) against steps 1 to H, with bands of half width (H,); y begins at 0.

    The lines named in `closer` are drawn in a second panel again, with a scale of their own.
    """
    figure = Figure(figsize=(9.6 if closer else 6.8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if closer else 1, squeeze=False)[0]
    for axes, shown in zip(panels, (lines, closer)):
        for number, (label, (mean, half)) in enumerate(lines.items()):
            if label in shown:
                steps, look = np.arange(1, len(mean) + 1), style(number, len(mean))
                axes.plot(steps, mean, label=label, **look)
                axes.fill_between(steps, mean - half, mean + half, alpha=0.2, color=look["color"])
        decorate(axes, xlabel, ylabel)
        axes.set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = len(labels) if closer else 2  # one panel alone is too narrow for more
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


class Steering:
    """An imagined rollout that goes on by one action at a time, for buttons."""

    def __init__(self, dreamer: Any, c: Any, graph: Any, params: dict, start: Any, seed: int = 0):
        self.start, self.key = start, jax.random.key(seed)

        @jax.jit
        def step(state: Any, action: jax.Array, key: jax.Array) -> tuple:
            agent = nnx.merge(graph, params)
            states = dreamer.imagine_plan(agent, state, jax.nn.one_hot(action, 3)[None, None], key)
            image = jax.nn.sigmoid(agent.decoder.predict(dreamer.feature(states))["image"])
            reward, alive = behavior.outlook(dreamer, c, agent, states)
            state = jax.tree.map(lambda x: x[0], states)
            return state, (image[0, 0], reward[0, 0], alive[0, 0])

        self._step = step
        self.again()

    def again(self) -> None:
        """Back to the start (1, ...)."""
        self.state, self.steps, self.bricks, self.alive = self.start, 0, 0.0, 1.0

    def step(self, label: str) -> tuple[np.ndarray, str]:
        """The image (10, 10, 4) after an action of HAND, and how things stand, in words."""
        key = jax.random.fold_in(self.key, self.steps)
        self.state, (image, reward, cont) = self._step(self.state, HAND[label], key)
        self.bricks += self.alive * float(reward)
        self.alive *= float(cont)
        self.steps += 1
        words = f"step {self.steps}: {self.bricks:.1f} bricks, alive {self.alive:.0%}"
        return np.asarray(image), words
