"""Where a picture came from: its recipe in the file, an invisible watermark in the pixels, a signed manifest."""
