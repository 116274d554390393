"""Notebook 08: the critic's loss on replayed time steps, the whole objective, and an update.

All is measured on a very small agent for Catch whose parameters are random; see `dreaming`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite.course.checks.dreaming import calm_agent
from dreamer_lite.course.checks.exercise import (
    each,
    flags,
    named,
    norm,
    normal,
    one_hots,
    part,
    solved,
    uniform,
)
from dreamer_lite.course.checks.exercise import solved_agent as course
from dreamer_lite.course.compare import Exercise, Function, Part
from dreamer_lite.worlds.base import TimeStep

sg = jax.lax.stop_gradient
B, T, W = 3, 6, 4
MODEL = ("encoder", "rssm", "decoder", "reward", "cont")


def frames(seed: int, *lead: int) -> dict[str, jax.Array]:
    """Observations of Catch whose pixels are random, one in ten white."""
    white = uniform(seed, *lead, 10, 10, 2) > 0.9
    return {"image": 255 * white.astype(jnp.uint8)}


@functools.cache
def case() -> tuple:
    """(graph, parameters, hyperparameters, Learner, Batch) of the small agent."""
    d = course()
    c = d.Config(
        worlds=W, batch=B, length=T, capacity=40 * W, train_ratio=1, deter=8, stoch=3, classes=4,
        blocks=2, hidden=6, units=7, bins=63, horizon=4, starts=2, recon=0.5, warmup=1,
        learning_rate=0.02,
    )  # fmt: skip
    graph, params = nnx.split(calm_agent())
    params = nnx.to_pure_dict(params)
    slow = jax.tree.map(lambda x: 0.7 * x, params["critic"])
    memory = d.make_optimizer(c).init(params)
    learner = d.Learner(params, slow, memory, jnp.array([-1.0, 2.0]))
    steps = TimeStep(
        frames(70, T, B), 2 * normal(71, T, B),
        is_first=flags("100100", "000010", "000000"),
        is_last=flags("001000", "000101", "000001"),
        is_terminal=flags("000000", "000100", "000001"),
    )  # fmt: skip
    batch = d.Batch(steps, one_hots(3, T, B), d.State(normal(72, B, 8), one_hots(4, B, 3)))
    return graph, params, c, learner, batch


def compiled(measure: Callable[[Function], Any]) -> Callable[[Function], Any]:
    """`measure` of a function as one program: op by op it would compile hundreds."""
    return lambda function: jax.jit(lambda: measure(function))()


@part("replay_value_loss")
def replay_value_loss() -> Exercise:
    """`mine(agent, slow, c, batch, states, bootstrap)` -> losses (T-1, B).

    Source: `repl_loss` of the released code (dreamerv3/agent.py).
    """
    d = course()
    graph, params, c, learner, batch = case()
    states, bootstrap = d.State(normal(77, T, B, 8), one_hots(4, T, B, 3)), normal(78, T, B)

    def loss(function: Function, params: dict, slow: dict, states: Any, bootstrap: Any) -> Any:
        agent = nnx.merge(graph, params)
        slow_critic = nnx.merge(nnx.graphdef(agent.critic), slow)
        return function(agent, slow_critic, c, batch, states, bootstrap)

    def numbers(function: Function) -> Any:
        return loss(function, params, learner.slow, states, bootstrap)

    def taught(function: Function) -> Any:
        """Norms of the gradients for critic, slow critic, states and bootstrap."""
        inputs = params, learner.slow, states, bootstrap
        total = lambda *x: loss(function, *x).sum()  # noqa: E731
        slopes, slow, at, values = jax.grad(total, (0, 1, 2, 3))(*inputs)
        parts = {"critic": slopes["critic"], "slow": slow, "states": at, "bootstrap": values}
        return named({name: norm(x) for name, x in parts.items()})

    def variant(wrong: str) -> Function:
        def function(agent, slow, c, batch, states, bootstrap):
            steps = batch.steps
            end = steps.is_last if wrong == "last_is_terminal" else steps.is_terminal
            cut = steps.is_terminal if wrong == "terminal_cuts" else steps.is_last
            discount = 1.0 if wrong == "no_discount" else c.discount
            lam = c.lam * jnp.ones_like(cut) if wrong == "not_cut" else (1.0 - cut) * c.lam
            feat = d.feature(states)
            feat = sg(feat) if wrong == "states_stopped" else feat
            value = d.two_hot_mean(agent.critic(feat)) if wrong == "own_values" else bootstrap
            returns = d.lambda_returns(steps.reward, (1.0 - end) * discount, sg(value), lam)
            logits = slow(feat[:-1])
            found = d.critic_loss(agent.critic(feat[:-1]), sg(logits), returns)
            mask = 1 - steps.is_last[1:] if wrong == "mask_late" else 1 - steps.is_last[:-1]
            return found if wrong == "not_masked" else mask * found

        return function

    names = (
        "not_masked", "mask_late", "last_is_terminal", "terminal_cuts", "not_cut", "no_discount",
        "own_values", "states_stopped",
    )  # fmt: skip
    return Exercise(
        solved("replay_value_loss"),
        [
            Part("3 sequences of 6 time steps with a true end and a time limit", compiled(numbers)),
            Part(
                "gradient norms for the critic, the slow critic, the states and the bootstrap",
                compiled(taught),
            ),
        ],
        **each(variant, *names),
    )


@part("total_loss")
def total_loss() -> Exercise:
    """`mine(params, graph, c, learner, batch, key)` -> (sum, (mean losses, states, new range)).

    Source: `Agent.loss` of the released code (dreamerv3/agent.py).
    """
    graph, params, c, learner, batch = case()
    names = "recon reward cont dyn rep policy value replay_value".split()

    def result(function: Function, params: dict) -> Any:
        found = function(params, graph, c, learner, batch, jax.random.key(79))
        if found is None:
            return None
        total, (means, states, new_range) = found
        if sorted(means) != sorted(names):
            raise TypeError(f"the mean losses must have the names {', '.join(names)}")
        return total, ([means[name] for name in names], states, new_range)

    def numbers(function: Function) -> Any:
        found = result(function, params)
        if found is None:
            return None
        total, (means, states, new_range) = found
        return named({"total": total} | dict(zip(names, means)) | {
            "deter": states.deter, "new_range": new_range,
        })  # fmt: skip

    def taught(function: Function) -> Any:
        """Norms of the gradient of the sum for each network, and of the states as a result."""

        def both(params: dict) -> tuple:
            total, (_, states, _) = result(function, params)
            return total, jnp.sum(states.deter)

        slopes, states = jax.jacrev(both)(params)
        names = (*MODEL, "actor", "critic")
        return named({k: norm(slopes[k]) for k in names} | {"returned_states": norm(states)})

    mistakes = (
        "no_weights", "no_replay_value", "no_model", "first_steps", "old_range", "old_bootstrap",
        "every_start", "same_key", "states_learn",
    )  # fmt: skip
    where = "gradient norms for encoder, RSSM, decoder, reward and continue heads, actor, critic"
    return Exercise(
        solved("total_loss"),
        [
            Part("3 sequences of 6 time steps, imagined from the last 2", compiled(numbers)),
            Part(f"{where}; and of the returned states, which learn no more", compiled(taught)),
        ],
        **each(lambda name: functools.partial(_total_loss, wrong=name), *mistakes),
    )


def _total_loss(params, graph, c, learner, batch, key, wrong):
    """`total_loss` with one thing wrong, which `wrong` names."""
    d = course()
    agent, frozen = nnx.merge(graph, params), nnx.merge(graph, sg(params))
    slow = nnx.merge(nnx.graphdef(agent.critic), learner.slow)
    model_key, imagine_key = (key, key) if wrong == "same_key" else jax.random.split(key)
    losses, states = d.world_model_loss(agent, c, batch, model_key)
    tail = batch._replace(start=None)
    if wrong == "first_steps":
        last, tail = jax.tree.map(lambda x: x[: c.starts], (states, tail))
    elif wrong == "every_start":
        last = states
    else:
        last, tail = jax.tree.map(lambda x: x[-c.starts :], (states, tail))
    start = jax.tree.map(lambda x: sg(x).reshape(-1, *x.shape[2:]), last)
    imagined, actions = d.imagine(frozen, start, c.horizon, imagine_key)
    more, returns, new_range = d.dream_losses(agent, slow, c, imagined, actions, learner.range)
    bootstrap = returns[1 if wrong == "old_bootstrap" else 0].reshape(last.deter.shape[:2])
    replayed = d.replay_value_loss(agent, slow, c, tail, last, bootstrap)
    means = losses | more | {"replay_value": replayed}
    summed = dict(means)
    for name in {"no_replay_value": ("replay_value",), "no_model": losses}.get(wrong, ()):
        del summed[name]
    total = d.weighted_sum(summed, c)
    if wrong == "no_weights":
        total = sum((x.mean() for x in summed.values()), jnp.zeros(()))
    states = states if wrong == "states_learn" else sg(states)
    new_range = learner.range if wrong == "old_range" else new_range
    return total, ({name: x.mean() for name, x in means.items()}, states, new_range)


@part("update")
def update() -> Exercise:
    """`mine(graph, c, optimizer, learner, batch, key)` -> (learner, losses, states).

    Source: `Agent.train` and `SlowModel` of the released code (dreamerv3/agent.py,
    embodied/jax/utils.py).
    """
    d = course()
    graph, _, c, begun, batch = case()
    optimizer = d.make_optimizer(c)

    def twice(function: Function) -> Any:
        """What the learner is after two updates; the first has a learning rate of 0."""

        def once(learner: Any, at: jax.Array) -> tuple:
            key = jax.random.key(at)
            learner, losses, states = function(graph, c, optimizer, learner, batch, key)
            return d.Learner(*learner), (losses["policy"], losses["recon"], states.deter)

        learner, (policy, recon, deter) = jax.lax.scan(once, begun, jnp.arange(2))
        moved = {name: norm(learner.params[name]) for name in (*MODEL, "actor", "critic")}
        rest = {
            "slow": norm(learner.slow), "memory": norm(learner.memory), "range": learner.range,
            "policy_loss": policy, "recon_loss": recon, "deter": deter,
            "hundred_times_slow": 100 * jax.tree.leaves(learner.slow)[0].ravel()[:8],
        }  # fmt: skip
        return named(moved | rest)

    def variant(wrong: str) -> Function:
        def function(graph, c, optimizer, learner, batch, key):
            inputs = learner.params, learner.memory, graph, c, learner, batch, key
            params, memory, extra = d.train_step(d.total_loss, optimizer, *inputs)
            losses, states, new_range = extra
            source = learner.params if wrong == "from_old" else params
            keep = 0.02 if wrong == "swapped" else 0.98
            slow = jax.tree.map(
                lambda s, p: keep * s + (1 - keep) * p, learner.slow, source["critic"]
            )
            slow = learner.slow if wrong == "no_slow" else slow
            slow = params["critic"] if wrong == "copied" else slow
            memory = learner.memory if wrong == "forgetful" else memory
            new_range = learner.range if wrong == "old_range" else new_range
            params = learner.params if wrong == "not_moved" else params
            return d.Learner(params, slow, memory, new_range), losses, states

        return function

    names = ("not_moved", "no_slow", "copied", "swapped", "from_old", "forgetful", "old_range")
    what = "two updates: norms of all parameters, the slow critic and the optimizer's memory"
    return Exercise(solved("update"), [Part(what, compiled(twice))], **each(variant, *names))
