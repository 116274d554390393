# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] tags=["badges"]
# (bar)

# %% [markdown]
# # 01 · JAX for PyTorch users
#
# **JAX is NumPy with transformations of pure functions: you write what happens to one example, in
# one step, and `grad`, `vmap`, `jit` and `scan` make it a gradient, a batch, a program, and a loop.**
#
# ![](figure:01_loop)
#
# | Minutes to read | to write | to run | You should know | Adds to your agent |
# |---|---|---|---|---|
# | 25 | 15 | 1, on 2 CPU cores | PyTorch and NumPy | no part of it, but the language it is written in |
#
# **You will be able to**
#
# * change an array that is immutable, and draw random numbers from explicit keys;
# * take gradients of functions, and of each example on its own;
# * say what is traced, what is compiled, and why an `if` on an array fails;
# * carry a state through a compiled loop;
# * turn a module into a pytree of parameters and back;
# * write a training loop that runs as one compiled program.

# %% tags=["bootstrap"]
from dreamer_lite.course import colab

colab.setup()

# %% tags=["parameters"]
import os

FAST = os.environ.get("DREAMER_LITE_FAST") == "1"  # short runs, for tests
seed = 0  # @param {type: "integer"}
steps = 600 if FAST else 3000  # @param {type: "raw"}

# %% tags=["setup"]
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from dreamer_lite.course import checks
from dreamer_lite.course.notebook import predict, show

# %% [markdown]
# **How the notebooks work.** An exercise is a function whose lines are missing. Above it stand
# three hints and the solution, each in a fold (the copy for a graded class has no solutions). The
# cell below it checks your function, and names the usual mistakes. If the check fails, the notebook
# goes on with the course's function. *Predict first* asks what will happen before you run a cell;
# the explanation follows in a fold.
#
# ## 1 · Arrays are immutable
#
# A JAX array cannot be changed after it was made. JAX transforms **pure functions**, whose result
# depends on their arguments only, and an assignment would be a side effect. `x.at[i].set(v)`
# returns a *new* array. In compiled code this does not mean a copy: where nobody needs the old
# array, the compiler writes into its memory.
#
# ```python
# # PyTorch
# x = torch.zeros(4)
# x[1] = 5.0              # changes x
# x[2] += 1.0
# ```

# %%
x = jnp.zeros(4)
y = x.at[1].set(5.0).at[2].add(1.0)
print("x", x, " y", y)
try:
    x[1] = 5.0
except TypeError as error:
    print("TypeError:", str(error)[:73])

# %% [markdown]
# ## 2 · Random keys are explicit
#
# A **key** is the state of a random number generator, as a value. PyTorch has a global generator
# that every call changes. A pure function has no such thing, so each random function takes a key,
# and the same key gives the same numbers. `jax.random.split(key)` makes two new keys from one, and
# `jax.random.fold_in(key, i)` makes key number i, for loops. `jax.random.normal(key, shape)` draws
# normal numbers, `jax.random.bernoulli(key, p, shape)` draws True with probability p.
#
# ```python
# # PyTorch
# torch.manual_seed(0)
# a, b = torch.randn(()), torch.randn(())    # different: the generator has moved on
# ```

# %%
key, used_twice = jax.random.split(jax.random.key(seed))
# Wrong on purpose: two draws from one key.
print("same key: ", jax.random.normal(used_twice), jax.random.normal(used_twice))
first, second, loop_key = jax.random.split(key, 3)
print("two keys: ", jax.random.normal(first), jax.random.normal(second))
numbered = [jax.random.fold_in(loop_key, i) for i in range(3)]  # one for each step of a loop
print("numbered: ", *(jax.random.normal(k) for k in numbered))

# %% [markdown]
# "**The key is consumed**" in a docstring means that the function draws from this key. Do not use
# the key again afterwards, because two draws from one key are the same or depend on each other. A
# key that was split is consumed too: go on with the new ones.

