"""Captions, questions and text encoders."""
