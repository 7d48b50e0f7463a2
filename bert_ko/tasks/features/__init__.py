"""Features: what the layers of a model say of the pieces of sentences, and files of that."""
