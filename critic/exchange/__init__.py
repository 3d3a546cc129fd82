"""Preference pairs in the formats of others: `shapes` has one class per format, `files` reads and writes them."""
