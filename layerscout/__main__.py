"""``python -m layerscout`` is ``layerscout``."""

from layerscout.cli import main

main()
