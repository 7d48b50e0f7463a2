"""Pre-training a bidirectional language model: the words before and after."""
