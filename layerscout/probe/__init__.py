"""Stage 2: one committed store in, a ranking of its layers and a selection for RL out. Needs no GPU and no torch."""
