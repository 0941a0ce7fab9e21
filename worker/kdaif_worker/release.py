"""Which workers score as this one does, given equal processors."""

from importlib.metadata import version

RELEASE = f"{version('kdaif')}-torch-{version('torch').partition('+')[0]}"
"""Of this worker: what kdaif reads and how it scores, and the torch that it scores with."""
