"""Encoder and decoder: which part of an observation goes through which network.

Vectors, discrete values and, with image_net "dense", the cells of small grids go through an MLP;
other images through the networks of `images`. Released code: `Encoder` and `Decoder` in
dreamerv3/rssm.py.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from dreamer_lite.agent import devices
from dreamer_lite.agent.distributions import Cells, OneHot, Pixels, SymlogVector
from dreamer_lite.agent.images import (
    ConvDecoder,
    ConvEncoder,
    PatchDecoder,
    PatchEncoder,
    shrinkage,
)
from dreamer_lite.agent.layers import Linear, Mlp, Rng
from dreamer_lite.agent.transforms import symlog
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

Observation = dict[str, jax.Array]
Spaces = dict[str, Space]


def split_keys(spaces: Spaces, config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(keys for the MLP, keys for the image network), each sorted.

    Raises:
      ValueError: an image that the stages do not divide, or images of unequal size.
    """
    dense = config.image_net == "dense"
    images = tuple(sorted(key for key, space in spaces.items() if space.is_image and not dense))
    for key in images:
        check_image(key, spaces[key].shape, config)
        if spaces[key].shape[:2] != spaces[images[0]].shape[:2]:
            raise ValueError(f"Images {images[0]!r} and {key!r} differ in size: make them equal.")
    return tuple(sorted(set(spaces) - set(images))), images


def check_image(key: str, shape: tuple[int, ...], config: Config) -> None:
    """Raise ValueError unless the stages leave between 3 and 16 cells a side."""
    stages, ratio = len(config.multipliers), shrinkage(config)
    if any(side % ratio or not 3 <= side // ratio <= 16 for side in shape[:2]):
        patches = config.image_net == "patch"
        shrink = f"cut it into {config.kernel}x{config.kernel} patches" if patches else "halve it"
        side = max(8, 4 * ratio)
        way = f"take --world {config.world}@{side}x{side}, which resizes it, or "
        raise ValueError(
            f"Image {key!r} is {shape[0]}x{shape[1]}: {stages} stages (multipliers) must {shrink} "
            f"evenly to between 3 and 16 cells a side; {way if resizable(config.world) else ''}"
            "change multipliers, or image_net to 'dense' (--set image_net=dense)."
        )


def resizable(world: str) -> bool:
    """Whether the name of an environment can say what its images are resized to."""
    return world.startswith("gym/") and not re.search(r"@\d+x\d+", world)


class Encoder(nnx.Module):
    """One observation to its embedding e, (...) -> (..., E).

    E is the output of the MLP, of the image network, or both concatenated. `dtype` is that of the
    encoder's activations.
    """

    def __init__(self, spaces: Spaces, config: Config, rng: Rng, dtype: Any = jnp.float32):
        self.dtype = dtype
        self.spaces = spaces
        self.flat, self.images = split_keys(spaces, config)
        self.size = 0
        if self.flat:
            inputs = sum(spaces[key].size for key in self.flat)
            self.mlp = Mlp(inputs, config.units, config.encoder_layers, rng)
            self.size += config.units
        if self.images:
            net = PatchEncoder if config.image_net == "patch" else ConvEncoder
            self.conv = net(sum(spaces[k].shape[2] for k in self.images), config, rng)
            h, w, _ = spaces[self.images[0]].shape
            cells = (h * w) // shrinkage(config) ** 2
            self.size += cells * config.depth * config.multipliers[-1]

    def __call__(self, obs: Observation) -> jax.Array:
        return self.embed(self.arrange(obs))

    def arrange(self, obs: Observation) -> Observation:
        """The observation with its images in the order in which the image network takes pixels."""
        return obs | {key: self.conv.arrange(obs[key]) for key in self.images}

    def embed(self, obs: Observation) -> jax.Array:
        """The embedding of an arranged observation."""
        outputs = []
        if self.flat:
            flat = [flatten(obs[key], self.spaces[key]) for key in self.flat]
            outputs.append(self.mlp(jnp.concatenate(flat, -1).astype(self.dtype)))
        if self.images:
            x = jnp.concatenate([obs[key] for key in self.images], -1) / 255 - 0.5
            y = self.conv(devices.as_batch(x, x.shape[:-3]).astype(self.dtype))
            outputs.append(devices.from_batch(y, x.shape[:-3]))
        return jnp.concatenate(outputs, -1)


def flatten(x: jax.Array, space: Space) -> jax.Array:
    """An observation as input of the MLP: one-hot, cells in [0, 1] or symlog; (..., flat size)."""
    if space.is_discrete:
        x = jax.nn.one_hot(x, space.classes)
    elif space.is_image:
        x = (
            x / 255
        )  # not centred: most cells are 0, and a few ones stand out better than 200 halves
    else:
        x = symlog(x.astype(jnp.float32))
    lead = x.ndim - len(space.shape) - space.is_discrete
    assert x.shape[lead : lead + len(space.shape)] == space.shape, (x.shape, space.shape)
    return x.reshape(*x.shape[:lead], -1)


EMPTY = -4.0  # logit of 2 %: most cells of a grid are off, so a decoder need not learn that first


class Decoder(nnx.Module):
    """A state to a distribution over each part of the observation, with `loss` and `mean`."""

    def __init__(self, spaces: Spaces, config: Config, rng: Rng):
        self.spaces = spaces
        self.flat, self.images = split_keys(spaces, config)
        if self.flat:
            inputs = config.deter + config.stoch * config.classes
            self.mlp = Mlp(inputs, config.units, config.decoder_layers, rng)
            heads = {}
            for key in self.flat:
                start = EMPTY if spaces[key].is_image else 0.0
                heads[key] = Linear(config.units, spaces[key].size, rng, bias=start)
            self.heads = nnx.data(heads)
        if self.images:
            h, w, _ = spaces[self.images[0]].shape
            channels = sum(spaces[key].shape[2] for key in self.images)
            net = PatchDecoder if config.image_net == "patch" else ConvDecoder
            self.conv = net((h, w, channels), config, rng)

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> dict[str, Any]:
        """deter (..., D), stoch (..., S, C) -> {key: distribution over (..., *shape)}."""
        found = self.arranged(deter, stoch)
        return found | {k: Pixels(self.conv.restore(found[k].mean())) for k in self.images}

    def arranged(self, deter: jax.Array, stoch: jax.Array) -> dict[str, Any]:
        """The same for an observation that `Encoder.arrange` has arranged."""
        lead = deter.shape[:-1]
        assert stoch.shape[:-2] == lead, (deter.shape, stoch.shape)
        flat_stoch = stoch.reshape(*lead, -1)
        predictions: dict[str, Any] = {}
        if self.flat:
            x = self.mlp(jnp.concatenate([flat_stoch, deter], -1))
            for key in self.flat:
                predictions[key] = prediction(self.heads[key](x), self.spaces[key])
        if self.images:
            states = (devices.as_batch(x, lead) for x in (deter, flat_stoch))
            joint = devices.from_batch(self.conv(*states), lead)
            channels = 0
            for key in self.images:
                width = self.spaces[key].shape[2]
                predictions[key] = Pixels(joint[..., channels : channels + width])
                channels += width
        return predictions


def prediction(raw: jax.Array, space: Space) -> OneHot | Cells | SymlogVector:
    """The distribution over one part of the observation, from raw outputs (..., n)."""
    raw = raw.astype(jnp.float32)
    shaped = raw.reshape(*raw.shape[:-1], *space.shape, *([space.classes] if space.classes else []))
    if space.is_discrete:
        return OneHot.mix(shaped)
    return Cells(shaped) if space.is_image else SymlogVector(shaped)
