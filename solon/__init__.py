"""What every package of the project shares: records, errors, settings, the chat client, datasets."""

__version__ = "0.1.0"
