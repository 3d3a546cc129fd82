"""Constitutions written for other programs, read as drafts of ours: one module per format."""
