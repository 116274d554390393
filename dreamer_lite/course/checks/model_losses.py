"""Notebook 05: the losses of the world model, and a training step."""

import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamer_lite.course.checks.exercise import (
    each,
    flags,
    named,
    norm,
    normal,
    one_hots,
    part,
    solved,
    solved_agent,
    uniform,
)
from dreamer_lite.course.checks.model_networks import (
    FEATURE,
    HEADS,
    SPACES,
    WORLD,
    by_name,
    numbers,
    observations,
    small,
)
from dreamer_lite.course.compare import Exercise, Part, on
from dreamer_lite.worlds.base import TimeStep

sg = jax.lax.stop_gradient
LOSSES = ("recon", "reward", "cont", "dyn", "rep")


@part("Decoder.reconstruction_loss")
def reconstruction_loss() -> Exercise:
    """`mine(self, feat, obs)`: features (..., F), observations -> losses (...)."""
    d = solved_agent()
    decoder = d.Decoder(small(), SPACES, numbers())

    def variant(
        scale: float = 255.0,
        squash: Any = d.symlog,
        reduce: Any = jnp.sum,
        cells: Any = d.binary_cross_entropy,
        half: float = 1.0,
    ) -> Callable:
        def function(self, feat, obs):
            total = jnp.zeros(feat.shape[:-1])
            for name, raw in self.predict(feat).items():
                if self.spaces[name].is_image:
                    loss = cells(raw, obs[name] / scale)
                else:
                    loss = half * (raw - squash(obs[name])) ** 2
                total += reduce(loss.reshape(*total.shape, -1), -1)
            return total

        return function

    def squared(raw, target):
        return (jax.nn.sigmoid(raw) - target) ** 2

    def sigmoid_first(raw, target):
        return d.binary_cross_entropy(jax.nn.sigmoid(raw), target)

    def exchanged(raw, target):
        return d.binary_cross_entropy(target, raw)

    feat, obs = 3 * normal(6, 4, 3, FEATURE), observations(7, 4, 3)
    return Exercise(
        solved("Decoder.reconstruction_loss"),
        [
            on("4 time steps of 3 sequences", decoder, feat, obs),
            Part(
                "the gradient for the features",
                lambda f: jax.grad(lambda x: f(decoder, x, obs).sum())(feat),
            ),
        ],
        not_scaled=variant(scale=1.0),
        no_symlog=variant(squash=lambda x: x),
        averaged=variant(reduce=jnp.mean),
        squared_error=variant(cells=squared),
        sigmoid_first=variant(cells=sigmoid_first),
        exchanged=variant(cells=exchanged),
        half=variant(half=0.5),
        no_gradient=lambda self, feat, obs: sg(variant()(self, feat, obs)),
    )


@part("kl_losses")
def kl_losses() -> Exercise:
    """`mine(post, prior, free_nats)`: ln p (..., S, C) twice, nats -> (dyn, rep), each (...).

    Source: Hafner et al. 2025, "World model learning", the dynamics and the representation loss.
    """
    oracle = solved("kl_losses")

    def variant(
        divergence: Callable = lambda q, p: jnp.exp(q) * (q - p),
        reduce: Callable = lambda terms, free: terms.sum((-2, -1)),
        clip: Callable = jnp.maximum,
        stops: tuple[Callable, Callable] = (sg, sg),
    ) -> Callable:
        def function(post, prior, free):
            def kl(q, p):
                return clip(free, reduce(divergence(q, p), free))

            return kl(stops[0](post), prior), kl(post, stops[1](prior))

        return function

    def same(x: jax.Array) -> jax.Array:
        return x

    def gradients(function: Callable, free: float) -> Any:
        def totals(post: jax.Array, prior: jax.Array) -> tuple:
            logs = jax.nn.log_softmax(post), jax.nn.log_softmax(prior)
            return tuple(jnp.sum(side) for side in function(*logs, free))

        return jax.jacrev(totals, (0, 1))(normal(17, 5, 2, 3), normal(18, 5, 2, 3))

    def gradient_below(post, prior, free):
        """The right values, with the gradient of the KL also below the free nats."""
        right, raw = oracle(post, prior, free), oracle(post, prior, -1.0)
        return tuple(b + sg(a - b) for a, b in zip(right, raw, strict=True))

    def weighted(post, prior, free):
        dyn, rep = oracle(post, prior, free)
        return dyn, 0.1 * rep

    tiny = jnp.log(jnp.array([[[0.9, 0.1], [0.5, 0.5]]])), jnp.log(jnp.full((1, 2, 2), 0.5))
    logs = [jax.nn.log_softmax(1.5 * normal(seed, 6, 3, 4)) for seed in (19, 20)]
    return Exercise(
        oracle,
        [
            on("a posterior of two groups against uniform priors, no free nats", *tiny, 0.0),
            on("6 time steps with 3 groups of 4 classes, 2.5 nats free", *logs, 2.5),
            Part("the gradients of dyn and of rep, 0 nats free", lambda f: gradients(f, 0.0)),
            Part("the same gradients, 1 nat free", lambda f: gradients(f, 1.0)),
        ],
        no_gradient=lambda post, prior, free: sg(oracle(post, prior, free)),
        wrong_way=variant(divergence=lambda q, p: jnp.exp(p) * (p - q)),
        wrong_sign=variant(divergence=lambda q, p: jnp.exp(q) * (p - q)),
        not_weighted=variant(divergence=lambda q, p: q - p),
        per_group=variant(
            reduce=lambda terms, free: jnp.maximum(free, terms.sum(-1)).sum(-1),
            clip=lambda free, x: x,
        ),
        averaged=variant(reduce=lambda terms, free: terms.sum(-1).mean(-1)),
        not_clipped=variant(clip=lambda free, x: x),
        ceiling=variant(clip=jnp.minimum),
        one_nat=lambda post, prior, free: oracle(post, prior, 1.0),
        weighted=weighted,
        no_group_sum=variant(reduce=lambda terms, free: terms.sum(-1)),
        subtracted=variant(clip=lambda free, x: jnp.maximum(x - free, 0)),
        no_stop=variant(stops=(same, same)),
        dyn_not_stopped=variant(stops=(same, sg)),
        rep_not_stopped=variant(stops=(sg, same)),
        swapped=lambda *x: oracle(*x)[::-1],
        gradient_below=gradient_below,
    )


