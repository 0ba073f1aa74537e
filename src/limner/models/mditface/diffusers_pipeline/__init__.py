"""A folder that diffusers takes as `custom_pipeline`."""
