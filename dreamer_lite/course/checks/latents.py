"""Notebook 04: the recurrent state-space model, part by part.

The arguments named `self` are small RSSMs of the course, with 2 blocks and weights that are all
different from zero. Resets and causality are proved by perturbation: an input is changed, and the
outputs that must not depend on it stay equal bit by bit.
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


def config(**changes: Any) -> Any:
    """Hyperparameters of a small RSSM."""
    sizes = dict(deter=DETER, stoch=STOCH, classes=CLASSES, blocks=BLOCKS, hidden=HIDDEN)
    return solved_agent().Config(**(sizes | changes))


@functools.cache
def small(blocks: int = BLOCKS) -> Any:
    """The course's RSSM with random weights: biases and scales too."""
    rng = np.random.default_rng(blocks)
    rssm = solved_agent().RSSM(config(blocks=blocks), EMBED, ACTIONS, rng)
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

    def built(change: Function = lambda self: None) -> Function:
        def build(self, c, embed, actions, rng):
            solved("RSSM.build")(self, c, embed, actions, rng)
            change(self, c, embed, actions, rng)

        return build

    dreamer = solved_agent()

    def measure(function: Function) -> jax.Array:
        self: Any = nnx.Module()
        self.c = config()
        function(self, self.c, EMBED, ACTIONS, np.random.default_rng(0))
        return table(self)

    def mix_once(self, c, embed, actions, rng):
        self.mix = dreamer.Linear(c.deter + 3 * c.hidden, c.deter, rng, blocks=1)

    def mix_whole(self, c, embed, actions, rng):
        self.mix = dreamer.Linear(c.deter + c.blocks * 3 * c.hidden, c.deter, rng)

    def one_block(self, c, embed, actions, rng):
        mix_once(self, c, embed, actions, rng)
        gates_whole(self, c, embed, actions, rng)

    def both_whole(self, c, embed, actions, rng):
        mix_whole(self, c, embed, actions, rng)
        gates_whole(self, c, embed, actions, rng)

    def gates_whole(self, c, embed, actions, rng):
        self.gates = dreamer.Linear(c.deter, 3 * c.deter, rng)

    def units_only(self, c, embed, actions, rng):
        self.prior_net = dreamer.Mlp(c.deter, c.stoch * c.classes, 2, rng)
        self.post_net = dreamer.Mlp(c.deter + embed, c.stoch * c.classes, 1, rng)

    def gates_two(self, c, embed, actions, rng):
        self.gates = dreamer.Linear(c.deter, 2 * c.deter, rng, blocks=c.blocks)

    def prior_sees(self, c, embed, actions, rng):
        self.prior_net = dreamer.Mlp(c.deter + embed, c.hidden, 2, rng, outputs=c.stoch * c.classes)

    def post_blind(self, c, embed, actions, rng):
        self.post_net = dreamer.Mlp(c.deter, c.hidden, 1, rng, outputs=c.stoch * c.classes)

    def no_outputs(self, c, embed, actions, rng):
        self.prior_net = dreamer.Mlp(c.deter, c.hidden, 2, rng)
        self.post_net = dreamer.Mlp(c.deter + embed, c.hidden, 1, rng)

    def layers_swapped(self, c, embed, actions, rng):
        self.prior_net = dreamer.Mlp(c.deter, c.hidden, 1, rng, outputs=c.stoch * c.classes)
        self.post_net = dreamer.Mlp(c.deter + embed, c.hidden, 2, rng, outputs=c.stoch * c.classes)

    what = f"inputs, outputs, linear maps and blocks of {', '.join(LAYERS)}, each layer an index"
    return Exercise(
        solved("RSSM.build"),
        [Part(what, measure)],
        mix_once=built(mix_once),
        mix_whole=built(mix_whole),
        one_block=built(one_block),
        both_whole=built(both_whole),
        units_only=built(units_only),
        gates_whole=built(gates_whole),
        gates_two=built(gates_two),
        prior_sees=built(prior_sees),
        post_blind=built(post_blind),
        no_outputs=built(no_outputs),
        layers_swapped=built(layers_swapped),
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

    def whole(norm: bool = True, silu: bool = True, order: str = "hza", drop: str = "") -> Function:
        def step(self, state, action):
            action = action / jnp.maximum(1, jnp.abs(action))
            flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
            parts = {
                "h": self.from_deter(state.deter),
                "z": self.from_stoch(flat),
                "a": self.from_action(action),
            }
            shared = jnp.concatenate([parts[x] * (x != drop) for x in order], -1)
            x = self.mix(self.join_blocks(state.deter, shared))
            x = self.mix_norm.normalize(x) if norm else x
            return self.gru(state.deter, jax.nn.silu(x) if silu else x)

        return step

    def unscaled(self, state, action):
        flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
        parts = self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)
        x = self.mix(self.join_blocks(state.deter, jnp.concatenate(parts, -1)))
        return self.gru(state.deter, jax.nn.silu(self.mix_norm.normalize(x)))

    def silu_first(self, state, action):
        flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
        action = action / jnp.maximum(1, jnp.abs(action))
        parts = self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)
        x = self.mix(self.join_blocks(state.deter, jnp.concatenate(parts, -1)))
        return self.gru(state.deter, self.mix_norm.normalize(jax.nn.silu(x)))

    def joined(join: Function) -> Function:
        def step(self, state, action):
            if not isinstance(self, Recorder):  # another `mix` would stop at their length
                return solved("RSSM.core")(self, state, action)
            flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
            parts = self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)
            x = self.mix(join(state.deter, jnp.concatenate(parts, -1)))
            return self.gru(state.deter, jax.nn.silu(self.mix_norm.normalize(x)))

        return step

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
        inlined=joined(lambda deter, shared: jnp.concatenate([deter, shared], -1)),
        h_left_out=joined(lambda deter, shared: shared),
        not_mixed=lambda self, state, action: self.gru(state.deter, state.deter),
        no_norm=whole(norm=False),
        no_silu=whole(silu=False),
        silu_first=silu_first,
        no_action=whole(drop="a"),
        action_first=whole(order="ahz"),
        z_first=whole(order="zha"),
        unscaled=unscaled,
    )


