"""From a text corpus to batches of training features."""
