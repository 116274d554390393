"""Notebook 08: acting, the whole loss, an update, and the loop.

All is measured on a very small agent for Catch whose parameters are random; see `dreaming`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite import worlds
from dreamer_lite.course.checks.dreaming import small_agent
from dreamer_lite.course.checks.exercise import check, flags, named, norm, normal, part, solved
from dreamer_lite.course.checks.exercise import solved_agent as course
from dreamer_lite.course.compare import Exercise, Function, Part
from dreamer_lite.worlds.base import TimeStep, next_timestep

sg = jax.lax.stop_gradient
B, T, W = 3, 6, 4
MODEL = ("encoder", "rssm", "decoder", "reward", "cont")


@functools.cache
def case() -> tuple:
    """(graph, parameters, hyperparameters, Learner, Batch) of the small agent."""
    d, agent = course(), small_agent()
    c = d.Config(
        worlds=W, batch=B, length=T, capacity=40 * W, train_ratio=1, deter=8, stoch=3, classes=4,
        blocks=2, hidden=6, units=7, bins=63, horizon=4, starts=2, recon=0.5, warmup=1,
        learning_rate=0.02,
    )  # fmt: skip
    graph, params = nnx.split(agent)
    params = nnx.to_pure_dict(params)
    middle = 4.0 * jnp.abs(jnp.arange(63) - 31)
    for head in ("reward", "critic"):  # so that predictions are of usual size
        out = params[head]["out"]
        params[head]["out"] = {"kernel": 0.1 * out["kernel"], "bias": -middle}
    slow = jax.tree.map(lambda x: 0.7 * x, params["critic"])
    memory = d.make_optimizer(c).init(params)
    learner = d.Learner(params, slow, memory, jnp.array([-1.0, 2.0]))
    cells = jnp.asarray(np.random.default_rng(70).random((T, B, 10, 10, 2)) > 0.9)
    steps = TimeStep(
        {"image": 255 * cells.astype(jnp.uint8)}, 2 * normal(71, T, B),
        is_first=flags("100100", "000010", "000000"),
        is_last=flags("001000", "000101", "000001"),
        is_terminal=flags("000000", "000100", "000001"),
    )  # fmt: skip
    action = jax.nn.one_hot(jnp.arange(T * B).reshape(T, B) % 3, 3)
    stoch = jax.nn.one_hot(jnp.arange(B * 3).reshape(B, 3) % 4, 4)
    return graph, params, c, learner, d.Batch(steps, action, d.State(normal(72, B, 8), stoch))


def as_course(run: Any) -> Any:
    """A run in the course's types: those of the reader's file are others, with the same fields."""
    d = course()
    return d.Run(*run)._replace(
        learner=d.Learner(*run.learner), replay=d.Replay(*run.replay), state=d.State(*run.state)
    )


def compiled(measure: Callable[[Function], Any]) -> Callable[[Function], Any]:
    """`measure` of a function as one program: op by op it would compile hundreds."""
    return lambda function: jax.jit(lambda: measure(function))()


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
    cells = jnp.asarray(np.random.default_rng(73).random((count, 10, 10, 2)) > 0.9)
    end = flags("01000100")[:, 0]
    obs = {"image": 255 * cells.astype(jnp.uint8)}
    steps = TimeStep(obs, normal(74, count), flags("00100001")[:, 0], end, end)
    stoch = jax.nn.one_hot(jnp.arange(count * 3).reshape(count, 3) % 4, 4)
    state, before = d.State(normal(75, count, 8), stoch), jax.nn.one_hot(jnp.arange(count) % 3, 3)

    def measure(function: Function) -> Any:
        return function(agent, state, before, steps, jax.random.key(76))

    def variant(*wrong: str) -> Function:
        def function(agent, state, action, steps, key):
            u_key, key = (key, key) if "one_key" in wrong else jax.random.split(key)
            u_key, key = (key, u_key) if "keys_swapped" in wrong else (u_key, key)
            u = jax.random.uniform(u_key, state.stoch.shape[:-1])
            first = jnp.zeros_like(steps.is_first) if "no_reset" in wrong else steps.is_first
            new, _ = agent.rssm.observe_step(
                state, agent.encoder.embed(steps.obs), action, first, u
            )
            if "prior" in wrong:
                old, masked = d.mask_reset(state, action, first)
                new = agent.rssm.imagine_step(old, masked, u)
            policy = agent.actor.policy(d.feature(state if "old_state" in wrong else new))
            chosen = policy.sample(key)
            if "greedy" in wrong:
                chosen = jax.nn.one_hot(policy.logp.argmax(-1), chosen.shape[-1])
            end = steps.is_first if "first_masked" in wrong else steps.is_last
            keep = jnp.ones_like(end) if "not_masked" in wrong else 1.0 - end
            return new, chosen * keep[:, None]

        return function

    names = (
        "not_masked", "first_masked", "no_reset", "prior", "old_state", "greedy", "one_key",
        "keys_swapped",
    )  # fmt: skip
    what = "8 environments, two of which begin an episode and two of which end one"
    mistakes: Any = {name: variant(name) for name in names}
    return Exercise(solved("act"), [Part(what, compiled(measure))], **mistakes)


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

    def variant(*wrong: str) -> Function:
        def function(graph, c, world, run):
            key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added)
            keys = jax.random.split(key, c.worlds + 1)
            agent = nnx.merge(graph, run.learner.params)
            state, action = d.act(agent, run.state, run.action, run.steps, keys[0])
            choice = action.argmax(-1)
            move = jax.vmap(lambda *args: next_timestep(world, *args))
            inside, steps = move(run.world, run.steps, choice, keys[1:])
            stored = run.action if "old_action" in wrong else action
            kept = run.state if "old_state" in wrong else state
            replay = d.add(run.replay, steps if "new_steps" in wrong else run.steps, stored, kept)
            begins = steps.is_last if "early" in wrong else steps.is_first
            old = run.score if "never_reset" in wrong else jnp.where(begins, 0.0, run.score)
            score = old + steps.reward
            ends = steps.is_first if "late" in wrong else steps.is_last
            latest = jnp.where(ends, run.score if "late" in wrong else score, run.latest)
            state = run.state if "forgets" in wrong else state
            return run._replace(
                replay=replay, world=inside, steps=steps, state=state, action=action, score=score,
                latest=latest,
            )  # fmt: skip

        return function

    names = ("new_steps", "old_action", "old_state", "forgets", "never_reset", "early", "late")
    mistakes: Any = {name: variant(name) for name in names}
    what = "12 time steps of 4 games of Catch: what is stored, and what the run is then"
    return Exercise(solved("collect"), [Part(what, measure)], **mistakes)


@part("replay_value_loss")
def replay_value_loss() -> Exercise:
    """`mine(agent, slow, c, batch, states, bootstrap)` -> losses (T-1, B).

    Source: `repl_loss` of the released code (dreamerv3/agent.py).
    """
    d = course()
    graph, params, c, learner, batch = case()
    stoch = jax.nn.one_hot(jnp.arange(T * B * 3).reshape(T, B, 3) % 4, 4)
    states, bootstrap = d.State(normal(77, T, B, 8), stoch), normal(78, T, B)

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

    def variant(*wrong: str) -> Function:
        def function(agent, slow, c, batch, states, bootstrap):
            steps = batch.steps
            end = steps.is_last if "last_is_terminal" in wrong else steps.is_terminal
            cut = steps.is_terminal if "terminal_cuts" in wrong else steps.is_last
            discount = 1.0 if "no_discount" in wrong else c.discount
            lam = c.lam * jnp.ones_like(cut) if "not_cut" in wrong else (1.0 - cut) * c.lam
            feat = d.feature(states)
            feat = sg(feat) if "states_stopped" in wrong else feat
            value = d.two_hot_mean(agent.critic(feat)) if "own_values" in wrong else bootstrap
            returns = d.lambda_returns(steps.reward, (1.0 - end) * discount, sg(value), lam)
            logits = slow(feat[:-1])
            found = d.critic_loss(agent.critic(feat[:-1]), sg(logits), returns)
            mask = 1 - steps.is_last[1:] if "mask_late" in wrong else 1 - steps.is_last[:-1]
            return found if "not_masked" in wrong else mask * found

        return function

    names = (
        "not_masked", "mask_late", "last_is_terminal", "terminal_cuts", "not_cut", "no_discount",
        "own_values", "states_stopped",
    )  # fmt: skip
    mistakes: Any = {name: variant(name) for name in names}
    return Exercise(
        solved("replay_value_loss"),
        [
            Part("3 sequences of 6 time steps with a true end and a time limit", compiled(numbers)),
            Part(
                "gradient norms for the critic, the slow critic, the states and the bootstrap",
                compiled(taught),
            ),
        ],
        **mistakes,
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

    mistakes: Any = {
        name: functools.partial(_total_loss, wrong=name)
        for name in (
            "no_weights", "no_replay_value", "no_model", "first_steps", "old_range",
            "old_bootstrap", "every_start", "same_key", "states_learn",
        )
    }  # fmt: skip
    where = "gradient norms for encoder, RSSM, decoder, reward and continue heads, actor, critic"
    return Exercise(
        solved("total_loss"),
        [
            Part("3 sequences of 6 time steps, imagined from the last 2", compiled(numbers)),
            Part(f"{where}; and of the returned states, which learn no more", compiled(taught)),
        ],
        **mistakes,
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

    def variant(*wrong: str) -> Function:
        def function(graph, c, optimizer, learner, batch, key):
            inputs = learner.params, learner.memory, graph, c, learner, batch, key
            params, memory, extra = d.train_step(d.total_loss, optimizer, *inputs)
            losses, states, new_range = extra
            source = learner.params if "from_old" in wrong else params
            keep = 0.02 if "swapped" in wrong else 0.98
            slow = jax.tree.map(
                lambda s, p: keep * s + (1 - keep) * p, learner.slow, source["critic"]
            )
            slow = learner.slow if "no_slow" in wrong else slow
            slow = params["critic"] if "copied" in wrong else slow
            memory = learner.memory if "forgetful" in wrong else memory
            new_range = learner.range if "old_range" in wrong else new_range
            params = learner.params if "not_moved" in wrong else params
            return d.Learner(params, slow, memory, new_range), losses, states

        return function

    names = ("not_moved", "no_slow", "copied", "swapped", "from_old", "forgetful", "old_range")
    mistakes: Any = {name: variant(name) for name in names}
    what = "two updates: norms of all parameters, the slow critic and the optimizer's memory"
    return Exercise(solved("update"), [Part(what, compiled(twice))], **mistakes)


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

    def variant(*wrong: str) -> Function:
        def function(graph, c, optimizer, run):
            key = jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added + 1)
            sample_key, key = jax.random.split(key)
            place, env = d.sample(run.replay, c.batch, c.length, sample_key)
            if "in_turn" in wrong:
                env = jnp.arange(c.batch) % c.worlds
            batch = d.cut(run.replay, place, env, c.classes)
            learner, losses, states = d.update(graph, c, optimizer, run.learner, batch, key)
            if "learner_kept" in wrong:
                learner = run.learner
            replay = d.write_back(run.replay, place, env, states)
            if "one_place_early" in wrong:
                replay = d.write_back(run.replay, place - 1, env, states)
            if "no_write_back" in wrong:
                replay = run.replay
            return run._replace(learner=learner, replay=replay), losses

        return function

    names = ("no_write_back", "one_place_early", "learner_kept", "in_turn")
    mistakes: Any = {name: variant(name) for name in names}
    what = "two calls on 20 time steps of Catch: losses, the states in the ring, parameters"
    return Exercise(solved("learn"), [Part(what, compiled(measure))], **mistakes)


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
