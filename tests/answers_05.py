"""Solutions and wrong answers of notebook 05, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dreamer_lite.course.checks.exercise import solved, solved_agent

d = solved_agent()
sg = jax.lax.stop_gradient


def encoder_layers(self, c, rng):
    count = 0
    for space in self.spaces.values():
        count += int(np.prod(space.shape))
    self.mlp = d.Mlp(count, c.units, c.layers, rng)


def embed(self, obs):
    parts = []
    for name in sorted(obs):
        space, x = self.spaces[name], obs[name].astype(jnp.float32)
        x = x / 255 if space.is_image else jnp.sign(x) * jnp.log1p(jnp.abs(x))
        lead = x.shape[: len(x.shape) - len(space.shape)]
        parts.append(jnp.reshape(x, (*lead, space.size)))
    return self.mlp(jnp.concatenate(parts, axis=-1))


def decoder_layers(self, c, rng):
    self.mlp = d.Mlp(c.deter + c.stoch * c.classes, c.units, c.layers, rng)
    self.heads = d.nnx.data(
        {
            name: d.Linear(c.units, space.size, rng, bias=-4.0 * space.is_image)
            for name, space in self.spaces.items()
        }
    )


def predict(self, feat):
    hidden = self.mlp(feat)
    found = {}
    for name in self.spaces:
        found[name] = self.heads[name](hidden).reshape(feat.shape[:-1] + self.spaces[name].shape)
    return found


def reconstruction_loss(self, feat, obs):
    total = 0.0
    for name, raw in self.predict(feat).items():
        axes = tuple(range(-len(self.spaces[name].shape), 0))
        if self.spaces[name].is_image:
            x = obs[name] / 255
            loss = -(x * jax.nn.log_sigmoid(raw) + (1 - x) * jax.nn.log_sigmoid(-raw))
        else:
            loss = jnp.square(raw - jnp.sign(obs[name]) * jnp.log1p(jnp.abs(obs[name])))
        total = total + loss.sum(axes)
    return total


def build_model(self, c, obs_space, actions, rng):
    self.encoder, self.decoder = d.Encoder(c, obs_space, rng), d.Decoder(c, obs_space, rng)
    self.rssm = d.RSSM(c, embed=c.units, actions=actions, rng=rng)
    feature = c.deter + c.stoch * c.classes
    self.cont = d.Mlp(feature, c.units, layers=1, rng=rng, outputs=1)
    self.reward = d.Mlp(feature, c.units, layers=1, rng=rng, outputs=c.bins, scale=0.0)


def kl_losses(post, prior, free_nats):
    def kl(q, p):
        total = jnp.einsum("...sc,...sc->...", jnp.exp(q), q - p)
        return jnp.where(total > free_nats, total, free_nats)

    return kl(sg(post), prior), kl(post, sg(prior))


def world_model_loss(agent, c, batch, key):
    steps = batch.steps
    states, post = agent.rssm.observe(
        batch.start, agent.encoder.embed(steps.obs), batch.action, steps.is_first, key
    )
    prior = agent.rssm.prior(states.deter)
    feat = jnp.concatenate([states.deter, states.stoch.reshape(*post.shape[:2], -1)], -1)
    losses = dict(zip(("dyn", "rep"), d.kl_losses(post, prior, c.free_nats)))
    losses["recon"] = agent.decoder.reconstruction_loss(feat, steps.obs)
    losses["reward"] = d.two_hot_loss(agent.reward(feat), steps.reward)
    target = jnp.where(steps.is_terminal, 0.0, c.discount)
    losses["cont"] = d.binary_cross_entropy(agent.cont(feat).squeeze(-1), target)
    return losses, states


def weighted_sum(losses, c):
    total = 0.0
    for name in losses:
        weight = {"recon": c.recon, "rep": 0.1, "replay_value": 0.3}.get(name, 1)
        total += weight * jnp.average(losses[name])
    return total


def train_step(loss, optimizer, params, memory, *inputs):
    gradient, extra = jax.grad(loss, has_aux=True)(params, *inputs)
    steps, memory = optimizer.update(gradient, memory, params=params)
    return jax.tree.map(jnp.add, params, steps), memory, extra


# `partial` hides a function's text, so that a check neither compares its name nor keeps it.
SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f)
    for f in (
        encoder_layers, embed, decoder_layers, predict, reconstruction_loss, build_model, kl_losses,
        world_model_loss, weighted_sum, train_step,
    )
}  # fmt: skip


def encoder_of(inputs, units=None, layers=None):
    def build(self, c, rng):
        self.mlp = d.Mlp(inputs, units or c.units, layers or c.layers, rng)

    return build


def linear_encoder(self, c, rng):
    self.mlp = d.Linear(15, c.units, rng)


def embed_with(image):
    def function(self, obs):
        grid = image(obs["grid"]).reshape(*obs["speed"].shape[:-1], -1)
        return self.mlp(jnp.concatenate([grid, d.symlog(obs["speed"])], -1))

    return function


def embed_in_order(self, obs):
    parts = [obs["speed"], obs["grid"] / 255]
    parts[0] = d.symlog(parts[0])
    lead = parts[0].shape[:-1]
    return self.mlp(jnp.concatenate([x.reshape(*lead, -1) for x in parts], -1))


def decoder_of(bias, inputs=14, width=7, outputs=0):
    def build(self, c, rng):
        self.mlp = d.Mlp(inputs, c.units, c.layers, rng, outputs)
        spaces = self.spaces.items()
        self.heads = d.nnx.data(
            {k: d.Linear(width, s.size, rng, bias=bias(s.is_image)) for k, s in spaces}
        )

    return build


def each(change):
    """The prediction with a change to every output."""

    def function(self, feat):
        return {name: change(x) for name, x in predict(self, feat).items()}

    return function


def loss_of(feat_of=lambda x: x, obs_of=lambda x: x, after=lambda x: x):
    def function(self, feat, obs):
        return after(reconstruction_loss(self, feat_of(feat), obs_of(obs)))

    return function


def cell_loss(arguments):
    """The loss with other arguments of the binary cross entropy."""

    def function(self, feat, obs):
        raw = self.predict(feat)
        cells = d.binary_cross_entropy(*arguments(raw["grid"], obs["grid"] / 255))
        numbers = (raw["speed"] - d.symlog(obs["speed"])) ** 2
        return cells.sum((-3, -2, -1)) + numbers.sum(-1)

    return function


def heads_of(**changes):
    def function(self, c, obs_space, actions, rng):
        build_model(self, c, obs_space, actions, rng)
        chosen = dict(reward=(1, c.bins, 0.0), cont=(1, 1, 1.0)) | changes
        for name, (layers, outputs, scale) in chosen.items():
            setattr(self, name, d.Mlp(14, c.units, layers, rng, outputs, scale=scale))

    return function


def exchanged_lengths(self, c, obs_space, actions, rng):
    build_model(self, c, obs_space, actions, rng)
    self.rssm = d.RSSM(c, actions, c.units, rng)


def forgot(name):
    def function(self, c, obs_space, actions, rng):
        build_model(self, c, obs_space, actions, rng)
        delattr(self, name)

    return function


def changed(**fields):
    """The world model's losses on a batch with other fields: each a function of the batch."""

    def function(agent, c, batch, key):
        steps = {k: f(batch) for k, f in fields.items() if k != "action"}
        action = fields["action"](batch) if "action" in fields else batch.action
        batch = batch._replace(steps=batch.steps._replace(**steps), action=action)
        return world_model_loss(agent, c, batch, key)

    return function


