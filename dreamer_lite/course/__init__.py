"""What the notebooks need: setup, exercise checks, widgets, reference curves, the planner."""