# %% [markdown]
# **Exercise 1 · `my_augment`** · easy · important · 5 minutes
#
# Write an augmentation of data. Add Gaussian noise of standard deviation 0.1 to every number of
# `x`, then multiply by a mask that is True, for each number on its own, with probability 0.8, so that
# a fifth of the numbers become 0. The others are not rescaled. Row 0 stays exactly as it was. To be
# compared with ours, your random numbers must be the same: split the key, draw the noise with
# `jax.random.normal(first_key, x.shape)`, and what is *kept* with
# `jax.random.bernoulli(second_key, 0.8, x.shape)`.
#
# <details><summary>Hint 1: the idea</summary>
#
# Two random draws need two keys.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Split the key in two. Add 0.1 times the noise, multiply by the mask, and put row 0 back with `.at`,
# which returns a new array.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `noise_key, mask_key = jax.random.split(key)`; the mask is True where a number is *kept*, with
# probability 0.8; at the end `return y.at[0].set(x[0])`.
# </details>


# %% tags=["exercise"]
def my_augment(x: jax.Array, key: jax.Array) -> jax.Array:
    """Noise, then a mask without rescaling, in all rows but the first; (N, D) -> (N, D) float32.

    key: it is consumed; of the two keys made from it, the first draws the noise, the second what is
      kept, with `bernoulli` and probability 0.8
    """
    # BEGIN SOLUTION
    noise_key, mask_key = jax.random.split(key)
    y = x + 0.1 * jax.random.normal(noise_key, x.shape)
    y = y * jax.random.bernoulli(mask_key, 0.8, x.shape)
    return y.at[0].set(x[0])
    # END SOLUTION


# %% tags=["check"]
augment = checks.augment(my_augment)

# %% [markdown]
# ## 3 · `grad` and `value_and_grad`
#
# `jax.grad` takes a function that returns one number, and returns a function: its gradient for the
# first argument, or for argument number `argnums`, counted from 0. There is no tape, no
# `requires_grad`, no `zero_grad`. `value_and_grad` gives the value as well, for the price of one
# call. `jax.lax.stop_gradient(x)` is `x.detach()`.
#
# ```python
# # PyTorch
# w = torch.tensor(3.0, requires_grad=True)
# loss = w**2
# loss.backward()
# w.grad                  # 6
# ```


# %%
def square(w):
    return w**2


value, gradient = jax.value_and_grad(square)(3.0)
print("value", value, " gradient", gradient, " alone", jax.grad(square)(3.0))
print("second derivative", jax.grad(jax.grad(square))(3.0))

# %% [markdown]
# ## 4 · `vmap`: from one example to a batch
#
# `jax.vmap` maps a function over an axis of its arguments. You write the function for one example,
# without a batch axis, and the result is as fast as one written for batches. `in_axes` says along
# which axis each argument is mapped; None means that all examples share it.
#
# ```python
# # PyTorch
# torch.func.vmap(dot, in_dims=(None, 0))(w, xs)       # or a dot that knows of the batch axis
# ```


# %%
def dot(w, x):
    return jnp.sum(w * x)  # of two vectors


w, xs = jnp.array([1.0, 2.0]), jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
print(jax.vmap(dot, in_axes=(None, 0))(w, xs))

# %% [markdown]
# **Exercise 2 · `my_gradient_norms`** · medium · important · 5 minutes
#
# Which examples of a batch have the largest gradients? `loss.backward()` only gives the gradient of
# the mean. Compute the Euclidean norm of each example's own gradient, with `jax.vmap` and without a
# Python loop.
#
# <details><summary>Hint 1: the idea</summary>
#
# First make the function that gives the gradient of ONE example, then map it over the batch.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# `jax.vmap(jax.grad(...), in_axes=...)`: the parameters are shared, both data arrays are mapped
# over their first axis.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `in_axes=(None, 0, 0)` gives gradients (N, D); then `jnp.linalg.norm(grads, axis=-1)`.
# </details>


