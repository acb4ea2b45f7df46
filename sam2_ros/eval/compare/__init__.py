# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros compare`: two runs of `eval` or `replay`, object by object."""
