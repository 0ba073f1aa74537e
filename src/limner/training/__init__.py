"""One loop that knows no model by name."""
