"""Layers: linear map, RMSNorm, SiLU, and stacks of them.

Order inside a layer is always linear -> RMSNorm -> SiLU, and every linear map has a bias, as in the
released code (embodied/jax/nets.py). Modules act on the last axis and take any leading axes.

Parameters are float32. A layer computes in the dtype of its input, so the dtype is set once, where
observations and states come in, and the predictions of the heads are float32 again.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.agent.fast_cpu import faster_on_cpu
from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu

Rng = np.random.Generator | None  # None: an agent's shapes without its numbers


def truncated_normal(
    rng: Rng, shape: tuple[int, ...], fan_in: int, scale: float = 1.0
) -> np.ndarray:
    """Normal, cut at two standard deviations, rescaled to a deviation of scale / √fan_in.

    `Initializer` in the released code's nets.py. Drawn by numpy on the host, because in JAX every
    new shape would cost a compilation. Without a generator only the shape is right, and the array
    takes no memory.
    """
    if rng is None:
        return np.broadcast_to(np.float32(0), shape)
    draws = rng.standard_normal(shape, np.float32)
    while (outside := np.abs(draws) > 2).any():
        draws[outside] = rng.standard_normal(outside.sum(), np.float32)
    return draws * np.float32(1.1368 * scale / np.sqrt(fan_in))


def cast(param: nnx.Param, x: jax.Array) -> jax.Array:
    """The float32 numbers of a parameter in the dtype of x; their gradient is float32 again."""
    return param[...].astype(x.dtype)


@faster_on_cpu
def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """y = x W + b; (..., i), (i, o), (o,) -> (..., o)."""
    return x @ kernel + bias


@faster_on_cpu
def scale_features(x: jax.Array, scale: jax.Array) -> jax.Array:
    """y = x ⊙ scale; (..., n), (n,) -> (..., n)."""
    return x * scale


@faster_on_cpu
def shared_block_affine(
    own: jax.Array, shared: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
    """A block-linear map in which block k sees part k of `own` and all of `shared`.

    yₖ = [ownₖ, shared] Wₖ + bₖ; own (..., g*i), shared (..., m), kernel (g, i+m, i), bias (g*i,)
    -> (..., g*i).
    """
    parts = split_blocks(own, len(kernel))  # (g, n, i)
    repeated = jnp.broadcast_to(
        shared.reshape(-1, shared.shape[-1]), (*parts.shape[:2], shared.shape[-1])
    )
    y = jnp.concatenate([parts, repeated], -1) @ kernel
    return join_blocks(y, own.shape[:-1]) + bias


class Linear(nnx.Module):
    """y = x W + b; (..., inputs) -> (..., outputs). `scale` 0 makes it start as all `bias`."""

    def __init__(self, inputs: int, outputs: int, rng: Rng, scale: float = 1.0, bias: float = 0.0):
        self.kernel = nnx.Param(truncated_normal(rng, (inputs, outputs), inputs, scale))
        self.bias = nnx.Param(np.full(outputs, bias, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return affine(x, cast(self.kernel, x), cast(self.bias, x))


class BlockLinear(nnx.Module):
    """A block-diagonal linear map, yₖ = xₖ Wₖ + bₖ for g parts of x that do not see each other.

    (..., inputs) -> (..., outputs); part k of x, inputs/g long, makes part k of y. The fan-in of
    the initialiser is the full `inputs`, as in the released code (`BlockLinear` in nets.py).
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, rng: Rng):
        assert inputs % blocks == 0 == outputs % blocks, (inputs, outputs, blocks)
        shape = (blocks, inputs // blocks, outputs // blocks)
        self.kernel = nnx.Param(truncated_normal(rng, shape, inputs))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return block_affine(x, cast(self.kernel, x), cast(self.bias, x))


def block_affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """yₖ = xₖ Wₖ + bₖ for each block k; (..., g*i), (g, i, o), (g*o,) -> (..., g*o)."""
    parts = block_product(split_blocks(x, len(kernel)), kernel) + bias.reshape(len(kernel), 1, -1)
    return join_blocks(parts, x.shape[:-1])


@faster_on_cpu
def block_product(parts: jax.Array, kernel: jax.Array) -> jax.Array:
    """xₖ Wₖ for each block k; (g, n, i), (g, i, o) -> (g, n, o)."""
    return parts @ kernel


def split_blocks(x: jax.Array, blocks: int) -> jax.Array:
    """(..., g*i) -> (g, n, i): the parts of x one after the other, each for all n vectors.

    In this order a product with one kernel per part, and what follows it, run along memory.
    """
    assert x.shape[-1] % blocks == 0, f"{blocks} blocks do not divide {x.shape[-1]}"
    return jnp.moveaxis(x.reshape(-1, blocks, x.shape[-1] // blocks), 1, 0)


def join_blocks(parts: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """The inverse of `split_blocks`, (g, n, o) -> (*lead, g*o)."""
    assert parts.shape[1] == math.prod(lead), (parts.shape, lead)
    return jnp.moveaxis(parts, 0, 1).reshape(*lead, -1)


class Norm(nnx.Module):
    """RMSNorm over the last axis: y = x / √(mean(x²) + 1e-4) ⊙ scale (`Norm` in nets.py)."""

    def __init__(self, size: int):
        self.scale = nnx.Param(np.ones(size, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.normalize(x, self.scale[...])

    @staticmethod
    def normalize(x: jax.Array, scale: jax.Array) -> jax.Array:
        """The same with a given scale; (..., n), (n,) -> (..., n)."""
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + 1e-4)
        return scale_features(x32 * inverse, scale).astype(x.dtype)


class Layer(nnx.Module):
    """Linear -> RMSNorm -> SiLU; (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, outputs: int, rng: Rng):
        self.linear = Linear(inputs, outputs, rng)
        self.norm = Norm(outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.silu(self.norm(self.linear(x)))


@fewer_launches_on_gpu
def apply_each(layers: Sequence[Layer], inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """Each of these equally wide layers of its own input."""
    return [layer(x) for layer, x in zip(layers, inputs, strict=True)]


class Mlp(nnx.Module):
    """A stack of equally wide layers; (..., inputs) -> (..., units)."""

    def __init__(self, inputs: int, units: int, layers: int, rng: Rng):
        sizes = [inputs] + [units] * layers
        self.layers = nnx.data([Layer(a, b, rng) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return x


class Head(nnx.Module):
    """An MLP and one linear output; (..., inputs) -> (..., outputs) float32."""

    def __init__(self, inputs: int, units: int, layers: int, outputs: int, scale: float, rng: Rng):
        self.mlp = Mlp(inputs, units, layers, rng)
        self.out = Linear(units, outputs, rng, scale)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.mlp(x)).astype(jnp.float32)
