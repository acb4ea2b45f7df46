# SPDX-License-Identifier: Apache-2.0
"""What is drawn: textured things, their parts and the clutter around them. Knows nothing of how they move."""
