# SPDX-License-Identifier: Apache-2.0
"""A node seen from outside: its process, its graph, and a player that feeds it images. Knows no command line."""
