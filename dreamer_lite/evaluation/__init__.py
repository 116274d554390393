"""Real episodes and imagined rollouts beside them, measured."""
