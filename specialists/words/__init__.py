"""English words: parsing, nouns and phrases, lists, evidence."""
