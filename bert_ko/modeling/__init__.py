"""The BERT model: configuration, layers and heads as functions of tensors, in keras.ops alone."""
