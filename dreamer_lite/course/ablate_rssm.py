"""The reader's RSSM with parts taken away by two numbers, in a world model that is trained whole.

    model = WorldModel(dreamer, world, seed=0)         # `dreamer` is the module of parts.load()
    params, losses = model.train(model.params, 1500, key, VARIANTS["RSSM"])
    states, post = model.observe(params, play, key, VARIANTS["RSSM"])

`memory` multiplies the deterministic state that a step receives: with 0 only z is passed on.
`sampling` is 1 where z is sampled and decoded. With 0 there is no latent variable: the decoder sees
h alone, and the next step receives the posterior's probabilities, a deterministic function of the
observation. While imagining, such a model encodes the frame that it predicted itself.

The numbers are arguments of one compiled program, so that all variants share it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.course import data
from dreamer_lite.course.fit import trainer
from dreamer_lite.worlds.base import World
from dreamer_lite.worlds.catch import KINK


class Switches(NamedTuple):
    """What of an RSSM is there; 1 keeps a part, 0 removes it."""

    memory: Any = 1.0
    sampling: Any = 1.0


VARIANTS = {
    "RSSM": Switches(),
    "deterministic only": Switches(sampling=0.0),
    "stochastic only": Switches(memory=0.0),
}


def switched(rssm: type) -> type:
    """A subclass of the reader's RSSM with the two switches."""

    class SwitchedRSSM(rssm):
        switches = Switches()

        def core(self, state, action):
            """The reader's core, which receives `memory` times h."""
            return super().core(state._replace(deter=self.switches.memory * state.deter), action)

        def observe_step(self, state, embed, action, is_first, u):
            """The reader's step; without sampling, probabilities take the place of the sample."""
            state, post = super().observe_step(state, embed, action, is_first, u)
            return state._replace(stoch=self.mixed(state.stoch, post)), post

        def mixed(self, sample, logp):
            sampling = self.switches.sampling
            return sampling * sample + (1 - sampling) * jnp.exp(logp)

    return SwitchedRSSM


def blinded(decoder: type) -> type:
    """A subclass of the agent's decoder that sees z only as far as z is sampled."""

    class BlindedDecoder(decoder):
        switches, deter = Switches(), 0

        def predict(self, feat):
            """The decoder's prediction from h and `sampling` times z."""
            deter, stoch = feat[..., : self.deter], feat[..., self.deter :]
            return super().predict(jnp.concatenate([deter, self.switches.sampling * stoch], -1))

    return BlindedDecoder


class Networks(nnx.Module):
    """Encoder, switched RSSM, decoder and heads: all that `dreamer.world_model_loss` trains."""

    def __init__(self, dreamer: Any, c: Any, world: World, seed: int):
        rng = np.random.default_rng(seed)
        inputs = c.deter + c.stoch * c.classes
        actions = world.action_space.classes or world.action_space.size
        self.encoder = dreamer.Encoder(c, world.obs_space, rng)
        self.rssm = switched(dreamer.RSSM)(c, c.units, actions, rng)
        self.decoder = blinded(dreamer.Decoder)(c, world.obs_space, rng)
        self.decoder.deter = c.deter
        self.reward = dreamer.Mlp(inputs, c.units, 1, rng, c.bins, scale=0.0)
        self.cont = dreamer.Mlp(inputs, c.units, 1, rng, 1)


