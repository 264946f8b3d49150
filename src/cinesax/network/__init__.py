"""Networks that segment a cine: the bundle, what it sees, and the cleaning after it."""
