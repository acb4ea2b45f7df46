# SPDX-License-Identifier: Apache-2.0
"""The modules of the SAM 2 paper's figure, and the state dicts of their weights. Knows nothing of a stream."""
