"""Exercise checks: the reader's function against the package's, on fixed random inputs.

`symlog = checks.symlog(my_symlog)` says what was compared, the largest difference and what to do
next. It returns the reader's function if that passed, else the package's, and says which, so that a
notebook goes on either way. With DREAMER_LITE_STRICT=1, and under nbgrader, a failure raises.

One module a notebook. To add an exercise, write an oracle from the package, the mistakes worth a
hint of their own, and a function that calls `compare`; then name it here. tests/test_checks.py
proves each of them.
"""

from dreamer_lite.course.checks.acting import (
    actor_loss,
    dream_weights,
    lambda_returns,
    normal_log_prob,
    return_scale,
)
from dreamer_lite.course.checks.dreaming import dream_on, mean_and_band, open_loop
from dreamer_lite.course.checks.judging import mean_and_error, trusted_steps, worst_dream
from dreamer_lite.course.checks.latents import block_gru, forget, sample_latent
from dreamer_lite.course.checks.learning import (
    clip_gradient,
    fresh_windows,
    rms_momentum,
    schedule,
    write_latents,
)
from dreamer_lite.course.checks.model_free import advantages, clipped_loss, normalise
from dreamer_lite.course.checks.model_losses import cont_target, free_nats, total_loss, two_sides
from dreamer_lite.course.checks.predicting import symexp, symlog, symmetric_mean, two_hot, unimix
from dreamer_lite.course.checks.rows import keep_mask, previous_action

__all__ = [
    "actor_loss",
    "advantages",
    "block_gru",
    "clip_gradient",
    "clipped_loss",
    "cont_target",
    "dream_on",
    "dream_weights",
    "forget",
    "free_nats",
    "fresh_windows",
    "keep_mask",
    "lambda_returns",
    "mean_and_band",
    "mean_and_error",
    "normal_log_prob",
    "normalise",
    "open_loop",
    "previous_action",
    "return_scale",
    "rms_momentum",
    "sample_latent",
    "schedule",
    "symexp",
    "symlog",
    "symmetric_mean",
    "total_loss",
    "trusted_steps",
    "two_hot",
    "two_sides",
    "unimix",
    "worst_dream",
    "write_latents",
]
