"""Compares a reader's function with the package's and says, in plain words, how they differ.

The machinery of `checks`: what each exercise compares stands there, how it is done stands here.
Nothing goes to stderr, where a grader would count it as an error.
"""

import functools
import os
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Function = Callable[..., Any]


class Failed(AssertionError):
    """What a failed check raises where `strict`."""


class Part(NamedTuple):
    """One comparison: what it is, and how to get the numbers from a function."""

    what: str
    measure: Callable[[Function], Any]  # function -> tuple of arrays, or one array


def compare(
    mine: Function,
    oracle: Function,
    parts: list[Part],
    mistakes: Mapping[str, Function],
    then: str,
    tolerance: float = 1e-4,
) -> Function:
    """Measure both functions; print one paragraph; return the one to go on with.

    `mistakes` are hints, each with a function that makes that mistake: if the reader's numbers are
    those of one, its hint is printed. `then` is the next step after a pass. The tolerance is
    relative to the larger of 1 and the expected value.

    Raises:
      Failed: the comparison failed, and failures raise (see `strict`).
    """
    name = getattr(mine, "__name__", str(mine))
    largest = 0.0
    for part in parts:
        # One compiled program: op by op, JAX would compile forty small ones.
        expected = _arrays(jax.jit(functools.partial(part.measure, oracle))())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trouble, got = _attempt(part, mine, expected)
        if trouble is None:
            difference = max(_difference(e, g).max(initial=0.0) for e, g in zip(expected, got))
            largest = max(largest, float(difference))
            if not difference <= tolerance:
                trouble = _wrong(part, expected, got, mistakes, tolerance)
        if trouble is not None:
            return _failed(name, trouble, oracle)
    compared = "; ".join(part.what for part in parts)
    print(f"✓ {name} agrees with the package. Compared: {compared}.")
    print(f"  Largest difference {largest:.1e}. Going on with YOUR function. Next: {then}")
    return mine


def strict() -> bool:
    """Whether a failed check raises: with DREAMER_LITE_STRICT=1, and where nbgrader grades it."""
    return os.environ.get("DREAMER_LITE_STRICT") == "1" or "NBGRADER_EXECUTION" in os.environ


def _failed(name: str, trouble: str, oracle: Function) -> Function:
    text = f"✗ {name}: {trouble}"
    if strict():
        raise Failed(text)
    print(text)
    print("  Going on with the PACKAGE's function. Change yours and run both cells again.")
    return oracle


def _attempt(part: Part, mine: Function, expected: list[np.ndarray]) -> tuple[str | None, Any]:
    """(what went wrong or None, the arrays that the reader's function gives)."""
    try:
        result = part.measure(mine)
    except NotImplementedError:
        return "still the stub. Replace `raise NotImplementedError` by your lines.", None
    except Exception as error:
        return _exception(part, error), None
    return _form(part, result, expected)


def _exception(part: Part, error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    own = [f for f in frames if "site-packages" not in f.filename]
    place = f" in the line `{own[-1].line}`" if own and own[-1].line else ""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"it stopped{place} with {type(error).__name__}: {lines[0][:200]} (input: {part.what})."


def _form(part: Part, result: Any, expected: list[np.ndarray]) -> tuple[str | None, Any]:
    """Everything about the result but its numbers: kind, count, shape, dtype, finite."""
    if any(leaf is None for leaf in (result if isinstance(result, tuple) else (result,))):
        return "it returned None. Is the `return` missing?", None
    try:
        got = _arrays(result)
    except (TypeError, ValueError):
        return f"it returned a {type(result).__name__}, not an array.", None
    if len(got) != len(expected):
        return f"it returned {len(got)} arrays where {len(expected)} are expected.", None
    for e, g in zip(expected, got):
        if g.shape != e.shape:
            return f"wrong shape: {g.shape} where {e.shape} is expected ({part.what}).", None
        if g.dtype != e.dtype:
            return f"wrong dtype: {g.dtype} where {e.dtype} is expected ({part.what}).", None
        if not np.isfinite(g).all():
            bad = float(g[~np.isfinite(g)][0])
            return f"the result has {bad} in it ({part.what}): a log of 0, or 0 / 0?", None
    return None, got


def _wrong(
    part: Part,
    expected: list[np.ndarray],
    got: list[np.ndarray],
    mistakes: Mapping[str, Function],
    tolerance: float,
) -> str:
    """The hint of the mistake that gives the same numbers, else where the difference is largest."""
    for hint, wrong in mistakes.items():
        theirs = _arrays(part.measure(wrong))
        same_form = [a.shape for a in theirs] == [a.shape for a in got]
        if same_form and all((_difference(t, g) <= tolerance).all() for t, g in zip(theirs, got)):
            return f"{hint} (Compared: {part.what}.)"
    differences = [_difference(e, g) for e, g in zip(expected, got)]
    which = int(np.argmax([d.max(initial=0.0) for d in differences]))
    place = np.unravel_index(differences[which].argmax(), differences[which].shape)
    at = f" at index {tuple(map(int, place))}" if place else ""
    output = f" of output {which}" if len(expected) > 1 else ""
    return (
        f"wrong numbers ({part.what}): {got[which][place]:.6g}{output}{at}, where "
        f"{expected[which][place]:.6g} is expected; {_share(differences, tolerance)} differ."
    )


def _share(differences: list[np.ndarray], tolerance: float) -> str:
    wrong = sum(int((d > tolerance).sum()) for d in differences)
    return f"{wrong} of {sum(d.size for d in differences)} numbers"


def _difference(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """Differences relative to the larger of 1 and what is expected."""
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    return np.abs(got - expected) / np.maximum(1.0, np.abs(expected))


def _arrays(result: Any) -> list[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    arrays = [np.asarray(part) for part in parts]
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise TypeError(array.dtype)
    return arrays


def on(what: str, *arguments: Any) -> Part:
    """Call the function on these arguments and compare what it returns."""
    return Part(what, lambda function: function(*arguments))


def gradient(what: str, *arguments: Any) -> Part:
    """Compare the gradient, for the first argument, of a fixed weighted sum of what it returns."""

    def measure(function: Function) -> Any:
        def total(first: jax.Array) -> jax.Array:
            y = function(first, *arguments[1:])
            return jnp.sum(y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

        return jax.grad(total)(arguments[0])

    return Part(what, measure)
