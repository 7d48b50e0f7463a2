"""Models from one form to another: our folder, Google's TF1 checkpoint, a Hugging Face folder."""
