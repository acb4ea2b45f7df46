"""`sam2-ros compare`."""
