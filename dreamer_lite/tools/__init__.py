"""What this machine can do: benchmark and doctor."""
