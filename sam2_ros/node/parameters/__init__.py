# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: their declarations, and how a given value is read. Does not know what they do."""
