"""What makes every command start sooner. To be imported before anything that imports pydantic."""

from __future__ import annotations

import os

# Nobody has plugins of pydantic's here, and to look for them it reads the metadata of every package there is.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
