"""Layers, and the encoder and decoder built from them (SPEC 3, 4 and 6).

Order inside a layer is always linear -> RMSNorm -> SiLU, and every linear map has a bias. Modules
act on the last axis (images: the last three) and take any leading axes. Built in notebook 03.

Parameters are float32. A layer computes in the dtype of what it is given, so the dtype is set once,
where observations and states come in, and what the heads predict is float32 again (SPEC 3.1).
"""

import functools
import itertools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.custom_derivatives import SymbolicZero

from dreamer_lite.agent import coarse
from dreamer_lite.agent.distributions import Cells, OneHot, Pixels, SymlogVector
from dreamer_lite.agent.transforms import symlog
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

Observation = dict[str, jax.Array]


def truncated_normal(
    rng: np.random.Generator | None, shape: tuple[int, ...], fan_in: int, scale: float = 1.0
) -> np.ndarray:
    """Normal, cut at two sigma, rescaled to standard deviation scale / sqrt(fan_in) (SPEC 3).

    Drawn by numpy on the host: in JAX every new shape would cost a compilation, seconds in all.
    Without a generator only the shape is right, and it takes no memory.
    """
    if rng is None:
        return np.broadcast_to(np.float32(0), shape)
    draws = rng.standard_normal(shape, np.float32)
    while (outside := np.abs(draws) > 2).any():
        draws[outside] = rng.standard_normal(outside.sum(), np.float32)
    return draws * np.float32(1.1368 * scale / np.sqrt(fan_in))


def cast(param: nnx.Param, x: jax.Array) -> jax.Array:
    """The numbers of a parameter, float32, in the dtype of x; their gradient is float32 again."""
    return param[...].astype(x.dtype)


@jax.custom_jvp
def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """x W + b; (..., i), (i, o), (o,) -> (..., o). Its derivative is written out for speed."""
    return x @ kernel + bias


def _affine_derivative(primals, tangents):
    """dx W + x dW + db, so written that the gradient, its transpose, is fast on a CPU."""
    (x, kernel, bias), (dx, dkernel, dbias) = primals, tangents
    rows, parts = x.reshape(-1, x.shape[-1]), []
    if not is_zero(dx):
        parts.append(dx.reshape(rows.shape) @ kernel)
    if not is_zero(dkernel):
        parts.append(rows @ dkernel)
    if not is_zero(dbias):
        parts.append(repeat_rows(dbias, len(rows)))
    # The barrier keeps XLA from fusing what made the gradient into the transposed copy that the
    # product for the kernel needs: on a CPU that fusion costs ten times as much as both apart.
    tangent = jax.lax.optimization_barrier(functools.reduce(jnp.add, parts))
    return affine(x, kernel, bias), tangent.reshape(*x.shape[:-1], -1)


affine.defjvp(_affine_derivative, symbolic_zeros=True)


@jax.custom_jvp
def scale_rows(x: jax.Array, scale: jax.Array) -> jax.Array:
    """x * scale; (..., n), (n,) -> (..., n). Its derivative is written out for speed."""
    return x * scale


def _scale_derivative(primals, tangents):
    (x, scale), (dx, dscale) = primals, tangents
    parts = []
    if not is_zero(dx):
        parts.append(dx * scale)
    if not is_zero(dscale):
        rows = x.reshape(-1, x.shape[-1])
        parts.append((rows * repeat_rows(dscale, len(rows))).reshape(x.shape))
    return scale_rows(x, scale), functools.reduce(jnp.add, parts)


