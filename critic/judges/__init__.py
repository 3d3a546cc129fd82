"""Ways to get P(the first-listed completion wins) out of a model, behind one interface (`critic.judges.method`)."""
