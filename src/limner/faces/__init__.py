"""What is in a photo: boxes, landmarks, regions, motion, identity, attributes. No generative model in here."""
