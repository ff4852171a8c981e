"""Programs that run on a target. Package data to everything else: files to copy, never modules to import."""
