"""Training: losses, optimization, checkpoints, backends and the loop."""
