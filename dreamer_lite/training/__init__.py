"""Replay and the training loops, for environments in JAX and for those on the host.

Importing it sets flags of the XLA compiler, unless JAX has started; see `xla.set_flags`.
"""

from dreamer_lite.training.xla import set_flags

set_flags()