# %% tags=["exercise"]
def my_gradient_norms(loss: Callable, params: jax.Array, xs: jax.Array, ys: jax.Array) -> jax.Array:
    """The norm of the gradient of each example, (N,).

    loss: a function of (params, x, y) that returns one number, the loss of one example
    params: (D,) shared by all examples
    xs: (N, D) inputs
    ys: (N,) targets
    """
    # BEGIN SOLUTION
    grads = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, xs, ys)
    return jnp.linalg.norm(grads, axis=-1)
    # END SOLUTION


# %% tags=["check"]
gradient_norms = checks.gradient_norms(my_gradient_norms)

# %% [markdown]
# ## 5 · `jit` and tracing
#
# `jax.jit` compiles a function. At the first call, JAX **traces** it: Python runs the function once
# with **tracers**, which stand for arrays and know their shape and dtype but not their values. All
# operations on them are recorded, and the record is compiled. Later calls run the compiled program,
# and no Python.
#
# ```python
# # PyTorch
# double = torch.compile(double)      # where it cannot compile, it falls back to Python
# ```

# %%
question = predict(
    "`double` is called with 1.0, with 2.0, and with a vector. How often does it print?",
    ["never", "once", "twice", "three times"],
)


# %%
@jax.jit
def double(x):
    print("tracing with", x)
    return 2 * x


print(double(1.0), double(2.0), double(jnp.ones(3)))
question.explain(
    "Twice. `print` is Python, so it runs only while the function is traced: once for a float32 of "
    "shape (), once more for the new shape (3,). The call with 2.0 runs the program that was compiled "
    "for 1.0."
)

# %% [markdown]
# Because a tracer has no value, Python cannot decide an `if` on it. Unlike `torch.compile`, JAX
# does not fall back to Python: it raises an error. Choose between *values* with `jnp.where`, which
# computes both.


# %%
@jax.jit
def relu(x):
    return x if x > 0 else 0.0


try:
    relu(-1.0)
except jax.errors.TracerBoolConversionError as error:
    print("TracerBoolConversionError:", str(error).splitlines()[0])
print(jax.jit(lambda x: jnp.where(x > 0, x, 0.0))(-1.0))

# %% [markdown]
# ## 6 · Static arguments
#
# A **static argument** is a Python value that belongs to the program, not to its input: a shape, a
# number of steps, a flag, a function. It has its value while the function is traced, so `if` and
# `range` work. Each new value is compiled anew. Static values must be hashable, so an array cannot
# be static. `functools.partial(jax.jit, static_argnames="count")` is `jax.jit` with this option
# filled in, which can then be written above a function as a decorator.
#
# ```python
# # PyTorch: torch.compile treats Python numbers like this by itself, and compiles again
# ```


# %%
@functools.partial(jax.jit, static_argnames="count")
def repeat(x, count):
    return jnp.full(count, x)  # a shape must be known while tracing


print(repeat(1.0, count=3), repeat(2.0, count=2))
try:
    jax.jit(jnp.full)(3, 1.0)
except TypeError as error:
    print("TypeError:", str(error).splitlines()[0][:61])

# %% [markdown]
# ## 7 · Pytrees
#
# A **pytree** is a nested structure of dicts, lists, tuples and NamedTuples whose **leaves** are
# arrays. All transformations take and return pytrees: the gradient for a dict of parameters is a
# dict of gradients. `jax.tree.map` applies a function to the leaves. States and batches of the
# agent are pytrees as well.
#
# ```python
# # PyTorch
# with torch.no_grad():
#     for p in model.parameters():
#         p -= 0.1 * p.grad
# ```

# %%
params = {"w": jnp.array([1.0, 2.0]), "b": jnp.zeros(1)}
grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2) + p["b"].sum())(params)
print("gradients ", grads)
print("parameters", jax.tree.map(lambda p, g: p - 0.1 * g, params, grads))

# %% [markdown]
# ## 8 · `scan`: a loop with a state
#
# `jax.lax.scan(step, start, xs)` is a compiled `for` loop. `step(carry, x)` returns the new
# **carry**, which keeps its shapes and dtypes, and an output. The result is the last carry, and all
# outputs stacked along a new first axis. A Python loop under `jit` works too, but it is *unrolled*:
# a thousand steps are a thousand copies in the program, and compiling them takes minutes. Recurrent
# networks and imagined rollouts in this course are scans.
#
# ```python
# # PyTorch
# total, sums = 0.0, []
# for x in xs:
#     total = total + x
#     sums.append(total)
# sums = torch.stack(sums)
# ```


