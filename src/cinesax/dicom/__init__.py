"""DICOM, in and out."""
