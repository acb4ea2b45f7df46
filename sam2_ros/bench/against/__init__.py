# SPDX-License-Identifier: Apache-2.0
"""Reference implementations for timing and comparison: Meta's package and transformers. Does not time them."""