# %%
def step(total, x):
    total = total + x
    return total, total  # the carry, the output


last, sums = jax.lax.scan(step, 0.0, jnp.arange(1.0, 6.0))
print("last carry", last, " outputs", sums)

# %% [markdown]
# ## 9 · `nnx.Module`, split and merge
#
# Networks are written with Flax's `nnx.Module`, much as with `torch.nn.Module`. But a module is an
# object with a state, and JAX transforms functions of pytrees. `nnx.split` takes a module apart
# into its structure (`graph`, no arrays) and its state; `nnx.to_pure_dict` makes the state, whose
# leaves are wrapped in Flax's variables, a plain nested dict of arrays; `nnx.merge` puts a module
# together again, inside the function that needs it. `rngs` is Flax's source of random keys, from
# which the layers draw their first weights. Flax also has `nnx.jit` and `nnx.Optimizer`, which change
# modules in place; we do without them, because pure functions of dicts can be scanned, donated and
# stored without rules of their own.
#
# ```python
# # PyTorch
# params = dict(model.named_parameters())
# y = torch.func.functional_call(model, params, x)
# ```


# %%
class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(1, 32, rngs=rngs)
        self.out = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden(x)))


# %%
graph, state = nnx.split(Network(nnx.Rngs(seed)))
params = nnx.to_pure_dict(state)
print(jax.tree.map(jnp.shape, params))
print("output", nnx.merge(graph, params)(jnp.ones((5, 1))).shape)

# %% [markdown]
# ## 10 · Donation
#
# An update of immutable arrays writes the new ones beside the old ones, which takes twice the
# memory. A **donated** argument gives its memory to the result. It is deleted by the call, so bind
# the result to the same name: `params = update(params)`. The replay buffer of notebook 02 is
# donated at every step; otherwise each step would copy it.
#
# ```python
# # PyTorch
# ring[i] = 1.0           # in place
# ```

# %%
put = jax.jit(lambda ring, i: ring.at[i].set(1.0), donate_argnums=0)
old = jnp.zeros(3)
new = put(old, 1)
print(new, " the old one is deleted:", old.is_deleted())

# %% [markdown]
# ## 11 · A training loop is a scan
#
# Gradient descent is a loop whose state is the parameters (section 8), and the parameters are a
# pytree (section 7). With all batches in one array (T, B, ...), a **training loop** is one `scan`.

# %% [markdown]
# **Exercise 3 · `my_train`** · medium · very important · 5 minutes
#
# Write a training loop that can be compiled as a whole: gradient descent with one batch a step, as
# a `scan` of `value_and_grad`. The parameters are any pytree. A Python loop would give the same
# numbers, but here its 3,000 unrolled steps would compile for half an hour.
#
# <details><summary>Hint 1: the idea</summary>
#
# What goes from step to step? The parameters: they are the carry. What is different at each step?
# The batch. What should be collected? The loss.
# </details>
# <details><summary>Hint 2: the structure</summary>
#
# Inside, define `step(params, batch)` that returns `(new_params, value)`. `jax.lax.scan` takes a
# tuple `(xs, ys)` as its inputs, and hands the step one `(x, y)` of them.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `value, grads = jax.value_and_grad(loss)(params, *batch)`, then `jax.tree.map(lambda p, g: p -
# rate * g, params, grads)`, and at the end `return jax.lax.scan(step, params, (xs, ys))`.
# </details>


