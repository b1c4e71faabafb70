"""The Lambda handlers: parse, call one thing, say what came of it."""
