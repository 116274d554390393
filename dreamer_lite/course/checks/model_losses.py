"""Notebook 05: the world model: encoder, decoder, heads, losses, and a training step.

What a part builds or computes is measured on a very small agent of the course's own parts.
"""

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dreamer_lite.course.checks.exercise import (
    flags,
    named,
    norm,
    normal,
    part,
    solved,
    solved_agent,
    uniform,
)
from dreamer_lite.course.compare import Exercise, Part, on
from dreamer_lite.worlds.base import Space, TimeStep

sg = jax.lax.stop_gradient
SPACES = {"speed": Space((3,), "float32"), "grid": Space((2, 3, 2), "uint8")}
WORLD = types.SimpleNamespace(obs_space=SPACES, action_space=Space((), "int32", 3))
NUMBERS, FEATURE = 15, 14  # of an observation; of a feature, D + S C
OBSERVED = "a `grid` of 12 cells and a `speed` of 3 numbers"
HEADS = ("reward", "cont")
LOSSES = ("recon", "reward", "cont", "dyn", "rep")


def small(**changes: Any) -> Any:
    """Hyperparameters of a very small agent; its sizes differ, so that none passes for another."""
    sizes = dict(deter=6, stoch=2, classes=4, hidden=5, units=7, layers=2, bins=9, free_nats=0.02)
    return solved_agent().Config(**(sizes | changes))


def made(owner: str, method: str, function: Callable, *arguments: Any) -> Any:
    """An object of a class of the agent, with `function` for one of its methods."""

    def own(self, *inputs: Any) -> Any:  # whatever `function` is, this becomes a method
        return function(self, *inputs)

    return type(owner, (getattr(solved_agent(), owner),), {method: own})(*arguments)


def numbers() -> np.random.Generator:
    return np.random.default_rng(0)


def observations(seed: int, *lead: int) -> dict[str, jax.Array]:
    """Cells of any brightness, and numbers of some size."""
    cells = 255.99 * uniform(seed, *lead, 2, 3, 2)
    return {"speed": 5 * normal(seed + 1, *lead, 3), "grid": cells.astype(jnp.uint8)}


def attribute(owner: Any, name: str) -> Any:
    """What a method made. Raises TypeError in a sentence if it did not."""
    found = getattr(owner, name, None)
    if found is None:
        raise TypeError(f"self.{name} is None: the method must assign it")
    return found


def sizes(owner: Any, name: str = "mlp") -> jax.Array:
    """Inputs, hidden layers, their width, and outputs (0: none) of an attribute that is an `Mlp`.

    Raises TypeError in a sentence.
    """
    mlp = attribute(owner, name)
    if type(mlp).__name__ != "Mlp":  # that of the reader's file is another class
        raise TypeError(f"self.{name} must be an Mlp, not a {type(mlp).__name__}")
    layers, out = list(mlp.linears), mlp.out
    inputs, width = layers[0].kernel.shape if layers else (0, 0)
    return jnp.array([inputs, len(layers), width, out.bias.shape[0] if out else 0])


def by_name(result: Any, names: Iterable[str]) -> Any:
    """The values of a dictionary as a NamedTuple, in the order of their names.

    Raises TypeError in a sentence.
    """
    names = sorted(names)
    if result is None:
        return (None,)
    if not isinstance(result, dict) or sorted(result) != names:
        raise TypeError(f"return a dictionary with the names {', '.join(names)}")
    return named({name: result[name] for name in names})


@part("Encoder.build")
def encoder_layers() -> Exercise:
    """`mine(self, c, rng)` makes `self.mlp`: all numbers of an observation, c.layers of c.units."""
    c = small()

    def measure(function: Callable) -> jax.Array:
        encoder = made("Encoder", "build", function, c, SPACES, numbers())
        return sizes(encoder)

    def mlp(inputs: int, units: int = c.units, layers: int = c.layers, outputs: int = 0):
        def build(self, c, rng):
            self.mlp = solved_agent().Mlp(inputs, units, layers, rng, outputs)

        return build

    return Exercise(
        solved("Encoder.build"),
        [Part(f"inputs, layers, width and outputs of mlp, for {OBSERVED}", measure)],
        grid_only=mlp(12),
        one_layer=mlp(NUMBERS, layers=1),
        rssm_width=mlp(NUMBERS, units=c.hidden),
        with_outputs=mlp(NUMBERS, outputs=c.units),
    )


