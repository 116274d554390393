"""Image networks: convolutions as in the paper, and patches for CPUs.

Encoders end in a vector. Decoders begin with a small grid of cells that is made from the state.
Images are (n, h, w, c), except inside the networks of patches, which move no pixel: what goes in
has been arranged by `arrange`, and `restore` makes images of what comes out.
Released code: `Encoder` and `Decoder` in dreamerv3/rssm.py.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.agent.fast_cpu import faster_on_cpu
from dreamer_lite.agent.layers import (
    BlockLinear,
    Layer,
    Linear,
    Norm,
    Rng,
    cast,
    truncated_normal,
)
from dreamer_lite.config import Config


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Same-size convolution, stride 1; (n, h, w, i), (k, k, i, o) -> (n, h, w, o), x's dtype."""
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@faster_on_cpu
def convolve_and_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A convolution, then the largest of each 2x2 square; (n, h, w, i) -> (n, h/2, w/2, o)."""
    return max_pool(convolve(x, kernel))


@faster_on_cpu
def upsample_and_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each cell repeated as a 2x2 square, then a convolution; (n, h, w, i) -> (n, 2h, 2w, o)."""
    return convolve(upsample(x), kernel)


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2x2 square; (n, h, w, c) -> (n, h/2, w/2, c)."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def upsample(x: jax.Array) -> jax.Array:
    """Repeat each cell as a 2x2 square; (n, h, w, c) -> (n, 2h, 2w, c)."""
    return x.repeat(2, 1).repeat(2, 2)


@faster_on_cpu
def map_steps(function: Callable, steps: Any) -> Any:
    """`function` of all T steps of sequences at once, which it treats apart; arrays (T, ...).

    For functions without convolutions, which XLA computes slowly on CPUs inside a loop.
    """
    return function(steps)


