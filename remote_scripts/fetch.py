# /// script
# requires-python = ">=3.8"
# dependencies = []
# ///
"""Fetch models: a script that does nothing, since a job's models are there before its script starts."""
