"""The runner's neighbours. Standard library only, Python >= 3.8."""
