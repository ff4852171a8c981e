"""`python -m offload` is `offload`."""

from offload.main import main

main()
