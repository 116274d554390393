"""Exercise checks: the reader's function against the library's, on fixed random inputs.

`symlog = checks.symlog(my_symlog)` prints what was compared, the largest difference and what to do
next. It returns the reader's function if that passed, otherwise the library's, and prints which, so
that a notebook continues either way. With DREAMER_LITE_STRICT=1, and under nbgrader, a failure
raises.

Each module has checks of one notebook, which its first line names; a notebook may have several. To
add an exercise, write an `Exercise` under `@check`: the library's function, the inputs, and
functions that make the usual mistakes. Its sentences stand in hints*.toml. Then name it here.
tests/test_checks.py proves each of them.
"""

from dreamer_lite.course.checks.acting import (
    actor_loss,
    critic_loss,
    dream_losses,
    gaussian_entropy,
    gaussian_log_prob,
    lambda_returns,
    policy,
    update_range,
)
from dreamer_lite.course.checks.dreaming import imagine, imagine_plan
from dreamer_lite.course.checks.exercise import trouble_of as trouble_of
from dreamer_lite.course.checks.jax_primer import augment, gradient_norms, train
from dreamer_lite.course.checks.judging import mean_and_error, trusted_steps, worst_dream
from dreamer_lite.course.checks.latents import imagine_step, observe, observe_step, posterior, prior
from dreamer_lite.course.checks.layers import linear, mlp, normalize
from dreamer_lite.course.checks.looping import act, begin, collect, learn, loop
from dreamer_lite.course.checks.model_free import advantages, clipped_loss, q_target
from dreamer_lite.course.checks.model_losses import (
    kl_losses,
    reconstruction_loss,
    train_step,
    weighted_sum,
    world_model_loss,
)
from dreamer_lite.course.checks.model_networks import (
    build_model,
    decoder_layers,
    embed,
    encoder_layers,
    predict,
)
from dreamer_lite.course.checks.optimizing import adam, clip_gradient, laprop, make_optimizer
from dreamer_lite.course.checks.predicting import (
    binary_cross_entropy,
    categorical_entropy,
    categorical_log_prob,
    make_bins,
    sample_onehot,
    symexp,
    symlog,
    two_hot,
    two_hot_loss,
    two_hot_mean,
    unimix,
)
from dreamer_lite.course.checks.replaying import add, cut, mask_reset, sample, write_back
from dreamer_lite.course.checks.rssm_core import (
    core,
    feature,
    gru,
    initial,
    join_blocks,
    rssm_layers,
    split_gates,
)
from dreamer_lite.course.checks.updating import replay_value_loss, total_loss, update

__all__ = [
    "act", "actor_loss", "adam", "add", "advantages", "augment", "begin",
    "binary_cross_entropy", "build_model", "categorical_entropy", "categorical_log_prob",
    "clip_gradient", "clipped_loss", "collect", "core", "critic_loss", "cut", "decoder_layers",
    "dream_losses", "embed", "encoder_layers", "feature", "gaussian_entropy",
    "gaussian_log_prob", "gradient_norms", "gru", "imagine", "imagine_plan", "imagine_step",
    "initial", "join_blocks", "kl_losses", "lambda_returns", "laprop", "learn", "linear",
    "loop", "make_bins", "make_optimizer", "mask_reset", "mean_and_error", "mlp", "normalize",
    "observe", "observe_step", "policy", "posterior", "predict", "prior", "q_target",
    "reconstruction_loss", "replay_value_loss", "rssm_layers", "sample", "sample_onehot",
    "split_gates", "symexp", "symlog", "total_loss", "train", "train_step", "trusted_steps",
    "two_hot", "two_hot_loss", "two_hot_mean", "unimix", "update", "update_range",
    "weighted_sum", "world_model_loss", "worst_dream", "write_back",
]  # fmt: skip
