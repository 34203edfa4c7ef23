"""Other simulators, each run by a Python of its own; see `make bench-peers`."""
