"""Replay and the training loops, for environments in JAX and for those on the host."""