def latent(name: str, logits: Function) -> dict[str, Any]:
    """Mistakes of a function from logits (..., S C) to log-probabilities (..., S, C)."""
    unimix = solved_agent().unimix

    def cut(x):
        return x.reshape(*x.shape[:-1], STOCH, CLASSES)

    return {
        "not_mixed": lambda self, *x: jax.nn.log_softmax(cut(logits(self, *x))),
        "logits_returned": lambda self, *x: cut(logits(self, *x)),
        "probabilities": lambda self, *x: jnp.exp(solved(name)(self, *x)),
        "one_softmax": lambda self, *x: cut(unimix(logits(self, *x), self.c.unimix)),
        "classes_first": lambda self, *x: unimix(
            jnp.swapaxes(logits(self, *x).reshape(*x[0].shape[:-1], CLASSES, STOCH), -1, -2),
            self.c.unimix,
        ),
    }


@part("RSSM.prior")
def prior() -> Exercise:
    """`mine(self, deter)`: log p(z | h), (..., D) -> (..., S, C)."""
    return Exercise(
        solved("RSSM.prior"),
        [
            on("8 states", small(), 3 * normal(13, BATCH, DETER)),
            on("sequences", small(), 3 * normal(14, TIME, BATCH, DETER)),
        ],
        **latent("RSSM.prior", lambda self, deter: self.prior_net(deter)),
    )


@part("RSSM.posterior")
def posterior() -> Exercise:
    """`mine(self, deter, embed)`: log q(z | h, e), (..., D), (..., E) -> (..., S, C)."""

    def net(self, *inputs):
        return self.post_net(jnp.concatenate(inputs, -1))

    def of_prior(self, deter, embed):
        return self.prior(deter)

    def embed_first(self, deter, embed):
        return solved_agent().unimix(
            net(self, embed, deter).reshape(*deter.shape[:-1], STOCH, CLASSES), self.c.unimix
        )

    inputs = 3 * normal(15, BATCH, DETER), 3 * normal(16, BATCH, EMBED)
    many = 3 * normal(17, TIME, BATCH, DETER), 3 * normal(18, TIME, BATCH, EMBED)
    return Exercise(
        solved("RSSM.posterior"),
        [on("8 states and observations", small(), *inputs), on("sequences", small(), *many)],
        of_prior=of_prior,
        embed_first=embed_first,
        **latent("RSSM.posterior", net),
    )


def changed(function: Function, before: tuple, after: tuple, *pick: Any) -> jax.Array:
    """Whether the picked outputs differ in any bit when the arguments `before` become `after`."""
    pairs = zip(jax.tree.leaves(function(*before)), jax.tree.leaves(function(*after)))
    return jnp.any(jnp.stack([jnp.any(a[pick] != b[pick]) for a, b in pairs]))


