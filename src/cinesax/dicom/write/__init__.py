"""DICOM objects made from an Analysis."""
