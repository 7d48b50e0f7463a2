"""Tasks that a pre-trained model is fine-tuned for: examples, features, predictions, scores."""
