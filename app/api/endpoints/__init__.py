"""The calls of the HTTP API, a module each."""