class WorldModel:
    """The reader's world model of one environment: compiled training, observing and imagining.

    Every method takes parameters, a nested dict, and `Switches`. Keys are consumed.
    """

    def __init__(self, dreamer: Any, world: World, seed: int = 0, **changes: Any):
        """`changes` are fields of `dreamer.Config` that differ from the preset of `catch`."""
        self.dreamer, self.world = dreamer, world
        self.c = dreamer.Config(**(dreamer.PRESETS["catch"] | changes))
        self.graph, weights = nnx.split(Networks(dreamer, self.c, world, seed))
        self.params = nnx.to_pure_dict(weights)  # before any training
        self._train = trainer(self.loss, dreamer.make_optimizer(self.c))

    def merge(self, params: Any, switches: Switches = VARIANTS["RSSM"]) -> Any:
        """The networks with these parameters, as one module."""
        networks = nnx.merge(self.graph, params)
        networks.rssm.switches = networks.decoder.switches = nnx.data(switches)
        return networks

    def loss(self, params: Any, key: jax.Array, switches: Switches) -> tuple[jax.Array, dict]:
        """The world model's objective on fresh random play, and its terms.

        Without sampling there is no latent variable, and so no KL.
        """
        data_key, model_key = jax.random.split(key)
        c, dreamer = self.c, self.dreamer
        play = data.random_play(self.world, c.length, c.batch, data_key)
        batch = data.as_batch(dreamer, c, play)
        losses, _ = dreamer.world_model_loss(self.merge(params, switches), c, batch, model_key)
        kl = {name: switches.sampling * losses[name] for name in ("dyn", "rep")}
        return dreamer.weighted_sum(losses | kl, c), {k: x.mean() for k, x in losses.items()}

    def train(
        self, params: Any, updates: int, key: jax.Array, switches: Switches, label: str = ""
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """`updates` gradient steps, each on new episodes: (parameters, losses by name)."""
        numbers = Switches(*map(jnp.float32, switches))
        return self._train(params, updates, key, numbers, label=label)

    @functools.partial(jax.jit, static_argnums=0)
    def observe(
        self, params: Any, play: data.Play, key: jax.Array, switches: Switches = VARIANTS["RSSM"]
    ) -> tuple[Any, jax.Array]:
        """Posterior states and log-probabilities (T, B, ...) along a play."""
        networks = self.merge(params, switches)
        embed = networks.encoder.embed(play.steps.obs)
        start = networks.rssm.initial(play.action.shape[1])
        return networks.rssm.observe(start, embed, play.action, play.steps.is_first, key)

    @functools.partial(jax.jit, static_argnums=0)
    def imagine(
        self,
        params: Any,
        start: Any,
        actions: jax.Array,
        key: jax.Array,
        switches: Switches = VARIANTS["RSSM"],
    ) -> tuple[Any, jax.Array]:
        """Open loop from states (B, ...) under actions (H, B, A): states, frames in [0, 1]."""
        networks = self.merge(params, switches)
        noise = jax.random.uniform(key, (*actions.shape[:2], self.c.stoch))

        def step(state: Any, inputs: tuple) -> tuple:
            state = networks.rssm.imagine_step(state, *inputs)
            frame = self.frames(networks, state)
            embed = networks.encoder.embed({"image": 255 * frame})
            own = networks.rssm.posterior(state.deter, embed)
            state = state._replace(stoch=networks.rssm.mixed(state.stoch, own))
            return state, (state, frame)

        return jax.lax.scan(step, start, (actions, noise))[1]

    @functools.partial(jax.jit, static_argnums=0)
    def step(
        self, params: Any, state: Any, now: data.Play, seen: Any, key: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One step of the RSSM from states (B, ...), with or without the observation of `now`.

        Returns the new state and, to look at it: "real" and "decoded" frames, "deter", "prior" and
        "posterior" probabilities, "sampled" classes.
        """
        networks = self.merge(params)
        u = jax.random.uniform(key, state.stoch.shape[:-1])
        embed = networks.encoder.embed(now.steps.obs)
        seen_state, post = networks.rssm.observe_step(
            state, embed, now.action, now.steps.is_first, u
        )
        blind_state = networks.rssm.imagine_step(state, now.action, u)
        state = jax.tree.map(lambda a, b: jnp.where(seen, a, b), seen_state, blind_state)
        found = {
            "real": now.steps.obs["image"],
            "decoded": self.frames(networks, state),
            "deter": state.deter,
            "prior": jnp.exp(networks.rssm.prior(state.deter)),
            "posterior": jnp.exp(post),
            "sampled": state.stoch.argmax(-1),
        }
        return state, found

    def frames(self, networks: Any, states: Any) -> jax.Array:
        """The decoder's frames (..., 10, 10, 2) in [0, 1]."""
        predicted = networks.decoder.predict(self.dreamer.feature(states))
        return jax.nn.sigmoid(predicted["image"])

    @functools.partial(jax.jit, static_argnums=0)
    def decode(self, params: Any, states: Any, switches: Switches = VARIANTS["RSSM"]) -> jax.Array:
        """As `frames`, for given parameters."""
        return self.frames(self.merge(params, switches), states)

    @functools.partial(jax.jit, static_argnums=0)
    def kl_by_step(
        self, params: Any, play: data.Play, key: jax.Array, switches: Switches = VARIANTS["RSSM"]
    ) -> jax.Array:
        """KL(posterior || prior) in nats (T,), the mean over B: what each observation revealed."""
        networks = self.merge(params, switches)
        states, post = self.observe(params, play, key, switches)
        prior = networks.rssm.prior(states.deter)
        return jnp.sum(jnp.exp(post) * (post - prior), (-2, -1)).mean(1)


SEEN, OUT = 2, 7  # time steps of `catch/hidden-kink`: the ball is last seen, and comes out again


class Outcome(NamedTuple):
    """Where an imagined rollout shows the ball when it comes out, means over episodes."""

    right: float  # probability mass in the two columns that are possible
    fullest: float  # in the column that has most; two half balls have 0.5 each


def outcome(row: jax.Array, column: jax.Array) -> Outcome:
    """Judge row OUT of the ball's plane (B, 10), given the column (B,) where it was last seen."""
    sides = [jnp.take_along_axis(row, (column + jump)[:, None], 1) for jump in (-KINK, KINK)]
    return Outcome(float(jnp.add(*sides).mean()), float(row.max(-1).mean()))


def last_seen(play: data.Play) -> jax.Array:
    """The column (B,) in which the ball is at time step SEEN."""
    return play.steps.obs["image"][SEEN, :, SEEN, :, 1].argmax(-1)


def ball_row(frames: jax.Array, first: int) -> jax.Array:
    """Row OUT of the ball's plane (B, 10) at time step OUT; `first` is the step of frame 0."""
    return frames[OUT - first, :, OUT, :, 1]


def wrong_paddles(frames: jax.Array, play: data.Play) -> np.ndarray:
    """Fraction (H,) of imagined frames, from step SEEN + 1 on, with the paddle elsewhere."""
    real = play.steps.obs["image"][SEEN + 1 :, :, -1, :, 0].argmax(-1)
    return np.asarray((frames[:, :, -1, :, 0].argmax(-1) != real).mean(1))