def window() -> Any:
    """A batch of 3 sequences with 6 time steps: a reset, a true end, and an end by time limit."""
    d, c = solved_agent(), small()
    steps = TimeStep(
        obs=observations(30, 6, 3),
        reward=normal(32, 6, 3),
        is_first=flags("000100", "100000", "000001"),
        is_last=flags("001000", "000001", "000010"),
        is_terminal=flags("001000", "000001", "000000"),
    )
    action = jax.nn.one_hot(jnp.arange(18).reshape(6, 3) * 7 % 5 % 3, 3)
    start = d.State(normal(33, 3, c.deter), one_hots(c.classes, 3, 2))
    return d.Batch(steps, action, start)


@part("world_model_loss")
def world_model_loss() -> Exercise:
    """`mine(agent, c, batch, key)` -> ({name: losses (T, B)}, states (T, B, ...)).

    Source: Hafner et al. 2025, "World model learning"; the continue target is that of the released
    code (`contdisc` in `Agent.loss`).
    """
    d, c, batch = solved_agent(), small(), window()
    agent = d.Dreamer(c, WORLD, 0)
    # Heads whose output is zero at first would hide what they are given.
    agent.reward.out = d.Linear(c.units, c.bins, numbers())
    key = jax.random.key(3)

    def measure(function: Callable, batch: Any = batch) -> tuple:
        result = function(agent, c, batch, key)
        if result is None:
            return (None,)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError("return two things, the dictionary of losses and the states")
        return by_name(result[0], LOSSES), result[1]

    def across_the_reset(function: Callable) -> jax.Array:
        """Losses of sequence 0 from its reset on that change with the observations before it."""
        grid = batch.steps.obs["grid"].at[:3, 0].set(0)
        other = batch._replace(steps=batch.steps._replace(obs=batch.steps.obs | {"grid": grid}))
        pairs = zip(*map(jax.tree.leaves, (measure(function), measure(function, other))))
        return jnp.stack([jnp.sum(jnp.abs(a - b)[3:, 0] > 1e-5) for a, b in pairs])

    states, post = agent.rssm.observe(
        batch.start, agent.encoder.embed(batch.steps.obs), batch.action, batch.steps.is_first, key
    )

    def at_the_states(function: Callable) -> Any:
        """The norm of the gradient of three losses with respect to the states that are inferred."""

        def total(deter: jax.Array) -> Any:
            given = states._replace(deter=deter), post
            rssm = types.SimpleNamespace(observe=lambda *_: given, prior=agent.rssm.prior)
            heads = {name: getattr(agent, name) for name in ("encoder", "decoder", *HEADS)}
            result = function(types.SimpleNamespace(rssm=rssm, **heads), c, batch, key)
            return sum(result[0][name].sum() for name in ("recon", *HEADS))

        return norm(jax.grad(total)(states.deter))

    def variant(wrong: str) -> Callable:
        def function(agent, c, batch, key):
            steps, start, action = batch.steps, batch.start, batch.action
            first = jnp.zeros_like(steps.is_first) if wrong == "no_reset" else steps.is_first
            action = jnp.roll(action, -1, 0) if wrong == "own_action" else action
            start = jax.tree.map(jnp.zeros_like, start) if wrong == "blank_start" else start
            embed = agent.encoder.embed(steps.obs)
            states, post = agent.rssm.observe(start, embed, action, first, key)
            feat, prior = d.feature(states), agent.rssm.prior(states.deter)
            feat = sg(feat) if wrong == "cut" else feat
            if wrong == "late_prior":
                prior = agent.rssm.prior(jnp.concatenate([start.deter[None], states.deter[:-1]]))
            post = states.stoch if wrong == "sampled" else post
            post, prior = (prior, post) if wrong == "swapped" else (post, prior)
            dyn, rep = d.kl_losses(post, prior, 1.0 if wrong == "one_nat" else c.free_nats)
            end = steps.is_last if wrong == "time_limit" else steps.is_terminal
            cont = (1.0 - end) * (1.0 if wrong == "no_discount" else c.discount)
            reward = steps.reward
            if wrong == "late_reward":
                reward = jnp.concatenate([jnp.zeros_like(reward[:1]), reward[:-1]])
            losses = {
                "recon": agent.decoder.reconstruction_loss(feat, steps.obs),
                "reward": d.two_hot_loss(agent.reward(feat), reward),
                "cont": d.binary_cross_entropy(agent.cont(feat)[..., 0], cont),
                "dyn": dyn,
                "rep": 0.1 * rep if wrong == "weighted" else rep,
            }
            return losses, states

        return function

    names = (
        "cut", "no_reset", "own_action", "swapped", "time_limit", "no_discount", "one_nat",
        "late_reward", "late_prior", "blank_start", "sampled", "weighted",
    )  # fmt: skip
    return Exercise(
        solved("world_model_loss"),
        [
            Part("5 losses and the states of 3 sequences with 6 time steps", measure),
            Part("observations before a reset do not change what follows it", across_the_reset),
            Part(
                "the norm of the gradient of recon, reward and cont for the states",
                at_the_states,
                mistakes=("cut",),
            ),
        ],
        **each(variant, *names),
    )


