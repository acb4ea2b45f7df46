"""Timing the tracker: what it costs, what the machine could do, and the references it is timed beside."""
