"""Our network against the official model's numbers."""
