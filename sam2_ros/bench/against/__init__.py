# SPDX-License-Identifier: Apache-2.0
"""Reference implementations to time and to compare with: Meta's package and transformers. Knows nothing of timing."""
