# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node: what each is, and how a given value is read. Knows nothing of what they do."""
