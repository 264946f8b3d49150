"""Measurements of a segmentation, and the checks of their plausibility."""
