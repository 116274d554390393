"""Compares a reader's function with the library's and explains how they differ.

This is the machinery of `checks`, where each exercise states what is compared. Nothing goes to
stderr, where a grader would count it as an error.
"""

import functools
import inspect
import os
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Function = Callable[..., Any]
SMALL = 25  # numbers that a check shows side by side
CAUSES = "a log of 0 or of a negative number, or 0 / 0?"  # of a NaN or an infinite number

# What JAX says of a usual mistake, and what to do.
REMEDIES = {
    "truth value of an array": "An `if` cannot decide for many elements at once: use jnp.where.",
    "can't set attribute": "A NamedTuple cannot be changed: x._replace(field=value) returns a new "
    "one.",
    "NonConcreteBooleanIndexError": "Inside jit a boolean mask cannot select elements, because "
    "their number is unknown: use jnp.where, or multiply by the mask.",
    "TracerBoolConversionError": "Inside jit an array has no value for `if`, `min` or `max`: use "
    "jnp.where, jnp.minimum or jnp.maximum.",
    "got <class 'my_dreamer.State'>": "A State holds two arrays: "
    "jax.tree.map(lambda *x: jnp.stack(x), *states) stacks both.",
    "Found data on value of type": "Put the layers into nnx.data({...}), not into a plain dict.",
    "inconsistent sizes for array axes": "What all examples share is not mapped: in_axes None.",
    "and 'dict'": "A pytree has no arithmetic of its own: use jax.tree.map.",
    "'dict' and": "A pytree has no arithmetic of its own: use jax.tree.map.",
    "scan body function carry": "The step of a scan returns (carry, output), in this order, and "
    "the new carry is built like the old one.",
    "no attribute 'detach'": "In JAX the stop-gradient is a function: jax.lax.stop_gradient(x).",
    "no attribute 'clamp'": "In JAX that is a function: jnp.clip(x, low, high).",
    "no attribute 'gather'": "In JAX that is a function: jnp.take_along_axis(x, index, axis).",
    "got <class 'list'>": "JAX's functions take arrays, not lists: jnp.array([...]).",
    "and 'method'": "A method is called with parentheses: policy.entropy().",
    "Only integer scalar arrays can be": "The second argument of jnp.min and jnp.max is an axis: "
    "the smaller one of two arrays, element by element, is jnp.minimum(x, y).",
}


class Failed(AssertionError):
    """What a failed check raises where `strict`."""


class Part(NamedTuple):
    """One comparison: what it is, and how to get the numbers from a function."""

    what: str
    measure: Callable[[Function], Any]  # function -> an array, a number, or a tuple of them
    arguments: tuple = ()  # what the function is called with, to be shown if it is small
    mistakes: tuple[str, ...] = ()  # those that an earlier part cannot tell; all if empty


class Exercise:
    """What a check compares: the function that is right, the inputs, and the usual mistakes.

    `mistakes` are functions that make a mistake each, named as its hint is. The tolerance is
    relative to the larger of 1 and the expected value. What the course's functions give is kept, so
    that a reader who tries again waits for their own function only.
    """

    def __init__(
        self, oracle: Function, parts: list[Part], tolerance: float = 1e-4, **mistakes: Function
    ):
        self.oracle, self.parts, self.tolerance = oracle, parts, tolerance
        self.mistakes = mistakes
        self._kept: dict[tuple[str, str | None], Any] = {}

    def expected(self, part: Part) -> Any:
        """What the oracle gives in this part."""
        # One compiled program: op by op, JAX would compile forty small ones.
        return self._once(part, None, jax.jit(functools.partial(part.measure, self.oracle)))

    def of_mistake(self, part: Part, name: str) -> list[np.ndarray]:
        """The arrays that a mistake gives in this part."""
        return self._once(part, name, lambda: _arrays(part.measure(self.mistakes[name])))

    def _once(self, part: Part, name: str | None, compute: Callable[[], Any]) -> Any:
        key = part.what, name
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


def compare(mine: Function, exercise: Exercise, messages: Mapping[str, str]) -> Function:
    """Measure both functions; print one paragraph; return the one to continue with.

    If the reader's numbers are those of a mistake, its hint in `messages` is printed; what is
    under "next" there is the next step after a pass.

    Raises:
      Failed: the comparison failed, and failures raise (see `strict`).
    """
    name = getattr(mine, "__name__", str(mine))
    trouble, largest = judge(mine, exercise, messages)
    if trouble:
        return failed(name, trouble, exercise.oracle)
    passed(name, exercise, largest)
    print(f"  Using YOUR function. Next: {messages['next']}")
    return mine


def passed(name: str, exercise: Exercise, largest: float) -> None:
    """Say what was compared, and how closely it agrees."""
    compared = "; ".join(part.what for part in exercise.parts)
    print(f"✓ {name} agrees with the course's solution. Compared: {compared}.")
    print(f"  Largest difference {largest:.1e}.")


