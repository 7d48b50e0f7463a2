"""One label or one number for a text or a pair of texts: NSMC, YNAT, KorSTS, PAWS-X, own tables."""
