"""Where a run is shown: TensorBoard, MLflow, Weights & Biases; see docs/tracking.md."""
