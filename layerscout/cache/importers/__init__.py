"""One file a foreign format: its files in, our episodes out. ``run`` writes them to a trajectory file."""
