"""Solutions and wrong answers of notebook 01, for `test_checks`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def augment(x, key):
    keys = jax.random.split(key, 2)
    noisy = x + jax.random.normal(keys[0], x.shape) / 10
    y = jnp.where(jax.random.bernoulli(keys[1], 0.8, x.shape), noisy, 0.0)
    return jnp.concatenate([x[:1], y[1:]])


def gradient_norms(loss, params, xs, ys):
    def losses(params):
        return jax.vmap(lambda x, y: loss(params, x, y))(xs, ys)

    return jnp.sqrt(jnp.sum(jax.jacrev(losses)(params) ** 2, 1))


def train(loss, params, xs, ys, rate):
    def step(t, carry):
        params, losses = carry
        grads = jax.grad(loss)(params, xs[t], ys[t])
        losses = losses.at[t].set(loss(params, xs[t], ys[t]))
        return {name: params[name] - rate * grads[name] for name in params}, losses

    return jax.lax.fori_loop(0, len(xs), step, (params, jnp.zeros(len(xs))))


SOLUTIONS: dict[str, Callable] = {f.__name__: f for f in (augment, gradient_norms, train)}


def one_key(x, key):
    y = x + 0.1 * jax.random.normal(key, x.shape)
    return (y * jax.random.bernoulli(key, 0.8, x.shape)).at[0].set(x[0])


def forgotten(x, key):
    noise_key, mask_key = jax.random.split(key)
    y = x + 0.1 * jax.random.normal(noise_key, x.shape)
    y = y * jax.random.bernoulli(mask_key, 0.8, x.shape)
    y.at[0].set(x[0])
    return y


def assigned(x, key):
    y = augment(x, key)
    y[0] = x[0]
    return y


def masked(mask, x, key, noise=jax.random.normal):
    noise_key, mask_key = jax.random.split(key)
    y = (x + 0.1 * noise(noise_key, x.shape)) * mask(mask_key, x.shape)
    return y.at[0].set(x[0])


def dropped(x, key):
    noise_key, mask_key = jax.random.split(key)
    y = x + 0.1 * jax.random.normal(noise_key, x.shape)
    drop = jax.random.uniform(mask_key, x.shape) < 0.2
    return jnp.where(drop, 0.0, y).at[0].set(x[0])


def kept(key, shape):
    return jax.random.bernoulli(key, 0.8, shape)


def example_by_example(loss, params, xs, ys):
    return jnp.stack([jnp.linalg.norm(jax.grad(loss)(params, *xy)) for xy in zip(xs, ys)])


def step_by_step(loss, params, xs, ys, rate):
    losses = []
    for x, y in zip(xs, ys):
        losses.append(loss(params, x, y))
        grads = jax.grad(loss)(params, x, y)
        params = {name: params[name] - rate * grads[name] for name in params}
    return params, jnp.stack(losses)


def scanned(update):
    """A training loop with another step: (outer params, carry, batch, loss, rate) -> a pair."""

    def wrong(loss, params, xs, ys, rate):
        def step(now, batch):
            return update(params, now, batch, loss, rate)

        return jax.lax.scan(step, params, (xs, ys))

    return wrong


def of_the_outer(outer, now, batch, loss, rate):
    grads = jax.grad(loss)(outer, *batch)
    return {name: now[name] - rate * grads[name] for name in now}, loss(outer, *batch)


def pair_swapped(outer, now, batch, loss, rate):
    return of_the_outer(now, now, batch, loss, rate)[::-1]


def dict_arithmetic(outer, now, batch, loss, rate):
    value, grads = jax.value_and_grad(loss)(now, *batch)
    return now - rate * grads, value


def after_each_update(loss, params, xs, ys, rate):
    losses = []
    for x, y in zip(xs, ys):
        params = train(loss, params, x[None], y[None], rate)[0]
        losses.append(loss(params, x, y))
    return params, jnp.stack(losses)


def branching(loss, params, xs, ys, rate):
    value, grads = jax.value_and_grad(loss)(params, xs[0], ys[0])
    if value > 0:
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    return params, value[None]


WRONG: list[tuple[str, Callable, str]] = [
    ("augment", one_key, "come from the same key"),
    ("augment", lambda x, key: augment(x, jax.random.split(key)[0]), "wrong numbers"),
    ("augment", forgotten, "returns a NEW array"),
    ("augment", assigned, "immutable"),
    ("augment", lambda x, key: augment(x, 0), "it stopped"),
    ("augment", dropped, "draw what is KEPT"),
    (
        "augment",
        lambda x, key: masked(lambda k, s: jax.random.bernoulli(k, 0.2, s), x, key),
        "probability of True",
    ),
    ("augment", lambda x, key: masked(lambda k, s: kept(k, s) / 0.8, x, key), "without rescaling"),
    (
        "augment",
        lambda x, key: masked(kept, x, key, lambda k, shape: jax.random.normal(k)),
        "one noise for all",
    ),
    (
        "gradient_norms",
        lambda f, w, x, y: jnp.full(
            len(x),
            jnp.linalg.norm(jax.grad(lambda w: jax.vmap(f, (None, 0, 0))(w, x, y).mean())(w)),
        ),
        "of the MEAN loss",
    ),
    ("gradient_norms", lambda *inputs: gradient_norms(*inputs) ** 2, "squared norms"),
    (
        "gradient_norms",
        lambda f, w, x, y: jnp.linalg.norm(
            jax.vmap(jax.grad(f, 1), (None, 0, 0))(w, x, y), axis=-1
        ),
        "for the inputs",
    ),
    ("gradient_norms", lambda f, w, x, y: jax.vmap(jax.grad(f))(w, x, y), "in_axes None"),
    ("gradient_norms", example_by_example, "use jax.vmap"),
    ("train", lambda f, p, x, y, rate: train(f, p, x, y, -rate), "AGAINST"),
    ("train", after_each_update, "after each update"),
    (
        "train",
        lambda f, p, x, y, rate: (p, jnp.stack([f(p, *xy) for xy in zip(x, y)])),
        "parameters are lost",
    ),
    ("train", lambda *inputs: train(*inputs)[0], "uses what it returned"),
    ("train", step_by_step, "use jax.lax.scan"),
    ("train", scanned(of_the_outer), "at its own argument"),
    ("train", scanned(pair_swapped), "returns (carry, output)"),
    ("train", scanned(dict_arithmetic), "use jax.tree.map"),
    ("train", branching, "TracerBoolConversionError"),
]
