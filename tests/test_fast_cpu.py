"""What is rewritten for CPUs has the values and derivatives of the plain forms."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dreamer_lite.agent import devices, fast_cpu, images, layers

SHAPES = {  # of the arguments
    "affine": [(5,), (5, 7), (7,)],
    "affine of three axes": [(2, 3, 4, 5), (5, 7), (7,)],
    "affine of many rows": [(2, 100, 5), (5, 7), (7,)],
    "affine of many rows that narrows": [(2, 100, 7), (7, 5), (5,)],
    "block_product": [(2, 3, 4), (2, 4, 5)],
    "block_product of many rows": [(2, 200, 5), (2, 5, 4)],
    "scale_features": [(5,), (5,)],
    "scale_features of three axes": [(2, 3, 4, 5), (5,)],
    "shared_block_affine": [(6,), (5,), (2, 8, 3), (6,)],
    "shared_block_affine of two axes": [(4, 3, 6), (4, 3, 5), (2, 8, 3), (6,)],
    "convolve_and_pool": [(2, 6, 8, 3), (5, 5, 3, 7)],
    "upsample_and_convolve": [(2, 6, 8, 3), (5, 5, 3, 7)],
}
NAMES = {name.split()[0] for name in SHAPES}


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def forms(name: str):
    """The plain and the fast function of this name."""
    name = name.split()[0]
    module = layers if hasattr(layers, name) else images
    return getattr(module, name).__wrapped__, getattr(fast_cpu, name)


def test_all_of_them_are_compared() -> None:
    made_here = {
        name
        for name, x in vars(fast_cpu).items()
        if getattr(x, "__module__", "") == fast_cpu.__name__ and not name.startswith("_")
    }
    assert made_here - {"faster_on_cpu", "map_steps"} == NAMES


@pytest.mark.parametrize("name", SHAPES)
def test_values_and_derivatives_are_equal(name: str) -> None:
    """The value, the gradient for every argument, and the derivative in forward mode."""
    plain, fast = forms(name)
    inputs = [normal(*shape, seed=k) for k, shape in enumerate(SHAPES[name])]
    tangents = [normal(*shape, seed=9 + k) for k, shape in enumerate(SHAPES[name])]

    def all_of(function):
        y, back = jax.vjp(function, *inputs)
        _, forward = jax.jvp(function, inputs, tangents)
        return y, forward, back(normal(*y.shape, seed=20))

    found, expected = jax.jit(lambda: all_of(fast))(), all_of(plain)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("argument", range(2))
def test_derivatives_for_one_argument_alone(name: str, argument: int) -> None:
    plain, fast = forms(name)
    inputs = [normal(*shape, seed=k) for k, shape in enumerate(SHAPES[name])]

    def slope(function):
        return jax.grad(lambda *x: jnp.sum(function(*x) ** 2), argument)(*inputs)

    np.testing.assert_allclose(slope(fast), slope(plain), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("kind", ["linear", "norm"])
def test_gradients_of_layers_are_those_of_the_formulas(kind: str, shape: tuple) -> None:
    """Of the input and of every parameter, for any number of leading axes."""

    def plain(x, params):
        lead = (1,) * (len(shape) - 1)
        if kind == "linear":
            return jnp.tensordot(x, params["kernel"], 1) + params["bias"].reshape(*lead, -1)
        y = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-4)
        return y * params["scale"].reshape(*lead, -1)

    rng = np.random.default_rng(0)
    graph, state = nnx.split(layers.Linear(5, 7, rng) if kind == "linear" else layers.Norm(5))
    params = {name: normal(*x.shape, seed=3) for name, x in nnx.to_pure_dict(state).items()}
    x, weight = normal(*shape), normal(*shape[:-1], 7 if kind == "linear" else 5, seed=2)

    def slopes(function):
        total = jax.value_and_grad(lambda x, p: jnp.sum(weight * function(x, p) ** 2), (0, 1))
        return jax.tree.leaves(jax.jit(total)(x, params))

    for found, expected in zip(slopes(lambda x, p: nnx.merge(graph, p)(x)), slopes(plain)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_device_chooses() -> None:
    """On a CPU the fast form, elsewhere the plain one; kernels other than 5x5 always plain."""
    asked = []
    for name in NAMES:
        module = layers if hasattr(layers, name) else images
        shapes = next(shapes for case, shapes in SHAPES.items() if case.split()[0] == name)
        inputs = [normal(*shape) for shape in shapes]
        for backend in ("cpu", "gpu"):
            with devices.compiling_for(SimpleNamespace(platform=backend)):
                program, plain, fast = (
                    str(jax.make_jaxpr(lambda *x, f=f: f(*x))(*inputs))
                    for f in (getattr(module, name), *forms(name))
                )
                assert fast != plain and program == (fast if backend == "cpu" else plain), name
                asked.append(name)
    assert len(asked) == 2 * len(NAMES)
    x, small = normal(2, 6, 8, 3), normal(3, 3, 3, 7)
    for name in ("convolve_and_pool", "upsample_and_convolve"):
        plain, fast = forms(name)
        assert fast(x, small) is NotImplemented
        np.testing.assert_array_equal(getattr(images, name)(x, small), plain(x, small))


def test_steps_one_after_another_are_those_at_once() -> None:
    """Values and gradients, of what goes in and of weights that the function closes over."""
    steps = {"a": normal(4, 3, 5), "b": normal(4, 3, seed=1)}

    def total(map_steps, steps, kernel):
        def function(step):
            return {"c": jnp.tanh(step["a"] @ kernel) * step["b"][..., None]}

        found = map_steps(function, steps)["c"]
        return jnp.sum(found**2 * jnp.arange(4.0)[:, None, None]), found

    def all_of(map_steps):
        return jax.value_and_grad(total, (1, 2), has_aux=True)(map_steps, steps, normal(5, 2))

    for name, choice in (("cpu", fast_cpu.map_steps), ("gpu", images.map_steps.__wrapped__)):
        with devices.compiling_for(SimpleNamespace(platform=name)):
            found, expected = all_of(images.map_steps), all_of(choice)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    plain, fast = all_of(images.map_steps.__wrapped__), all_of(fast_cpu.map_steps)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, fast)


def test_convolutions_with_a_bias() -> None:
    conv, x = images.Conv(2, 3, 5, np.random.default_rng(0)), normal(2, 6, 8, 2)
    conv.bias[...] = np.arange(3, dtype=np.float32)
    pooled, grown = images.max_pool(conv(x)), conv(images.upsample(x))
    np.testing.assert_allclose(conv.then_pool(x), pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(conv.after_upsample(x), grown, rtol=1e-4, atol=1e-5)


def dots(function, *inputs) -> list[str]:
    """Of a compiled step against the gradient: shape and contracted axes of each product."""
    slope = jax.grad(lambda *x: jnp.sum(function(*x) ** 2), tuple(range(len(inputs))))

    def descend(*x):
        return jax.tree.map(lambda a, b: a - 0.1 * b, x, slope(*x))

    program = jax.jit(descend).lower(*inputs).compile().as_text()
    found = re.findall(r" = \w+\[([\d,]+)\]\S* dot\(.*?contracting_dims={(\d)}.*?={(\d)}", program)
    return [f"{shape} over {left} and {right}" for shape, left, right in found]


def test_xla_keeps_the_order_of_products() -> None:
    """Its simplifications would turn both products into the slow ones again."""
    wide, narrow = normal(7, 5), normal(5)
    rows, few = normal(200, 7), normal(3, 7)
    assert "5,7 over 0 and 0" in dots(fast_cpu.affine, rows, wide, narrow)
    assert "7,5 over 0 and 0" in dots(fast_cpu.affine, few, wide, narrow)

    def scanned(x, kernel):
        def step(x, _):
            return jnp.tanh(fast_cpu.affine(x, kernel, jnp.zeros(7))), None

        return jax.lax.scan(step, x, None, 4)[0]

    found = dots(scanned, few, normal(7, 7))
    assert "3,7 over 1 and 0" in found  # forward, and backward with the transposed kernel
    assert "3,7 over 1 and 1" not in found
