"""UniF²ace: one transformer that describes faces, answers questions about them and paints them."""
