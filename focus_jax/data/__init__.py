"""Photos and synthetic faces, from files to batches."""