class Conv(nnx.Module):
    """k x k convolution, stride 1, same size; (n, h, w, inputs) -> (n, h, w, outputs)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, rng: Rng):
        shape = (kernel, kernel, inputs, outputs)
        self.kernel = nnx.Param(truncated_normal(rng, shape, kernel * kernel * inputs))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return convolve(x, self.kernel[...]) + cast(self.bias, x)

    def then_pool(self, x: jax.Array) -> jax.Array:
        """max_pool(self(x))."""
        return convolve_and_pool(x, self.kernel[...]) + cast(self.bias, x)

    def after_upsample(self, x: jax.Array) -> jax.Array:
        """self(upsample(x))."""
        return upsample_and_convolve(x, self.kernel[...]) + cast(self.bias, x)


def widths(config: Config) -> list[int]:
    """Channels after each stage of an encoder, from the image to the smallest grid."""
    return [config.depth * m for m in config.multipliers]


def shrinkage(config: Config) -> int:
    """How many times shorter all stages together make the side of an image."""
    factor = config.kernel if config.image_net == "patch" else 2
    return factor ** len(config.multipliers)


class ConvEncoder(nnx.Module):
    """Images to a vector: per stage a convolution, 2x2 max-pool, RMSNorm, SiLU.

    (n, h, w, c) in [-0.5, 0.5] -> (n, h/2^s * w/2^s * channels) after s stages.
    """

    def __init__(self, channels: int, config: Config, rng: Rng):
        pairs = list(itertools.pairwise([channels, *widths(config)]))
        self.convs = nnx.data([Conv(a, b, config.kernel, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.silu(norm(conv.then_pool(x)))
        return x.reshape(x.shape[0], -1)

    def arrange(self, x: jax.Array) -> jax.Array:
        """Images are taken as they are."""
        return x


class PatchEncoder(nnx.Module):
    """Images to a vector: per stage, each patch of k x k cells becomes one cell by a `Layer`.

    A departure from the paper, for CPUs: patches do not overlap, so a stage is one matrix product,
    ten times as fast as convolutions; but only later stages relate cells across a patch's border.
    (n, cells, pixels of a cell, c), arranged, in [-0.5, 0.5] -> (n, cells * channels).
    """

    def __init__(self, channels: int, config: Config, rng: Rng):
        self.side = config.kernel
        pairs = itertools.pairwise([channels, *widths(config)])
        self.layers = nnx.data([Layer(self.side**2 * a, b, rng) for a, b in pairs])

    def __call__(self, x: jax.Array) -> jax.Array:
        n = len(x)
        for layer in self.layers:
            x = layer(x.reshape(-1, self.side**2 * x.shape[-1]))
        return x.reshape(n, -1)

    def arrange(self, x: jax.Array) -> jax.Array:
        """Images as `__call__` takes them: (..., h, w, c) -> (..., cells, pixels of a cell, c)."""
        return to_patches(x, self.side, len(self.layers))


def to_patches(x: jax.Array, side: int, stages: int) -> jax.Array:
    """Patches of patches, k x k each, s = `stages` deep; (..., h, w, c) -> (..., m, k^2s, c).

    The m cells of the last stage follow each other row by row, and so do the patches within a
    larger one and the pixels within the smallest. So each pixel is moved once, and no stage moves
    its many channels.
    """
    *lead, h, w, c = x.shape
    inner = [side] * stages
    x = x.reshape(-1, h // side**stages, *inner, w // side**stages, *inner, c)
    rows = range(1, stages + 2)
    pairs = itertools.chain.from_iterable((row, row + stages + 1) for row in rows)
    return x.transpose(0, *pairs, x.ndim - 1).reshape(*lead, -1, side ** (2 * stages), c)


def from_patches(x: jax.Array, side: int, rows: int) -> jax.Array:
    """The inverse of `to_patches`, for images of `rows` rows of cells."""
    *lead, cells, pixels, c = x.shape
    stages = round(math.log(pixels, side**2))
    x = x.reshape(-1, rows, cells // rows, *[side] * (2 * stages), c)
    order = *range(1, x.ndim - 1, 2), *range(2, x.ndim - 1, 2)
    return x.transpose(0, *order, x.ndim - 1).reshape(*lead, rows * side**stages, -1, c)


class StartGrid(nnx.Module):
    """A state to the smallest grid of an image decoder: a map of h and a map of z, added.

    deter (n, D), stoch (n, S*C) -> (n, h/r, w/r, channels), r = `shrinkage`.
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: Rng):
        channels = widths(config)[-1]
        self.start = (*(side // shrinkage(config) for side in shape[:2]), channels)
        cells = self.start[0] * self.start[1] * channels
        self.from_deter = BlockLinear(config.deter, cells, config.image_blocks, rng)
        self.stoch_layer = Layer(config.stoch * config.classes, 2 * config.units, rng)
        self.from_stoch = Linear(2 * config.units, cells, rng)
        self.start_norm = Norm(channels)

    def start_grid(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        h, w, channels = self.start
        blocks = self.from_deter.kernel[...].shape[0]
        assert channels % blocks == 0, f"{blocks} blocks do not divide {channels} channels"
        assert deter.ndim == 2 == stoch.ndim and len(deter) == len(stoch)
        grid = self.from_deter(deter).reshape(-1, blocks, h, w, channels // blocks)
        grid = jnp.moveaxis(grid, 1, 3).reshape(-1, h, w, channels)
        x = grid + self.from_stoch(self.stoch_layer(stoch)).reshape(-1, h, w, channels)
        return jax.nn.silu(self.start_norm(x))


class ConvDecoder(StartGrid):
    """A state to images in [0, 1]: the start grid, then per stage upsample and convolve.

    deter (n, D), stoch (n, S*C) -> (n, h, w, c).
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: Rng):
        super().__init__(shape, config, rng)
        pairs = list(itertools.pairwise(widths(config)[::-1]))
        self.convs = nnx.data([Conv(a, b, config.kernel, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])
        self.out = Conv(widths(config)[0], shape[2], config.kernel, rng)

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        x = self.start_grid(deter, stoch)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.silu(norm(conv.after_upsample(x)))
        return jax.nn.sigmoid(self.out.after_upsample(x).astype(jnp.float32))

    def restore(self, x: jax.Array) -> jax.Array:
        """Images come as they are."""
        return x


class PatchDecoder(StartGrid):
    """The mirror image of `PatchEncoder`: each cell becomes a patch of k x k cells.

    deter (n, D), stoch (n, S*C) -> (n, cells, pixels of a cell, c) in [0, 1], arranged.
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: Rng):
        super().__init__(shape, config, rng)
        self.side = config.kernel
        pairs = list(itertools.pairwise(widths(config)[::-1]))
        self.linears = nnx.data([Linear(a, self.side**2 * b, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])
        self.out = Linear(widths(config)[0], self.side**2 * shape[2], rng)

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        n, (h, w, channels) = len(deter), self.start
        x = self.start_grid(deter, stoch).reshape(-1, channels)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = jax.nn.silu(norm(self.split(linear(x))))
        x = jax.nn.sigmoid(self.split(self.out(x)).astype(jnp.float32))
        return x.reshape(n, h * w, -1, x.shape[-1])

    def split(self, x: jax.Array) -> jax.Array:
        """Each cell into the cells of its patch; (n, k*k*c) -> (n*k*k, c)."""
        return x.reshape(-1, x.shape[-1] // self.side**2)

    def restore(self, x: jax.Array) -> jax.Array:
        """Images of the result; (..., cells, pixels of a cell, c) -> (..., h, w, c)."""
        return from_patches(x, self.side, self.start[0])
