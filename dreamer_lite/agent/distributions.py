"""Distributions that the heads predict, each a NamedTuple of its parameters; all float32.

Each has `loss(target)`, the negative log-likelihood or the squared error that trains it, and
`mean()`, its expected value. Those that are sampled say how. Released code: embodied/jax/outs.py.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dreamer_lite.agent import transforms
from dreamer_lite.agent.fast_gpu import fewer_launches_on_gpu


class OneHot(NamedTuple):
    """Categorical over the last axis; samples are one-hot vectors.

    Make one with `OneHot.mix`, so that `logits` (..., C) are normalised: ln p.
    """

    logits: jax.Array

    @classmethod
    def mix(cls, raw: jax.Array, fraction: float = 0.0) -> "OneHot":
        """From unnormalised logits (..., C), with a `fraction` of uniform mixed in (unimix)."""
        return cls(transforms.unimix(raw.astype(jnp.float32), fraction))

    @property
    def probs(self) -> jax.Array:
        return jnp.exp(self.logits)

    @fewer_launches_on_gpu
    def quantile(self, u: jax.Array) -> jax.Array:
        """The one-hot class (..., C) in which the cumulative probability passes u (...) in [0, 1).

        With uniform u this samples the distribution from one random number per draw. The sums are
        additions of float32 one by one: a matrix product would be rounded to TF32 or bfloat16 on
        accelerators, and rare classes would never be drawn.
        """
        assert u.shape == self.logits.shape[:-1], (u.shape, self.logits.shape)
        probs = jax.lax.stop_gradient(self.probs)
        cumulative, index = jnp.zeros_like(u), jnp.zeros(u.shape, jnp.int32)
        for k in range(probs.shape[-1] - 1):
            cumulative = cumulative + probs[..., k]
            index = index + (cumulative <= u)
        return jax.nn.one_hot(index, probs.shape[-1])

    def sample(self, key: jax.Array) -> jax.Array:
        """A one-hot sample (..., C). The key is consumed."""
        return self.quantile(jax.random.uniform(key, self.logits.shape[:-1]))

    def mode(self) -> jax.Array:
        """The likeliest class as one-hot (..., C), the first of equals."""
        return jax.nn.one_hot(jnp.argmax(self.logits, -1), self.logits.shape[-1])

    def mean(self) -> jax.Array:
        return self.probs

    def log_prob(self, onehot: jax.Array) -> jax.Array:
        """ln p of a one-hot value (..., C) -> (...)."""
        return jnp.sum(onehot * self.logits, -1)

    def loss(self, onehot: jax.Array) -> jax.Array:
        return -self.log_prob(onehot)

    def entropy(self) -> jax.Array:
        """In nats, (...)."""
        return -jnp.sum(self.probs * self.logits, -1)

    def kl(self, other: "OneHot") -> jax.Array:
        """KL(p ‖ q) = Σ p (ln p - ln q) in nats, (...)."""
        return jnp.sum(self.probs * (self.logits - other.logits), -1)


class BoundedNormal(NamedTuple):
    """Diagonal normal over the last axis; mean in [-1, 1], standard deviation bounded.

    Samples are not clipped: the environment clips, and the stored action is the unclipped sample.
    Source: `Head.bounded_normal` of the released code (embodied/jax/heads.py).
    """

    center: jax.Array  # (..., A)
    std: jax.Array  # (..., A)

    @classmethod
    def bound(
        cls, center: jax.Array, spread: jax.Array, min_std: float, max_std: float
    ) -> "BoundedNormal":
        """From raw network outputs: tanh(center), (max - min) sigmoid(spread + 2) + min."""
        std = (max_std - min_std) * jax.nn.sigmoid(spread.astype(jnp.float32) + 2.0) + min_std
        return cls(jnp.tanh(center.astype(jnp.float32)), std)

    def sample(self, key: jax.Array) -> jax.Array:
        """An unbounded sample (..., A). The key is consumed."""
        return self.center + self.std * jax.random.normal(key, self.center.shape)

    def mode(self) -> jax.Array:
        return self.center

    def mean(self) -> jax.Array:
        return self.center

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log density of x (..., A), summed over action dimensions -> (...)."""
        z = (x - self.center) / self.std
        return jnp.sum(-0.5 * z**2 - jnp.log(self.std) - 0.5 * math.log(2 * math.pi), -1)

    def entropy(self) -> jax.Array:
        """In nats, summed over action dimensions, (...)."""
        return jnp.sum(jnp.log(self.std) + 0.5 * math.log(2 * math.pi * math.e), -1)


