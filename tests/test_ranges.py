"""Both ends of every hyperparameter's range: an update stays finite there, or the range is wrong.

Sizes are left out: a large one costs memory and time, and no arithmetic. So is what never reaches
an update.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from golden_cases import golden_batch, golden_config, spaces

from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.learner import make_learner
from dreamer_lite.config import Config

SIZES = """seed seeds worlds batch length capacity train_ratio units encoder_layers decoder_layers
reward_layers cont_layers policy_layers value_layers depth kernel image_blocks deter hidden stoch
classes blocks prior_layers post_layers updates_per_call starts""".split()
ENDS = [
    pytest.param(field.name, field.metadata[end], id=f"{field.name}={field.metadata[end]:g}")
    for field in dataclasses.fields(Config)
    if "low" in field.metadata and field.name not in SIZES
    for end in ("low", "high")
]
SMALL = dict(
    encoder_layers=1, decoder_layers=1, prior_layers=1, policy_layers=1, value_layers=1, horizon=3,
    bins=15, warmup=0,
)  # fmt: skip
IMAGES = {"min_std", "max_std", "moving_scale"}  # of continuous actions and of images


def updated(tag: str, updates: int = 3, **changes):
    """The parameters and metrics after some updates with these hyperparameters."""
    config = dataclasses.replace(golden_config(tag, **SMALL), **changes)
    learner = make_learner(config, *spaces(tag))
    state, batch = learning.init(learner, 0), golden_batch(tag)
    update = jax.jit(functools.partial(learning.update, learner))
    metrics = {}
    for i in range(updates):
        state, out = update(state, batch, jax.random.key(i))
        metrics = out.metrics
    return jax.device_get((state.params, metrics))


@pytest.mark.slow
@pytest.mark.parametrize("name, value", ENDS)
def test_an_update_stays_finite_at_the_ends_of_a_range(name, value):
    changes = {name: value}
    if name in ("min_std", "max_std"):
        changes = {"min_std": value, "max_std": value}
    tag = "image_continuous" if name in IMAGES else "vec_discrete"
    params, metrics = updated(tag, **changes)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    broken = [key for key, value in metrics.items() if not np.isfinite(value).all()]
    assert not broken
