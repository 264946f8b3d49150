"""The values, frozen and checked when they are made; NumPy, SciPy and contourpy only."""
