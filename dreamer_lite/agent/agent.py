"""The whole agent in one tree: world model, actor, critic; and its policy as a pure function.

Parameters live outside, in plain nested dicts, so that jit, grad, vmap and checkpoints see nothing
but arrays: `params = init_params(...)`, then `agent = graph.merge(params)` inside any function.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dreamer_lite.agent.behavior import Actor, Critic
from dreamer_lite.agent.devices import compute_dtype
from dreamer_lite.agent.rssm import State, where
from dreamer_lite.agent.world_model import WorldModel
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space, TimeStep

Params = dict[str, Any]


class Agent(nnx.Module):
    """World model, actor and critic side by side; `dtype` is that of their activations."""

    def __init__(
        self,
        obs_space: dict[str, Space],
        action_space: Space,
        config: Config,
        rng: np.random.Generator,
        dtype: Any = jnp.float32,
    ):
        self.model = WorldModel(obs_space, action_size(action_space), config, rng, dtype)
        self.actor = Actor(action_space, config, rng)
        self.critic = Critic(config, rng)


def action_size(space: Space) -> int:
    """Length A of an embedded action."""
    return space.classes if space.is_discrete else space.shape[0]


def embed_action(action: jax.Array, space: Space) -> jax.Array:
    """A stored action as the networks take it: discrete (...) to one-hot (..., A), else as is."""
    return jax.nn.one_hot(action, space.classes) if space.is_discrete else action


class Graph(NamedTuple):
    """An agent's structure without its numbers. Hashable: it may be a static argument."""

    init: Callable[[int], Params]  # seed -> params
    shapes: Callable[[], Params]  # arrays of the right shapes and dtypes that take no memory
    merge: Callable[[Params], Agent]  # params -> an agent to call, inside or outside jit
    merge_critic: Callable[[Params], Critic]  # params["critic"], or the slow copy of it


def make_agent(config: Config, obs_space: dict[str, Space], action_space: Space) -> Graph:
    """Build the structure for these spaces; no numbers are drawn before `init`.

    Here `precision` becomes the dtype that the agent computes in on this device.

    Raises:
      ValueError: image sizes or block counts that do not fit, or a precision that the device does
        not have, in one sentence.
    """
    dtype = compute_dtype(config.precision)

    def build(rng: Any) -> Agent:  # None: shapes only, no numbers
        return Agent(obs_space, action_space, config, rng, dtype)

    def numbers(agent: Agent) -> Params:
        return nnx.to_pure_dict(nnx.state(agent))

    pattern = build(None)
    graph, critic = nnx.graphdef(pattern), nnx.graphdef(pattern.critic)
    return Graph(
        init=lambda seed: jax.device_put(numbers(build(np.random.default_rng(seed)))),
        shapes=lambda: numbers(pattern),
        merge=lambda params: nnx.merge(graph, params),
        merge_critic=lambda params: nnx.merge(critic, params),
    )


class PolicyCarry(NamedTuple):
    """State of the acting agent between two time steps; float32."""

    state: State  # (W, ...) posterior after the last time step
    action: jax.Array  # (W, A) embedded action chosen then


def initial_carry(agent: Agent, action_space: Space, worlds: int) -> PolicyCarry:
    """The carry before the first time step."""
    state = agent.model.rssm.initial(worlds).astype(jnp.float32)
    return PolicyCarry(state, jnp.zeros((worlds, action_size(action_space))))


def act(
    agent: Agent, carry: PolicyCarry, timestep: TimeStep, action_space: Space, key: jax.Array
) -> tuple[jax.Array, PolicyCarry]:
    """Infer the posterior of one time step of W environments and sample an action for each.

    Acting always samples, also in evaluation (`Agent.policy` in the released code). At `is_last`
    the action is 0: the environment ignores it and resets. The key is consumed. Returns actions as
    environments take them, (W,) int32 or (W, A) float32.
    """
    posterior_key, act_key = jax.random.split(key)
    model = agent.model
    u = jax.random.uniform(posterior_key, carry.state.stoch.shape[:-1])
    embed = model.encoder(timestep.obs)
    state = carry.state.astype(model.rssm.dtype)
    state, _ = model.rssm.observe_step(state, embed, carry.action, timestep.is_first, u)
    sample = agent.actor(state.feature).sample(act_key)
    sample = where(timestep.is_last, jnp.zeros_like(sample), sample)
    action = jnp.argmax(sample, -1).astype(jnp.int32) if action_space.is_discrete else sample
    return action, PolicyCarry(state.astype(jnp.float32), sample)