class TwoHot(NamedTuple):
    """A number as a categorical over symexp-spaced bins; logits (..., K).

    Source: Hafner et al. 2025, "Robust predictions"; `TwoHot` in the released outs.py.
    """

    logits: jax.Array

    @property
    def bins(self):
        return transforms.symexp_bins(self.logits.shape[-1])

    def mean(self) -> jax.Array:
        """Expected value (...)."""
        return transforms.two_hot_mean(jax.nn.softmax(self.logits), self.bins)

    def loss(self, target: jax.Array) -> jax.Array:
        """-Σₖ twohot(y)ₖ ln softmax(logits)ₖ; no gradient into the target y (...)."""
        code = transforms.two_hot(jax.lax.stop_gradient(target), self.bins)
        return -jnp.sum(code * jax.nn.log_softmax(self.logits), -1)


class Bernoulli(NamedTuple):
    """A Bernoulli distribution per element; logits (...)."""

    logits: jax.Array

    def mean(self) -> jax.Array:
        """Probability of 1."""
        return jax.nn.sigmoid(self.logits)

    def loss(self, target: jax.Array) -> jax.Array:
        """-(y ln p + (1 - y) ln(1 - p)) = ln(1 + eˡ) - l y per element; y in [0, 1] may be soft."""
        return jax.nn.softplus(self.logits) - self.logits * target


class SymlogVector(NamedTuple):
    """Numbers predicted in symlog space, trained by squared error ("Robust predictions")."""

    prediction: jax.Array  # (...)

    def mean(self) -> jax.Array:
        return transforms.symexp(self.prediction)

    def loss(self, target: jax.Array) -> jax.Array:
        """(ŷ - symlog(y))² of each number, (...) -> (...)."""
        return (self.prediction - transforms.symlog(target)) ** 2


class PlainNumber(NamedTuple):
    """Numbers predicted without a transformation, trained by squared error: an ablation."""

    prediction: jax.Array  # (...)

    def mean(self) -> jax.Array:
        return self.prediction

    def loss(self, target: jax.Array) -> jax.Array:
        """Squared error of each number, (...) -> (...)."""
        return (self.prediction - target) ** 2


Scalar = TwoHot | SymlogVector | PlainNumber


def scalar(kind: str, outputs: jax.Array) -> Scalar:
    """A reward or a return from a head's outputs (..., n); `kind` is the setting `scalars`.

    The paper's is "two-hot", for which n is the number of bins; else n is 1 (see `outputs_of`).
    """
    if kind == "two-hot":
        return TwoHot(outputs)
    return {"symlog": SymlogVector, "plain": PlainNumber}[kind](outputs[..., 0])


def outputs_of(kind: str, bins: int) -> int:
    """How many outputs of a head `scalar` needs."""
    return bins if kind == "two-hot" else 1


class Pixels(NamedTuple):
    """An image predicted in [0, 1], trained by squared error (`MSE` in the released outs.py)."""

    prediction: jax.Array  # (..., h, w, c)

    def mean(self) -> jax.Array:
        return self.prediction

    def loss(self, target: jax.Array, weight: jax.Array | float = 1.0) -> jax.Array:
        """Squared error to uint8 pixels / 255, times weight, summed over the image -> (...)."""
        return jnp.sum(weight * (self.prediction - target / 255) ** 2, (-3, -2, -1))


class Cells(NamedTuple):
    """A grid of Bernoulli cells, for small grid environments whose uint8 cells are 0 or 255.

    A departure from the paper, which has squared error on every image: on a 10x10 grid one missing
    ball costs a squared error of at most 1, and its gradient vanishes where the network is certain.
    """

    logits: jax.Array  # (..., h, w, c)

    def mean(self) -> jax.Array:
        return jax.nn.sigmoid(self.logits)

    def loss(self, target: jax.Array) -> jax.Array:
        """Binary cross entropy in nats, summed over the grid -> (...)."""
        return jnp.sum(Bernoulli(self.logits).loss(target / 255), (-3, -2, -1))
