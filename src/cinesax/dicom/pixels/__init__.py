"""The pixels of DICOM frames, in every transfer syntax."""
