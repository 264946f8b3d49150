"""The training itself: settings, run folder, and what watches it."""
