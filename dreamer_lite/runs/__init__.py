"""What is kept on disk: run folders, checkpoints, agent files and mirrors."""
