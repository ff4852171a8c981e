"""Google Colab as a target. Not built yet: see CONTRIBUTING.md, "Add an executor", for what it takes."""
