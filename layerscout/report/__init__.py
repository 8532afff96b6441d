"""Rankings and agents' records in, one page with a verdict out. ``layerscout.report(folder)`` writes it. Needs no torch."""
