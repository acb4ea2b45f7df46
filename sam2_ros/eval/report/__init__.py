"""Reports as one HTML file each: what `eval` and `replay` leave beside summary.json."""