@part("Encoder.embed")
def embed() -> Exercise:
    """`mine(self, obs)`: {name: (..., *shape)} -> embeddings (..., units)."""
    d = solved_agent()
    encoder = d.Encoder(small(), SPACES, numbers())

    def variant(image: Any = None, squash: Any = d.symlog, order: Any = sorted) -> Callable:
        image = image or (lambda x: x / 255)

        def function(self, obs):
            flat = []
            for name, space in order(self.spaces.items()):
                x = image(obs[name]) if space.is_image else squash(obs[name])
                flat.append(x.reshape(*x.shape[: x.ndim - len(space.shape)], -1))
            return self.mlp(jnp.concatenate(flat, -1))

        return function

    return Exercise(
        solved("Encoder.embed"),
        [
            on(f"observations (4, 3, ...): {OBSERVED}", encoder, observations(0, 4, 3)),
            on("one observation without leading axes", encoder, observations(2)),
        ],
        not_scaled=variant(image=lambda x: x / 1.0),
        rounded=variant(image=lambda x: x // 255),
        squashed=variant(image=lambda x: d.symlog(x / 255)),
        no_symlog=variant(squash=lambda x: x),
        order=variant(order=list),
    )


@part("Decoder.build")
def decoder_layers() -> Exercise:
    """`mine(self, c, rng)` makes `self.mlp`, and `self.heads`, a linear map for each name."""
    c = small()

    def measure(function: Callable) -> tuple:
        decoder = made("Decoder", "build", function, c, SPACES, numbers())
        heads = [attribute(decoder, "heads")[name] for name in sorted(SPACES)]
        shapes = jnp.array([head.kernel.shape for head in heads])
        biases = jnp.array([head.bias[...].mean() for head in heads])
        return named({"mlp": sizes(decoder), "kernels": shapes, "biases": biases})

    def variant(
        inputs: int = FEATURE, cells: float = -4.0, others: float = 0.0, outputs: int = 0,
        width: int = c.units,
    ) -> Callable:  # fmt: skip
        def build(self, c, rng):
            d = solved_agent()
            self.mlp = d.Mlp(inputs, c.units, c.layers, rng, outputs)
            self.heads = d.nnx.data(
                {
                    name: d.Linear(width, s.size, rng, bias=cells if s.is_image else others)
                    for name, s in self.spaces.items()
                }
            )

        return build

    return Exercise(
        solved("Decoder.build"),
        [Part("sizes of mlp; kernels of the heads; mean of their biases", measure)],
        deter_only=variant(inputs=c.deter),
        groups_only=variant(inputs=c.deter + c.stoch),
        heads_of_features=variant(width=FEATURE),
        with_outputs=variant(outputs=c.units),
        no_bias=variant(cells=0.0),
        bias_everywhere=variant(others=-4.0),
        bias_sign=variant(cells=4.0),
    )


@part("Decoder.predict")
def predict() -> Exercise:
    """`mine(self, feat)`: features (..., F) -> {name: raw outputs (..., *shape)}."""
    d = solved_agent()
    decoder = d.Decoder(small(), SPACES, numbers())
    feat = normal(4, 4, 3, FEATURE)

    def measure(function: Callable, feat: jax.Array = feat) -> tuple:
        return by_name(function(decoder, feat), SPACES)

    def after(change: Callable) -> Callable:
        def function(self, feat):
            raw = solved("Decoder.predict")(self, feat)
            return {name: change(x) if self.spaces[name].is_image else x for name, x in raw.items()}

        return function

    def reshaped(lead: Callable, shaped: bool) -> Callable:
        def function(self, feat):
            raw = solved("Decoder.predict")(self, feat)
            rest = {name: space.shape if shaped else (-1,) for name, space in SPACES.items()}
            return {name: x.reshape(*lead(feat), *rest[name]) for name, x in raw.items()}

        return function

    return Exercise(
        solved("Decoder.predict"),
        [
            Part(f"features (4, 3, F), outputs for {OBSERVED}", measure),
            Part("one feature (F,)", functools.partial(measure, feat=feat[0, 0])),
        ],
        probabilities=after(jax.nn.sigmoid),
        not_shaped=reshaped(lambda feat: feat.shape[:-1], shaped=False),
        one_batch_axis=reshaped(lambda feat: (-1,), shaped=True),
    )


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


@part("Dreamer.build_model")
def build_model() -> Exercise:
    """`mine(self, c, obs_space, actions, rng)` makes encoder, rssm, decoder, reward and cont."""
    c = small()

    def measure(function: Callable) -> Any:
        agent = made("Dreamer", "build_model", function, c, WORLD, 0)
        found = {name: sizes(attribute(agent, name)) for name in ("encoder", "decoder")}
        rssm = attribute(agent, "rssm")
        found |= {name: sizes(rssm, name) for name in ("from_action", "post_net", "prior_net")}
        found |= {name: sizes(agent, name) for name in HEADS}
        outputs = [getattr(agent, name).out for name in HEADS]
        zero = [jnp.all(out.kernel[...] == 0) if out else jnp.array(False) for out in outputs]
        return named(found | {"zero": jnp.stack(zero)})

    def variant(
        reward: Any = None, cont: Any = None, embed: int = c.units, exchange: bool = False
    ) -> Callable:
        def function(self, c, obs_space, actions, rng):
            d = solved_agent()
            heads = dict(layers=1, outputs=c.bins, scale=0.0), dict(layers=1, outputs=1)
            reward_head, cont_head = (
                a | (b or {}) for a, b in zip(heads, (reward, cont), strict=True)
            )
            self.encoder, self.decoder = (
                kind(c, obs_space, rng) for kind in (d.Encoder, d.Decoder)
            )
            self.rssm = d.RSSM(c, *((actions, embed) if exchange else (embed, actions)), rng)
            self.reward = d.Mlp(FEATURE, c.units, rng=rng, **reward_head)
            self.cont = d.Mlp(FEATURE, c.units, rng=rng, **cont_head)

        return function

    return Exercise(
        solved("Dreamer.build_model"),
        [Part("sizes of all networks; whether the heads' output kernels are zero", measure)],
        reward_not_zero=variant(reward=dict(scale=1.0)),
        deep_heads=variant(reward=dict(layers=c.layers), cont=dict(layers=c.layers)),
        one_reward=variant(reward=dict(outputs=1)),
        cont_bins=variant(cont=dict(outputs=c.bins)),
        cont_zero=variant(cont=dict(scale=0.0)),
        cont_hidden=variant(cont=dict(outputs=0)),
        reward_hidden=variant(reward=dict(outputs=0)),
        raw_embed=variant(embed=NUMBERS),
        exchanged=variant(exchange=True),
    )


@part("kl_losses")
def kl_losses() -> Exercise:
    """`mine(post, prior, free_nats)`: ln p (..., S, C) twice, nats -> (dyn, rep), each (...).

    Source: Hafner et al. 2025, "World model learning", the dynamics and the representation loss.
    """
    oracle = solved("kl_losses")

    def variant(
        divergence: Any = None, reduce: Any = None, clip: Any = jnp.maximum, stops: Any = (sg, sg)
    ) -> Callable:
        def function(post, prior, free):
            def kl(q, p):
                terms = jnp.exp(q) * (q - p)
                terms = divergence(q, p) if divergence else terms
                total = reduce(terms, free) if reduce else terms.sum((-2, -1))
                return clip(free, total)

            return kl(stops[0](post), prior), kl(post, stops[1](prior))

        return function

    def same(x: jax.Array) -> jax.Array:
        return x

    def gradients(function: Callable, free: float) -> Any:
        def totals(post: jax.Array, prior: jax.Array) -> tuple:
            logs = jax.nn.log_softmax(post), jax.nn.log_softmax(prior)
            return tuple(jnp.sum(side) for side in function(*logs, free))

        return jax.jacrev(totals, (0, 1))(normal(17, 5, 2, 3), normal(18, 5, 2, 3))

    def swapped(post, prior, free):
        return oracle(post, prior, free)[::-1]

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
        swapped=swapped,
        gradient_below=lambda post, prior, free: _past_the_floor(post, prior, free),
    )


