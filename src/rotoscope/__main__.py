"""python -m rotoscope."""

from rotoscope.cli import app

app()