def judge(mine: Function, exercise: Exercise, messages: Mapping[str, str]) -> tuple[str, float]:
    """(what is wrong, empty if nothing is; the largest difference), without a word printed."""
    largest = 0.0
    for part in exercise.parts:
        right = exercise.expected(part)
        expected, names = _arrays(right), _names(right)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trouble, got = _attempt(part, mine, right)
        if trouble is None:
            largest = max(largest, *(d.max(initial=0.0) for d in _differences(expected, got)))
            if not largest <= exercise.tolerance:
                trouble = _hint(part, got, exercise, messages) or _wrong(
                    part, expected, got, exercise, names
                )
                trouble += side_by_side(part, expected, got, exercise)
        elif got is not None:
            trouble = _hint(part, got, exercise, messages) or trouble
        if trouble is not None:
            return trouble, largest
    return "", largest


def side_by_side(
    part: Part, expected: list[np.ndarray], got: list[np.ndarray], exercise: Exercise
) -> str:
    """Inputs, the reader's numbers and the expected ones, one below the other; "" if too many."""
    signature = list(inspect.signature(exercise.oracle).parameters)
    inputs = []
    for name, value in zip(signature, part.arguments):
        if name == "self":  # of a network too many, of a distribution its parameters
            fields = getattr(value, "_asdict", dict)().items()
            inputs += [(f"self.{k}", [np.asarray(x)]) for k, x in fields if _is_numeric(x)]
            continue
        leaves = [x for x in jax.tree.leaves(value) if _is_numeric(x)]  # not keys, not functions
        if leaves:
            inputs.append((name, [np.asarray(x) for x in leaves]))
    sizes = [sum(x.size for x in leaves) for _, leaves in [*inputs, ("", expected)]]
    if not inputs or max(sizes) > SMALL:
        return ""
    rows = [*inputs, ("yours", got), ("expected", expected)]
    width = max(len(name) for name, _ in rows)
    lines = []
    for name, leaves in rows:
        text = "  ".join(
            np.array2string(x, precision=4, suppress_small=True, separator=" ").replace("\n", "")
            for x in leaves
        )
        lines.append(f"\n    {name.ljust(width)}  {text}")
    return "".join(lines)


def _is_numeric(x: Any) -> bool:
    kind = getattr(getattr(x, "dtype", None), "kind", "")
    return isinstance(x, (bool, int, float)) or kind in tuple("biuf")


def strict() -> bool:
    """Whether a failed check raises: with DREAMER_LITE_STRICT=1, and where nbgrader grades it."""
    return os.environ.get("DREAMER_LITE_STRICT") == "1" or "NBGRADER_EXECUTION" in os.environ


def failed(name: str, trouble: str, oracle: Function, kept: str = "") -> Function:
    """Print what is wrong, and return the oracle; `kept` says what stays as it was."""
    text = f"✗ {name}: {trouble}"
    if strict():
        raise Failed(text)
    print(text)
    print(f"  Using the COURSE's function. {kept}Change yours and run both cells again.")
    return oracle


def _attempt(part: Part, mine: Function, right: Any) -> tuple[str | None, Any]:
    """(what went wrong or None, the arrays of the reader's function, None if there are none)."""
    try:
        result = part.measure(mine)
    except NotImplementedError:
        return "still the stub. Replace `raise NotImplementedError` by your lines.", None
    except Exception as error:
        return _exception(part, error), None
    return _form(part, result, right)


def _exception(part: Part, error: Exception) -> str:
    """Where and why the reader's function stopped, or the check with what it returned."""
    ours = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and ours not in f.filename]
    if own:
        lines = list(dict.fromkeys(f"`{f.line}`" for f in (own[0], own[-1]) if f.line))
        place = f" in the line {', and there in '.join(lines)}," if lines else ""
    else:
        place = " where the check calls it or uses what it returned,"
    lines = [line.strip() for line in str(error).strip().splitlines()] or ["no message"]
    first = " ".join(lines[:3]) if lines[0].endswith(":") else lines[0]  # the cause stands below
    text = f"{type(error).__name__}: {first[:200]}"
    whole = f"{type(error).__name__}: {error}"
    remedy = next((f" {words}" for sign, words in REMEDIES.items() if sign in whole), "")
    return f"it stopped{place} with {text} (input: {part.what}).{remedy}"


