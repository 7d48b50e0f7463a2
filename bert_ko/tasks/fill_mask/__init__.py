"""Filling [MASK] with what a pre-trained model expects."""
