"""What a sampled completion earns, from any mix of sources; shared by the online methods."""
