"""The plan's four phases: checks against the real APIs, and rollback steps. One module per phase."""
