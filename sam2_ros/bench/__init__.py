"""Time and endurance: the tracker's times, the machine's peak, reference implementations, soak tests."""
