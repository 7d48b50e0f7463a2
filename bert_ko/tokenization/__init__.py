"""Text to morphemes, pieces and ids, with character offsets into the caller's string."""
