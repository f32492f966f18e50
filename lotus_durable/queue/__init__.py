"""The queue on disk; knows no HTTP."""
