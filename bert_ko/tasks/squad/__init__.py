"""Questions on a context (KorQuAD 1.0, SQuAD): the answer is a slice of the context's string."""
