"""``python -m kdaif_server``."""

from kdaif_server.cli import main

main()
