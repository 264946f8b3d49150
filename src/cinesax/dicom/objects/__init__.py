"""DICOM objects that carry contours or masks, read."""
