# SPDX-License-Identifier: Apache-2.0
"""Reports of `eval` and `replay`: one HTML file each, next to summary.json."""
