"""Stage 2: committed stores in, a ranking of their layers and a selection for RL out. ``layerscout.probe(store)`` runs it. No GPU, no torch."""
