"""Floating point operations of a traced program, and how fast this machine does its products."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Product(NamedTuple):
    """`groups` matrix products of (rows, inner) by (inner, columns)."""

    groups: int
    rows: int
    inner: int
    columns: int
    dtype: str = "float32"

    @property
    def flops(self) -> int:
        return 2 * math.prod(self[:4])


def products(jaxpr: Any) -> Counter[Product]:
    """The matrix products of a traced program and their numbers; a scan repeats those of its body.

    A convolution counts as the product of all patches with the kernel. Sums and elementwise
    functions are not counted; nor are loops of unknown length, which hold no products here.
    """
    found: Counter[Product] = Counter()
    for eqn in jaxpr.eqns:
        count = {"dot_general": _dot, "conv_general_dilated": _convolution}.get(eqn.primitive.name)
        if count is not None:
            shapes = [x.aval.shape for x in (*eqn.invars, *eqn.outvars)]
            product = count(eqn.params["dimension_numbers"], *shapes)
            found[product._replace(dtype=eqn.invars[0].aval.dtype.name)] += 1
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        for inner in _inner_jaxprs(eqn.params):
            found.update({product: times * n for product, n in products(inner).items()})
    return found


def _dot(numbers: Any, left: tuple, right: tuple, _: tuple) -> Product:
    (left_inner, right_inner), (left_group, right_group) = numbers
    rows = [n for i, n in enumerate(left) if i not in (*left_inner, *left_group)]
    columns = [n for i, n in enumerate(right) if i not in (*right_inner, *right_group)]
    groups, inner = ([left[i] for i in axes] for axes in (left_group, left_inner))
    return Product(math.prod(groups), math.prod(rows), math.prod(inner), math.prod(columns))


def _convolution(numbers: Any, _: tuple, kernel: tuple, out: tuple) -> Product:
    columns = kernel[numbers.rhs_spec[0]]
    return Product(1, math.prod(out) // columns, math.prod(kernel) // columns, columns)


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item


def flops(found: Counter[Product]) -> int:
    """Floating point operations of these products: 2 for each multiply and add."""
    return sum(product.flops * times for product, times in found.items())


def matmul_rate(found: Counter[Product]) -> float:
    """FLOP/s of these products if they are computed one by one and nothing else is.

    The shapes that make up 95 % of the arithmetic are timed, the most expensive first.
    """
    total, covered, seconds = flops(found), 0, 0.0
    for product, times in sorted(found.items(), key=lambda item: -item[0].flops * item[1]):
        if covered > 0.95 * total:
            break
        covered += product.flops * times
        seconds += times * _seconds_of(product)
    return covered / seconds


def _seconds_of(product: Product, least: float = 0.02, trials: int = 5) -> float:
    """Best time of one product, in a loop long enough for the clock."""
    groups, rows, inner, columns, dtype = product
    x, w = jnp.ones((groups, rows, inner), dtype), jnp.ones((groups, inner, columns), dtype)
    if groups == 1:
        x, w = x[0], w[0]

    @jax.jit
    def loop(x, w, count):
        def body(i, carry):
            x, _ = jax.lax.optimization_barrier((carry[0], i))  # else it would be computed once
            return x, x @ w

        return jax.lax.fori_loop(0, count, body, (x, x @ w))[1]

    clock(loop, x, w, 1)  # compiles
    count = 1
    while clock(loop, x, w, count) < least:
        count *= 4
    return min(clock(loop, x, w, count) for _ in range(trials)) / count


def clock(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of a call, until its results are computed."""
    before = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - before


def trials(once: float, budget: float, least: int = 5) -> int:
    """How often to repeat what takes `once` seconds, for about `budget` seconds in all."""
    return max(least, min(100, round(budget / once)))
