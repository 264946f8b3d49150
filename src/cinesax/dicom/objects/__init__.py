"""Reading DICOM objects with contours or masks."""
