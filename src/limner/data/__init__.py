"""Sources, stages, shards and batches of face records."""