def _past_the_floor(post: jax.Array, prior: jax.Array, free: float) -> tuple:
    """The right values, with the gradient of the KL also below the free nats."""
    right, raw = solved("kl_losses")(post, prior, free), solved("kl_losses")(post, prior, -1.0)
    return tuple(b + sg(a - b) for a, b in zip(right, raw, strict=True))


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
    stoch = jax.nn.one_hot(jnp.arange(6).reshape(3, 2) % c.classes, c.classes)
    return d.Batch(steps, action, d.State(normal(33, 3, c.deter), stoch))


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

    def variant(**changes: Any) -> Callable:
        def function(agent, c, batch, key):
            steps = batch.steps
            first = jnp.zeros_like(steps.is_first) if "no_reset" in changes else steps.is_first
            action = jnp.roll(batch.action, -1, 0) if "own" in changes else batch.action
            embed = agent.encoder.embed(steps.obs)
            start = jax.tree.map(jnp.zeros_like, batch.start) if "blank" in changes else batch.start
            states, post = agent.rssm.observe(start, embed, action, first, key)
            feat, prior = d.feature(states), agent.rssm.prior(states.deter)
            if "cut" in changes:
                feat = sg(feat)
            if "late_prior" in changes:
                prior = agent.rssm.prior(jnp.concatenate([start.deter[None], states.deter[:-1]]))
            if "sampled" in changes:
                post = states.stoch
            if "swapped" in changes:
                post, prior = prior, post
            dyn, rep = d.kl_losses(post, prior, changes.get("free", c.free_nats))
            end = steps.is_last if "time_limit" in changes else steps.is_terminal
            cont = (1.0 - end) * changes.get("discount", c.discount)
            reward = previous_reward(steps.reward) if "late" in changes else steps.reward
            losses = {
                "recon": agent.decoder.reconstruction_loss(feat, steps.obs),
                "reward": d.two_hot_loss(agent.reward(feat), reward),
                "cont": d.binary_cross_entropy(agent.cont(feat)[..., 0], cont),
                "dyn": dyn,
                "rep": rep * changes.get("weight", 1.0),
            }
            return losses, states

        return function

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
        cut=variant(cut=True),
        no_reset=variant(no_reset=True),
        own_action=variant(own=True),
        swapped=variant(swapped=True),
        time_limit=variant(time_limit=True),
        no_discount=variant(discount=1.0),
        one_nat=variant(free=1.0),
        late_reward=variant(late=True),
        late_prior=variant(late_prior=True),
        blank_start=variant(blank=True),
        sampled=variant(sampled=True),
        weighted=variant(weight=0.1),
    )


