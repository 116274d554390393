"""Operations that XLA computes slowly on CPUs, rewritten: the same functions, the same numbers.

`layers` and `images` define each of these functions in its plain form and mark it `faster_on_cpu`.
Whether the plain form or the one of the same name in this module runs is decided in that decorator
only. No other module knows of this one, and tests/test_fast_cpu.py compares values and derivatives.

* Derivatives of linear maps are written out. A sum over a batch becomes a matrix product, and of
  two forms of a product the one that XLA's library for CPUs, Eigen, computes faster is taken.
* A block-linear map whose blocks share an input becomes one dense product for that input.
* Networks of patches compute one time step after another, so that what they make stays in the
  cache.
* A 5x5 convolution next to a halving or doubling of the image is done on the coarser grid. A 2x2
  square of pixels with c channels is one cell with 4c channels. A 5x5 kernel reads, for such a
  square, only pixels of 3x3 such cells, so the same sums are a 3x3 convolution of fewer cells with
  more channels. Forward and backward pass take 0.4 of the time.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from dreamer_lite.agent import devices

FEW_ROWS = 128  # fewer are those of one step of a scan


def faster_on_cpu(plain: Callable) -> Callable:
    """`plain`, or on a CPU the function of the same name in this module.

    The function of this module may return NotImplemented where it is not faster.
    """
    fast = globals()[plain.__name__]

    @functools.wraps(plain)
    def choose(*args: Any) -> Any:
        result = fast(*args) if devices.first().platform == "cpu" else NotImplemented
        return plain(*args) if result is NotImplemented else result

    return choose


@jax.custom_jvp
def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    return x @ kernel + bias


@functools.partial(affine.defjvp, symbolic_zeros=True)
def _affine_derivative(primals, tangents):
    """dx W + x dW + db, so written that the gradient, its transpose, is fast."""
    (x, kernel, bias), (dx, dkernel, dbias) = primals, tangents
    flat, parts = x.reshape(-1, x.shape[-1]), []
    if not _is_zero(dx):
        parts.append(_times(dx.reshape(flat.shape), kernel, turn=len(flat) < FEW_ROWS))
    if not _is_zero(dkernel):
        narrows = kernel.shape[0] > kernel.shape[1]
        parts.append(_times(flat, dkernel, turn=narrows and len(flat) >= FEW_ROWS))
    if not _is_zero(dbias):
        parts.append(_repeat(dbias, len(flat)))
    # The barrier keeps XLA from fusing what made the gradient into the transposed copy that the
    # product for the kernel needs: that fusion costs ten times as much as both operations apart.
    tangent = jax.lax.optimization_barrier(functools.reduce(jnp.add, parts))
    return affine(x, kernel, bias), tangent.reshape(*x.shape[:-1], -1)


def _times(x: jax.Array, kernel: jax.Array, turn: bool) -> jax.Array:
    """x W. With `turn`, the products of its gradient have the other order of operands.

    From the gradient g of the result comes g Wᵀ for x. Of few rows, Eigen takes up to six times as
    long for it as with Wᵀ stored first, which a scan does once for all its steps. And xᵀ g for W:
    where x is wider than g, this takes two to nine times as long as gᵀ x and a transpose.
    """
    if not turn:
        return x @ kernel
    turned = jax.lax.optimization_barrier(kernel.mT)  # else XLA makes the same x W of it
    return jnp.einsum("...ni,...oi->...no", x, turned)


@jax.custom_jvp
def block_product(parts: jax.Array, kernel: jax.Array) -> jax.Array:
    return parts @ kernel


@functools.partial(block_product.defjvp, symbolic_zeros=True)
def _block_derivative(primals, tangents):
    (parts, kernel), (dparts, dkernel) = primals, tangents
    terms = []
    if not _is_zero(dparts):
        terms.append(_times(dparts, kernel, turn=parts.shape[1] < FEW_ROWS))
    if not _is_zero(dkernel):
        terms.append(parts @ dkernel)
    return block_product(parts, kernel), functools.reduce(jnp.add, terms)


@jax.custom_jvp
def scale_features(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * scale


@functools.partial(scale_features.defjvp, symbolic_zeros=True)
def _scale_derivative(primals, tangents):
    (x, scale), (dx, dscale) = primals, tangents
    parts = [] if _is_zero(dx) else [dx * scale]
    if not _is_zero(dscale):
        flat = x.reshape(-1, x.shape[-1])
        parts.append((flat * _repeat(dscale, len(flat))).reshape(x.shape))
    return scale_features(x, scale), functools.reduce(jnp.add, parts)


def _is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be 0: a product with zeros would be computed nevertheless."""
    return isinstance(tangent, SymbolicZero)


def _repeat(x: jax.Array, count: int) -> jax.Array:
    """(m,) -> (count, m) by a matrix product, whose transpose, a sum, is a fast product too."""
    return jnp.matmul(np.ones((count, 1), x.dtype), x[None])


def shared_block_affine(
    own: jax.Array, shared: jax.Array, kernel: jax.Array, bias: jax.Array
) -> jax.Array:
    """The kernels of all blocks for `shared`, side by side, are one dense matrix."""
    blocks, _, size = kernel.shape
    dense = jnp.moveaxis(kernel[:, size:], 0, 1).reshape(shared.shape[-1], -1)
    parts = jnp.moveaxis(own.reshape(-1, blocks, size), 1, 0)
    y = jnp.moveaxis(block_product(parts, kernel[:, :size]), 0, 1).reshape(own.shape)
    return y + affine(shared, dense, bias)


def _taps() -> np.ndarray:
    """Which of 5 taps d leads from offset p in a cell to offset q in its neighbour e; (3, 2, 2, 5).

    Along one axis: pixel 2Y + p sees pixel 2Y + p + d - 2, which is 2 (Y + e - 1) + q.
    """
    e, q, p, d = np.ogrid[:3, :2, :2, :5]
    return (2 * e + q == p + d).astype(np.float32)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolve_and_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if len(kernel) != 5:
        return NotImplemented
    n, h, w, inputs = x.shape
    outputs = kernel.shape[-1]
    taps = _taps()
    coarse = jnp.einsum("eqpd,frsc,dcio->efqripso", taps, taps, kernel)
    cells = x.reshape(n, h // 2, 2, w // 2, 2, inputs).swapaxes(2, 3)
    cells = cells.reshape(n, h // 2, w // 2, 4 * inputs)
    y = _convolve(cells, coarse.reshape(3, 3, 4 * inputs, 4 * outputs))
    return y.reshape(n, h // 2, w // 2, 4, outputs).max(3)


def upsample_and_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if len(kernel) != 5:
        return NotImplemented
    n, h, w, inputs = x.shape
    outputs = kernel.shape[-1]
    taps = _taps().sum(1)  # both pixels of a neighbour are equal
    coarse = jnp.einsum("epd,fsc,dcio->efipso", taps, taps, kernel)
    y = _convolve(x, coarse.reshape(3, 3, inputs, 4 * outputs))
    y = y.reshape(n, h, w, 2, 2, outputs).swapaxes(2, 3)
    return y.reshape(n, 2 * h, 2 * w, outputs)


def map_steps(function: Callable, steps: Any) -> Any:
    """One step after another, each computed again on the way back instead of stored."""
    return jax.lax.map(jax.checkpoint(function), steps)
