# SPDX-License-Identifier: Apache-2.0
"""The boxes of the SAM 2 paper's figure, and the state dicts that fill them. Knows nothing of a stream."""
