"""Solutions and wrong answers of notebook 08, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dreamer_lite.course.checks.exercise import solved_agent
from dreamer_lite.worlds.base import next_timestep

d = solved_agent()
sg = jax.lax.stop_gradient


def clip_gradient(gradient, param, clip=0.3):
    limit = clip * jnp.maximum(1e-3, jnp.sqrt(jnp.sum(param**2)))
    size = jnp.sqrt(jnp.sum(gradient**2))
    return jnp.where(size > limit, gradient * limit / size, gradient)


def laprop(gradient, v, m, count, decay, momentum=0.9):
    v = v + (1 - decay) * (gradient * gradient - v)
    scaled = gradient / (jnp.sqrt(v / (1 - decay**count)) + 1e-20)
    m = m + (1 - momentum) * (scaled - m)
    return m / (1 - momentum**count), v, m


def adam(gradient, v, m, count, decay, momentum=0.9):
    v, m = decay * v + (1 - decay) * gradient**2, momentum * m + (1 - momentum) * gradient
    return m / (1 - momentum**count) / jnp.sqrt(v / (1 - decay**count)), v, m


def epsilon_inside(gradient, v, m, count, decay, momentum=0.9):
    v = decay * v + (1 - decay) * gradient**2
    m = momentum * m + (1 - momentum) * gradient / jnp.sqrt(1e-20 + v / (1 - decay**count))
    return m / (1 - momentum**count), v, m


def with_python_if(gradient, param, clip=0.3):
    limit = clip * max(1e-3, jnp.linalg.norm(param))
    size = jnp.linalg.norm(gradient)
    return gradient * limit / size if size > limit else gradient


def make_optimizer(c, sign=-1.0, warm=True, shift=0, decays=True, clip=0.3, beta="rms_decay"):
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros, jnp.int32(0)

    def move(gradient, memory, params):
        v, m, count = memory
        gradient = jax.tree.map(lambda g, p: clip_gradient(g, p, clip), gradient, params)
        triples = jax.tree.map(
            lambda g, v, m: laprop(g, v, m, count + 1, getattr(c, beta)), gradient, v, m
        )
        step, v, m = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0, 0)), triples
        )
        at = count + shift
        rate = c.learning_rate * (jnp.where(at < c.warmup, at / c.warmup, 1.0) if warm else 1.0)
        if c.decay and decays:
            rate = rate / jnp.sqrt(1 + at / c.decay)
        return jax.tree.map(lambda s: sign * rate * s, step), (v, m, count + 1)

    return optax.GradientTransformation(init, move)


def act(agent, state, action, steps, key, reset=True, mask="is_last", greedy=False, order=1):
    first, second = jax.random.split(key)[::order]
    first_steps = steps.is_first & reset
    old, action = d.mask_reset(state, action, first_steps)
    deter = agent.rssm.core(old, action)
    post = agent.rssm.posterior(deter, agent.encoder.embed(steps.obs))
    new = d.State(deter, d.sample_onehot(post, jax.random.uniform(first, post.shape[:-1])))
    policy = agent.actor.policy(d.feature(new))
    chosen = policy.sample(second)
    if greedy:
        chosen = jax.nn.one_hot(policy.logp.argmax(-1), chosen.shape[-1])
    return new, jnp.where(getattr(steps, mask)[:, None], 0.0, chosen)


def begin(c, world, optimizer, params, seed, length=None, one_key=False, slow=1.0, latest=np.nan):
    count, length = c.worlds, length or c.capacity // c.worlds
    keys = jax.random.split(jax.random.key(seed), count)
    inside, steps = jax.vmap(world.reset)(keys[jnp.zeros(count, int)] if one_key else keys)
    size = world.action_space.classes or world.action_space.shape[0]
    state = d.State(jnp.zeros((count, c.deter)), jnp.zeros((count, c.stoch, c.classes)))
    replay = d.Replay(
        jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), steps),
        jnp.zeros((length, count, size)),
        jnp.zeros((length, count, c.deter)),
        jnp.zeros((length, count, c.stoch), jnp.uint8),
        jnp.int32(0),
    )
    copied = params["critic"]
    if slow is not None:
        copied = jax.tree.map(lambda x: slow * x, copied)
    learner = d.Learner(params, copied, optimizer.init(params), jnp.zeros(2))
    return d.Run(
        learner, replay, inside, steps, state, jnp.zeros((count, size)), jnp.int32(seed),
        jnp.zeros(count), jnp.full(count, latest),
    )  # fmt: skip


def collect(graph, c, world, run, late=False, keep=False, stored="new", score=True, early=False):
    keys = jax.random.split(
        jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added), c.worlds + 1
    )
    agent = nnx.merge(graph, run.learner.params)
    state, action = act(agent, run.state, run.action, run.steps, keys[0])
    chosen = jnp.argmax(action, -1)
    inside, new = jax.vmap(next_timestep, (None, 0, 0, 0, 0))(
        world, run.world, run.steps, chosen, keys[1:]
    )
    replay = d.add(
        run.replay, new if late else run.steps, action if stored == "new" else run.action, state
    )
    begins = new.is_last if early else new.is_first
    total = run.score * (1 - begins * score) + new.reward
    return run._replace(
        replay=replay,
        world=inside,
        steps=new,
        state=run.state if keep else state,
        action=action,
        score=total,
        latest=jnp.where(new.is_last, total, run.latest),
    )


def replay_value_loss(
    agent, slow, c, batch, states, bootstrap, mask="is_last", end="is_terminal", cut="is_last",
    stop=False, lam=None,
):  # fmt: skip
    steps = batch.steps
    cont = jnp.where(getattr(steps, end), 0.0, c.discount)
    lam = jnp.where(getattr(steps, cut), 0.0, c.lam) if lam is None else lam
    returns = [bootstrap[-1]]
    for t in reversed(range(1, len(cont))):
        mixed = (1 - lam[t]) * bootstrap[t] + lam[t] * returns[0]
        returns.insert(0, steps.reward[t] + cont[t] * mixed)
    feat = d.feature(states)[:-1]
    feat = sg(feat) if stop else feat
    loss = d.critic_loss(agent.critic(feat), slow(sg(feat)), jnp.stack(returns[:-1]))
    return jnp.where(getattr(steps, mask)[:-1], 0.0, loss)


def total_loss(
    params, graph, c, learner, batch, key, where=slice(-2, None), weighted=True, replayed=True,
    learned=True,
):  # fmt: skip
    agent = nnx.merge(graph, params)
    slow = nnx.merge(nnx.graphdef(agent.critic), learner.slow)
    first, second = jax.random.split(key)
    losses, states = d.world_model_loss(agent, c, batch, first)
    steps = jax.tree.map(lambda x: x[where], batch.steps)
    last = d.State(states.deter[where], states.stoch[where])
    count = last.deter.shape[0] * last.deter.shape[1]
    start = d.State(
        sg(last.deter).reshape(count, c.deter),
        sg(last.stoch).reshape(count, c.stoch, c.classes),
    )
    dreams, actions = d.imagine(agent, start, c.horizon, second)
    more, returns, new_range = d.dream_losses(agent, slow, c, dreams, actions, learner.range)
    losses.update(more)
    losses["replay_value"] = replay_value_loss(
        agent, slow, c, d.Batch(steps, None, None), last, returns[0].reshape(last.deter.shape[:2])
    )
    means = {name: jnp.mean(x) for name, x in losses.items()}
    weights = {"recon": c.recon, "rep": 0.1, "replay_value": 0.3 if replayed else 0.0}
    total = sum((weights.get(k, 1.0) if weighted else 1.0) * x for k, x in means.items())
    states = d.State(sg(states.deter), sg(states.stoch))
    return total, (means, states, new_range if learned else learner.range)


def update(graph, c, optimizer, learner, batch, key, rate=0.02, old=False, keep=False):
    (_, (losses, states, new_range)), slopes = jax.value_and_grad(d.total_loss, has_aux=True)(
        learner.params, graph, c, learner, batch, key
    )
    steps, memory = optimizer.update(slopes, learner.memory, learner.params)
    params = jax.tree.map(jnp.add, learner.params, steps)
    source = learner.params if old else params
    slow = jax.tree.map(lambda s, p: s + rate * (p - s), learner.slow, source["critic"])
    return d.Learner(params, slow, learner.memory if keep else memory, new_range), losses, states


def learn(graph, c, optimizer, run, back=True, keep=False):
    first, second = jax.random.split(
        jax.random.fold_in(jax.random.key(run.seed), 2 * run.replay.added + 1)
    )
    place, env = d.sample(run.replay, c.batch, c.length, first)
    batch = d.cut(run.replay, place, env, c.classes)
    new, losses, states = d.update(graph, c, optimizer, run.learner, batch, second)
    replay = d.write_back(run.replay, place, env, states) if back else run.replay
    return run._replace(learner=run.learner if keep else new, replay=replay), losses


def loop(collect_once, learn_once, run, steps, updates):
    found = []
    while len(found) < updates:
        for _ in range(steps):
            run = collect_once(run)
        run, news = learn_once(run)
        found += [news]
    return run, found


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f)
    for f in (
        clip_gradient, laprop, make_optimizer, act, begin, collect, replay_value_loss, total_loss,
        update, learn,
    )
} | {"loop": loop, "adam": adam}  # fmt: skip


def changed(function, **changes):
    return functools.partial(function, **changes)


def learn_first(collect_once, learn_once, run, steps, updates):
    found = []
    for _ in range(updates):
        run, news = learn_once(run)
        found.append(news)
        for _ in range(steps):
            run = collect_once(run)
    return run, found


def last_only(collect_once, learn_once, run, steps, updates):
    run, found = loop(collect_once, learn_once, run, steps, updates)
    return run, found[-1:]


WRONG: list[tuple[str, Callable, str]] = [
    ("clip_gradient", lambda g, p, clip=0.3: g, "nothing is clipped"),
    (
        "clip_gradient",
        lambda g, p, clip=0.3: (
            g / jnp.linalg.norm(g) * clip * jnp.maximum(1e-3, jnp.linalg.norm(p))
        ),
        "small gradient must stay",
    ),
    (
        "clip_gradient",
        lambda g, p, clip=0.3: jnp.clip(g, -clip * jnp.linalg.norm(p), clip * jnp.linalg.norm(p)),
        "keeps its direction",
    ),
    (
        "clip_gradient",
        lambda g, p, clip=0.3: jax.vmap(lambda g, p: clip_gradient(g, p, clip))(g, p),
        "row by row",
    ),
    (
        "clip_gradient",
        lambda g, p, clip=0.3: (
            g / jnp.maximum(1, jnp.linalg.norm(g) / (clip * jnp.maximum(1e-12, jnp.linalg.norm(p))))
        ),
        "never move",
    ),
    ("clip_gradient", lambda g, p, clip=0.3: clip_gradient(g, p), "clip is an argument"),
    ("clip_gradient", lambda g, p, clip=0.3: clip_gradient(g, p, 0.5), "wrong numbers"),
    ("clip_gradient", changed(with_python_if), "use jnp.where"),
    ("laprop", changed(adam), "as Adam does"),
    ("laprop", lambda g, v, m, t, b, k=0.9: laprop(g, v, m, 1000, b, k), "wrong numbers"),
    ("laprop", changed(epsilon_inside), "outside of the root"),
    (
        "laprop",
        lambda g, v, m, t, b, k=0.9: (-laprop(g, v, m, t, b, k)[0], *laprop(g, v, m, t, b, k)[1:]),
        "sign is wrong",
    ),
    (
        "laprop",
        lambda g, v, m, t, b, k=0.9: (laprop(g, v, m, t, b, k)[2], *laprop(g, v, m, t, b, k)[1:]),
        "momentum is not corrected",
    ),
    ("laprop", lambda g, v, m, t, b, k=0.9: laprop(g, v, m, t - 1, b, k), "0 / 0"),
    ("adam", lambda *x: laprop(*x), "LaProp again"),
    (
        "adam",
        lambda g, v, m, t, b, k=0.9: (
            adam(g, v, m, t, b, k)[2] / jnp.sqrt(v),
            *adam(g, v, m, t, b, k)[1:],
        ),
        "wrong numbers",
    ),
    ("make_optimizer", changed(make_optimizer, sign=1.0), "uphill"),
    ("make_optimizer", changed(make_optimizer, warm=False), "warm-up is missing"),
    ("make_optimizer", changed(make_optimizer, shift=1), "one update early"),
    ("make_optimizer", changed(make_optimizer, decays=False), "decay is missing"),
    ("make_optimizer", changed(make_optimizer, clip=1e9), "not clipped"),
    ("make_optimizer", changed(make_optimizer, beta="decay"), "its β is c.rms_decay"),
    ("act", changed(act, reset=False), "a state of the old one"),
    ("act", changed(act, mask="is_first"), "it is the last one"),
    ("act", changed(act, greedy=True), "most likely action"),
    ("act", changed(act, order=-1), "keys are swapped"),
    ("act", lambda *x: act(*x)[::-1], "it returned"),
    ("begin", changed(begin, one_key=True), "a key of its own"),
    ("begin", changed(begin, length=40 * 4), "ring is too long"),
    ("begin", changed(begin, slow=0.0), "as a copy"),
    ("begin", changed(begin, latest=0.0), "NaN, not 0"),
    ("begin", changed(begin, slow=None), "with jnp.copy"),
    ("collect", changed(collect, late=True), "AFTER the action"),
    ("collect", changed(collect, stored="old"), "store the one that was chosen"),
    ("collect", changed(collect, keep=True), "keeps the old state"),
    ("collect", changed(collect, score=False), "never set back"),
    ("collect", changed(collect, early=True), "in the LAST time step"),
    ("replay_value_loss", changed(replay_value_loss, mask="is_first"), "wrong numbers"),
    ("replay_value_loss", changed(replay_value_loss, end="is_last"), "no terminal state"),
    ("replay_value_loss", changed(replay_value_loss, cut="is_terminal"), "where is_LAST is"),
    ("replay_value_loss", changed(replay_value_loss, stop=True), "trains the world model too"),
    ("total_loss", changed(total_loss, where=slice(0, 2)), "FIRST time steps"),
    ("total_loss", changed(total_loss, where=slice(None)), "from all time steps"),
    ("total_loss", changed(total_loss, weighted=False), "not weighted"),
    ("total_loss", changed(total_loss, replayed=False), "replayed time steps is missing"),
    ("total_loss", changed(total_loss, learned=False), "new range is not returned"),
    ("update", changed(update, rate=0.98), "swapped"),
    ("update", changed(update, rate=1.0), "is a copy"),
    ("update", changed(update, rate=0.0), "does not follow"),
    ("update", changed(update, old=True), "follows the NEW critic"),
    ("update", changed(update, keep=True), "memory is the old one"),
    ("learn", changed(learn, back=False), "not written back"),
    ("learn", changed(learn, keep=True), "keeps the old learner"),
    ("loop", learn_first, "new time steps come first"),
    ("loop", last_only, "wrong shape"),
    (
        "loop",
        lambda *x: (x[2], loop(lambda r: r, lambda r: (r, x[1](r)[1]), *x[2:])[1]),
        "keep the run",
    ),
    ("loop", lambda *x: (loop(*x)[0], loop(*x)[1][-1]), "as a list"),
]
