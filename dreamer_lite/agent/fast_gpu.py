"""Operations that launch many kernels on a GPU, rewritten: the same functions, fewer launches.

A GPU computes a small update faster than its host can launch the kernels. `rssm`, `behavior` and
`optimizer` define each of these functions in its plain form and mark it `fewer_launches_on_gpu`.
Whether the plain form or the one of the same name in this module runs is decided in that decorator
only. tests/test_fast_gpu.py compares values and derivatives; assets/speed.md has the numbers of
launches.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent import devices

Step = Callable[..., tuple[Any, Any]]
# Steps of a scan that are written out, so that one kernel stores the results of all of them. The
# more, the longer XLA compiles. No other number was tried.
AT_ONCE = 4
ROW = 1024  # numbers that `norms` sums at first


def fewer_launches_on_gpu(plain: Callable) -> Callable:
    """`plain`, or on a GPU the function of the same name in this module."""
    fewer = globals()[plain.__name__]

    @functools.wraps(plain)
    def choose(*args: Any) -> Any:
        return (fewer if devices.first().platform == "gpu" else plain)(*args)

    return choose


def scan_states(step: Step, state: Any, inputs: Any) -> tuple[Any, Any]:
    """A scan whose forward pass stores states only.

    The derivative of a scan stores what each step will need on the way back: some 60 kernels in
    each of T steps do nothing else. Here the states are stored. On the way back

    1. the steps are computed again, all T at once: step t needs only state t - 1 and its inputs;
    2. a scan goes back through time with the transposed derivative of each step by its state;
    3. the derivatives by weights and inputs follow for all T steps at once, as large products.
    """
    first = jax.tree.map(lambda x: x[0], inputs)
    step, weights = jax.closure_convert(step, state, first)
    return _scan(step, weights, state, inputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(step: Step, weights: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
    def once(state, x):
        state, out = step(state, x, *weights)
        return state, (state, out)

    return jax.lax.scan(once, state, inputs, unroll=AT_ONCE)[1]


def _forward(step: Step, weights: Any, state: Any, inputs: Any) -> tuple[Any, Any]:
    found: Any = _scan(step, weights, state, inputs)
    return found, (weights, state, found[0], inputs)


def _backward(step: Step, saved: tuple, slopes: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    weights, start, states, inputs = saved
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)

    def transposed(state, x):
        return jax.vjp(lambda state: step(state, x, *weights), state)[1]

    backs, restore = _for_all_steps(transposed, before, inputs)

    def once(slope, one):
        back, (of_state, of_out) = one
        slope = jax.tree.map(jnp.add, slope, of_state)
        return restore(back)((slope, of_out))[0], slope

    last = jax.tree.map(lambda x: jnp.zeros_like(x[0]), states)
    of_start, of_states = jax.lax.scan(once, last, (backs, slopes), reverse=True, unroll=AT_ONCE)

    def all_steps(weights, inputs):
        return jax.vmap(lambda state, x: step(state, x, *weights))(before, inputs)

    of_weights, of_inputs = jax.vjp(all_steps, weights, inputs)[1]((of_states, slopes[1]))
    return of_weights, of_start, of_inputs


_scan.defvjp(_forward, _backward)


def _for_all_steps(make: Callable, *args: Any) -> tuple[list[jax.Array], Callable]:
    """`make` for all T values of its arguments at once, where it makes a tree of arrays.

    Returns those of the arrays that differ from step to step, (T, ...), and a function that makes
    the tree of one step from them. What is equal in all steps, such as weights, is not repeated.
    """
    one = jax.tree.map(lambda x: x[0], args)
    shape = jax.tree.structure(jax.eval_shape(make, *one))

    def leaves(*args: Any) -> tuple[Any, ...]:
        return tuple(jax.tree.leaves(make(*args)))

    program = jax.make_jaxpr(leaves)(*one).jaxpr
    changing = set(program.invars)
    for equation in program.eqns:
        if changing.intersection(x for x in equation.invars if not hasattr(x, "val")):
            changing.update(equation.outvars)
    differs = [not hasattr(x, "val") and x in changing for x in program.outvars]
    axes = tuple(0 if different else None for different in differs)
    values = jax.vmap(leaves, out_axes=axes)(*args)
    own = [x for x, different in zip(values, differs) if different]

    def restore(own: list[jax.Array]) -> Any:
        rest = iter(own)
        return jax.tree.unflatten(
            shape, [next(rest) if different else x for x, different in zip(values, differs)]
        )

    return own, restore


def lambda_returns(
    reward: jax.Array, live: jax.Array, lam: jax.Array, value: jax.Array
) -> jax.Array:
    """An associative scan: pairs of steps, then pairs of pairs, ...; log₂ n rounds, not n steps.

    A step is the map Rₜ = aₜ + bₜ Rₜ₊₁, and one such map after another has the same form.
    """
    reward, live, lam, later = reward[1:], live[1:], lam[1:], value[1:]
    a, b = reward + live * (1 - lam) * later, live * lam
    a = a.at[-1].add(b[-1] * later[-1])

    def after(following, step):
        (a, b), (later_a, later_b) = step, following
        return a + b * later_a, b * later_b

    return jax.lax.associative_scan(after, (a, b), reverse=True)[0]


def norms(tree: Any) -> Any:
    """All tensors as one vector, so that a few kernels serve all of them.

    Each tensor is padded with zeros to whole rows of ROW numbers. The squares of every row are
    summed, then the rows of every tensor. The order is fixed, so equal runs have equal sums.
    """
    leaves, structure = jax.tree.flatten(tree)
    counts = np.array([-(-x.size // ROW) for x in leaves])  # rows of each tensor
    padded = [jnp.pad(x.ravel(), (0, n * ROW - x.size)) for x, n in zip(leaves, counts)]
    rows = jnp.square(jnp.concatenate(padded).reshape(-1, ROW)).sum(1)
    place = jnp.arange(counts.max())
    first = counts.cumsum() - counts
    of_tensor = rows.at[first[:, None] + place].get(mode="clip")  # (tensors, most rows)
    squares = jnp.where(place < counts[:, None], of_tensor, 0).sum(1)
    return jax.tree.unflatten(structure, list(jnp.sqrt(squares)))
