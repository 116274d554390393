"""Four tasks whose rewards differ in magnitude only, for one network that predicts all of them.

A state is 8 uniform numbers in [-1, 1]. Task k looks at two of them, u = x[2k] and v = x[2k + 1],
and pays 2 s f(u, v) or 0, with equal probability; f(u, v) = 1.5 v sin(3 u), and s is the size of
its rewards. The expected reward is s f(u, v). Notebook 03 builds the network and the losses.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

SIZES = np.array([0.01, 1, 100, 10_000], np.float32)
INPUTS, BATCH, RATE = 2 * len(SIZES), 128, 3e-3

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # outputs (n, 4, O), rewards (n, 4) -> (n, 4)


def expected_reward(x: jax.Array) -> jax.Array:
    """s f(u, v) of states (n, 8): (n, 4)."""
    return 1.5 * x[:, 1::2] * jnp.sin(3 * x[:, ::2]) * SIZES


def draw(key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """States (count, 8) and their random rewards (count, 4). The key is consumed."""
    state_key, reward_key = jax.random.split(key)
    x = jax.random.uniform(state_key, (count, INPUTS), minval=-1, maxval=1)
    paid = jax.random.bernoulli(reward_key, 0.5, (count, len(SIZES)))
    return x, 2 * paid * expected_reward(x)


def train(
    network: nnx.Module, loss: Loss, updates: int, seed: int, shuffled: bool = False
) -> nnx.Module:
    """Minimise the sum of the four tasks' mean losses; returns the trained network.

    Adam, with a learning rate that falls from RATE to 0 along a cosine.
    If `shuffled`, each state gets the rewards of another one: a negative control.
    """
    graph = nnx.graphdef(network)
    adam = optax.adam(optax.cosine_decay_schedule(RATE, updates))

    def total(params: Any, x: jax.Array, reward: jax.Array) -> jax.Array:
        return loss(nnx.merge(graph, params)(x), reward).mean(0).sum()  # pyright: ignore

    def update(carry: Any, key: jax.Array) -> Any:
        params, memory = carry
        x, reward = draw(key, BATCH)
        reward = reward[::-1] if shuffled else reward
        step, memory = adam.update(jax.grad(total)(params, x, reward), memory)
        return (optax.apply_updates(params, step), memory), None

    @jax.jit
    def run(params: Any) -> Any:
        keys = jax.random.split(jax.random.key(seed), updates)
        return jax.lax.scan(update, (params, adam.init(params)), keys)[0][0]

    return nnx.merge(graph, run(nnx.to_pure_dict(nnx.state(network, nnx.Param))))


def explained_variance(network: Any, predict: Callable[[jax.Array], jax.Array]) -> np.ndarray:
    """1 - mean((prediction - expected)²) / var(expected) of each task, (4,), on new states.

    1 is perfect, 0 is as good as a constant, the mean; below 0 is worse than that.
    """
    x, _ = draw(jax.random.key(2**20), 4096)
    expected = expected_reward(x)
    error = jnp.mean((predict(network(x)) - expected) ** 2, 0)
    return np.asarray(1 - error / expected.var(0))


def trunk_gradients(network: Any, loss: Loss) -> np.ndarray:
    """The norm of each task's gradient for the trunk, as fractions of their sum; (4,).

    `network.trunk` is the part that all tasks share. Root mean square over 32 batches.
    """
    graph = nnx.graphdef(network)

    @jax.jit
    def squares(params: Any) -> jax.Array:
        def task(params: Any, number: int, x: jax.Array, reward: jax.Array) -> jax.Array:
            return loss(nnx.merge(graph, params)(x), reward)[:, number].mean()  # pyright: ignore

        def batch(key: jax.Array) -> jax.Array:
            x, reward = draw(key, BATCH)
            slopes = [jax.grad(task)(params, k, x, reward)["trunk"] for k in range(len(SIZES))]
            return jnp.stack([sum(jnp.sum(x**2) for x in jax.tree.leaves(s)) for s in slopes])

        return jax.lax.map(batch, jax.random.split(jax.random.key(2**21), 32)).mean(0)

    norm = np.sqrt(np.asarray(squares(nnx.to_pure_dict(nnx.state(network, nnx.Param)))))
    return norm / norm.sum()


def maps(predict: Callable[[jax.Array], jax.Array], cells: int = 24) -> np.ndarray:
    """Predictions over each task's own two numbers, divided by its size: (4, cells, cells).

    `predict` maps states (n, 8) to rewards (n, 4). Axis 1 is v, axis 2 is u, both from -1 to 1. The
    six numbers that the task does not look at are random in each cell, so that a prediction which
    depends on them looks grainy.
    """
    grid = np.linspace(-1, 1, cells, dtype=np.float32)
    v, u = (part.ravel() for part in np.meshgrid(grid, grid, indexing="ij"))
    found = []
    for number, size in enumerate(SIZES):
        x = np.random.default_rng(number).uniform(-1, 1, (cells * cells, INPUTS)).astype("float32")
        x[:, 2 * number], x[:, 2 * number + 1] = u, v
        found.append(np.asarray(predict(jnp.asarray(x)))[:, number] / size)
    return np.stack(found).reshape(len(SIZES), cells, cells)
