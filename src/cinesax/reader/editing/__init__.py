"""From what a person asks for to other contours."""
