"""What is measured on a segmentation, and what to doubt in it."""
