"""Korean BERT: vocabulary, pre-training data, training and fine-tuning from the command line."""

__version__ = "0.1.0"
