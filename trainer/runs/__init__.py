"""What each type of training child does, from its configuration to a finished directory: one module per type.

Nothing here imports torch before a run begins: what it reads at import is set first.
"""
