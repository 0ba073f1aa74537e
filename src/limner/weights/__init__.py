"""Which weight files there are, where they lie, and how they are read."""
