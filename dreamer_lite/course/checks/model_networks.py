"""Notebook 05: the networks of the world model: encoder, decoder, and heads.

What a part builds or computes is measured on a very small agent of the course's own parts.
`model_losses` checks the rest of notebook 05 on it.
"""

import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import (
    named,
    normal,
    part,
    solved,
    solved_agent,
    uniform,
)
from dreamer_lite.course.compare import Exercise, Part, on
from dreamer_lite.worlds.base import Space

SPACES = {"speed": Space((3,), "float32"), "grid": Space((2, 3, 2), "uint8")}
WORLD = types.SimpleNamespace(obs_space=SPACES, action_space=Space((), "int32", 3))
NUMBERS, FEATURE = 15, 14  # of an observation; of a feature, D + S C
OBSERVED = "a `grid` of 12 cells and a `speed` of 3 numbers"
HEADS = ("reward", "cont")


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

    def variant(
        image: Callable = lambda x: x / 255, squash: Callable = d.symlog, order: Callable = sorted
    ) -> Callable:
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
            reward_head = dict(layers=1, outputs=c.bins, scale=0.0) | (reward or {})
            cont_head = dict(layers=1, outputs=1) | (cont or {})
            self.encoder, self.decoder = d.Encoder(c, obs_space, rng), d.Decoder(c, obs_space, rng)
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
