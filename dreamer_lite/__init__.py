"""Dreamer Lite: DreamerV3 in JAX, small enough to read, fast enough to learn on a laptop.

Symbols used for shapes everywhere. Time comes first, (T, B, ...); the paper and the reference
implementation write (B, T). Modules touch only the last axis, so they take any leading axes.

    T  time steps of a training sequence      D  deterministic state of the RSSM
    B  sequences in a batch                   S  groups of the stochastic state
    H  imagination horizon                    C  classes per group
    A  size of an embedded action             F  feature of a state, F = D + S*C
    E  embedding of an observation            N  two-hot bins
    W  worlds that run side by side           K  updates per call
"""

__version__ = "0.1.0"
