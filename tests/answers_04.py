"""Solutions and wrong answers of notebook 04, for `test_checks`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dreamer_lite.course.checks.exercise import solved_agent

d = solved_agent()
sg = jax.lax.stop_gradient


def feature(state):
    *lead, groups, classes = state.stoch.shape
    return jnp.append(state.deter, state.stoch.reshape((*lead, groups * classes)), axis=-1)


def initial(self, *lead):
    return d.State(
        deter=jnp.zeros(lead + (self.c.deter,)),
        stoch=jnp.zeros(lead + (self.c.stoch, self.c.classes)),
    )


def rssm_layers(self, c, embed, actions, rng):
    z = c.stoch * c.classes
    self.post_net = d.Mlp(c.deter + embed, c.hidden, 1, rng, outputs=z)
    self.prior_net = d.Mlp(c.deter, c.hidden, 2, rng, outputs=z)
    for name, size in (("deter", c.deter), ("stoch", z), ("action", actions)):
        setattr(self, f"from_{name}", d.Mlp(size, c.hidden, 1, rng))
    self.mix_norm = d.Norm(c.deter)
    self.mix = d.Linear(c.deter + 3 * c.blocks * c.hidden, c.deter, rng, blocks=c.blocks)
    self.gates = d.Linear(c.deter, 3 * c.deter, rng, blocks=c.blocks)


def gru(self, deter, x):
    reset, candidate, update = self.split_gates(self.gates(x))
    open_ = 1 / (1 + jnp.exp(1 - update))
    new = jnp.tanh(candidate / (1 + jnp.exp(-reset)))
    return deter + open_ * (new - deter)


def core(self, state, action):
    action = action / jnp.maximum(1, jnp.abs(action))
    flat = state.stoch.reshape((*state.stoch.shape[:-2], -1))
    inputs = [self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)]
    x = self.mix_norm.normalize(
        self.mix(self.join_blocks(state.deter, jnp.concatenate(inputs, -1)))
    )
    return self.gru(state.deter, x * jax.nn.sigmoid(x))


def as_logp(self, logits):
    logits = logits.reshape(logits.shape[:-1] + (self.c.stoch, self.c.classes))
    p = (1 - self.c.unimix) * jax.nn.softmax(logits, -1) + self.c.unimix / self.c.classes
    return jnp.log(p)


def prior(self, deter):
    return as_logp(self, self.prior_net(deter))


def posterior(self, deter, embed):
    return as_logp(self, self.post_net(jnp.append(deter, embed, axis=-1)))


def observe_step(self, state, embed, action, is_first, u):
    state = d.State(*(jnp.where(is_first.reshape(-1, *[1] * (x.ndim - 1)), 0, x) for x in state))
    deter = self.core(state, jnp.where(is_first[:, None], 0, action))
    logp = self.posterior(deter, embed)
    return d.State(deter, d.sample_onehot(logp, u)), logp


def imagine_step(self, state, action, u):
    new = self.core(state, action)
    return d.State(deter=new, stoch=jax.lax.stop_gradient(d.sample_onehot(self.prior(new), u)))


def observe(self, start, embed, action, is_first, key):
    u = jax.random.uniform(key, (*is_first.shape, self.c.stoch))
    state, states = start, []
    for t in range(len(is_first)):
        state, post = self.observe_step(state, embed[t], action[t], is_first[t], u[t])
        states.append((state, post))
    return jax.tree.map(lambda *x: jnp.stack(x), *states)


def join_blocks(self, deter, shared):
    pieces = []
    for own in jnp.split(deter, self.c.blocks, -1):
        pieces += [own, shared]
    return jnp.concatenate(pieces, -1)


def split_gates(self, gates):
    every = [jnp.split(block, 3, -1) for block in jnp.split(gates, self.c.blocks, -1)]
    return tuple(jnp.concatenate(gate, -1) for gate in zip(*every))


def with_layer(name, make):
    """A build whose layer `name` is another: make(c, embed, actions, rng)."""

    def build(self, c, embed, actions, rng):
        rssm_layers(self, c, embed, actions, rng)
        setattr(self, name, make(c, embed, actions, rng))

    return build


def forgets_one_layer(self, c, embed, actions, rng):
    rssm_layers(self, c, embed, actions, rng)
    del self.mix_norm


def stepping(deter_of, logp_of):
    """An observe_step whose new h and z come from other functions."""

    def step(self, state, embed, action, is_first, u):
        state, action = d.mask_reset(state, action, is_first)
        deter = deter_of(self, state, action)
        logp = logp_of(self, state, deter, embed)
        return d.State(deter, d.sample_onehot(logp, u)), logp

    return step


def unmasked(self, state, embed, action, is_first, u):
    deter = self.core(state, action)
    logp = self.posterior(deter, embed)
    return d.State(deter, d.sample_onehot(logp, u)), logp


def state_masked_only(self, state, embed, action, is_first, u):
    return unmasked(self, d.mask_reset(state, action, is_first)[0], embed, action, is_first, u)


def core_joined(join):
    """A core that joins h and `shared` by another function."""

    def wrong(self, state, action):
        flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
        inputs = [self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)]
        x = self.mix(join(self, state.deter, jnp.concatenate(inputs, -1)))
        return self.gru(state.deter, jax.nn.silu(self.mix_norm.normalize(x)))

    return wrong


def units_only(self, c, embed, actions, rng):
    rssm_layers(self, c, embed, actions, rng)
    self.prior_net = d.Mlp(c.deter, c.stoch * c.classes, 2, rng)
    self.post_net = d.Mlp(c.deter + embed, c.stoch * c.classes, 1, rng)


def silu_first(self, state, action):
    flat = state.stoch.reshape(*state.deter.shape[:-1], -1)
    inputs = [self.from_deter(state.deter), self.from_stoch(flat), self.from_action(action)]
    x = self.mix(self.join_blocks(state.deter, jnp.concatenate(inputs, -1)))
    return self.gru(state.deter, self.mix_norm.normalize(jax.nn.silu(x)))


def one_block(self, c, embed, actions, rng):
    rssm_layers(self, c, embed, actions, rng)
    self.mix = d.Linear(c.deter + 3 * c.hidden, c.deter, rng)
    self.gates = d.Linear(c.deter, 3 * c.deter, rng)


def shifted(self, start, embed, action, is_first, key):
    action = jnp.concatenate([action[1:], action[:1]])
    return observe(self, start, embed, action, is_first, key)


def flags_shifted(self, start, embed, action, is_first, key):
    return observe(self, start, embed, action, jnp.roll(is_first, 1, 0), key)


def backwards(self, start, embed, action, is_first, key):
    whole = observe(self, start, embed[::-1], action[::-1], is_first[::-1], key)
    return jax.tree.map(lambda x: x[::-1], whole)


def only_states(*inputs):
    return observe(*inputs)[0]


def collecting(self, state, *inputs):
    state, post = observe_step(self, state, *inputs)
    return state, (state, post)


def scanned(self, start, embed, action, is_first, key, step=collecting):
    """Both results of the scan."""
    u = jax.random.uniform(key, (*is_first.shape, self.c.stoch))
    return jax.lax.scan(lambda state, x: step(self, state, *x), start, (embed, action, is_first, u))


def one_noise(self, start, embed, action, is_first, key):
    u = jax.random.uniform(key, (*is_first.shape, self.c.stoch))[0]
    state, states = start, []
    for t in range(len(is_first)):
        state, post = self.observe_step(state, embed[t], action[t], is_first[t], u)
        states.append((state, post))
    return jax.tree.map(lambda *x: jnp.stack(x), *states)


SOLUTIONS: dict[str, Callable] = {
    f.__name__: functools.partial(f)
    for f in (
        feature, initial, rssm_layers, gru, core, prior, posterior, observe_step, imagine_step,
        observe, join_blocks, split_gates,
    )
}  # fmt: skip

sigmoid = jax.nn.sigmoid
WRONG: list[tuple[str, Callable, str]] = [
    ("feature", lambda s: jnp.roll(feature(s), s.stoch.shape[-1] * s.stoch.shape[-2], -1),
     "z comes first"),
    ("feature", lambda s: feature(d.State(s.deter, jnp.swapaxes(s.stoch, -1, -2))),
     "group by group"),
    ("feature", lambda s: s.deter, "wrong shape: (2,)"),
    ("initial", lambda self, *n: d.State(initial(self, *n).deter, 0.25 + initial(self, *n).stoch),
     "uniform"),
    ("initial", lambda self, *n: initial(self, *n)._replace(
        stoch=initial(self, *n).stoch.at[..., 0].add(1)), "class 0"),
    ("initial", lambda self, *n: initial(self), "wrong shape"),
    ("initial", lambda self, *n: tuple(initial(self, *n)), "not a tuple"),
    ("initial", lambda self, *n: initial(self, *n).deter, "1 arrays where 2"),
    ("rssm_layers", with_layer("gates", lambda c, e, a, r: d.Linear(c.deter, 3 * c.deter, r)),
     "pass blocks=c.blocks"),
    ("rssm_layers", with_layer("gates", lambda c, e, a, r: d.Linear(
        c.deter, 2 * c.deter, r, blocks=c.blocks)), "three gates"),
    ("rssm_layers", with_layer("mix", lambda c, e, a, r: d.Linear(
        c.deter + 3 * c.hidden, c.deter, r)), "3 c.hidden shared numbers"),
    ("rssm_layers", with_layer("post_net", lambda c, e, a, r: d.Mlp(
        c.deter, c.hidden, 1, r, outputs=c.stoch * c.classes)), "its inputs are h and e"),
    ("rssm_layers", with_layer("prior_net", lambda c, e, a, r: d.Mlp(
        c.deter + e, c.hidden, 2, r, outputs=c.stoch * c.classes)), "without the observation"),
    ("rssm_layers", with_layer("from_action", lambda c, e, a, r: d.Mlp(a + 1, c.hidden, 1, r)),
     "wrong numbers"),
    ("rssm_layers", units_only, "end in a linear map"),
    ("rssm_layers", one_block, "`mix` and `gates` have 1 block"),
    ("rssm_layers", with_layer("mix", lambda c, e, a, r: d.Linear(
        c.deter + 3 * c.blocks * c.hidden, c.deter, r)), "`mix` has 1 block where 2"),
    ("rssm_layers", forgets_one_layer, "this layer was not made"),
    ("gru", lambda self, h, x: (lambda r, c, u: sigmoid(u) * jnp.tanh(sigmoid(r) * c)
     + sigmoid(-u) * h)(*self.split_gates(self.gates(x))), "the -1 is missing"),
    ("gru", lambda self, h, x: (lambda r, c, u: sigmoid(u - 1) * h
     + sigmoid(1 - u) * jnp.tanh(sigmoid(r) * c))(*self.split_gates(self.gates(x))),
     "torch.nn.GRU's"),
    ("gru", lambda self, h, x: (lambda r, c, u: sigmoid(u - 1) * jnp.tanh(c + sigmoid(r) * h)
     + sigmoid(1 - u) * h)(*self.split_gates(self.gates(x))), "multiplies h"),
    ("gru", lambda self, h, x: (lambda r, c, u: sigmoid(u - 1) * jnp.tanh(sigmoid(r) * c)
     + sigmoid(1 - u) * h)(*jnp.split(self.gates(x), 3, -1)), "use self.split_gates"),
    ("gru", lambda self, h, x: (lambda r, c, u: (sigmoid(u) - 1) * jnp.tanh(sigmoid(r) * c)
     + (2 - sigmoid(u)) * h)(*self.split_gates(self.gates(x))), "inside the sigmoid"),
    ("gru", lambda self, h, x: (lambda u, c, r: sigmoid(u - 1) * jnp.tanh(sigmoid(r) * c)
     + sigmoid(1 - u) * h)(*self.split_gates(self.gates(x))), "the order is reset"),
    ("gru", lambda self, h, x: gru(self, x, x), "wrong numbers"),
    ("gru", lambda self, h, x: self.gates(x), "wrong shape"),
    ("core", lambda self, s, a: core(self, s, 0 * a), "wrong numbers"),
    ("core", lambda self, s, a: self.gru(s.deter, self.mix_norm.normalize(self.mix(
        self.join_blocks(s.deter, jnp.concatenate([
            self.from_deter(s.deter), self.from_stoch(s.stoch.reshape(*s.deter.shape[:-1], -1)),
            self.from_action(a)], -1))))), "SiLU after the norm"),
    ("core", lambda self, s, a: self.gru(s.deter, jax.nn.silu(self.mix(
        self.join_blocks(s.deter, jnp.concatenate([
            self.from_deter(s.deter), self.from_stoch(s.stoch.reshape(*s.deter.shape[:-1], -1)),
            self.from_action(a)], -1))))), "norm after `mix`"),
    ("core", lambda self, s, a: self.gru(s.deter, jax.nn.silu(self.mix_norm.normalize(self.mix(
        self.join_blocks(s.deter, jnp.concatenate([
            self.from_deter(s.deter), self.from_stoch(s.stoch.reshape(*s.deter.shape[:-1], -1)),
            self.from_action(a)], -1)))))), "keep the given line"),
    ("core", lambda self, s, a: self.from_deter(s.deter), "`mix` is not called"),
    ("core", core_joined(lambda self, h, s: jnp.concatenate([h, s], -1)), "use self.join_blocks"),
    ("core", silu_first, "SiLU before the norm"),
    ("core", core_joined(lambda self, h, s: s), "h itself goes in"),
    ("prior", lambda self, h: jnp.exp(prior(self, h)), "not probabilities"),
    ("prior", lambda self, h: self.prior_net(h), "wrong shape"),
    ("prior", lambda self, h: self.prior_net(h).reshape(*h.shape[:-1], 3, 4), "these are logits"),
    ("prior", lambda self, h: jax.nn.log_softmax(self.prior_net(h).reshape(*h.shape[:-1], 3, 4)),
     "uniform distribution is mixed"),
    ("prior", lambda self, h: d.unimix(self.prior_net(h), self.c.unimix).reshape(
        *h.shape[:-1], 3, 4), "every group has its own"),
    ("posterior", lambda self, h, e: prior(self, h), "that is the prior"),
    ("posterior", lambda self, h, e: as_logp(self, self.post_net(jnp.concatenate([e, h], -1))),
     "embedding comes first"),
    ("posterior", lambda self, h, e: posterior(self, h, 0 * e), "wrong numbers"),
    ("posterior", lambda self, h, e: jnp.exp(posterior(self, h, e)), "not probabilities"),
    ("observe_step", unmasked, "another past changes"),
    ("observe_step", state_masked_only, "previous action still has an influence"),
    ("observe_step", lambda self, s, e, a, f, u: observe_step(self, s, e, a, ~f, u), "True where"),
    ("observe_step", stepping(
        lambda self, s, a: self.core(s, a), lambda self, s, h, e: self.prior(h)), "wrong numbers"),
    ("observe_step", stepping(
        lambda self, s, a: self.core(s, a), lambda self, s, h, e: self.posterior(s.deter, e)),
     "OLD h"),
    ("observe_step", lambda *x: observe_step(*x)[0], "2 arrays where 3"),
    ("observe_step", lambda *x: (tuple(observe_step(*x)[0]), observe_step(*x)[1]), "not a tuple"),
    ("observe_step", lambda self, s, e, a, f, u: (d.State(
        observe_step(self, s, e, a, f, u)[0].deter,
        d.sample_onehot(self.prior(observe_step(self, s, e, a, f, u)[0].deter), u)),
        observe_step(self, s, e, a, f, u)[1]), "sampled from the prior"),
    ("imagine_step", lambda *x: tuple(imagine_step(*x)), "not a tuple"),
    ("imagine_step", lambda self, s, a, u: imagine_step(self, s, 0 * a, u), "wrong numbers"),
    ("imagine_step", lambda self, s, a, u: d.State(self.core(s, a), d.sample_onehot(
        self.prior(self.core(s, a)), u)), "wrap it in sg"),
    ("imagine_step", lambda self, s, a, u: sg(imagine_step(self, s, a, u)), "stop only the sample"),
    ("imagine_step", lambda self, s, a, u: d.State(self.core(s, a), sg(d.sample_onehot(
        self.prior(s.deter), u))), "OLD h"),
    ("imagine_step", lambda self, s, a, u: d.State(self.core(s, a), sg(d.sample_onehot(
        self.posterior(self.core(s, a), jnp.zeros((8, 7))), u))), "there is no observation"),
    ("observe", shifted, "holds the previous actions already"),
    ("observe", one_noise, "its own"),
    ("observe", flags_shifted, "one step late"),
    ("observe", backwards, "wrong numbers"),
    ("observe", only_states, "2 arrays where 3"),
    ("observe", lambda *x: scanned(*x)[0], "the last carry alone"),
    ("observe", lambda *x: scanned(*x), "both results of scan"),
    ("observe", lambda *x: scanned(*x, step=observe_step), "and return the second result"),
    ("observe", lambda *x: scanned(*x, step=observe_step)[1], "states are not collected"),
    ("join_blocks", lambda self, h, s: jnp.concatenate([h] + [s] * self.c.blocks, -1),
     "its own part of h"),
    ("join_blocks", lambda self, h, s: jnp.concatenate([
        x for own in jnp.split(h, self.c.blocks, -1) for x in (s, own)], -1), "then `shared`"),
    ("join_blocks", lambda self, h, s: jnp.concatenate([h, s], -1), "wrong shape"),
    ("split_gates", lambda self, x: tuple(jnp.split(x, 3, -1)), "each BLOCK's output"),
    ("split_gates", lambda self, x: tuple(x[..., i::3] for i in range(3)), "every third number"),
    ("split_gates", lambda self, x: split_gates(self, x)[::-1], "wrong numbers"),
]  # fmt: skip
WRONG = [(name, functools.partial(f), words) for name, f, words in WRONG]
