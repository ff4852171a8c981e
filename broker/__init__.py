"""The broker: chooses a target, sees the job through, falls back, and loses nothing on the way."""
