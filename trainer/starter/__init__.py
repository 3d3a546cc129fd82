"""The embedded default: a small world (agora), its corpus, its oracle, the weights and the script that builds them."""
