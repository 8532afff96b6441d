"""Commands that learn a model from videos before anything is played."""