def kl_of(arguments):
    """The losses with other arguments of the KL, made from (rssm, start, states, post)."""

    def function(agent, c, batch, key):
        losses, states = world_model_loss(agent, c, batch, key)
        embedded = agent.encoder.embed(batch.steps.obs)
        _, post = agent.rssm.observe(batch.start, embedded, batch.action, batch.steps.is_first, key)
        dyn, rep = kl_losses(*arguments(agent.rssm, batch.start, states, post), c.free_nats)
        return losses | {"dyn": dyn, "rep": rep}, states

    return function


def late_prior(rssm, start, states, post):
    return post, rssm.prior(jnp.concatenate([start.deter[None], states.deter[:-1]]))


def scaled(change):
    def function(agent, c, batch, key):
        losses, states = world_model_loss(agent, c, batch, key)
        return {k: change(k, x) for k, x in losses.items()}, states

    return function


def undiscounted(agent, c, batch, key):
    losses, states = world_model_loss(agent, c, batch, key)
    logit = agent.cont(solved("feature")(states))[..., 0]
    return losses | {"cont": d.binary_cross_entropy(logit, ~batch.steps.is_terminal)}, states


def behind_a_stop_gradient(agent, c, batch, key):
    losses, states = world_model_loss(agent, c, batch, key)
    feat = jax.lax.stop_gradient(solved("feature")(states))
    recon = agent.decoder.reconstruction_loss(feat, batch.steps.obs)
    reward = d.two_hot_loss(agent.reward(feat), batch.steps.reward)
    cont = d.binary_cross_entropy(
        agent.cont(feat)[..., 0], jnp.where(batch.steps.is_terminal, 0.0, c.discount)
    )
    return losses | {"recon": recon, "reward": reward, "cont": cont}, states


