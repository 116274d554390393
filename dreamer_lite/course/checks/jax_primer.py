"""Notebook 01: keys, transformations of functions, and a compiled training loop."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import check, named, normal, unrolled
from dreamer_lite.course.compare import Exercise, Function, Part, on


@check
def augment() -> Exercise:
    """`mine(x, key)`: (N, D) -> (N, D), noise and dropout in all rows but the first."""

    def make(same_key: bool = False, dropped: Any = lambda y, kept: y * kept, first: bool = True):
        def function(x: jax.Array, key: jax.Array) -> jax.Array:
            noise_key, mask_key = (key, key) if same_key else jax.random.split(key)
            noise = jax.random.normal(noise_key, x.shape)
            kept = jax.random.bernoulli(mask_key, 0.8, x.shape)
            y = dropped(x + 0.1 * noise, kept)
            return y.at[0].set(x[0]) if first else y

        return function

    def swapped(x, key):
        mask_key, noise_key = jax.random.split(key)
        kept = jax.random.bernoulli(mask_key, 0.8, x.shape)
        return ((x + 0.1 * jax.random.normal(noise_key, x.shape)) * kept).at[0].set(x[0])

    def scalar_noise(x, key):
        noise_key, mask_key = jax.random.split(key)
        y = x + 0.1 * jax.random.normal(noise_key)
        return (y * jax.random.bernoulli(mask_key, 0.8, x.shape)).at[0].set(x[0])

    def masked_by(mask: Function) -> Function:
        def mistake(x, key):
            noise_key, mask_key = jax.random.split(key)
            y = (x + 0.1 * jax.random.normal(noise_key, x.shape)) * mask(mask_key, x.shape)
            return y.at[0].set(x[0])

        return mistake

    return Exercise(
        make(),
        [
            on("3 rows of 2 numbers, key 0", jnp.arange(6.0).reshape(3, 2), jax.random.key(0)),
            on("100 rows, key 1", normal(1, 100, 3), jax.random.key(1)),
        ],
        same_key=make(same_key=True),
        swapped=swapped,
        first_changed=make(first=False),
        inverted=make(dropped=lambda y, kept: y * ~kept),
        no_dropout=make(dropped=lambda y, kept: y),
        drawn_as_dropped=masked_by(lambda key, shape: ~jax.random.bernoulli(key, 0.2, shape)),
        kept_rarely=masked_by(lambda key, shape: jax.random.bernoulli(key, 0.2, shape)),
        rescaled=make(dropped=lambda y, kept: y * kept / 0.8),
        scalar_noise=scalar_noise,
    )


def squared_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The loss of one example, x (D,), y (), or the mean of a batch, under a linear model."""
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


@check
def gradient_norms() -> Exercise:
    """`mine(loss, params, xs, ys)`: the norm (N,) of each example's gradient; params (D,)."""

    def loss(w, x, y):
        return (x @ w - y) ** 2

    def per_example(loss, params, xs, ys):
        return jax.vmap(jax.grad(loss), (None, 0, 0))(params, xs, ys)

    def of_the_mean(loss, params, xs, ys):
        def mean(params):
            return jax.vmap(loss, (None, 0, 0))(params, xs, ys).mean()

        return jnp.full(len(xs), jnp.linalg.norm(jax.grad(mean)(params)))

    def by_inputs(loss, params, xs, ys):
        grads = jax.vmap(jax.grad(loss, argnums=1), (None, 0, 0))(params, xs, ys)
        return jnp.linalg.norm(grads, axis=-1)

    def looped(loss, params, xs, ys):
        grads = [jax.grad(loss)(params, x, y) for x, y in zip(xs, ys)]
        return jnp.linalg.norm(jnp.stack(grads), axis=-1)

    def grows(f: Function) -> bool:
        return unrolled(*(jax.make_jaxpr(functools.partial(f, loss))(
            large[0], large[1][:n], large[2][:n]) for n in (2, 5)))  # fmt: skip

    small = jnp.array([1.0, 2]), jnp.array([[1.0, 0], [3, 4], [0, 2]]), jnp.array([0.0, 10, 5])
    large = normal(2, 5), normal(3, 40, 5), normal(4, 40)
    return Exercise(
        lambda *inputs: jnp.linalg.norm(per_example(*inputs), axis=-1),
        [
            Part("3 examples of 2 features", lambda f: f(loss, *small)),
            Part("40 examples of 5 features", lambda f: f(loss, *large)),
            Part("whether the program grows with the number of examples", grows),
        ],
        squared=lambda *inputs: jnp.sum(per_example(*inputs) ** 2, -1),
        of_the_mean=of_the_mean,
        by_inputs=by_inputs,
        looped=looped,
    )


@check
def train() -> Exercise:
    """`mine(loss, params, xs, ys, rate)`: T gradient steps; (params, losses (T,)).

    xs (T, B, D) and ys (T, B) hold a batch for each step; params is any pytree. Run inside jit.
    """

    def steps(sign: float = -1.0, carried: bool = True, late: bool = False) -> Function:
        def function(loss, params, xs, ys, rate):
            def step(params, batch):
                value, grads = jax.value_and_grad(loss)(params, *batch)
                new = jax.tree.map(lambda p, g: p + sign * rate * g, params, grads)
                value = loss(new, *batch) if late else value
                return (new if carried else params), value

            return jax.lax.scan(step, params, (xs, ys))

        return function

    def at_start(loss, params, xs, ys, rate):
        def step(now, batch):
            value, grads = jax.value_and_grad(loss)(params, *batch)  # not of `now`
            return jax.tree.map(lambda p, g: p - rate * g, now, grads), value

        return jax.lax.scan(step, params, (xs, ys))

    def looped(loss, params, xs, ys, rate):
        losses = []
        for batch in zip(xs, ys):
            value, grads = jax.value_and_grad(loss)(params, *batch)
            params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            losses.append(value)
        return params, jnp.stack(losses)

    def grows(mine: Function) -> bool:
        program = jax.make_jaxpr(functools.partial(mine, squared_error))
        return unrolled(*(program(*batches(8, steps, 8, 3)) for steps in (2, 5)))

    def compiled(mine: Function, inputs: tuple) -> Any:
        params, losses = jax.jit(functools.partial(mine, squared_error))(*inputs)
        return named({"params": {"w": params["w"], "b": params["b"]}, "losses": losses})

    def batches(seed: int, *shape: int) -> tuple:
        params = {"w": normal(seed, shape[-1]), "b": jnp.float32(0.5)}
        return params, normal(seed + 1, *shape), normal(seed + 2, *shape[:-1]), jnp.float32(0.1)

    return Exercise(
        steps(),
        [
            Part("1 step on a batch of 4", lambda f: compiled(f, batches(5, 1, 4, 2))),
            Part("20 steps on batches of 8", lambda f: compiled(f, batches(8, 20, 8, 3))),
            Part("whether the program grows with the number of steps", grows),
        ],
        uphill=steps(sign=1.0),
        not_carried=steps(carried=False),
        late=steps(late=True),
        at_start=at_start,
        looped=looped,
    )
