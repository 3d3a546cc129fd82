"""The routes of the service, a module per noun of its paths."""
