"""Requests to the server over HTTP; knows nothing of events, calls or files."""