@part("RSSM.observe_step")
def observe_step() -> Exercise:
    """`mine(self, state, embed, action, is_first, u)` -> (new state, log posterior (B, S, C)).

    Source: `RSSM._observe` of the released code (dreamerv3/rssm.py).
    """
    dreamer = solved_agent()

    def step(
        mask: Function = dreamer.mask_reset, from_prior: bool = False, stale: bool = False,
        draw: Function = dreamer.sample_onehot,
    ) -> Function:  # fmt: skip
        def observe(self, state, embed, action, is_first, u):
            state, action = mask(state, action, is_first)
            deter = self.core(state, action)
            post = self.posterior(state.deter if stale else deter, embed)
            logp = self.prior(deter) if from_prior else post
            return dreamer.State(deter, draw(logp, u)), post

        return observe

    def no_mask(state, action, is_first):
        return state, action

    def action_kept(state, action, is_first):
        return dreamer.mask_reset(state, action, is_first)[0], action

    def swapped_mask(state, action, is_first):
        return dreamer.mask_reset(state, action, ~is_first)

    def embedding_lost(self, state, embed, action, is_first, u):
        return solved("RSSM.observe_step")(self, state, 0 * embed, action, is_first, u)

    def mode(logp, u):
        return jax.nn.one_hot(logp.argmax(-1), CLASSES) + jnp.exp(logp) - jnp.exp(logp)

    def bare_tuple(*inputs):
        state, post = solved("RSSM.observe_step")(*inputs)
        return tuple(state), post

    embed, u = normal(21, BATCH, EMBED), uniform(23, BATCH, STOCH)
    action = jax.nn.one_hot(jnp.arange(BATCH) % ACTIONS, ACTIONS)
    first = jnp.arange(BATCH) % 3 == 0
    rest = embed, action, first, u
    whole = small(), states(19, BATCH), *rest
    other_state = small(), states(24, BATCH), *rest
    other_action = *whole[:3], 1 - action, first, u
    reset, elsewhere = np.flatnonzero(first), np.flatnonzero(~first)

    def past(function: Function) -> jax.Array:
        others = other_state, other_action
        return jnp.stack(
            [changed(function, whole, x, at) for at in (reset, elsewhere) for x in others]
        )

    return Exercise(
        solved("RSSM.observe_step"),
        [
            on("8 states, 3 of them at a reset", *whole),
            Part(
                "another past: 2 inputs at a reset, where nothing may change, and elsewhere", past
            ),
            Part("whether the new state is a State", lambda f: is_state(f(*whole)[0])),
        ],
        bare_tuple=bare_tuple,
        no_mask=step(no_mask),
        action_kept=step(action_kept),
        swapped_mask=step(swapped_mask),
        embedding_lost=embedding_lost,
        from_prior=step(from_prior=True),
        stale=step(stale=True),
        mode=step(draw=mode),
        probabilities=step(draw=lambda logp, u: jnp.exp(logp)),
    )


@part("RSSM.imagine_step")
def imagine_step() -> Exercise:
    """`mine(self, state, action, u)`: the next state, with z sampled from the prior."""
    dreamer = solved_agent()
    stop = jax.lax.stop_gradient

    def step(
        draw: Function = dreamer.sample_onehot, stopped: bool = True, stale: bool = False,
        seen: bool = False,
    ) -> Function:  # fmt: skip
        def imagine(self, state, action, u):
            deter = self.core(state, action)
            logp = self.prior(state.deter if stale else deter)
            if seen:
                logp = self.posterior(deter, jnp.zeros((*deter.shape[:-1], EMBED)))
            z = draw(logp, u)
            return dreamer.State(deter, stop(z) if stopped else z)

        return imagine

    def h_stopped(self, state, action, u):
        return stop(step()(self, state, action, u))

    state, u = states(26, BATCH), uniform(28, BATCH, STOCH)
    action = jax.nn.one_hot(jnp.arange(BATCH) % ACTIONS, ACTIONS)

    def slope(function: Function) -> jax.Array:
        def total(action):
            new = dreamer.State(*function(small(), state, action, u))
            weights = jnp.cos(jnp.arange(new.stoch.size, dtype=jnp.float32))
            return jnp.sum(new.deter) + jnp.sum(weights.reshape(new.stoch.shape) * new.stoch)

        return jax.grad(total)(action)

    return Exercise(
        solved("RSSM.imagine_step"),
        [
            on("8 states", small(), state, action, u),
            Part(
                "whether the new state is a State",
                lambda f: is_state(f(small(), state, action, u)),
            ),
            Part("the gradient for the action", slope),
        ],
        bare_tuple=lambda *inputs: tuple(solved("RSSM.imagine_step")(*inputs)),
        not_stopped=step(stopped=False),
        h_stopped=h_stopped,
        stale=step(stale=True),
        posterior_used=step(seen=True),
        probabilities=step(draw=lambda logp, u: jnp.exp(logp)),
    )


