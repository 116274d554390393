"""5x5 convolutions next to a halving or doubling of the image, done on the coarser grid.

XLA's convolutions on a CPU are slow where channels are few, as they are in the largest images. A
2x2 square of an image with c channels is one cell of a coarser image with 4c channels. What a 5x5
kernel sees from a square lies within 3x3 such cells, so the same sums are a 3x3 convolution of
fewer cells with more channels: 2.5 times as fast, forward and backward. Where the image was doubled
before, equal pixels are also added up once: 9 products in place of 25.
"""

import jax
import jax.numpy as jnp
import numpy as np


def _taps() -> np.ndarray:
    """Which of 5 taps d leads from offset p in a cell to offset q in its neighbour e; (3, 2, 2, 5).

    Along one axis: pixel 2Y + p sees pixel 2Y + p + d - 2, which is 2 (Y + e - 1) + q.
    """
    e, q, p, d = np.ogrid[:3, :2, :2, :5]
    return (2 * e + q == p + d).astype(np.float32)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Same-size convolution, stride 1; (n, h, w, i), (k, k, i, o) -> (n, h, w, o), x's dtype."""
    kernel = kernel.astype(x.dtype)
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolve_and_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """max_pool(convolve(x, kernel)) for 5x5 kernels; (n, h, w, i) -> (n, h/2, w/2, o)."""
    n, h, w, inputs = x.shape
    outputs = kernel.shape[-1]
    taps = _taps()
    coarse = jnp.einsum("eqpd,frsc,dcio->efqripso", taps, taps, kernel)
    cells = x.reshape(n, h // 2, 2, w // 2, 2, inputs).swapaxes(2, 3)
    cells = cells.reshape(n, h // 2, w // 2, 4 * inputs)
    y = convolve(cells, coarse.reshape(3, 3, 4 * inputs, 4 * outputs))
    return y.reshape(n, h // 2, w // 2, 4, outputs).max(3)


def upsample_and_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """convolve(upsample(x), kernel) for 5x5 kernels; (n, h, w, i) -> (n, 2h, 2w, o)."""
    n, h, w, inputs = x.shape
    outputs = kernel.shape[-1]
    taps = _taps().sum(1)  # both pixels of a neighbour are equal
    coarse = jnp.einsum("epd,fsc,dcio->efipso", taps, taps, kernel)
    y = convolve(x, coarse.reshape(3, 3, inputs, 4 * outputs))
    y = y.reshape(n, h, w, 2, 2, outputs).swapaxes(2, 3)
    return y.reshape(n, 2 * h, 2 * w, outputs)
