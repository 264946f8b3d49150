"""Turn a person's edits into new contours."""
