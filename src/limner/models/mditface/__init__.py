"""MDiTFace: faces from words and region masks."""
