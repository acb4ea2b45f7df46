# SPDX-License-Identifier: Apache-2.0
"""Generators of the reference pages: each reads the code and knows one page."""