scale_rows.defjvp(_scale_derivative, symbolic_zeros=True)


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to be 0: a product with zeros would be done nevertheless."""
    return isinstance(tangent, SymbolicZero)


def repeat_rows(x: jax.Array, rows: int) -> jax.Array:
    """x (m,) as each of n rows (n, m), by a matrix product.

    Its transpose, the sum over rows, is then one too: several times faster on a CPU.
    """
    return jnp.matmul(np.ones((rows, 1), x.dtype), x[None])


class Linear(nnx.Module):
    """y = x W + b; (..., inputs) -> (..., outputs). `scale` 0 makes it start as all `bias`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rng: np.random.Generator,
        scale: float = 1.0,
        bias: float = 0.0,
    ):
        self.kernel = nnx.Param(truncated_normal(rng, (inputs, outputs), inputs, scale))
        self.bias = nnx.Param(np.full(outputs, bias, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return affine(x, cast(self.kernel, x), cast(self.bias, x))


class BlockLinear(nnx.Module):
    """A block-diagonal linear map: g parts of x that do not see each other (SPEC 3).

    (..., inputs) -> (..., outputs); part k of x, inputs/g long, makes part k of y. The fan-in of
    the initialiser is the full `inputs`, as in the reference (SPEC quirk Q4).
    """

    def __init__(self, inputs: int, outputs: int, blocks: int, rng: np.random.Generator):
        assert inputs % blocks == 0 == outputs % blocks, (inputs, outputs, blocks)
        shape = (blocks, inputs // blocks, outputs // blocks)
        self.kernel = nnx.Param(truncated_normal(rng, shape, inputs))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = cast(self.kernel, x), cast(self.bias, x)
        parts = split_blocks(x, len(kernel)) @ kernel + bias.reshape(len(kernel), 1, -1)
        return join_blocks(parts, x.shape[:-1])


def block_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """(..., g*i), (g, i, o) -> (..., g*o): part k of x times kernel k."""
    return join_blocks(split_blocks(x, kernel.shape[0]) @ kernel, x.shape[:-1])


def split_blocks(x: jax.Array, blocks: int) -> jax.Array:
    """(..., g*i) -> (g, n, i): the parts of x one after the other, each with all n rows.

    In this order a product with one kernel per part, and what follows it, run along memory.
    """
    assert x.shape[-1] % blocks == 0, f"{blocks} blocks do not divide {x.shape[-1]}"
    return jnp.moveaxis(x.reshape(-1, blocks, x.shape[-1] // blocks), 1, 0)


def join_blocks(parts: jax.Array, lead: tuple[int, ...]) -> jax.Array:
    """The inverse of `split_blocks`, (g, n, o) -> (*lead, g*o)."""
    assert parts.shape[1] == math.prod(lead), (parts.shape, lead)
    return jnp.moveaxis(parts, 0, 1).reshape(*lead, -1)


class Norm(nnx.Module):
    """RMSNorm over the last axis: x / sqrt(mean(x^2) + 1e-4) * scale (SPEC 3)."""

    def __init__(self, size: int):
        self.scale = nnx.Param(np.ones(size, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + 1e-4)
        return scale_rows(x32 * inverse, self.scale[...]).astype(x.dtype)


class Layer(nnx.Module):
    """Linear -> RMSNorm -> SiLU; (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator):
        self.linear = Linear(inputs, outputs, rng)
        self.norm = Norm(outputs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.silu(self.norm(self.linear(x)))


class Mlp(nnx.Module):
    """A stack of equally wide layers; (..., inputs) -> (..., units)."""

    def __init__(self, inputs: int, units: int, layers: int, rng: np.random.Generator):
        sizes = [inputs] + [units] * layers
        self.layers = nnx.data([Layer(a, b, rng) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return x


class Conv(nnx.Module):
    """k x k convolution, stride 1, same size; (n, h, w, inputs) -> (n, h, w, outputs)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, rng: np.random.Generator):
        shape = (kernel, kernel, inputs, outputs)
        self.kernel = nnx.Param(truncated_normal(rng, shape, kernel * kernel * inputs))
        self.bias = nnx.Param(np.zeros(outputs, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return coarse.convolve(x, self.kernel[...]) + cast(self.bias, x)

    def then_pool(self, x: jax.Array) -> jax.Array:
        """max_pool(self(x))."""
        if self.is_faster_coarse:
            return coarse.convolve_and_pool(x, self.kernel[...]) + cast(self.bias, x)
        return max_pool(self(x))

    def after_upsample(self, x: jax.Array) -> jax.Array:
        """self(upsample(x))."""
        if self.is_faster_coarse:
            return coarse.upsample_and_convolve(x, self.kernel[...]) + cast(self.bias, x)
        return self(upsample(x))

    @property
    def is_faster_coarse(self) -> bool:
        """On a CPU, for 5x5 kernels; the numbers are the same."""
        return jax.default_backend() == "cpu" and len(self.kernel[...]) == 5


def max_pool(x: jax.Array) -> jax.Array:
    """Largest of each 2x2 square; (n, h, w, c) -> (n, h/2, w/2, c)."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def upsample(x: jax.Array) -> jax.Array:
    """Repeat each cell as a 2x2 square; (n, h, w, c) -> (n, 2h, 2w, c)."""
    return x.repeat(2, 1).repeat(2, 2)


class ConvEncoder(nnx.Module):
    """Images to a vector: per stage a convolution, 2x2 max-pool, norm, SiLU (SPEC 4).

    (n, h, w, c) in [-0.5, 0.5] -> (n, h/2^s * w/2^s * channels) after s stages.
    """

    def __init__(self, channels: int, config: Config, rng: np.random.Generator):
        sizes = [channels] + [config.depth * m for m in config.multipliers]
        pairs = list(itertools.pairwise(sizes))
        self.convs = nnx.data([Conv(a, b, config.kernel, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.silu(norm(conv.then_pool(x)))
        return x.reshape(x.shape[0], -1)


class PatchEncoder(nnx.Module):
    """Images to a vector: per stage, each patch of k x k cells becomes one cell by a `Layer`.

    A departure from the paper, for CPUs: patches do not overlap, so a stage is one matrix product,
    ten times as fast as convolutions; but what lies across a border is seen only by later stages.
    (n, h, w, c) in [-0.5, 0.5] -> (n, h/k^s * w/k^s * channels) after s stages.
    """

    def __init__(self, channels: int, config: Config, rng: np.random.Generator):
        self.side = config.kernel
        sizes = [channels] + [config.depth * m for m in config.multipliers]
        pairs = itertools.pairwise(sizes)
        self.layers = nnx.data([Layer(self.side**2 * a, b, rng) for a, b in pairs])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(to_patches(x, self.side))
        return x.reshape(x.shape[0], -1)


def to_patches(x: jax.Array, side: int) -> jax.Array:
    """(n, h, w, c) -> (n, h/side, w/side, side*side*c)."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(n, h // side, w // side, side * side * c)


def from_patches(x: jax.Array, side: int) -> jax.Array:
    """The inverse of `to_patches`."""
    n, h, w, _ = x.shape
    x = x.reshape(n, h, w, side, side, -1).swapaxes(2, 3)
    return x.reshape(n, h * side, w * side, -1)


class StartGrid(nnx.Module):
    """A state to the smallest grid of an image decoder (SPEC 6): two maps, added.

    deter (n, D), stoch (n, S*C) -> (n, h/r, w/r, channels), r = `shrinkage`.
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: np.random.Generator):
        widths = [config.depth * m for m in config.multipliers]
        self.start = (*(side // shrinkage(config) for side in shape[:2]), widths[-1])
        cells = self.start[0] * self.start[1] * self.start[2]
        self.from_deter = BlockLinear(config.deter, cells, config.image_blocks, rng)
        self.stoch_layer = Layer(config.stoch * config.classes, 2 * config.units, rng)
        self.from_stoch = Linear(2 * config.units, cells, rng)
        self.start_norm = Norm(widths[-1])

    def begin(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        h, w, channels = self.start
        blocks = self.from_deter.kernel[...].shape[0]
        assert channels % blocks == 0, f"{blocks} blocks do not divide {channels} channels"
        assert deter.ndim == 2 == stoch.ndim and len(deter) == len(stoch)
        grid = self.from_deter(deter).reshape(-1, blocks, h, w, channels // blocks)
        grid = jnp.moveaxis(grid, 1, 3).reshape(-1, h, w, channels)
        x = grid + self.from_stoch(self.stoch_layer(stoch)).reshape(-1, h, w, channels)
        return jax.nn.silu(self.start_norm(x))


class ConvDecoder(StartGrid):
    """A state to images in [0, 1] (SPEC 6): the start grid, then upsample and convolve.

    deter (n, D), stoch (n, S*C) -> (n, h, w, c).
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: np.random.Generator):
        super().__init__(shape, config, rng)
        widths = [config.depth * m for m in config.multipliers]
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.convs = nnx.data([Conv(a, b, config.kernel, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])
        self.out = Conv(widths[0], shape[2], config.kernel, rng)

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        x = self.begin(deter, stoch)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.silu(norm(conv.after_upsample(x)))
        return jax.nn.sigmoid(self.out.after_upsample(x).astype(jnp.float32))


class PatchDecoder(StartGrid):
    """The mirror image of `PatchEncoder`: each cell becomes a patch of k x k cells.

    deter (n, D), stoch (n, S*C) -> (n, h, w, c) in [0, 1].
    """

    def __init__(self, shape: tuple[int, int, int], config: Config, rng: np.random.Generator):
        super().__init__(shape, config, rng)
        self.side = config.kernel
        widths = [config.depth * m for m in config.multipliers]
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.linears = nnx.data([Linear(a, self.side**2 * b, rng) for a, b in pairs])
        self.norms = nnx.data([Norm(b) for _, b in pairs])
        self.out = Linear(widths[0], self.side**2 * shape[2], rng)

    def __call__(self, deter: jax.Array, stoch: jax.Array) -> jax.Array:
        x = self.begin(deter, stoch)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = jax.nn.silu(norm(from_patches(linear(x), self.side)))
        return from_patches(jax.nn.sigmoid(self.out(x).astype(jnp.float32)), self.side)


def shrinkage(config: Config) -> int:
    """How many times shorter all stages together make the side of an image."""
    factor = config.kernel if config.image_net == "patch" else 2
    return factor ** len(config.multipliers)


def split_keys(spaces: dict[str, Space], config: Config) -> tuple[list[str], list[str]]:
    """(keys for the MLP, keys for the image network), each sorted (SPEC 4).

    Raises:
      ValueError: an image that the stages do not divide, or images of unequal size.
    """
    flat = config.image_net == "dense"
    images = sorted(key for key, space in spaces.items() if space.is_image and not flat)
    for key in images:
        check_image(key, spaces[key].shape, config)
        if spaces[key].shape[:2] != spaces[images[0]].shape[:2]:
            raise ValueError(f"Images {images[0]!r} and {key!r} differ in size: make them equal.")
    return sorted(set(spaces) - set(images)), images


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
    """Whether the name of a world can say what its images are resized to."""
    return world.startswith("gym/") and not re.search(r"@\d+x\d+", world)


class Encoder(nnx.Module):
    """One observation to its embedding, (...) -> (..., E) (SPEC 4).

    Vectors, discrete values and, with image_net 'dense', the cells of small grids go flat through
    an MLP; other images through convolutions or patches; E is both outputs side by side.
    `dtype` is what the encoder computes in.
    """

    def __init__(
        self,
        spaces: dict[str, Space],
        config: Config,
        rng: np.random.Generator,
        dtype: Any = jnp.float32,
    ):
        self.dtype = dtype
        self.spaces = spaces
        self.flat, self.images = map(tuple, split_keys(spaces, config))
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
        outputs = []
        if self.flat:
            flat = [flatten(obs[key], self.spaces[key]) for key in self.flat]
            outputs.append(self.mlp(jnp.concatenate(flat, -1).astype(self.dtype)))
        if self.images:
            x = jnp.concatenate([obs[key] for key in self.images], -1) / 255 - 0.5
            y = self.conv(x.reshape(-1, *x.shape[-3:]).astype(self.dtype))
            outputs.append(y.reshape(*x.shape[:-3], -1))
        return jnp.concatenate(outputs, -1)


def flatten(x: jax.Array, space: Space) -> jax.Array:
    """An observation as the MLP sees it: one-hot, cells in [0, 1] or symlog; (..., flat size)."""
    if space.is_discrete:
        x = jax.nn.one_hot(x, space.classes)
    elif space.is_image:
        x = x / 255  # not centred: among few ones a ball stands out, among 200 halves it drowns
    else:
        x = symlog(x.astype(jnp.float32))
    lead = x.ndim - len(space.shape) - space.is_discrete
    assert x.shape[lead : lead + len(space.shape)] == space.shape, (x.shape, space.shape)
    return x.reshape(*x.shape[:lead], -1)


EMPTY = -4.0  # logit, 2 %: most cells of a grid are off, a decoder need not learn that first


class Decoder(nnx.Module):
    """A state to observations: a distribution per key, each with `loss` and `mean` (SPEC 6)."""

    def __init__(self, spaces: dict[str, Space], config: Config, rng: np.random.Generator):
        self.spaces = spaces
        self.flat, self.images = map(tuple, split_keys(spaces, config))
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
        lead = deter.shape[:-1]
        assert stoch.shape[:-2] == lead, (deter.shape, stoch.shape)
        flat_stoch = stoch.reshape(*lead, -1)
        guesses: dict[str, Any] = {}
        if self.flat:
            x = self.mlp(jnp.concatenate([flat_stoch, deter], -1))
            for key in self.flat:
                guesses[key] = guess(self.heads[key](x), self.spaces[key])
        if self.images:
            joint = self.conv(
                deter.reshape(-1, deter.shape[-1]), flat_stoch.reshape(-1, flat_stoch.shape[-1])
            )
            joint = joint.reshape(*lead, *joint.shape[1:])
            channels = 0
            for key in self.images:
                width = self.spaces[key].shape[2]
                guesses[key] = Pixels(joint[..., channels : channels + width])
                channels += width
        return guesses


def guess(raw: jax.Array, space: Space) -> OneHot | Cells | SymlogVector:
    """The distribution that a key of this space is predicted by, from raw outputs (..., n)."""
    raw = raw.astype(jnp.float32)
    shaped = raw.reshape(*raw.shape[:-1], *space.shape, *([space.classes] if space.classes else []))
    if space.is_discrete:
        return OneHot.mix(shaped)
    return Cells(shaped) if space.is_image else SymlogVector(shaped)
