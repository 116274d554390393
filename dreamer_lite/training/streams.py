"""Random streams: from one seed, an independent one for every use.

Evaluation that draws what training drew would begin its episodes where training began. So each use
has a name, which goes into its stream beside the seed. Training alone draws from
`jax.random.key(seed)`, and on the host from `hosted.seed_from`, whose inputs have no name.
"""

import zlib
from typing import Any

import jax
import numpy as np


def key(use: str, seed: Any) -> jax.Array:
    """A JAX key for this use of a seed, which may be traced."""
    return jax.random.fold_in(jax.random.key(seed), np.uint32(_number_of(use)))


def generator(use: str, seed: int) -> np.random.Generator:
    """A generator of numpy for this use of a seed."""
    return np.random.default_rng(_sequence(use, seed))


def host_seed(use: str, seed: int) -> int:
    """A seed in [0, 2^31) for environments on the host, for this use of a seed."""
    return int(_sequence(use, seed).generate_state(1)[0] >> 1)


def _sequence(use: str, seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_number_of(use),))


def _number_of(use: str) -> int:
    """Of a name, above 2^31: below are the numbers that `split` and counters fold into keys."""
    return zlib.crc32(use.encode()) | 2**31
