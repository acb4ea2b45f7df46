# SPDX-License-Identifier: Apache-2.0
"""Draws textured things, their parts and backdrops. Does not know how they move."""