def without(name):
    def function(agent, c, batch, key):
        losses, states = world_model_loss(agent, c, batch, key)
        return {k: x for k, x in losses.items() if k != name}, states

    return function


def stepping(move):
    """A training step that changes parameters by `move(params, gradient, steps)`."""

    def function(loss, optimizer, params, memory, *inputs):
        gradient, extra = jax.grad(loss, has_aux=True)(params, *inputs)
        steps, memory = optimizer.update(gradient, memory, params)
        return move(params, gradient, steps), memory, extra

    return function


def forgetful(loss, optimizer, params, memory, *inputs):
    new, _, extra = train_step(loss, optimizer, params, memory, *inputs)
    return new, memory, extra


def value_returned(loss, optimizer, params, memory, *inputs):
    new, memory, _ = train_step(loss, optimizer, params, memory, *inputs)
    return new, memory, loss(params, *inputs)[0]


def without_params(loss, optimizer, params, memory, *inputs):
    gradient, extra = jax.grad(loss, has_aux=True)(params, *inputs)
    steps, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(params, steps), memory, extra


def per_group(post, prior, free):
    groups = jnp.sum(jnp.exp(post) * (post - prior), -1)
    return (jnp.maximum(groups, free).sum(-1),) * 2


def plain_kl(post, prior):
    return jnp.sum(jnp.exp(post) * (post - prior), (-1, -2))


