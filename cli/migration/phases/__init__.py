"""The plan's four phases as checks that ask the real APIs, and as steps back. One module a phase; `check` runs them."""
