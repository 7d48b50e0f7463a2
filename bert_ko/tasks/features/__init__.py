"""Features: the vectors of a model's layers for the pieces of sentences, and files of them."""
