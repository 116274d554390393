"""Notebook 03: the layers of every network."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course.checks.exercise import normal, part, solved, solved_agent, uniform
from dreamer_lite.course.compare import Exercise, Function, on


def layer(inputs: int, outputs: int, blocks: int = 1, seed: int = 13) -> Any:
    """A linear layer with a bias that is not zero."""
    made = solved_agent().Linear(inputs, outputs, np.random.default_rng(seed), blocks=blocks)
    made.bias[...] = normal(seed, outputs)
    return made


@part("Linear.forward")
def linear() -> Exercise:
    """`mine(self, x)`: (..., inputs) -> (..., outputs); self.kernel (i, o) or (g, i, o), self.bias.

    With a kernel (g, i, o) the g parts of x have a matrix each. Source: `BlockLinear` of the
    released code (embodied/jax/nets.py).
    """
    oracle = solved("Linear.forward")

    def transposed(self, x):
        square = self.kernel.ndim == 2 and len(set(self.kernel.shape)) == 1
        return x @ self.kernel[...].T + self.bias[...] if square else oracle(self, x)

    def first_block(self, x):
        kernel = self.kernel[...]
        if kernel.ndim == 2:
            return oracle(self, x)
        parts = x.reshape(*x.shape[:-1], len(kernel), -1)
        return (parts @ kernel[0]).reshape(*x.shape[:-1], -1) + self.bias[...]

    def interleaved(self, x):
        kernel = self.kernel[...]
        if kernel.ndim == 2:
            return oracle(self, x)
        parts = jnp.swapaxes(x.reshape(*x.shape[:-1], -1, len(kernel)), -1, -2)
        outputs = jnp.einsum("...gi,gio->...go", parts, kernel)
        return outputs.reshape(*x.shape[:-1], -1) + self.bias[...]

    return Exercise(
        oracle,
        [
            on(
                "3 vectors, 2 inputs, 2 outputs",
                layer(2, 2),
                jnp.array([[1.0, 0], [2, -1], [0, 1]]),
            ),
            on("2 vectors, 3 inputs, 2 outputs", layer(3, 2), jnp.array([[1.0, 0, 0], [0, 1, -1]])),
            on("shape (2, 5, 4)", layer(4, 3), normal(14, 2, 5, 4)),
            on("2 blocks, 6 inputs, 4 outputs", layer(6, 4, 2), normal(15, 3, 6)),
            on("3 blocks, shape (2, 2, 6)", layer(6, 9, 3), normal(16, 2, 2, 6)),
        ],
        transposed=transposed,
        no_bias=lambda self, x: oracle(self, x) - self.bias[...],
        minus_bias=lambda self, x: oracle(self, x) - 2 * self.bias[...],
        first_block=first_block,
        interleaved=interleaved,
    )


@part("Norm.normalize")
def normalize() -> Exercise:
    """`mine(self, x)`: (..., n) -> (..., n), x / sqrt(mean(x^2) + 0.0001) times self.scale (n,)."""
    oracle = solved("Norm.normalize")

    def norm(size: int) -> Any:
        made = solved_agent().Norm(size)
        made.scale[...] = 0.5 + uniform(17, size)
        return made

    def divided(root: Any) -> Function:
        return lambda self, x: x / root(x) * self.scale[...]

    def mean(x):
        return jnp.mean(x * x, -1, keepdims=True)

    return Exercise(
        oracle,
        [
            on("2 vectors of 3 numbers", norm(3), jnp.array([[3.0, 0, 4], [0.1, -0.1, 0]])),
            on("shape (2, 3, 5)", norm(5), 2 + normal(18, 2, 3, 5)),
            on("small numbers", norm(5), 0.01 * normal(19, 4, 5)),
        ],
        no_scale=lambda self, x: x * jax.lax.rsqrt(mean(x) + 1e-4),
        no_root=divided(lambda x: mean(x) + 1e-4),
        euclidean=divided(lambda x: jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-4)),
        whole=divided(lambda x: jnp.sqrt(jnp.mean(x * x) + 1e-4)),
        centred=lambda self, x: oracle(self, x - x.mean(-1, keepdims=True)),
        no_epsilon=divided(lambda x: jnp.sqrt(mean(x))),
        epsilon_outside=divided(lambda x: jnp.sqrt(mean(x)) + 1e-4),
    )


@part("Mlp.forward")
def mlp() -> Exercise:
    """`mine(self, x)`: (..., inputs) -> (..., units), or (..., outputs) if there is self.out."""
    oracle = solved("Mlp.forward")

    def network(layers: int, outputs: int) -> Any:
        made = solved_agent().Mlp(3, 4, layers, np.random.default_rng(20), outputs, bias=0.5)
        for number, (linear, norm) in enumerate(zip(made.linears, made.norms)):
            linear.bias[...] = normal(21 + number, 4)
            norm.scale[...] = 0.5 + uniform(24 + number, 4)
        return made

    def other(hidden: Any, end: Any = lambda y: y) -> Function:
        def mistake(self, x):
            for linear, norm in zip(self.linears, self.norms):
                x = hidden(linear, norm, x)
            return x if self.out is None else end(self.out(x))

        return mistake

    def usual(linear, norm, x):
        return jax.nn.silu(norm.normalize(linear(x)))

    def no_output(self, x):
        hidden = SimpleNamespace(linears=self.linears, norms=self.norms, out=None)
        return oracle(hidden, x)

    silu = jax.nn.silu
    return Exercise(
        oracle,
        [
            on("2 layers and an output", network(2, 2), jnp.array([[1.0, 2, 3], [0, -1, 0]])),
            on("2 layers without an output, shape (2, 5, 3)", network(2, 0), normal(22, 2, 5, 3)),
            on("1 layer and an output", network(1, 3), normal(23, 4, 3)),
        ],
        no_norm=other(lambda linear, norm, x: silu(linear(x))),
        no_silu=other(lambda linear, norm, x: norm.normalize(linear(x))),
        silu_first=other(lambda linear, norm, x: norm.normalize(silu(linear(x)))),
        relu=other(lambda linear, norm, x: jax.nn.relu(norm.normalize(linear(x)))),
        silu_at_end=other(usual, silu),
        no_output=no_output,
    )
