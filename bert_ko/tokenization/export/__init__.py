"""What is written into a Hugging Face folder beside our own modules; see ../hugging_face.py."""