def _form(part: Part, result: Any, right: Any) -> tuple[str | None, Any]:
    """Everything about the result but its numbers: kind, count, shape, dtype, finite."""
    expected, names = _arrays(right), _names(right)
    if any(leaf is None for leaf in _leaves(result)):
        return "it returned None. Is the `return` missing?", None
    try:
        got = _arrays(result)
    except (TypeError, ValueError):
        return f"it returned a {type(result).__name__}, not an array.", None
    if len(got) != len(expected):
        return f"it returned {len(got)} arrays where {len(expected)} are expected.", got
    if _layout(result) != _layout(right):
        kinds = _layout(result, names=True), _layout(right, names=True)
        return f"it returned {kinds[0]} where {kinds[1]} is expected.", got
    for e, g, name in zip(expected, got, names):
        of = f" for {name}" if name else ""
        if g.shape != e.shape:
            return f"wrong shape: {g.shape} where {e.shape} is expected{of} ({part.what}).", got
        if g.dtype != e.dtype:
            return f"wrong dtype: {g.dtype} where {e.dtype} is expected{of} ({part.what}).", None
        if not np.isfinite(g).all():
            bad = float(g[~np.isfinite(g)][0])
            return f"the result has {bad} in it{of} ({part.what}): {CAUSES}", None
    return None, got


def _hint(
    part: Part, got: list[np.ndarray], exercise: Exercise, messages: Mapping[str, str]
) -> str | None:
    """The hint of the mistake that gives the same arrays; None if there is no such mistake."""
    for name in exercise.mistakes:
        if part.mistakes and name not in part.mistakes:
            continue
        theirs = exercise.of_mistake(part, name)
        if [a.shape for a in theirs] == [a.shape for a in got] and all(
            (d <= exercise.tolerance).all() for d in _differences(theirs, got)
        ):
            return f"{messages[name]} (Compared: {part.what}.)"
    return None


def _wrong(
    part: Part,
    expected: list[np.ndarray],
    got: list[np.ndarray],
    exercise: Exercise,
    names: list[str],
) -> str:
    """Where the difference is largest, and how many numbers differ."""
    differences = _differences(expected, got)
    which = int(np.argmax([d.max(initial=0.0) for d in differences]))
    place = np.unravel_index(differences[which].argmax(), differences[which].shape)
    at = f" at index {tuple(map(int, place))}" if place else ""
    output = f" of {names[which]}" if names[which] else ""
    wrong = sum(int((d > exercise.tolerance).sum()) for d in differences)
    return (
        f"wrong numbers ({part.what}): {got[which][place]:.6g}{output}{at}, where "
        f"{expected[which][place]:.6g} is expected; {wrong} of "
        f"{sum(d.size for d in differences)} numbers differ."
    )


def _differences(expected: list[np.ndarray], got: list[np.ndarray]) -> list[np.ndarray]:
    """Absolute differences relative to the larger of 1 and what is expected."""
    pairs = [(e.astype(np.float64), g.astype(np.float64)) for e, g in zip(expected, got)]
    return [np.abs(g - e) / np.maximum(1.0, np.abs(e)) for e, g in pairs]


def _leaves(result: Any) -> list[Any]:
    """What a tuple, of tuples perhaps, holds."""
    return jax.tree.leaves(result, is_leaf=lambda x: not isinstance(x, tuple))


def _names(result: Any) -> list[str]:
    """What to call each leaf: "`deter`" by the fields of NamedTuples, else "output 1"."""
    flat = jax.tree_util.tree_flatten_with_path(result, is_leaf=lambda x: not isinstance(x, tuple))
    paths = [path for path, _ in flat[0]]
    fields = [".".join(str(k.name) for k in path if hasattr(k, "name")) for path in paths]
    if len(paths) == 1:
        return [""]
    return [
        f"`{name}`" if name and fields.count(name) == 1 else f"output {i}"
        for i, name in enumerate(fields)
    ]


def _layout(result: Any, names: bool = False) -> str:
    """How values are nested, "((array, array), array)", or with NamedTuples, "(State, array)"."""
    if not isinstance(result, tuple):
        return "array"
    if names and hasattr(result, "_fields"):
        return type(result).__name__
    return f"({', '.join(_layout(x, names) for x in result)})"


def _arrays(result: Any) -> list[np.ndarray]:
    """The leaves as arrays; plain numbers get JAX's dtypes. Raises TypeError for anything else."""
    arrays = [np.asarray(jnp.asarray(x) if np.isscalar(x) else x) for x in _leaves(result)]
    if strange := [array.dtype for array in arrays if array.dtype.kind not in "biuf"]:
        raise TypeError(strange[0])
    return arrays


def on(what: str, *arguments: Any) -> Part:
    """Call the function on these arguments and compare what it returns."""
    return Part(what, lambda function: function(*arguments), arguments)


def gradient(what: str, *arguments: Any) -> Part:
    """Compare the gradient, for the first argument, of a fixed weighted sum of what it returns."""

    def measure(function: Function) -> Any:
        def total(first: jax.Array) -> jax.Array:
            y = function(first, *arguments[1:])
            return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

        return jax.grad(total)(arguments[0])

    return Part(what, measure)
