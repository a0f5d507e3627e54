"""English text: parsing, nouns and phrases, word lists, evidence."""
