"""Real images for training: decoded once, cut into crops; what is done to the crops is not decided here."""
