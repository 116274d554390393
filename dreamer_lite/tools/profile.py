"""Where the time of an update goes."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.behavior import imagine, replay_value_loss
from dreamer_lite.agent.learner import make_learner
from dreamer_lite.agent.optimizer import make_optimizer
from dreamer_lite.tools.bench import Note, Problem, compile_update, made_up_batch, problem
from dreamer_lite.tools.flops import clock, trials
from dreamer_lite.training.xla import compiler_options


def profile(preset: str, note: Note) -> list[tuple[str, float, float]]:
    """(part, seconds, seconds of its forward pass alone) of an update, the whole update last.

    Each part is compiled and timed alone, on the inputs that it has within an update, gradients
    included. Parts that cannot stand alone are differences: the heads are the world model's loss
    without encoder and posterior; actor and critic are all losses without the other parts.
    So a part may come out a little larger or smaller than it is inside the whole.
    """
    case = problem(preset)
    both: dict[str, Any] = {}  # seconds of both passes, and of the forward pass alone
    for name, forward, args in parts(case):
        note(f"{preset}: timing {name} ...")
        both[name] = np.array([_seconds(_with_gradient(forward), args), _seconds(forward, args)])
    both["imagine"][0] = both["imagine"][1]  # no gradient flows through the imagined states
    behavior = both["all losses"] - both["world model"] - both["imagine"] - both["replay value"]
    note(f"{preset}: timing the optimizer and the whole update ...")
    optimizer, whole = _seconds(*optimizer_step(case)), compile_update(case).best(2)
    return [
        ("encoder", *both["encoder"]),
        ("posterior: scan over T", *both["observe"]),
        ("decoder, reward, continue, KL", *both["world model"] - both["encoder"] - both["observe"]),
        ("imagination: scan over H", *both["imagine"]),
        ("actor and critic, imagined states", *behavior),
        ("critic on replay", *both["replay value"]),
        ("optimizer, slow critic", optimizer, optimizer),
        ("the whole update", whole, whole),
    ]


def parts(case: Problem) -> Iterator[tuple[str, Callable[..., Any], tuple]]:
    """(name, forward pass, its inputs) of the parts of an update that learn, or imagine."""
    config, key = case.config, jax.random.key(0)
    learner, batch = make_learner(config, *case.spaces), made_up_batch(case)
    state = learning.init(learner, 0)
    params, graph = state.params, learner.graph
    slow = graph.merge_critic(state.slow_critic)

    def encode(params):
        return graph.merge(params).model.encoder(batch.obs)

    def observe(params, embed):
        rssm = graph.merge(params).model.rssm
        return rssm.observe(batch.context, embed, batch.previous_action, batch.is_first, key)

    def rollout(params, start):
        agent = graph.merge(params)
        return imagine(agent.model, agent.actor, start, config.horizon, key)

    def everything(params):
        return learning.loss(params, learner, state, batch, key)[0]

    def replay_value(params, states):
        returns = jnp.zeros_like(late.reward)
        critic = graph.merge(params).critic
        return replay_value_loss(critic, slow, states, late, returns, config)

    embed = jax.jit(encode)(params)
    states, _ = jax.jit(observe)(params, embed)
    states, late = jax.tree.map(
        lambda x: x[-config.starts :], (states, batch._replace(context=None))
    )
    start = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
    yield "encoder", encode, (params,)
    yield "observe", observe, (params, embed)
    yield "world model", lambda params: graph.merge(params).model.loss(batch, key), (params,)
    yield "imagine", rollout, (params, start)
    yield "all losses", everything, (params,)
    yield "replay value", replay_value, (params, states)


def optimizer_step(case: Problem) -> tuple[Callable[..., Any], tuple]:
    """What follows the gradient in an update, and inputs for it."""
    config = case.config
    state = learning.init(make_learner(config, *case.spaces), 0)
    optimizer = make_optimizer(config)

    def step(params, optimizer_state, slow):
        steps, after = optimizer.update(params, optimizer_state, params)  # as large as a gradient
        params = jax.tree.map(jnp.add, params, steps)
        slow = jax.tree.map(lambda a, b: a + config.slow_rate * (b - a), slow, params["critic"])
        return params, after, slow

    return step, (state.params, state.optimizer, state.slow_critic)


def _with_gradient(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The forward pass, then its gradient with respect to all inputs."""

    def both(*args):
        out, back = jax.vjp(forward, *args)
        return out, back(jax.tree.map(jnp.ones_like, out))

    return both


def _seconds(function: Callable[..., Any], args: tuple) -> float:
    """Best time of a compiled call, for about a second."""
    call = jax.jit(function, compiler_options=compiler_options())
    clock(call, *args)
    once = clock(call, *args)
    return min(once, *(clock(call, *args) for _ in range(trials(once, 1))))


def in_words(table: list[tuple[str, float, float]]) -> str:
    """The table of `profile`, and the sum of its parts."""
    *rows, (_, whole, _) = table
    rows.append(("sum of these parts", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = [f"  {'part':34}  forward and backward      forward"]
    for name, seconds, forward in rows:
        percent = f"({seconds / whole:4.0%})"
        lines.append(f"  {name:34}  {1e3 * seconds:9.1f} ms {percent}  {1e3 * forward:9.1f} ms")
    lines.append(f"  {'the whole update':34}  {1e3 * whole:9.1f} ms")
    lines.append("  Each part was compiled and timed alone; the best of several calls counts.")
    return "\n".join(lines)
