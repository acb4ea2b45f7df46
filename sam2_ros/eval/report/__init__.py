"""Reports of `eval` and `replay`: one HTML file each, beside summary.json."""
