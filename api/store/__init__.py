"""What the service remembers: jobs and their events, in SQL."""
