"""What notebooks 05 and 06 do with the reader's world model: train, open loop, gradients by part.

`dreamer` is the reader's agent as a module, `parts.load()`, and `c` its `Config`. All that is
computed here is computed with the parts of that module.
"""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.course import data, model_plots
from dreamer_lite.course.notebook import live
from dreamer_lite.show import images
from dreamer_lite.training.xla import compiler_options
from dreamer_lite.worlds.breakout import PADDLE

SEQUENCES = 256  # of a batch on which gradients are measured
OBSERVED, HORIZON = 5, 15  # time steps of a moment that are shown, and imagined after it
LOSSES = ("recon", "reward", "cont", "dyn", "rep")
# The parts of a world model, by the names of their parameters.
NETWORKS = {
    "encoder": ("encoder",),
    "posterior": ("post_net",),
    "recurrent core": ("from_deter", "from_stoch", "from_action", "mix", "mix_norm", "gates"),
    "prior": ("prior_net",),
    "decoder": ("decoder",),
    "reward head": ("reward",),
    "continue head": ("cont",),
}


def once(make: Callable) -> Callable:
    """`make`, whose result for the very same objects is made once: it is compiled.

    By identity, because the structure of a network holds a dictionary and cannot be hashed.
    """
    made: dict[tuple, tuple] = {}

    @functools.wraps(make)
    def remembered(*arguments: Any) -> Any:
        key = tuple(map(id, arguments))
        if key not in made:
            made[key] = arguments, make(*arguments)  # kept alive, so that no other has its id
        return made[key][1]

    return remembered


class Networks(NamedTuple):
    """The structure of an agent, and the parameters to begin with."""

    graph: Any  # of nnx.split
    params: Any  # a nested dictionary of arrays


def networks(dreamer: Any, c: Any, world: Any, seed: int) -> Networks:
    """A new agent made of the parts. Actor and critic are in it, but no loss here moves them."""
    graph, weights = nnx.split(dreamer.Dreamer(c, world, seed))
    return Networks(graph, nnx.to_pure_dict(weights))


def objective(dreamer: Any, c: Any, graph: Any) -> Callable[..., tuple]:
    """The loss that `train_step` differentiates: (params, batch, key) -> (number, extra)."""

    def loss(params: Any, batch: Any, key: jax.Array) -> tuple:
        losses, states = dreamer.world_model_loss(nnx.merge(graph, params), c, batch, key)
        return dreamer.weighted_sum(losses, c), (losses, jax.lax.stop_gradient(states))

    return loss


