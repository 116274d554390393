"""Notebook 04: the RSSM's latents: prior, posterior, and the steps that sample from them.

Resets and causality are proved by perturbation: an input is changed, and the outputs that must not
depend on it stay equal bit by bit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import (
    normal,
    one_hots,
    part,
    solved,
    solved_agent,
    uniform,
)
from dreamer_lite.course.checks.rssm_core import (
    ACTIONS,
    BATCH,
    CLASSES,
    DETER,
    EMBED,
    STOCH,
    TIME,
    is_state,
    small,
    states,
)
from dreamer_lite.course.compare import Exercise, Function, Part, on


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
    action = one_hots(ACTIONS, BATCH)
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
    action = one_hots(ACTIONS, BATCH)

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
        noise: Function = lambda u: u, chained: bool = True, shift: int = 0, late: int = 0,
        collect: Function = lambda old, new, post: (new, post),
        pick: Function = lambda both: both[1],
    ) -> Function:  # fmt: skip
        """Of each step `collect` makes a result, and `pick` chooses from what the scan returns."""

        def along(self, start, embed, action, is_first, key):
            u = noise(jax.random.uniform(key, (*is_first.shape, STOCH)))
            action, is_first = jnp.roll(action, shift, 0), jnp.roll(is_first, late, 0)

            def step(state, inputs):
                new, post = self.observe_step(state if chained else start, *inputs)
                return new, collect(state, new, post)

            return pick(jax.lax.scan(step, start, (embed, action, is_first, u)))

        return along

    def post_alone(old, new, post):
        return post

    def last(self, start, embed, action, is_first, key):
        states, post = solved("RSSM.observe")(self, start, embed, action, is_first, key)
        return jax.tree.map(lambda x: jnp.broadcast_to(x[-1], x.shape), (states, post))

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
        before=scanned(collect=lambda old, new, post: (old, post)),
        last=last,
        carry=scanned(pick=lambda both: both[0]),
        both_results=scanned(pick=lambda both: both),
        states_lost=scanned(collect=post_alone, pick=lambda both: both),
        posteriors_only=scanned(collect=post_alone),
    )
