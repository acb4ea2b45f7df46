"""`sam2-ros compare`: two runs of `eval` or `replay`, object by object."""
