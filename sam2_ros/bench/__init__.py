# SPDX-License-Identifier: Apache-2.0
"""Time and endurance: the tracker's times, the machine's peak, reference implementations, soak tests."""
