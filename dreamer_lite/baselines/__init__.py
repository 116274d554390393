"""Model-free agents to compare Dreamer with."""
