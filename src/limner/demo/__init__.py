"""The demonstration: photographs in, one page out."""
