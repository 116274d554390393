"""The training loop of the notebooks' small models: compiled, with progress and an estimate.

    train = trainer(loss, optimizer)
    params, losses = train(params, 1500, key, label="RSSM")

`loss(params, key, *extra)` makes its own data from the key, and returns (a number, {name: number}).
`extra` are arrays, such as the switches of an ablation: other values need no other program.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from dreamer_lite.course.notebook import in_notebook
from dreamer_lite.training.xla import compiler_options

EVERY = 10.0  # seconds between two lines of progress in a script


def trainer(loss: Callable[..., Any], optimizer: optax.GradientTransformation, chunk: int = 50):
    """A function that trains; it compiles once, at its first call.

    train(params, updates, key, *extra, label="") -> (params, {name: losses (updates,)}). The key is
    consumed. `updates` is rounded up to a multiple of `chunk`.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options(), donate_argnums=(0, 1))
    def advance(params: Any, memory: Any, keys: jax.Array, *extra: Any) -> tuple:
        def update(carry: tuple, key: jax.Array) -> tuple:
            params, memory = carry
            (total, parts), gradient = jax.value_and_grad(loss, has_aux=True)(params, key, *extra)
            step, memory = optimizer.update(gradient, memory, params)
            return (optax.apply_updates(params, step), memory), parts | {"total": total}

        (params, memory), losses = jax.lax.scan(update, (params, memory), keys)
        return params, memory, losses

    def train(params: Any, updates: int, key: jax.Array, *extra: Any, label: str = "") -> tuple:
        if updates < 1:
            raise ValueError(f"updates is {updates}: it must be at least 1.")
        params = jax.tree.map(jax.numpy.array, params)  # copies, because `advance` uses them up
        memory, history, say = optimizer.init(params), [], progress(label)
        chunks = -(-updates // chunk)
        for number in range(chunks):
            keys = jax.random.split(jax.random.fold_in(key, number), chunk)
            params, memory, losses = advance(params, memory, keys, *extra)
            history.append(jax.device_get(losses))
            say((number + 1) * chunk, chunks * chunk, float(history[-1]["total"].mean()))
        names = history[0]
        return params, {n: np.concatenate([h[n] for h in history]) for n in names}

    return train


def progress(label: str) -> Callable[[int, int, float], None]:
    """A line that says how far a training is: say(updates done, of all, loss).

    In a notebook the line is rewritten; a script prints one every ten seconds and at the end.
    """
    began, first, spoken, handle = time.perf_counter(), (0, 0.0), -EVERY, None

    def say(done: int, of: int, loss: float) -> None:
        nonlocal first, spoken, handle
        spent = time.perf_counter() - began
        first = first if first[0] else (done, spent)  # the first chunk compiles
        text = f"{label}: {done} of {of} updates, loss {loss:.2f}, {spent:.0f} s"
        if first[0] < done < of:
            left = (spent - first[1]) / (done - first[0]) * (of - done)
            text += f", about {left:.0f} s left"
        if in_notebook():
            from IPython.display import display

            line = {"text/plain": text}
            if handle is None:
                handle = display(line, raw=True, display_id=True)
            else:
                handle.update(line, raw=True)
        elif done >= of or spent - spoken >= EVERY:
            spoken = spent
            print(text, flush=True)

    return say
