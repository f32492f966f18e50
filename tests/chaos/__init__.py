"""The chaos harness: ``python -m tests.chaos`` kills, stops, starves and refuses, and then counts. See ``command``."""
