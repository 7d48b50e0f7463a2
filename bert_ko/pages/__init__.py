"""report.html of the commands that train no model: of a vocabulary, and of pre-training data."""
