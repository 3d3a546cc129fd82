"""The steps of a recipe at work, a module per type."""
