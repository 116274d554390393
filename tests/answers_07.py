"""Solutions and wrong answers of notebook 07, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import solved_agent

sg = jax.lax.stop_gradient


def lambda_returns(reward, cont, value, lam):
    returns = [value[-1]]
    for t in reversed(range(1, len(reward))):
        mixed = (1 - lam[t]) * value[t] + lam[t] * returns[0]
        returns.insert(0, reward[t] + cont[t] * mixed)
    return jnp.stack(returns[:-1])


def scanned(last, *entries):
    """The scan of the solution over other entries of reward, cont, value and lam."""

    def step(later, x):
        now = x[0] + x[1] * ((1 - x[3]) * x[2] + x[3] * later)
        return now, now

    return jax.lax.scan(step, last, entries, reverse=True)[1]


def policy(self, feat, fraction=None, floor=0.1):
    out, course = self.net(feat), solved_agent()
    if self.discrete:
        fraction = self.c.policy_unimix if fraction is None else fraction
        probs = (1 - fraction) * jax.nn.softmax(out) + fraction / out.shape[-1]
        return course.Categorical(jnp.log(probs))
    half = out.shape[-1] // 2
    std = floor + (1 - floor) / (1 + jnp.exp(-out[..., half:] - 2))
    return course.Gaussian(jnp.tanh(out[..., :half]), std)


def gaussian_log_prob(self, action):
    return jax.scipy.stats.norm.logpdf(action, self.mean, self.std).sum(-1)


def gaussian_entropy(self):
    return 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.std**2).sum(-1)


def update_range(old, returns):
    new = jnp.stack([jnp.quantile(returns, 0.05), jnp.quantile(returns, 0.95)])
    return old + 0.01 * (new - old)


def critic_loss(logits, slow_logits, returns):
    course = solved_agent()
    bins = course.make_bins(logits.shape[-1])
    targets = course.two_hot(returns, bins) + course.two_hot(course.two_hot_mean(slow_logits), bins)
    return -jnp.sum(sg(targets) * jax.nn.log_softmax(logits), -1)


def actor_loss(policy, action, advantage, entropy):
    return -sg(advantage) * policy.log_prob(action) - entropy * policy.entropy()


def dream_losses(
    agent, slow, c, states, actions, old_range, bootstrap=None, shift=0, floor=1.0,
    alive=lambda c, logit: 1 / (1 + jnp.exp(-logit)), first=lambda cont: cont, hold=sg,
):  # fmt: skip
    course = solved_agent()
    feat = sg(
        jnp.concatenate([states.deter, states.stoch.reshape(*states.deter.shape[:-1], -1)], -1)
    )
    reward, cont = course.two_hot_mean(agent.reward(feat)), alive(c, agent.cont(feat)[..., 0])
    reward, cont, logits = sg(reward), sg(cont), agent.critic(feat)
    value = hold(course.two_hot_mean(logits))
    returns = lambda_returns(
        reward, cont, value if bootstrap is None else sg(bootstrap(feat)), 0 * cont + c.lam
    )
    low, high = new = update_range(old_range, returns)
    scale = jnp.where(high - low > floor, high - low, floor)
    weight = jnp.cumprod(cont.at[0].set(first(cont)[0]), 0)[shift : len(cont) - 1 + shift]
    chosen = agent.actor.policy(feat[:-1])
    losses = {
        "policy": weight * actor_loss(chosen, actions, (returns - value[:-1]) / scale, c.entropy),
        "value": weight * critic_loss(logits[:-1], slow(feat[:-1]), returns),
    }
    return losses, returns, new


def with_losses(change):
    """`dream_losses` whose two losses are changed afterwards."""

    def wrong(agent, slow, c, states, actions, old_range):
        losses, *rest = dream_losses(agent, slow, c, states, actions, old_range)
        return change(losses), *rest

    return functools.partial(wrong)


def teaches_the_model(agent, slow, c, states, actions, old_range):
    losses, *rest = dream_losses(agent, slow, c, states, actions, old_range)
    feat = sg(solved_agent().feature(states))
    cont = jax.nn.sigmoid(agent.cont(feat)[..., 0])
    weight = jnp.cumprod(cont, 0)[:-1]
    return {k: x / sg(weight) * weight for k, x in losses.items()}, *rest


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f)
    for f in (
        lambda_returns, policy, gaussian_log_prob, gaussian_entropy, update_range, critic_loss,
        actor_loss, dream_losses,
    )
}  # fmt: skip

WRONG: list[tuple[str, Callable, str]] = [
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(jnp.roll(r, 1, 0), c, v, lam),
        "earns the reward at t + 1",
    ),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(jnp.concatenate([r[:1], r[:-1]]), c, v, lam),
        "earns the reward at t + 1",
    ),
    ("lambda_returns", lambda r, c, v, lam: lambda_returns(r, c, v, 1 - lam), "swapped"),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(r, c, v.at[-1].set(0), lam),
        "bootstrap from the last state",
    ),
    ("lambda_returns", lambda r, c, v, lam: lambda_returns(r, c, 0 * v, 1 + 0 * lam), "left out"),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(r, c, v, lam.at[1:].set(lam[:-1])),
        "scan over lam[1:]",
    ),
    ("lambda_returns", lambda *x: jnp.flip(lambda_returns(*x), 0), "order is backwards"),
    (
        "lambda_returns",
        lambda r, c, v, lam: lambda_returns(jnp.roll(r, 1, 0), jnp.roll(c, 1, 0), v, lam),
        "wrong numbers",
    ),
    (
        "lambda_returns",
        functools.partial(lambda *x: scanned(x[2][-1], *(y[:-1] for y in x))),
        "[1:]",
    ),
    (
        "lambda_returns",
        functools.partial(lambda r, c, v, lam: scanned(v[-1], r[1:], c[1:], v[:-1], lam[1:])),
        "as the paper prints it",
    ),
    (
        "lambda_returns",
        lambda r, c, v, lam: jnp.append(lambda_returns(r, c, v, lam), v[-1:], 0),
        "wrong shape: (4,)",
    ),
    ("policy", lambda self, x: policy(self, x, fraction=0.0), "uniform mixture is missing"),
    ("policy", lambda self, x: policy(self, x, fraction=self.c.unimix), "mixture of the latents"),
    ("policy", lambda self, x: policy(self, x, fraction=0.01), "not the number 0.01"),
    ("policy", lambda self, x: solved_agent().Categorical(self.net(x)), "unnormalised logits"),
    (
        "policy",
        lambda self, x: solved_agent().Categorical(
            solved_agent().unimix(jax.nn.softmax(self.net(x)), self.c.policy_unimix)
        ),
        "has the softmax inside",
    ),
    (
        "policy",
        lambda self, x: (
            policy(self, x)
            if self.discrete
            else solved_agent().Gaussian(
                jnp.tanh(self.net(x)[..., ::2]),
                0.1 + 0.9 * jax.nn.sigmoid(self.net(x)[..., 1::2] + 2),
            )
        ),
        "not interleaved",
    ),
    ("policy", lambda self, x: policy(self, x, floor=0.0), "from 0.1 to 1"),
    (
        "policy",
        lambda self, x: (
            policy(self, x)._replace(mean=jnp.split(self.net(x), 2, -1)[0])
            if not self.discrete
            else policy(self, x)
        ),
        "bounded by tanh",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: gaussian_log_prob(self, jnp.clip(x, -1, 1)),
        "do not clip",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: (-0.5 * ((x - self.mean) / self.std) ** 2 - jnp.log(self.std)).sum(-1),
        "constant is missing",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: gaussian_log_prob(self, x) + jnp.log(self.std).sum(-1),
        "ln std is missing",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: jax.scipy.stats.norm.logpdf(x, self.mean, self.std),
        "wrong shape: (2, 3)",
    ),
    ("gaussian_log_prob", lambda self, x: jnp.exp(gaussian_log_prob(self, x)), "LOGARITHM"),
    (
        "gaussian_log_prob",
        lambda self, x: (
            -0.5 * (((x - self.mean) / self.std) ** 2 + jnp.log(2 * jnp.pi * self.std))
        ).sum(-1),
        "factor one half belongs",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: gaussian_log_prob(self, x) + jnp.log(self.std**2).sum(-1),
        "sign of ln std",
    ),
    (
        "gaussian_log_prob",
        lambda self, x: gaussian_log_prob(self, x) - 1.5 * jnp.log(2 * jnp.pi),
        "HALF of ln 2 pi",
    ),
    (
        "gaussian_entropy",
        lambda self: jnp.log(self.std).sum(-1) + 0.5 * jnp.log(2 * jnp.pi * jnp.e),
        "not all of them together",
    ),
    ("gaussian_entropy", lambda self: jnp.log(self.std).sum(-1), "constant is missing"),
    (
        "gaussian_entropy",
        lambda self: 0.5 * jnp.log(2 * jnp.pi * self.std**2).sum(-1),
        "the e is missing",
    ),
    ("gaussian_entropy", lambda self: -gaussian_entropy(self), "MORE entropy"),
    ("gaussian_entropy", lambda self: gaussian_entropy(self).mean(), "wrong shape: ()"),
    (
        "update_range",
        lambda old, x: 0.99 * old + 0.01 * jnp.stack([x.min(), x.max()]),
        "single outlier",
    ),
    ("update_range", lambda old, x: old + 0.99 * (update_range(old, x) - old) * 100, "OLD range"),
    (
        "update_range",
        lambda old, x: old + 100 * (update_range(old, x) - old),
        "only 1 % of the way",
    ),
    (
        "update_range",
        lambda old, x: 0.99 * old + 0.01 * jnp.percentile(x, jnp.array([0.05, 0.95])),
        "from 0 to 100",
    ),
    (
        "update_range",
        lambda old, x: (update_range(old, x)[0], update_range(old, x)[1]),
        "2 arrays where 1",
    ),
    ("critic_loss", lambda x, s, r: solved_agent().two_hot_loss(x, r), "second term is missing"),
    (
        "critic_loss",
        lambda x, s, r: critic_loss(x, s, r) - 0.9 * critic_loss(x, s, sg(mean_of(s))) / 2,
        "same weight",
    ),
    ("critic_loss", lambda x, s, r: sg(critic_loss(x, s, r)), "no gradient reaches the critic"),
    (
        "critic_loss",
        lambda x, s, r: (mean_of(x) - r) ** 2 + (mean_of(x) - mean_of(s)) ** 2,
        "not a squared error",
    ),
    ("critic_loss", lambda x, s, r: critic_loss(x, s, r).sum(), "wrong shape: ()"),
    ("actor_loss", lambda *x: -actor_loss(*x), "sign is wrong"),
    ("actor_loss", lambda p, a, adv, eta: actor_loss(p, a, adv, -eta), "entropy is rewarded"),
    (
        "actor_loss",
        lambda p, a, adv, eta: -adv * p.log_prob(a) - eta * p.entropy(),
        "advantage is a constant",
    ),
    (
        "actor_loss",
        lambda p, a, adv, eta: -sg(adv * p.log_prob(a)) - eta * p.entropy(),
        "around the advantage only",
    ),
    ("actor_loss", lambda *x: sg(actor_loss(*x)), "no gradient reaches the actor"),
    ("actor_loss", lambda *x: actor_loss(*x).mean(), "wrong shape: ()"),
    ("dream_losses", lambda *x: dream_losses(*x, shift=1), "LAST of the H + 1"),
    ("dream_losses", lambda *x: dream_losses(*x, floor=0.0), "at least 1"),
    (
        "dream_losses",
        lambda g, slow, *x: dream_losses(g, slow, *x, bootstrap=lambda f: mean_of(slow(f))),
        "only regularises",
    ),
    ("dream_losses", functools.partial(teaches_the_model), "through the weights"),
    ("dream_losses", lambda *x: dream_losses(*x, hold=lambda value: value), "through the returns"),
    (
        "dream_losses",
        lambda *x: dream_losses(*x, alive=lambda c, y: c.discount * jax.nn.sigmoid(y)),
        "counts twice",
    ),
    ("dream_losses", lambda *x: dream_losses(*x, alive=lambda c, y: y), "outputs a logit"),
    ("dream_losses", lambda *x: dream_losses(*x, first=jnp.ones_like), "begin with c_0"),
    ("dream_losses", with_losses(lambda losses: tuple(losses.values())), "a dictionary"),
    (
        "dream_losses",
        with_losses(lambda losses: {"actor": losses["policy"], "critic": losses["value"]}),
        "a dictionary",
    ),
    ("dream_losses", with_losses(lambda losses: sg(losses)), "of `policy.actor`, where"),
    (
        "dream_losses",
        with_losses(lambda losses: losses | {"value": -losses["value"]}),
        "wrong numbers",
    ),
    ("dream_losses", lambda *x: dream_losses(*x)[0], "ValueError"),
]


def mean_of(logits):
    return solved_agent().two_hot_mean(logits)
