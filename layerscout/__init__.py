"""layerscout: find the one layer of a frozen video model that is worth handing to a reinforcement-learning agent."""

__version__ = "0.1.0"
