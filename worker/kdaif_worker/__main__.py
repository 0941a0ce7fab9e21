"""``python -m kdaif_worker``."""

from kdaif_worker.cli import main

main()
