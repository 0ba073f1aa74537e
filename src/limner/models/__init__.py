"""The three systems. They never import each other; what two of them need lives a floor below."""
