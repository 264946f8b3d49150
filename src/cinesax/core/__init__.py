"""Values, frozen and checked when they are made. This room imports NumPy, SciPy and contourpy only."""
