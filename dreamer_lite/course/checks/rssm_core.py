"""Notebook 04: the RSSM's state and layers, and the core: its deterministic, recurrent path.

The arguments named `self` are small RSSMs of the course, with 2 blocks and weights that are all
different from zero. `latents` checks the rest of notebook 04 on them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.course.checks.exercise import normal, part, solved, solved_agent, uniform
from dreamer_lite.course.compare import Exercise, Function, Part, on

# Pairwise different, so that swapped axes cannot pass.
DETER, STOCH, CLASSES, BLOCKS, HIDDEN, EMBED, ACTIONS, BATCH, TIME = 6, 3, 4, 2, 5, 7, 2, 8, 9


def config(blocks: int = BLOCKS) -> Any:
    """Hyperparameters of a small RSSM."""
    return solved_agent().Config(
        deter=DETER, stoch=STOCH, classes=CLASSES, blocks=blocks, hidden=HIDDEN
    )


@functools.cache
def small(blocks: int = BLOCKS) -> Any:
    """The course's RSSM with random weights: biases and scales too."""
    rng = np.random.default_rng(blocks)
    rssm = solved_agent().RSSM(config(blocks), EMBED, ACTIONS, rng)
    for _, leaf in nnx.to_flat_state(nnx.state(rssm, nnx.Param)):
        noise = rng.standard_normal(leaf[...].shape, np.float32)
        leaf[...] = leaf[...] + np.float32(0.5) * noise
    return rssm


def states(seed: int, *lead: int) -> Any:
    """Random states (*lead, ...)."""
    stoch = jax.nn.one_hot(normal(seed, *lead, STOCH, CLASSES).argmax(-1), CLASSES)
    return solved_agent().State(normal(seed + 1, *lead, DETER), stoch)


def is_state(result: Any) -> jax.Array:
    """Whether it is a `State`, and no bare tuple of its arrays."""
    return jnp.array(getattr(result, "_fields", ()) == solved_agent().State._fields)


@part("feature")
def feature() -> Exercise:
    """`mine(state)`: deter (..., D) and stoch (..., S, C) as one vector (..., D + S C)."""

    def joined(first: Function, second: Function) -> Function:
        return lambda state: jnp.concatenate([first(state), second(state)], -1)

    def deter(state):
        return state.deter

    def flat(state):
        return state.stoch.reshape(*state.deter.shape[:-1], -1)

    def by_class(state):
        return flat(state._replace(stoch=jnp.swapaxes(state.stoch, -1, -2)))

    tiny = solved_agent().State(jnp.float32([0.5, -1]), jnp.eye(3, dtype=jnp.float32)[:2])
    return Exercise(
        solved("feature"),
        [on("one state, D = 2, S = 2, C = 3", tiny), on("sequences of states", states(1, 9, 8))],
        z_first=joined(flat, deter),
        by_class=joined(deter, by_class),
    )


LAYERS = (
    "from_deter", "from_stoch", "from_action", "mix", "mix_norm", "gates", "prior_net", "post_net",
)  # fmt: skip


def table(self: Any) -> jax.Array:
    """Inputs, outputs, linear maps and blocks of every layer, (8, 4)."""
    rows = []
    for name in LAYERS:
        layer = getattr(self, name, None)
        if layer is None:
            raise AttributeError(f"self.{name} is None: this layer was not made")
        if hasattr(layer, "linears"):
            every = [*layer.linears, *([layer.out] if layer.out is not None else [])]
        else:
            every = [layer] if hasattr(layer, "kernel") else []
        if not every:
            rows.append([*layer.scale.shape, *layer.scale.shape, 0, 1])
            continue
        blocks = every[0].kernel.shape[0] if every[0].kernel.ndim == 3 else 1
        sizes = every[0].kernel.shape[-2] * blocks, every[-1].bias.shape[0]
        rows.append([*sizes, len(every), blocks])
    return jnp.array(rows)


