"""The console: the command line's reads and wishes as web pages, rendered by the server. Nothing in it decides."""