class Training:
    """A world model that is trained on a full replay buffer, with a picture of its losses."""

    def __init__(self, dreamer: Any, c: Any, graph: Any, params: Any, replay: Any, seed: int = 0):
        optimizer, loss = dreamer.make_optimizer(c), objective(dreamer, c, graph)
        # Copies, because `advance` uses its arguments up.
        self.carry = jax.tree.map(jnp.array, (params, optimizer.init(params), replay))
        self.key, self.seconds = jax.random.key(seed), 0.0
        self.free_nats = c.free_nats
        self.kept: Any = None
        self.history: dict[str, np.ndarray] = {}
        self.updates: list[int] = []  # after which the numbers of `history` were taken

        def update(carry: tuple, key: jax.Array) -> tuple:
            params, memory, replay = carry
            place_key, model_key = jax.random.split(key)
            place, env = dreamer.sample(replay, c.batch, c.length, place_key)
            batch = dreamer.cut(replay, place, env, c.classes)
            params, memory, (losses, states) = dreamer.train_step(
                loss, optimizer, params, memory, batch, model_key
            )
            replay = dreamer.write_back(replay, place, env, states)
            return (params, memory, replay), jax.tree.map(jnp.mean, losses)

        options = compiler_options()

        @functools.partial(jax.jit, donate_argnums=0, compiler_options=options)
        def advance(carry: tuple, keys: jax.Array) -> tuple:
            carry, losses = jax.lax.scan(update, carry, keys)
            return carry, jax.tree.map(jnp.mean, losses)

        self.advance = advance

    def anew(self, params: Any, replay: Any) -> "Training":
        """The same training from its start, of other parameters and data; compiled already."""
        other = copy.copy(self)
        memory = jax.tree.map(jnp.zeros_like, self.carry[1])
        other.carry = jax.tree.map(jnp.array, (params, memory, replay))
        other.kept, other.history, other.updates, other.seconds = None, {}, [], 0.0
        return other

    @property
    def params(self) -> Any:
        """The parameters now; a copy that further training leaves alone."""
        return jax.tree.map(jnp.array, self.carry[0])

    @property
    def replay(self) -> Any:
        """The replay buffer now, with the states that were written back; do not keep it."""
        return self.carry[2]

    def run(self, updates: int, chunk: int, name: str = "", keep: int = 0) -> Any:
        """Make `updates` updates and return the parameters; a new picture after each `chunk`.

        `updates` is rounded up to whole chunks. The picture is saved under `name` at the end; see
        `notebook.show`. The parameters after `keep` updates are put into `kept`.

        Raises:
          ValueError: `updates` or `chunk` is below 1.
        """
        if updates < 1 or chunk < 1:
            raise ValueError(f"updates is {updates}, chunk {chunk}: both must be at least 1.")
        draw, began, compiled = live(), time.perf_counter(), 0.0
        first = done = sum(self.updates[-1:])
        goal = done + -(-updates // chunk) * chunk
        while done < goal:
            keys = jax.random.split(jax.random.fold_in(self.key, done), chunk)
            self.carry, losses = self.advance(self.carry, keys)
            done += chunk
            if keep and done - chunk < keep <= done:
                self.kept = self.params
            self.updates.append(done)
            for loss, value in jax.device_get(losses).items():
                self.history[loss] = np.append(self.history.get(loss, []), value)
            spent = time.perf_counter() - began
            compiled = compiled or spent  # the first chunk compiles
            news = f"update {done:,} of {goal:,}"
            if first + chunk < done < goal:
                left = (spent - compiled) / (done - first - chunk) * (goal - done)
                news += f", about {left:.0f} s left"
            figure = model_plots.losses(self.updates, self.history, self.free_nats, news)
            words = ", ".join(f"{k} {v[-1]:.3g}" for k, v in self.history.items())
            last = name if done >= goal else ""
            draw(figure, f"Mean losses against updates on a log scale. {news}: {words}.", last)
        self.seconds += time.perf_counter() - began
        return self.params


class Gradients(NamedTuple):
    """What one batch says about a world model."""

    norms: np.ndarray  # (5, 7) norm of the gradient of each of LOSSES for each of NETWORKS
    losses: dict[str, np.ndarray]  # (T, B) by name


@once
def gradients(dreamer: Any, c: Any, graph: Any) -> Callable[..., Gradients]:
    """measure(params, batch, key) -> Gradients, with all weights 1 and without free nats.

    Made and compiled once for each module, hyperparameters and structure.
    """
    free = dataclasses.replace(c, free_nats=0.0)

    def total(params: Any, batch: Any, key: jax.Array, weights: jax.Array) -> tuple:
        losses, _ = dreamer.world_model_loss(nnx.merge(graph, params), free, batch, key)
        means = (w * losses[name].mean() for w, name in zip(weights, LOSSES, strict=True))
        return sum(means, jnp.zeros(())), losses

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def run(params: Any, batch: Any, key: jax.Array, weights: jax.Array) -> tuple:
        slopes, losses = jax.grad(total, has_aux=True)(params, batch, key, weights)
        trees = {**slopes, **slopes["rssm"]}
        squares = [
            sum(jnp.sum(leaf**2) for name in own for leaf in jax.tree.leaves(trees[name]))
            for own in NETWORKS.values()
        ]
        return jnp.sqrt(jnp.stack(squares)), losses

    def measure(params: Any, batch: Any, key: jax.Array) -> Gradients:
        found = [jax.device_get(run(params, batch, key, one)) for one in jnp.eye(len(LOSSES))]
        return Gradients(np.stack([norms for norms, _ in found]), found[0][1])

    return measure


def each_alone(batch: Any) -> Any:
    """The batch with every time step as the first of an episode: nothing passes through time."""
    first = jnp.ones_like(batch.steps.is_first)
    return batch._replace(steps=batch.steps._replace(is_first=first))


@once
def open_loop(
    dreamer: Any, graph: Any, context: int = OBSERVED, horizon: int = HORIZON
) -> Callable[..., dict[str, np.ndarray]]:
    """predict(params, play, at, key, actions=None): observations that the model expects.

    The model observes the whole play. From each moment on it imagines `horizon` steps under the
    actions (horizon, M, A) that were taken, or under others. Returned are predictions by name,
    (context + horizon, M, ...): first `context` reconstructions, the last of them at the moment.
    Cells are probabilities, numbers are real numbers. Made and compiled once, as `gradients`.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def run(params: Any, play: data.Play, at: data.Moments, key: jax.Array, actions: jax.Array):
        agent = nnx.merge(graph, params)
        observe_key, imagine_key = jax.random.split(key)
        embed = agent.encoder.embed(play.steps.obs)
        blank = agent.rssm.initial(play.action.shape[1])
        first = play.steps.is_first
        states, _ = agent.rssm.observe(blank, embed, play.action, first, observe_key)
        seen = data.at_offsets(states, at, np.arange(1 - context, 1))
        start = jax.tree.map(lambda x: x[-1], seen)
        imagined = dreamer.imagine_plan(agent, start, actions, imagine_key)
        every = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), seen, imagined)
        raw = agent.decoder.predict(dreamer.feature(every))
        spaces = agent.decoder.spaces
        return {
            name: jax.nn.sigmoid(x) if spaces[name].is_image else dreamer.symexp(x)
            for name, x in raw.items()
        }

    def predict(
        params: Any, play: data.Play, at: data.Moments, key: jax.Array, actions: Any = None
    ) -> dict[str, np.ndarray]:
        if actions is None:
            actions = taken(play, at, horizon)
        return jax.device_get(run(params, play, at, key, actions))

    return predict


def taken(play: data.Play, at: data.Moments, horizon: int = HORIZON) -> jax.Array:
    """The actions (horizon, M, A) that were taken from the moments on."""
    return data.at_offsets(play.action, at, np.arange(1, horizon + 1))


def interval(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over M independent moments, (n, M) -> (n,), and half of its 95 % confidence interval."""
    return errors.mean(1), 1.96 * errors.std(1, ddof=1) / np.sqrt(errors.shape[1])


def around(x: Any, at: data.Moments, context: int = OBSERVED, horizon: int = HORIZON) -> Any:
    """The time steps that `open_loop` predicts, (T, B, ...) -> (context + horizon, M, ...)."""
    return data.at_offsets(x, at, np.arange(1 - context, horizon + 1))


def film(
    world: Any, play: data.Play, at: data.Moments, dream: np.ndarray, which: Sequence[int],
    context: int = OBSERVED,
) -> np.ndarray:  # fmt: skip
    """Reality, prediction `dream` (n, M, ...) and difference, for moments `which`, one by one.

    Frames (n, height, width, 3) uint8. For environments whose observation is an image.
    """
    horizon = len(dream) - context
    real = np.asarray(around(play.steps.obs["image"], at, context, horizon), np.float32) / 255
    chosen = np.asarray(around(play.action, at, context, horizon)).argmax(-1)
    draw = images.painter(world, [])
    clips = [
        model_plots.film(
            lambda image: draw({"image": image}),
            real[:, m],
            dream[:, m],
            context,
            [f"after: {world.action_names[i]}" for i in chosen[:, m]],
        )
        for m in which
    ]
    return np.concatenate(clips)


class Evidence(NamedTuple):
    """What tells a healthy world model of Breakout from one with a bug."""

    norms: np.ndarray  # (5, 7) gradient norms, each time step alone
    taken: float  # error of the paddle's plane at step 1 of the open loop, in cells
    others: float  # the same under the actions of another moment


def evidence(
    dreamer: Any, c: Any, graph: Any, params: Any, replay: Any, play: data.Play,
    at: data.Moments, seed: int = 0,
) -> Evidence:  # fmt: skip
    """Gradient map on replayed time steps; errors of the paddle at moments of a play."""
    key = jax.random.key(seed)
    place, env = dreamer.sample(replay, SEQUENCES, c.length, key)
    batch = each_alone(dreamer.cut(replay, place, env, c.classes))
    norms = gradients(dreamer, c, graph)(params, batch, key).norms
    predict, actions = open_loop(dreamer, graph), taken(play, at)
    real = np.asarray(around(play.steps.obs["image"], at), np.float32)[OBSERVED] / 255

    def error(actions: jax.Array) -> float:
        dream = predict(params, play, at, key, actions)["image"][OBSERVED]
        return float(((dream - real)[..., PADDLE] ** 2).sum((-2, -1)).mean())

    return Evidence(norms, error(actions), error(jnp.roll(actions, 1, 1)))


def in_words(found: Evidence) -> str:
    """The evidence as text: exact zeros of the gradient map, errors of the paddle."""
    zeros = model_plots.where(found.norms == 0, LOSSES, tuple(NETWORKS))
    return (
        f"zeros of the gradient map are {zeros}; the paddle's error at step 1 is {found.taken:.2f} "
        f"with the actions taken, {found.others:.2f} with another's"
    )