def previous_reward(reward: jax.Array) -> jax.Array:
    """The reward of the time step before, 0 at the first."""
    return jnp.concatenate([jnp.zeros_like(reward[:1]), reward[:-1]])


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

    def variant(**changes: Any) -> Callable:
        def function(loss, optimizer, params, memory, *inputs):
            (_, extra), gradient = jax.value_and_grad(loss, has_aux=True)(params, *inputs)
            steps, new = optimizer.update(gradient, memory, params)
            if "up" in changes:
                steps = jax.tree.map(jnp.negative, steps)
            if "plain" in changes:
                steps = jax.tree.map(lambda g: -0.1 * g, gradient)
            moved = params if "unmoved" in changes else optax.apply_updates(params, steps)
            moved = steps if "steps" in changes else moved
            extra = loss(moved, *inputs)[1] if "late" in changes else extra
            return moved, memory if "forgetful" in changes else new, extra

        return function

    return Exercise(
        oracle,
        [Part("parameters, the optimizer's memory and extra after two steps of AdamW", twice)],
        wrong_sign=variant(up=True),
        no_optimizer=variant(plain=True),
        not_moved=variant(unmoved=True),
        steps_returned=variant(steps=True),
        memory_lost=variant(forgetful=True),
        extra_after=variant(late=True),
    )