@part("weighted_sum")
def weighted_sum() -> Exercise:
    """`mine(losses, c)`: {name: losses, of any shape} -> one number.

    Weights: recon c.recon, rep 0.1, replay_value 0.3, all others 1 (Hafner et al. 2025).
    """
    oracle = solved("weighted_sum")
    c = small(recon=2.0)
    names = ("recon", "dyn", "rep", "replay_value", "policy")
    losses = {name: 1 + uniform(40 + i, 2, 2 + i % 2) for i, name in enumerate(names)}

    def variant(weights: dict[str, float], reduce: Any = jnp.mean) -> Callable:
        def function(losses, c):
            return sum(weights.get(k, 1.0) * reduce(x) for k, x in losses.items())

        return function

    right = {"recon": c.recon, "rep": 0.1, "replay_value": 0.3}
    return Exercise(
        oracle,
        [
            on("5 losses of different shapes, recon weighs 2", losses, c),
            Part(
                "its gradient for the losses",
                lambda f: named(jax.grad(lambda x: f(x, c))(losses)),
            ),
        ],
        summed=variant(right, jnp.sum),
        no_weights=variant({}),
        no_recon=variant(right | {"recon": 1.0}),
        replay_left_out=variant(right | {"replay_value": 1.0}),
        rep_and_replay=variant(right | {"rep": 0.3, "replay_value": 0.1}),
        divided=lambda losses, c: oracle(losses, c) / len(losses),
    )


@part("train_step")
def train_step() -> Exercise:
    """`mine(loss, optimizer, params, memory, *inputs)` -> (params, memory, extra)."""
    oracle = solved("train_step")
    optimizer = optax.adamw(0.1, weight_decay=0.5)  # needs the parameters, and remembers

    def loss(params: dict, x: jax.Array, y: jax.Array) -> tuple:
        error = x @ params["w"] + params["b"] - y
        return jnp.mean(error**2), {"error": error}

    params = {"w": normal(50, 3), "b": jnp.float32(0.5)}
    inputs = normal(51, 4, 3), normal(52, 4)

    def twice(function: Callable) -> Any:
        """Two steps, so that what the optimizer remembers counts."""
        now, memory, extra = params, optimizer.init(params), {}
        for _ in range(2):
            result = function(loss, optimizer, now, memory, *inputs)
            if result is None:
                return (None,)
            if not isinstance(result, tuple) or len(result) != 3:
                raise TypeError("return three things, params, memory and extra")
            now, memory, extra = result
        if jax.tree.structure(extra) != jax.tree.structure({"error": 0}):
            raise TypeError("the third result is the loss's extra, as `loss` returned it")
        leaves = {f"memory_{i}": x for i, x in enumerate(jax.tree.leaves(memory))}
        return named({**now, **leaves, **extra})

    def variant(wrong: str) -> Callable:
        def function(loss, optimizer, params, memory, *inputs):
            (_, extra), gradient = jax.value_and_grad(loss, has_aux=True)(params, *inputs)
            steps, new = optimizer.update(gradient, memory, params)
            if wrong == "wrong_sign":
                steps = jax.tree.map(jnp.negative, steps)
            if wrong == "no_optimizer":
                steps = jax.tree.map(lambda g: -0.1 * g, gradient)
            moved = params if wrong == "not_moved" else optax.apply_updates(params, steps)
            moved = steps if wrong == "steps_returned" else moved
            extra = loss(moved, *inputs)[1] if wrong == "extra_after" else extra
            return moved, memory if wrong == "memory_lost" else new, extra

        return function

    names = (
        "wrong_sign", "no_optimizer", "not_moved", "steps_returned", "memory_lost", "extra_after",
    )  # fmt: skip
    return Exercise(
        oracle,
        [Part("parameters, the optimizer's memory and extra after two steps of AdamW", twice)],
        **each(variant, *names),
    )
