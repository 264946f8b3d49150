"""Networks that segment a cine: the bundle, its input, and the cleaning of its output."""