@part("RSSM.observe")
def observe() -> Exercise:
    """`mine(self, start, embed, action, is_first, key)` -> states and log posteriors (T, B, ...).

    The noise is `jax.random.uniform(key, (T, B, S))`.
    """

    def scanned(
        noise: Function = lambda u: u, chained: bool = True, shift: int = 0, before: bool = False,
        late: int = 0,
    ) -> Function:  # fmt: skip
        def along(self, start, embed, action, is_first, key):
            u = noise(jax.random.uniform(key, (*is_first.shape, STOCH)))
            action, is_first = jnp.roll(action, shift, 0), jnp.roll(is_first, late, 0)

            def step(state, inputs):
                new, post = self.observe_step(state if chained else start, *inputs)
                return new, (state if before else new, post)

            return jax.lax.scan(step, start, (embed, action, is_first, u))[1]

        return along

    embed = normal(31, TIME, BATCH, EMBED)
    action = jax.nn.one_hot(normal(32, TIME, BATCH, ACTIONS).argmax(-1), ACTIONS)
    first = jnp.zeros((TIME, BATCH), bool).at[4].set(True)
    whole = small(), states(29, BATCH), embed, action, first, jax.random.key(33)

    def change(s: int) -> tuple:
        """Another embedding and action at time step s."""
        return (
            *whole[:2], embed.at[s].multiply(-1.0), action.at[s].set(1 - action[s]), *whole[4:],
        )  # fmt: skip

    def past(function: Function) -> jax.Array:
        return changed(function, whole, change(3), slice(4, None))

    def future(function: Function) -> jax.Array:
        return changed(function, whole, change(6), slice(None, 6))

    def results(collected: Function, pick: Function) -> Function:
        """What a step collects, (state, post) -> any, and which of scan's two results it is."""

        def along(self, start, embed, action, is_first, key):
            def step(state, inputs):
                new, post = self.observe_step(state, *inputs)
                return new, collected(new, post)

            u = jax.random.uniform(key, (*is_first.shape, STOCH))
            return pick(jax.lax.scan(step, start, (embed, action, is_first, u)))

        return along

    def state_and_post(state, post):
        return state, post

    def post_alone(state, post):
        return post

    def last(self, start, embed, action, is_first, key):
        states, post = solved("RSSM.observe")(self, start, embed, action, is_first, key)
        return jax.tree.map(lambda x: jnp.broadcast_to(x[-1], x.shape), (states, post))

    return Exercise(
        solved("RSSM.observe"),
        [
            on("9 steps, 8 sequences", *whole),
            Part("a change before the reset at step 4: outputs from step 4 on", past),
            Part("a change at step 6: outputs before it", future),
        ],
        own_action=scanned(shift=-1),
        late_reset=scanned(late=1),
        one_noise=scanned(noise=lambda u: jnp.broadcast_to(u[0], u.shape)),
        from_start=scanned(chained=False),
        before=scanned(before=True),
        last=last,
        carry=results(state_and_post, lambda both: both[0]),
        both_results=results(state_and_post, lambda both: both),
        states_lost=results(post_alone, lambda both: both),
        posteriors_only=results(post_alone, lambda both: both[1]),
    )


@part("RSSM.join_blocks")
def join_blocks() -> Exercise:
    """`mine(self, deter, shared)`: (..., D), (..., n) -> (..., D + g n), block after block."""

    def joined(order: Function, blocks: int | None = None) -> Function:
        def join(self, deter, shared):
            lead, g = deter.shape[:-1], blocks or self.c.blocks
            own = deter.reshape(*lead, g, -1)
            shared = jnp.broadcast_to(shared[..., None, :], (*lead, g, shared.shape[-1]))
            return jnp.concatenate(order(own, shared), -1).reshape(*lead, -1)

        return join

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
        shared_first=joined(lambda own, shared: [shared, own]),
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
