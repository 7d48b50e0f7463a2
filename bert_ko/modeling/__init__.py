"""Models: configurations, encoders and heads as functions of tensors, in keras.ops alone."""
