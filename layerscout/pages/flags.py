"""A flag's name in, one sentence out: what the flag means for whoever reads a ranking."""

from __future__ import annotations

FLAGS = {
    "PERSISTENCE": "the next activation is hardly foretold better than by repeating this one or letting it decay: the transition R² says little",
    "NO_ACTION": "knowing the action does not help to predict the next activation: the layer may not see what the agent does",
    "COLLAPSED": "the activations vary along fewer than three directions",
    "DEAD_DIMS": "some features never change",
    "REWARD_NULL": "the reward R² is no better than with the rewards shifted in time: no reward information was found",
    "UNDERSAMPLED": "there are fewer than ten rows a feature, so the figures lean on the penalty",
    "FEW_EPISODES": "fewer than 30 episodes: the intervals are rough",
    "ALPHA_EDGE": "the best penalty lies at the end of the grid that was tried; a wider grid could change the figure",
}


def canonical_flag(flag: str) -> str:
    """Return a flag's plain name, however it was written: ``reward-null`` and ``REWARD_NULL`` are one."""
    return flag.split(":")[0].strip().upper().replace("-", "_").replace(" ", "_")


def explain_flag(flag: str) -> str:
    """Return the sentence that tells a reader what a probe's flag means."""
    return FLAGS.get(canonical_flag(flag), "set by the probe; see the reference of the probe stage")
