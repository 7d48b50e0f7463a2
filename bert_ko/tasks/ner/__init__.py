"""Named entities: a tag for every character or word of a sentence (KLUE-NER, Naver's, CoNLL)."""
