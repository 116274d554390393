"""Operations that launch many kernels on a GPU, rewritten: the same functions, fewer launches.

A GPU computes a small update faster than its host can launch the kernels. The agent's modules
define each of these functions in its plain form and mark it `fewer_launches_on_gpu`.
Whether the plain form or the one of the same name in this module runs is decided in that decorator
only. tests/test_fast_gpu.py compares values and derivatives; assets/speed.md has the numbers of
launches.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
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
FEW = 8  # classes that `unimix` and `quantile` write out; with 16 XLA compiles longer
LARGE = 2**16  # numbers of a kernel that `apply_each` does not pad; estimated, not measured


def fewer_launches_on_gpu(plain: Callable) -> Callable:
    """`plain`, or on a GPU the function of the same name in this module.

    The function of this module may return NotImplemented where it does not launch fewer.
    """
    fewer = globals()[plain.__name__]

    @functools.wraps(plain)
    def choose(*args: Any) -> Any:
        result = fewer(*args) if devices.first().platform == "gpu" else NotImplemented
        return plain(*args) if result is NotImplemented else result

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


def means(tree: Any) -> Any:
    """Arrays of equal shape as one stack, so that one kernel sums all of them."""
    leaves, structure = jax.tree.flatten(tree)
    found: dict[int, jax.Array] = {}
    for shape in dict.fromkeys(x.shape for x in leaves):
        alike = [i for i, x in enumerate(leaves) if x.shape == shape]
        stack = jnp.stack([leaves[i] for i in alike])
        found |= zip(alike, stack.mean(range(1, stack.ndim)))
    return jax.tree.unflatten(structure, [found[i] for i in range(len(leaves))])


def apply_each(layers: Sequence[Any], inputs: Sequence[jax.Array]) -> list[jax.Array]:
    """All layers as one: their products are one batched product, one kernel sums all squares.

    Inputs and kernels are padded with zeros to those of the widest input. Large layers are not
    padded: the more there is to compute, the less a launch costs in comparison.
    """
    if max(layer.linear.kernel.size for layer in layers) > LARGE:
        return NotImplemented
    size, dtype = max(x.shape[-1] for x in inputs), inputs[0].dtype
    rows = [x.reshape(-1, x.shape[-1]) for x in inputs]
    rows = jnp.stack([jnp.pad(x, ((0, 0), (0, size - x.shape[1]))) for x in rows])
    kernels = [layer.linear.kernel[...] for layer in layers]
    kernels = jnp.stack([jnp.pad(w, ((0, size - len(w)), (0, 0))) for w in kernels])
    biases = jnp.stack([layer.linear.bias[...] for layer in layers])
    scales = jnp.stack([layer.norm.scale[...] for layer in layers])
    y = rows @ kernels.astype(dtype) + biases.astype(dtype)[:, None]
    y = jax.nn.silu(jax.vmap(layers[0].norm.normalize)(y, scales))
    return list(y.reshape(len(layers), *inputs[0].shape[:-1], -1))


def unimix(logits: jax.Array, fraction: float) -> jax.Array:
    """Maximum and sum over few classes, written as operations on one class after the other.

    XLA fuses these with what comes before and after. A reduction is a kernel of its own.
    """
    few = logits.shape[-1] <= FEW and fraction > 0
    return _unimix(logits, fraction) if few else NotImplemented


def _unimix_forward(logits: jax.Array, fraction: float) -> tuple[jax.Array, jax.Array]:
    classes = _classes(logits)
    top = functools.reduce(jnp.maximum, classes)
    powers = [jnp.exp(x - top) for x in classes]
    total = functools.reduce(jnp.add, powers)
    probs = [x / total for x in powers]
    mixed = [jnp.log((1 - fraction) * p + fraction / len(probs)) for p in probs]
    return jnp.stack(mixed, -1), jnp.stack(probs, -1)


def _unimix_backward(fraction: float, probs: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    mixed = (1 - fraction) * probs + fraction / probs.shape[-1]
    slope = (1 - fraction) * slope / mixed
    mean = functools.reduce(jnp.add, _classes(probs * slope))
    return (probs * (slope - mean[..., None]),)


_unimix = jax.custom_vjp(lambda *inputs: _unimix_forward(*inputs)[0], nondiff_argnums=(1,))
_unimix.defvjp(_unimix_forward, _unimix_backward)


def _classes(x: jax.Array) -> list[jax.Array]:
    """(..., C) -> C times (...)."""
    return [x[..., k] for k in range(x.shape[-1])]


def quantile(distribution: Any, u: jax.Array) -> jax.Array:
    """One class after the other, as in `unimix`: from logits to a sample in one kernel."""
    logits = jax.lax.stop_gradient(distribution.logits)
    assert u.shape == logits.shape[:-1], (u.shape, logits.shape)
    if logits.shape[-1] > FEW:
        return NotImplemented
    cumulative = itertools.accumulate(jnp.exp(x) for x in _classes(logits)[:-1])
    index = sum((x <= u for x in cumulative), jnp.zeros(u.shape, jnp.int32))
    return jnp.stack([index == k for k in range(logits.shape[-1])], -1).astype(jnp.float32)


@jax.custom_jvp
def straight_through(sample: jax.Array, probs: jax.Array) -> jax.Array:
    """Value and gradient as they are defined: no difference p - sg(p), which is 0, is computed."""
    return sample


straight_through.defjvps(None, lambda tangent, *_: tangent)
