"""The only place with HTTP serving, SQL and the command line."""
