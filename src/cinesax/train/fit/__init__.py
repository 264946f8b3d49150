"""Training itself: settings, run folder, callbacks and logs."""
