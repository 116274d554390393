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
    return jnp.stack([jnp.sqrt(jnp.sum(jax.grad(loss)(params, *xy) ** 2)) for xy in zip(xs, ys)])


def train(loss, params, xs, ys, rate):
    losses = []
    for x, y in zip(xs, ys):
        losses.append(loss(params, x, y))
        grads = jax.grad(loss)(params, x, y)
        params = {name: params[name] - rate * grads[name] for name in params}
    return params, jnp.stack(losses)


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
    ("gradient_norms", lambda f, w, x, y: jax.vmap(jax.grad(f))(w, x, y), "it stopped"),
    ("train", lambda f, p, x, y, rate: train(f, p, x, y, -rate), "AGAINST"),
    ("train", after_each_update, "after each update"),
    (
        "train",
        lambda f, p, x, y, rate: (p, jnp.stack([f(p, *xy) for xy in zip(x, y)])),
        "parameters are lost",
    ),
    ("train", lambda *inputs: train(*inputs)[0], "it stopped"),
    ("train", branching, "TracerBoolConversionError"),
]
