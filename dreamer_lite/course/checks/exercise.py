"""What every check is made of: the decorator `check`, the messages, and the inputs."""

import collections
import functools
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.course import parts
from dreamer_lite.course.compare import Exercise, Function, compare, failed, judge, passed


@functools.cache
def messages() -> dict[str, dict[str, str]]:
    """{check: {mistake: hint, "next": what follows in the notebook}}, from hints*.toml."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("hints*.toml")):
        found |= tomllib.loads(file.read_text(encoding="utf-8"))
    return found


def check(make: Callable[[], Exercise]) -> Callable[[Function], Function]:
    """A check from an exercise: the docstring says what the reader's function `mine` must do."""
    exercise = functools.cache(make)

    @functools.wraps(make, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def run(mine: Function) -> Function:
        return compare(mine, exercise(), messages()[make.__name__])

    del run.__wrapped__  # the signature is that of `run`
    return run


def part(name: str) -> Callable[[Callable[[], Exercise]], Callable[[Function], Function]]:
    """A check of a part of the reader's agent, "RSSM.prior": what passes it is stored.

    The reader's text is run as it will stand in the file, among the course's other parts. The
    function that is right is the course's own unless the exercise has another.
    """

    def decorate(make: Callable[[], Exercise]) -> Callable[[Function], Function]:
        made = functools.cache(make)

        @functools.wraps(make, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        def run(mine: Function) -> Function:
            text = parts.source_of(mine)
            trouble = "" if text is None else parts.trouble(name, text)
            exercise, hints, largest = made(), messages()[make.__name__], 0.0
            if mine in (exercise.oracle, solved(name)):
                trouble = "this is the course's function. Run the cell with yours, then this one."
            try:
                tried = mine if trouble or text is None else parts.function(name, text)
            except Exception as error:
                tried, trouble = mine, f"cannot be run: {error}"
            if not trouble:
                trouble, largest = judge(tried, exercise, hints)
            if trouble:
                earlier = name in parts.read().texts
                kept = f"{parts.FILE} keeps your earlier one, which passed. " if earlier else ""
                return failed(make.__name__, trouble, exercise.oracle, kept)
            passed(make.__name__, exercise, largest)
            if text is None:
                print("  It is not kept, because its text cannot be found: define it in a cell.")
            elif parts.store(name, text):
                print(f"  Kept as {name} in {parts.FILE}{parts.place()}.")
            print(f"  Using YOUR function. Next: {hints['next']}")
            return mine if text is None else tried

        del run.__wrapped__
        CHECKS[name] = made
        return run

    return decorate


CHECKS: dict[str, Callable[[], Exercise]] = {}  # part -> its exercise


def trouble_of(name: str, mine: Function) -> str:
    """What is wrong with a part, in the words of its check; empty if it passes."""
    make = CHECKS.get(name)
    return judge(mine, make(), messages()[make.__name__])[0] if make else ""


def solved(name: str) -> Function:
    """The course's own function of a part."""
    return parts.find(solved_agent(), name)


@functools.cache
def solved_agent() -> Any:
    """The course's agent as a module: `solved_agent().RSSM`."""
    return parts.assemble({})


def named(tree: Any) -> Any:
    """Dicts as NamedTuples, so that a message can name the array that differs."""
    if isinstance(tree, dict):
        return collections.namedtuple("Named", tree)(*map(named, tree.values()))
    if hasattr(tree, "_fields"):
        return type(tree)(*map(named, tree))
    return tuple(map(named, tree)) if isinstance(tree, (tuple, list)) else tree


def each(variant: Callable[[str], Function], *names: str) -> Any:
    """The mistakes of an exercise, {name: variant(name)}, of a function that makes any of them."""
    return {name: variant(name) for name in names}


def unrolled(short: Any, long: Any) -> bool:
    """Whether a program gets longer with its inputs, as a Python loop over them makes it.

    short, long: what `jax.make_jaxpr` returned for inputs of different lengths, below 10
    """
    return len(str(short).splitlines()) != len(str(long).splitlines())


def norm(tree: Any) -> jax.Array:
    """The norm of all leaves together."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum((jnp.sum(x.astype(jnp.float32) ** 2) for x in leaves), jnp.zeros(())))


def normal(seed: int, *shape: int) -> jax.Array:
    """Normal numbers, float32."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def uniform(seed: int, *shape: int) -> jax.Array:
    """Uniform numbers in [0, 1), float32."""
    return jnp.asarray(np.random.default_rng(seed).random(shape), jnp.float32)


def one_hots(classes: int, *lead: int) -> jax.Array:
    """One-hot vectors (*lead, classes): class 0, 1, 2, ... and from the last one to 0 again."""
    return jax.nn.one_hot(jnp.arange(math.prod(lead)).reshape(lead) % classes, classes)


def flags(*sequences: str) -> jax.Array:
    """Flags (T, B) from one word per sequence, such as "1000"."""
    return jnp.array([[letter == "1" for letter in word] for word in sequences]).T


def previous(x: jax.Array) -> jax.Array:
    """x[t - 1] at t, and x[0] at 0: for formulas that confuse t with t + 1."""
    return jnp.concatenate([x[:1], x[:-1]])
