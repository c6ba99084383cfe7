"""`python -m compression`."""

import before_compression  # noqa: F401 - before everything else: see there

from compression.cli import app

app(prog_name="python -m compression")
