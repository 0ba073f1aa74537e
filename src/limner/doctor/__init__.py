"""Whether published checkpoints here are what Limner expects: files, shapes, number types, one forward pass."""