WRONG: list[tuple[str, Callable, str]] = [
    ("encoder_layers", encoder_of(12), "cells of the grid alone"),
    ("encoder_layers", encoder_of(15, layers=1), "hidden layers, not one"),
    ("encoder_layers", encoder_of(15, units=5), "width inside the RSSM"),
    ("encoder_layers", encoder_of(3), "wrong numbers"),
    ("encoder_layers", lambda self, c, rng: d.Mlp(15, c.units, c.layers, rng), "must assign it"),
    ("encoder_layers", linear_encoder, "must be an Mlp, not a Linear"),
    ("embed", lambda self, obs: embed(self, obs | {"grid": 255.0 * obs["grid"]}), "by 255"),
    (
        "embed",
        lambda self, obs: embed(self, obs | {"speed": d.symexp(obs["speed"])}),
        "take their symlog",
    ),
    ("embed", embed_with(lambda x: x // 255), "rounds down"),
    ("embed", embed_with(lambda x: d.symlog(x / 255)), "only divided by 255"),
    ("embed", embed_in_order, "sorted(self.spaces.items())"),
    ("embed", lambda self, obs: embed(self, obs)[..., None], "wrong shape: (4, 3, 7, 1)"),
    ("decoder_layers", decoder_of(lambda image: 0.0), "bias of an image's head is -4"),
    ("decoder_layers", decoder_of(lambda image: -4.0), "for images only"),
    ("decoder_layers", decoder_of(lambda image: 4.0 * image), "sign of the bias"),
    ("decoder_layers", decoder_of(lambda image: -4.0 * image, 6), "whole feature"),
    ("decoder_layers", decoder_of(lambda image: -4.0 * image, 8), "not D + S."),
    ("decoder_layers", decoder_of(lambda image: -4.0 * image, width=14), "output of the MLP"),
    ("decoder_layers", decoder_of(lambda image: -4.0 * image, outputs=7), "heads are the output"),
    ("predict", lambda self, f: predict(self, f)["grid"], "return a dictionary with the names"),
    (
        "predict",
        lambda self, f: predict(self, f) | {"grid": jax.nn.sigmoid(predict(self, f)["grid"])},
        "return logits",
    ),
    ("predict", each(lambda x: x.reshape(*x.shape[:2], -1)), "the shape of its observation"),
    ("predict", each(lambda x: x.reshape(-1, *x.shape[2:])), "leading axes are lost"),
    ("predict", each(lambda x: x[0]), "wrong shape"),
    ("predict", each(lambda x: 2 * x), "wrong numbers"),
    ("reconstruction_loss", loss_of(after=lambda x: x / 15), "wrong numbers"),
    (
        "reconstruction_loss",
        loss_of(obs_of=lambda obs: obs | {"grid": 255.0 * obs["grid"]}),
        "divide an image by 255",
    ),
    (
        "reconstruction_loss",
        loss_of(obs_of=lambda obs: obs | {"speed": d.symexp(obs["speed"])}),
        "compare with symlog",
    ),
    (
        "reconstruction_loss",
        cell_loss(lambda x, y: (jax.nn.sigmoid(x), y)),
        "leave out the sigmoid",
    ),
    ("reconstruction_loss", cell_loss(lambda x, y: (y, x)), "arguments of binary_cross_entropy"),
    ("reconstruction_loss", loss_of(feat_of=sg), "no gradient reaches the features"),
    ("reconstruction_loss", loss_of(after=lambda x: x.mean()), "wrong shape: ()"),
    ("build_model", heads_of(reward=(1, 9, 1.0)), "must not predict rewards"),
    ("build_model", heads_of(reward=(1, 1, 0.0)), "one for each two-hot bin"),
    ("build_model", heads_of(cont=(1, 9, 1.0)), "one output: a logit"),
    ("build_model", heads_of(cont=(1, 1, 0.0)), "only the reward head begins at zero"),
    ("build_model", heads_of(cont=(1, 0, 1.0)), "continue head has no output layer"),
    ("build_model", heads_of(reward=(1, 0, 0.0)), "reward head has no output layer"),
    ("build_model", exchanged_lengths, "embedding's length first"),
    ("build_model", heads_of(reward=(2, 9, 0.0), cont=(2, 1, 1.0)), "one hidden layer each"),
    ("build_model", forgot("reward"), "self.reward is None"),
    (
        "kl_losses",
        lambda post, prior, free: kl_losses(prior, post, free),
        "POSTERIOR's probabilities",
    ),
    ("kl_losses", lambda post, prior, free: kl_losses(post, prior, free)[::-1], "are exchanged"),
    (
        "kl_losses",
        lambda post, prior, free: (jnp.maximum(free, plain_kl(post, prior)),) * 2,
        "no stop-gradients",
    ),
    (
        "kl_losses",
        lambda post, prior, free: (
            jnp.maximum(free, plain_kl(post, prior)),
            jnp.maximum(free, plain_kl(post, sg(prior))),
        ),
        "around its posterior",
    ),
    (
        "kl_losses",
        lambda post, prior, free: (
            jnp.maximum(free, plain_kl(sg(post), prior)),
            jnp.maximum(free, plain_kl(post, prior)),
        ),
        "around its prior",
    ),
    ("kl_losses", lambda post, prior, free: sg(kl_losses(post, prior, free)), "no gradient is"),
    ("kl_losses", per_group, "clip every group by itself"),
    ("kl_losses", lambda post, prior, free: kl_losses(post, prior, 0.0), "nothing is clipped"),
    (
        "kl_losses",
        lambda post, prior, free: tuple(x - free for x in kl_losses(post, prior, free)),
        "do not subtract",
    ),
    ("kl_losses", lambda post, prior, free: kl_losses(post, prior, free)[0], "1 arrays where 2"),
    ("kl_losses", lambda post, prior, free: kl_losses(post, prior, 1.0), "take free_nats"),
    (
        "kl_losses",
        lambda post, prior, free: (
            kl_losses(post, prior, free)[0],
            0.1 * kl_losses(post, prior, free)[1],
        ),
        "weighs rep by 0.1",
    ),
    (
        "kl_losses",
        lambda post, prior, free: (
            (jnp.maximum(free, jnp.sum(jnp.exp(post) * (post - prior), -1)),) * 2
        ),
        "the last TWO axes",
    ),
    (
        "world_model_loss",
        changed(is_first=lambda b: jnp.zeros_like(b.steps.is_first)),
        "run on across a reset",
    ),
    ("world_model_loss", changed(action=lambda b: jnp.roll(b.action, -1, 0)), "its own action"),
    ("world_model_loss", changed(is_terminal=lambda b: b.steps.is_last), "you use is_last"),
    ("world_model_loss", undiscounted, "discount factor is missing"),
    ("world_model_loss", behind_a_stop_gradient, "without a stop-gradient"),
    (
        "world_model_loss",
        kl_of(lambda rssm, start, states, post: (rssm.prior(states.deter), post)),
        "takes the posterior first",
    ),
    (
        "world_model_loss",
        changed(reward=lambda b: jnp.concatenate([0 * b.steps.reward[:1], b.steps.reward[:-1]])),
        "arrives WITH the observation",
    ),
    (
        "world_model_loss",
        lambda g, c, b, k: world_model_loss(
            g, c, b._replace(start=jax.tree.map(jnp.zeros_like, b.start)), k
        ),
        "begin at batch.start",
    ),
    (
        "world_model_loss",
        kl_of(lambda rssm, start, s, post: (s.stoch, rssm.prior(s.deter))),
        "not the sample z",
    ),
    ("world_model_loss", kl_of(late_prior), "the h of the step before"),
    ("world_model_loss", scaled(lambda k, x: x * (0.1 if k == "rep" else 1)), "weighs the losses"),
    ("world_model_loss", scaled(lambda k, x: x.mean()), "wrong shape: () where (6, 3)"),
    ("world_model_loss", without("rep"), "a dictionary with the names"),
    ("world_model_loss", lambda *x: world_model_loss(*x)[0], "return two things"),
    ("weighted_sum", lambda x, c: sum(v.sum() for v in x.values()), "wrong numbers"),
    ("weighted_sum", lambda x, c: sum(v.mean() for v in x.values()), "all losses count alike"),
    ("weighted_sum", lambda x, c: weighted_sum(x, c) / 5, "number of losses"),
    (
        "weighted_sum",
        lambda x, c: weighted_sum(x, c) - (c.recon - 1) * x["recon"].mean(),
        "take c.recon",
    ),
    (
        "weighted_sum",
        lambda x, c: weighted_sum(x, c) + 0.2 * (x["rep"].mean() - x["replay_value"].mean()),
        "are exchanged: rep 0.1",
    ),
    ("weighted_sum", lambda x, c: float(weighted_sum(x, c)), "it stopped"),
    ("weighted_sum", lambda x, c: weighted_sum({k: 1 + 0 * v for k, v in x.items()}, c), "wrong"),
    (
        "train_step",
        stepping(lambda p, g, s: jax.tree.map(jnp.subtract, p, s)),
        "have their sign already",
    ),
    (
        "train_step",
        stepping(lambda p, g, s: jax.tree.map(lambda p, g: p - 0.1 * g, p, g)),
        "along the plain gradient",
    ),
    ("train_step", stepping(lambda p, g, s: p), "did not move"),
    ("train_step", stepping(lambda p, g, s: s), "steps instead of the parameters"),
    ("train_step", lambda *x: train_step(*x)[::2], "return three things"),
    ("train_step", value_returned, "the loss's extra"),
    ("train_step", forgetful, "return the NEW memory"),
    ("train_step", without_params, "ValueError"),
]
WRONG = [(name, functools.partial(wrong), words) for name, wrong, words in WRONG]