# %% tags=["exercise"]
def my_train(
    loss: Callable, params: Any, xs: jax.Array, ys: jax.Array, rate: float
) -> tuple[Any, jax.Array]:
    """T steps of gradient descent; (the trained parameters, the losses (T,) before each update).

    loss: a function of (params, x, y) that returns one number, the mean loss of a batch
    params: a pytree of arrays
    xs: (T, B, ...) the inputs of T batches
    ys: (T, B, ...) their targets
    rate: the learning rate
    """

    # BEGIN SOLUTION
    def step(params, batch):
        value, grads = jax.value_and_grad(loss)(params, *batch)
        return jax.tree.map(lambda p, g: p - rate * g, params, grads), value

    return jax.lax.scan(step, params, (xs, ys))
    # END SOLUTION


# %% tags=["check"]
train = checks.train(my_train)

# %% [markdown]
# ## The result: a training loop as one program
#
# The network of section 9 learns y = sin 2x from batches of 32. The loop itself is two lines:
# compile your function, and call it. `loss` is static because it is a function; the parameters are
# donated, which is why a copy is given away here.


# %%
def loss(params, x, y):
    return jnp.mean((nnx.merge(graph, params)(x) - y) ** 2)


xs = jax.random.uniform(jax.random.key(seed + 1), (steps, 32, 1), minval=-2, maxval=2)
ys = jnp.sin(2 * xs)
compiled = jax.jit(train, static_argnums=0, donate_argnums=1)
fitted, losses = compiled(loss, jax.tree.map(jnp.copy, params), xs, ys, 0.03)
print("loss", losses[:3], "...", losses[-3:])

# %% [markdown]
# How fast is it? Two other ways to run the same updates: a Python loop over a compiled update, and
# a Python loop over an update that is not compiled. JAX returns before a computation has finished
# (as PyTorch does on a GPU), so a clock needs `jax.block_until_ready`. As a **baseline** for the
# loss we take the best constant prediction, as a **negative control** the same training with the
# targets shuffled within each batch.

# %%
question = predict(
    "How many times as fast as a Python loop over a compiled update is the scan, for this network?",
    ["as fast", "2 to 10", "10 to 100", "more than 100"],
)


# %% tags=["signature"]
def update(params, x, y):
    value, grads = jax.value_and_grad(loss)(params, x, y)
    return jax.tree.map(lambda p, g: p - 0.03 * g, params, grads), value


def looped(update: Callable, count: int) -> Any:
    now = params
    for x, y in zip(xs[:count], ys[:count]):
        now, _ = update(now, x, y)
    return now


ways = {
    "Python loop, not compiled": (functools.partial(looped, update), 10),
    "Python loop, compiled update": (functools.partial(looped, jax.jit(update)), 300),
}

# %% tags=["plumbing"]
# @title Measure the three ways, and train the negative control
jitted = jax.jit(train, static_argnums=0)  # nothing donated: it is called twice
ways["scan, compiled"] = (lambda count: jitted(loss, params, xs, ys, 0.03), steps)
speed = {}
for label, (run, count) in ways.items():
    jax.block_until_ready(run(count))  # traces and compiles
    begin = time.perf_counter()
    jax.block_until_ready(run(count))
    speed[label] = count / (time.perf_counter() - begin)
shuffled = jax.random.permutation(jax.random.key(seed + 2), ys, axis=1, independent=True)
control = jitted(loss, params, xs, shuffled, 0.03)[1]
baseline = float(ys.var())

