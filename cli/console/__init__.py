"""The console: the command line's reads and wishes as web pages, rendered by the server. Nothing in it decides."""

KEY_FILE = "console.key"  # in the state folder of a local system: readable by its owner alone
