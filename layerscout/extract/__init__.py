"""Stage 1: trajectories in, a store of every layer's activations out. ``layerscout.extract(backbone, data)`` runs it."""