@part("RSSM.build")
def rssm_layers() -> Exercise:
    """`mine(self, c, embed, actions, rng)`: sets eight layers on `self`, returns nothing."""
    d, rng = solved_agent(), np.random.default_rng(0)

    def measure(function: Function) -> jax.Array:
        self: Any = nnx.Module()
        self.c = config()
        function(self, self.c, EMBED, ACTIONS, np.random.default_rng(0))
        return table(self)

    def built(**layers: Any) -> Function:
        """The course's layers, and these in the place of some."""

        def build(self, *inputs):
            solved("RSSM.build")(self, *inputs)
            for name, layer in layers.items():
                setattr(self, name, layer)

        return build

    def net(inputs: int, layers: int, hidden: int = HIDDEN, outputs: int = STOCH * CLASSES) -> Any:
        return d.Mlp(inputs, hidden, layers, rng, outputs)

    mix_whole = d.Linear(DETER + BLOCKS * 3 * HIDDEN, DETER, rng)
    mix_once = d.Linear(DETER + 3 * HIDDEN, DETER, rng)
    gates_whole = d.Linear(DETER, 3 * DETER, rng)
    both = DETER + EMBED
    what = f"inputs, outputs, linear maps and blocks of {', '.join(LAYERS)}, each layer an index"
    return Exercise(
        solved("RSSM.build"),
        [Part(what, measure)],
        mix_once=built(mix=mix_once),
        mix_whole=built(mix=mix_whole),
        one_block=built(mix=mix_once, gates=gates_whole),
        both_whole=built(mix=mix_whole, gates=gates_whole),
        units_only=built(
            prior_net=net(DETER, 2, STOCH * CLASSES, 0), post_net=net(both, 1, STOCH * CLASSES, 0)
        ),
        gates_whole=built(gates=gates_whole),
        gates_two=built(gates=d.Linear(DETER, 2 * DETER, rng, blocks=BLOCKS)),
        prior_sees=built(prior_net=net(both, 2)),
        post_blind=built(post_net=net(DETER, 1)),
        no_outputs=built(prior_net=net(DETER, 2, outputs=0), post_net=net(both, 1, outputs=0)),
        layers_swapped=built(prior_net=net(DETER, 1), post_net=net(both, 2)),
    )


@part("RSSM.initial")
def initial() -> Exercise:
    """`mine(self, *lead)`: a state of zeros, (*lead, D) and (*lead, S, C)."""

    def uniform_z(self, *lead):
        stoch = jnp.full((*lead, STOCH, CLASSES), 1 / CLASSES)
        return solved_agent().State(jnp.zeros((*lead, DETER)), stoch)

    def first_class(self, *lead):
        stoch = jnp.zeros((*lead, STOCH, CLASSES)).at[..., 0].set(1.0)
        return solved_agent().State(jnp.zeros((*lead, DETER)), stoch)

    return Exercise(
        solved("RSSM.initial"),
        [
            on("lead (8,)", small(), 8),
            Part("whether the result is a State", lambda f: is_state(f(small(), 8))),
            on("lead (9, 8)", small(), 9, 8),
        ],
        bare_tuple=lambda self, *lead: tuple(solved("RSSM.initial")(self, *lead)),
        uniform_z=uniform_z,
        first_class=first_class,
    )


@part("RSSM.gru")
def gru() -> Exercise:
    """`mine(self, deter, x)`: the gates of the cell, (..., D), (..., D) -> (..., D).

    Source: `RSSM._core` of the released code (dreamerv3/rssm.py).
    """
    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    def cell(formula: Function) -> Function:
        """A cell from its last lines: formula(reset, candidate, update, deter)."""
        return lambda self, deter, x: formula(*self.split_gates(self.gates(x)), deter)

    def blend(weight, candidate, deter):
        return weight * candidate + (1 - weight) * deter

    def right(r, c, u, h):
        return blend(sigmoid(u - 1), tanh(sigmoid(r) * c), h)

    def inlined(self, deter, x):
        reset, candidate, update = jnp.split(self.gates(x), 3, -1)
        return right(reset, candidate, update, deter)

    return Exercise(
        solved("RSSM.gru"),
        [
            on("1 block, 8 states", small(1), normal(3, 8, DETER), normal(4, 8, DETER)),
            on("2 blocks", small(), normal(5, 9, 8, DETER), normal(6, 9, 8, DETER)),
        ],
        no_shift=cell(lambda r, c, u, h: blend(sigmoid(u), tanh(sigmoid(r) * c), h)),
        torch=cell(lambda r, c, u, h: blend(1 - sigmoid(u - 1), tanh(sigmoid(r) * c), h)),
        shift_outside=cell(lambda r, c, u, h: blend(sigmoid(u) - 1, tanh(sigmoid(r) * c), h)),
        no_reset=cell(lambda r, c, u, h: blend(sigmoid(u - 1), tanh(c), h)),
        reset_outside=cell(lambda r, c, u, h: blend(sigmoid(u - 1), sigmoid(r) * tanh(c), h)),
        reset_on_h=cell(lambda r, c, u, h: blend(sigmoid(u - 1), tanh(c + sigmoid(r) * h), h)),
        order=cell(lambda r, c, u, h: right(r, u, c, h)),
        update_first=cell(lambda r, c, u, h: right(u, c, r, h)),
        rotated=cell(lambda r, c, u, h: right(c, u, r, h)),
        candidate_first=cell(lambda r, c, u, h: right(c, r, u, h)),
        inlined=inlined,
    )


class Recorder:
    """An RSSM whose `mix` notes how many numbers it receives, and accepts any number."""

    def __init__(self, rssm: Any):
        self.rssm, self.received = rssm, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rssm, name)

    def mix(self, x: jax.Array) -> jax.Array:
        self.received = x.shape[-1]
        return jnp.zeros((*x.shape[:-1], self.c.deter))


