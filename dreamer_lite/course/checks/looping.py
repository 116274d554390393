"""Notebook 08: acting, collecting, learning, and the loop of both.

Everything is measured on the small agent for Catch that `updating` makes.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course.checks.exercise import (
    check,
    each,
    flags,
    named,
    norm,
    normal,
    one_hots,
    part,
    solved,
)
from dreamer_lite.course.checks.exercise import solved_agent as course
from dreamer_lite.course.checks.updating import W, case, compiled, frames
from dreamer_lite.course.compare import Exercise, Function, Part
from dreamer_lite.worlds.base import TimeStep, next_timestep


def as_course(run: Any) -> Any:
    """A run in the course's types: those of the reader's file are others, with the same fields."""
    d = course()
    return d.Run(*run)._replace(
        learner=d.Learner(*run.learner), replay=d.Replay(*run.replay), state=d.State(*run.state)
    )


@part("act")
def act() -> Exercise:
    """`mine(agent, state, action, steps, key)` -> (state (W, ...), action (W, A)).

    Source: `Agent.policy` of the released code (dreamerv3/agent.py).
    """
    d, count = course(), 2 * W
    graph, params, *_ = case()
    net = params["actor"]["net"]
    out = net["out"] | {"kernel": net["out"]["kernel"] / 6}  # less decisive: samples are no modes
    agent = nnx.merge(graph, params | {"actor": {"net": net | {"out": out}}})
    end = flags("01000100")[:, 0]
    steps = TimeStep(frames(73, count), normal(74, count), flags("00100001")[:, 0], end, end)
    state, before = d.State(normal(75, count, 8), one_hots(4, count, 3)), one_hots(3, count)

    def measure(function: Function) -> Any:
        return function(agent, state, before, steps, jax.random.key(76))

    def variant(wrong: str) -> Function:
        def function(agent, state, action, steps, key):
            u_key, key = (key, key) if wrong == "one_key" else jax.random.split(key)
            u_key, key = (key, u_key) if wrong == "keys_swapped" else (u_key, key)
            u = jax.random.uniform(u_key, state.stoch.shape[:-1])
            first = jnp.zeros_like(steps.is_first) if wrong == "no_reset" else steps.is_first
            new, _ = agent.rssm.observe_step(
                state, agent.encoder.embed(steps.obs), action, first, u
            )
            if wrong == "prior":
                old, masked = d.mask_reset(state, action, first)
                new = agent.rssm.imagine_step(old, masked, u)
            policy = agent.actor.policy(d.feature(state if wrong == "old_state" else new))
            chosen = policy.sample(key)
            if wrong == "greedy":
                chosen = jax.nn.one_hot(policy.logp.argmax(-1), chosen.shape[-1])
            end = steps.is_first if wrong == "first_masked" else steps.is_last
            keep = jnp.ones_like(end) if wrong == "not_masked" else 1.0 - end
            return new, chosen * keep[:, None]

        return function

    names = (
        "not_masked", "first_masked", "no_reset", "prior", "old_state", "greedy", "one_key",
        "keys_swapped",
    )  # fmt: skip
    what = "8 environments, two of which begin an episode and two of which end one"
    return Exercise(solved("act"), [Part(what, compiled(measure))], **each(variant, *names))


@functools.cache
def started() -> tuple:
    """(graph, hyperparameters, environment, Run) of Catch, before its first time step."""
    d = course()
    graph, params, c, _, _ = case()
    world = worlds.make("catch")
    return graph, c, world, d.begin(c, world, d.make_optimizer(c), params, 5)


@part("begin")
def begin() -> Exercise:
    """`mine(c, world, optimizer, params, seed)` -> the run before its first time step."""
    d = course()
    _, params, c, _, _ = case()
    world, optimizer = worlds.make("catch"), d.make_optimizer(c)

    def measure(function: Function) -> Any:
        run = function(c, world, optimizer, params, 6)
        if run is None:
            return None
        learner, ring = run.learner, run.replay
        both = zip(*map(jax.tree.leaves, (learner.slow, learner.params["critic"])))
        return named({
            "world": run.world, "first_obs": run.steps.obs["image"].astype(jnp.float32).sum((1, 2)),
            "is_first": run.steps.is_first, "stored_image": ring.steps.obs["image"].sum(),
            "ring_length": jnp.array([len(x) for x in jax.tree.leaves(ring[:-1])]),
            "stored_action": ring.action[0], "stored_deter": ring.deter[0],
            "stored_classes": ring.stoch[0], "added": ring.added, "deter": run.state.deter,
            "stoch": run.state.stoch, "action": run.action, "seed": run.seed, "score": run.score,
            "latest": jnp.nan_to_num(run.latest, nan=-1.0), "range": learner.range,
            "params": norm(learner.params), "slow": norm(learner.slow),
            "memory": norm(learner.memory),
            "slow_is_copied": jnp.float32(all(x is not y for x, y in both)),
        })  # fmt: skip

    def variant(change: Callable[[Any], Any]) -> Function:
        return lambda *inputs: change(d.begin(*inputs))

    def longer(run: Any) -> Any:
        ring = jax.tree.map(lambda x: jnp.repeat(x, c.worlds, 0), run.replay[:-1])
        return run._replace(replay=d.Replay(*ring, run.replay.added))

    def same_start(run: Any) -> Any:
        first = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), (run.world, run.steps))
        return run._replace(world=first[0], steps=first[1])

    def with_learner(**changes: Any) -> Function:
        return variant(lambda run: run._replace(learner=run.learner._replace(**changes)))

    zeros = jax.tree.map(jnp.zeros_like, params["critic"])
    what = "a run of 4 games of Catch: sizes, types and numbers of all that it holds"
    return Exercise(
        solved("begin"),
        [Part(what, compiled(measure))],
        longer=variant(longer),
        same_start=variant(same_start),
        no_nan=variant(lambda run: run._replace(latest=jnp.zeros(c.worlds))),
        slow_zero=with_learner(slow=zeros),
        slow_shared=variant(
            lambda run: run._replace(
                learner=run.learner._replace(slow=run.learner.params["critic"])
            )
        ),
        range_one=with_learner(range=jnp.array([0.0, 1.0])),
    )


@part("collect")
def collect() -> Exercise:
    """`mine(graph, c, world, run)` -> the run after one time step of all W environments."""
    d = course()
    graph, c, world, run = started()
    run = run._replace(score=1.0 + jnp.arange(W))  # most games of Catch earn nothing

    def measure(function: Function) -> Any:
        """What changes in 12 time steps: an episode of Catch has 10."""
        last = run
        for _ in range(12):
            last = jitted(function, last)
        fresh = last.replay
        kept = {
            "image": fresh.steps.obs["image"][:13].astype(jnp.float32).sum((2, 3, 4)),
            "reward": fresh.steps.reward[:13],
            "is_first": fresh.steps.is_first[:13],
            "stored_action": fresh.action[:13],
            "stored_deter": fresh.deter[:13],
            "added": fresh.added,
            "next_reward": last.steps.reward,
            "next_is_first": last.steps.is_first,
            "deter": last.state.deter,
            "action": last.action,
            "score": last.score,
            "latest": jnp.nan_to_num(last.latest, nan=-1.0),
        }
        return named(kept)

    def jitted(function: Function, run: Any) -> Any:
        if function not in programs:
            programs[function] = jax.jit(lambda run: as_course(function(graph, c, world, run)))
        return programs[function](run)

    programs: dict[Function, Function] = {}

    def variant(wrong: str) -> Function:
        def function(graph, c, world, run):
            key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added)
            keys = jax.random.split(key, c.worlds + 1)
            agent = nnx.merge(graph, run.learner.params)
            state, action = d.act(agent, run.state, run.action, run.steps, keys[0])
            choice = action.argmax(-1)
            move = jax.vmap(lambda *args: next_timestep(world, *args))
            inside, steps = move(run.world, run.steps, choice, keys[1:])
            stored = run.action if wrong == "old_action" else action
            kept = run.state if wrong == "old_state" else state
            replay = d.add(run.replay, steps if wrong == "new_steps" else run.steps, stored, kept)
            begins = steps.is_last if wrong == "early" else steps.is_first
            old = run.score if wrong == "never_reset" else jnp.where(begins, 0.0, run.score)
            score = old + steps.reward
            ends = steps.is_first if wrong == "late" else steps.is_last
            latest = jnp.where(ends, run.score if wrong == "late" else score, run.latest)
            state = run.state if wrong == "forgets" else state
            return run._replace(
                replay=replay, world=inside, steps=steps, state=state, action=action, score=score,
                latest=latest,
            )  # fmt: skip

        return function

    names = ("new_steps", "old_action", "old_state", "forgets", "never_reset", "early", "late")
    what = "12 time steps of 4 games of Catch: what is stored, and what the run is then"
    return Exercise(solved("collect"), [Part(what, measure)], **each(variant, *names))


@part("learn")
def learn() -> Exercise:
    """`mine(graph, c, optimizer, run)` -> (run, losses): sample, cut, update, write back."""
    d = course()
    graph, c, world, begun = started()
    optimizer = d.make_optimizer(c)

    @jax.jit
    def play(run: Any) -> Any:
        return jax.lax.fori_loop(0, 20, lambda _, run: d.collect(graph, c, world, run), run)

    run = play(begun)

    def measure(function: Function) -> Any:
        """Two calls, for the first has a learning rate of 0."""
        # `cut` makes states of the types of its own file, and so must the networks.
        own = getattr(function, "__globals__", {}).get("Dreamer", d.Dreamer)
        structure = nnx.graphdef(own(c, world, 0))

        def once(run: Any, _: Any) -> tuple:
            run, losses = function(structure, c, optimizer, run)
            run = as_course(run)
            # The next key depends on what was collected.
            return run._replace(replay=run.replay._replace(added=run.replay.added + 1)), losses

        last, losses = jax.lax.scan(once, run, length=2)
        return named({
            "recon": losses["recon"], "stored_deter": last.replay.deter[:20],
            "stored_classes": last.replay.stoch[:20].astype(jnp.int32),
            "actor": norm(last.learner.params["actor"]), "slow": norm(last.learner.slow),
        })  # fmt: skip

    def variant(wrong: str) -> Function:
        def function(graph, c, optimizer, run):
            key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added + 1)
            sample_key, key = jax.random.split(key)
            place, env = d.sample(run.replay, c.batch, c.length, sample_key)
            if wrong == "in_turn":
                env = jnp.arange(c.batch) % c.worlds
            batch = d.cut(run.replay, place, env, c.classes)
            learner, losses, states = d.update(graph, c, optimizer, run.learner, batch, key)
            if wrong == "learner_kept":
                learner = run.learner
            replay = d.write_back(run.replay, place, env, states)
            if wrong == "one_place_early":
                replay = d.write_back(run.replay, place - 1, env, states)
            if wrong == "no_write_back":
                replay = run.replay
            return run._replace(learner=learner, replay=replay), losses

        return function

    names = ("no_write_back", "one_place_early", "learner_kept", "in_turn")
    what = "two calls on 20 time steps of Catch: losses, the states in the ring, parameters"
    return Exercise(solved("learn"), [Part(what, compiled(measure))], **each(variant, *names))


@check
def loop() -> Exercise:
    """`mine(collect_once, learn_once, run, steps, updates)` -> (run, list of losses).

    `collect_once(run)` returns a run, `learn_once(run)` (run, losses).
    """

    def right(collect_once, learn_once, run, steps, updates):
        history = []
        for _ in range(updates):
            for _ in range(steps):
                run = collect_once(run)
            run, losses = learn_once(run)
            history.append(losses)
        return run, history

    def on_numbers(function: Function) -> Any:
        """A run that is a number: its order of events can be read from it."""
        found = function(lambda x: 2 * x, lambda x: (x + 1, 10 * x), 1, 2, 3)
        if found is None:
            return None
        run, history = found
        if not isinstance(history, list):
            raise TypeError("the losses of all updates are returned as a list")
        return jnp.array([run, *history])

    def learn_first(collect_once, learn_once, run, steps, updates):
        history = []
        for _ in range(updates):
            run, losses = learn_once(run)
            history.append(losses)
            for _ in range(steps):
                run = collect_once(run)
        return run, history

    def one_step(collect_once, learn_once, run, steps, updates):
        return right(collect_once, learn_once, run, 1, updates)

    def apart(collect_once, learn_once, run, steps, updates):
        for _ in range(steps * updates):
            run = collect_once(run)
        return right(collect_once, learn_once, run, 0, updates)

    def not_kept(collect_once, learn_once, run, steps, updates):
        history = right(collect_once, learn_once, run, steps, updates)[1]
        return run, history

    def all_lost(collect_once, learn_once, run, steps, updates):
        return run, [learn_once(run)[1] for _ in range(updates)]

    def learning_lost(collect_once, learn_once, run, steps, updates):
        return right(collect_once, lambda run: (run, learn_once(run)[1]), run, steps, updates)

    return Exercise(
        right,
        [Part("3 updates with 2 time steps before each, of a run that is a number", on_numbers)],
        learn_first=learn_first,
        one_step=one_step,
        apart=apart,
        not_kept=not_kept,
        learning_lost=learning_lost,
        all_lost=all_lost,
    )