# %% tags=["plumbing"]
# @title Draw losses and speeds
figure = Figure(figsize=(9, 2.9), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
window = np.ones(50) / 50
for line, label, colour, style in (
    (losses, "trained", "#0072B2", "-"),
    (control, "targets shuffled", "#D55E00", "-."),
):
    left.plot(np.convolve(line, window, "valid"), style, label=label, color=colour)
left.axhline(baseline, color="0.4", linestyle="--", linewidth=1, label="best constant")
left.set(xlabel="update", ylabel="squared error", yscale="log")
left.legend(frameon=False, fontsize=9)
bars = right.barh(list(speed), list(speed.values()), color="#0072B2")
right.bar_label(bars, [f"{rate:,.0f}" for rate in speed.values()], padding=4, fontsize=9)
right.set(
    xscale="log",
    xlabel="updates per second",
    xlim=(0.4 * min(speed.values()), 20 * max(speed.values())),
)
right.invert_yaxis()
words = "; ".join(f"{label} {rate:,.0f}" for label, rate in speed.items())
show(
    figure,
    f"Left: the squared error falls from {losses[0]:.2f} to {losses[-50:].mean():.3f}; with shuffled "
    f"targets it stays at {control[-50:].mean():.2f}, near that of the best constant, {baseline:.2f}. "
    f"Right: updates per second: {words}.",
    "01_loop",
)
turn, alone = (1e6 / speed[way] for way in ("Python loop, compiled update", "scan, compiled"))
question.explain(
    f"Here {turn / alone:.0f} times. A turn of the Python loop takes {turn:.0f} microseconds: Python "
    "and JAX cut a batch out and call the program. The update itself, inside the scan, takes "
    f"{alone:.1f}. For a large network the difference is small. The update that is not compiled is "
    "slowest, because each of its operations is sent off on its own."
)

# %% [markdown]
# <details><summary>What you should see</summary>
#
# ![](figure:01_loop)
# </details>
#
# **Limits.** The times are those of one small network on CPUs, without the time to compile. A scan
# cannot print or stop early; training programs of this course therefore run some hundred updates a
# call, and do the rest in Python between the calls.

# %% [markdown]
# ## Quiz
#
# <details><summary>1. A function draws noise with a key that you pass, and you pass the same key again at the next step. What happens?</summary>
#
# It draws the same noise at every step. Split the key, or fold the number of the step in.
# </details>
# <details><summary>2. A compiled function appends its argument to a global list. What is in the list after three calls?</summary>
#
# One tracer, from the only time that Python ran. It is of no use outside, and using it raises an
# UnexpectedTracerError.
# </details>
# <details><summary>3. Why is <code>static_argnums</code> wrong for a learning rate that changes at every step?</summary>
#
# Each new value would be compiled anew. Pass it as an ordinary argument.
# </details>
# <details><summary>4. After <code>new = update(params)</code> with a donated argument, <code>params</code> raises "Array has been deleted". What is the remedy?</summary>
#
# Bind the result to the same name, `params = update(params)`; if the old ones are needed, donate a
# copy.
# </details>
# <details><summary>5. What is <code>jax.vmap(jax.grad(f), (None, 0))</code>, and how does it differ from the gradient of the mean?</summary>
#
# The gradient of each example on its own, with a batch axis. Its mean over the batch is the
# gradient of the mean.
# </details>

# %% [markdown]
# ## Summary
#
# | PyTorch | JAX |
# |---|---|
# | `x[i] = v` | `x = x.at[i].set(v)` |
# | `torch.manual_seed(0)` | `key = jax.random.key(0)`, then `split` |
# | `loss.backward()` | `jax.value_and_grad(loss)(params)` |
# | `x.detach()` | `jax.lax.stop_gradient(x)` |
# | `torch.func.vmap` | `jax.vmap` |
# | `torch.compile` | `jax.jit` |
# | a `for` loop over time | `jax.lax.scan` |
# | `torch.func.functional_call(model, params, x)` | `nnx.merge(graph, params)(x)` |
# | `optimizer.step()` | `jax.tree.map` over parameters and gradients, or [optax](https://optax.readthedocs.io) |
# | `torch.cuda.synchronize()` | `jax.block_until_ready(x)` |
#
# ## References
#
# * JAX: [Key concepts](https://docs.jax.dev/en/latest/key-concepts.html) and
#   [The sharp bits](https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html).
# * Flax: [NNX basics](https://flax.readthedocs.io/en/latest/nnx_basics.html).
# * R. Frostig, M. Johnson, C. Leary: Compiling machine learning programs via high-level tracing
#   (2018), SysML: the paper that JAX comes from.
#
# ## Next
#
# From [notebook 02](02_worlds_and_replay.ipynb) on, each exercise is a part of your own DreamerV3.
# When its check passes, your function is kept in a file, `my_dreamer.py`, and everything that is
# trained later is trained with it.