@part("RSSM.core")
def core() -> Exercise:
    """`mine(self, state, action)`: h_t (..., D) from h, z and the action (..., A) before it.

    Source: `RSSM._core` of the released code (dreamerv3/rssm.py).
    """

    def normalized(self, x):
        return jax.nn.silu(self.mix_norm.normalize(x))

    def step(
        activate: Function = normalized, scaled: bool = True, order: str = "hza", drop: str = "",
        join: Function | None = None,
    ) -> Function:  # fmt: skip
        def core(self, state, action):
            if join and not isinstance(self, Recorder):  # another `mix` would stop at their length
                return solved("RSSM.core")(self, state, action)
            action = action / jnp.maximum(1, jnp.abs(action)) if scaled else action
            inputs = {
                "h": self.from_deter(state.deter),
                "z": self.from_stoch(state.stoch.reshape(*state.deter.shape[:-1], -1)),
                "a": self.from_action(action),
            }
            shared = jnp.concatenate([inputs[x] * (x != drop) for x in order], -1)
            x = self.mix((join or self.join_blocks)(state.deter, shared))
            return self.gru(state.deter, activate(self, x))

        return core

    action = uniform(9, BATCH, ACTIONS)

    def mixed(function: Function) -> jax.Array | None:
        """How many numbers `mix` receives with 1 block and with 2; 0 if it is not called."""
        counts = []
        for blocks in (1, BLOCKS):
            self = Recorder(small(blocks))
            if function(self, states(7, BATCH), action) is None:
                return None
            counts.append(self.received)
        return jnp.array(counts)

    return Exercise(
        solved("RSSM.core"),
        [
            Part("how many numbers `mix` receives with 1 block and with 2", mixed),
            on("1 block, 8 states, actions in [0, 1]", small(1), states(7, BATCH), action),
            on("2 blocks, sequences", small(), states(10, TIME, BATCH), normal(12, 9, 8, 2) / 4),
            on("actions beyond 1", small(), states(10, BATCH), 3 * action),
        ],
        inlined=step(join=lambda deter, shared: jnp.concatenate([deter, shared], -1)),
        h_left_out=step(join=lambda deter, shared: shared),
        not_mixed=lambda self, state, action: self.gru(state.deter, state.deter),
        no_norm=step(lambda self, x: jax.nn.silu(x)),
        no_silu=step(lambda self, x: self.mix_norm.normalize(x)),
        silu_first=step(lambda self, x: self.mix_norm.normalize(jax.nn.silu(x))),
        no_action=step(drop="a"),
        action_first=step(order="ahz"),
        z_first=step(order="zha"),
        unscaled=step(scaled=False),
    )


@part("RSSM.join_blocks")
def join_blocks() -> Exercise:
    """`mine(self, deter, shared)`: (..., D), (..., n) -> (..., D + g n), block after block."""

    def shared_first(self, deter, shared):
        lead = *deter.shape[:-1], self.c.blocks
        own = deter.reshape(*lead, -1)
        shared = jnp.broadcast_to(shared[..., None, :], (*lead, shared.shape[-1]))
        return jnp.concatenate([shared, own], -1).reshape(*deter.shape[:-1], -1)

    def deter_first(self, deter, shared):
        return jnp.concatenate([deter, *[shared] * self.c.blocks], -1)

    tiny = jnp.float32([1, 2, 3, 4, 5, 6]), jnp.float32([7, 8])
    return Exercise(
        solved("RSSM.join_blocks"),
        [
            on("1 block", small(1), *tiny),
            on("2 blocks, D = 6, n = 2", small(), *tiny),
            on("2 blocks, sequences", small(), normal(34, 9, 8, DETER), normal(35, 9, 8, 15)),
        ],
        deter_first=deter_first,
        shared_first=shared_first,
    )


@part("RSSM.split_gates")
def split_gates() -> Exercise:
    """`mine(self, gates)`: (..., 3 D) -> reset, candidate and update, three arrays (..., D)."""

    def across(self, gates):
        return tuple(jnp.split(gates, 3, -1))

    def interleaved(self, gates):
        return tuple(gates[..., i::3] for i in range(3))

    def cut(what: str, *arguments: Any) -> Part:
        def measure(function: Function) -> Any:
            gates = function(*arguments)
            return tuple(gates) if isinstance(gates, list) else gates  # jnp.split returns a list

        return Part(what, measure, arguments)

    tiny = jnp.arange(18.0)
    return Exercise(
        solved("RSSM.split_gates"),
        [
            cut("1 block, D = 6", small(1), tiny),
            cut("2 blocks, D = 6", small(), tiny),
            cut("2 blocks, sequences", small(), normal(36, 9, 8, 18)),
        ],
        across=across,
        interleaved=interleaved,
    )
