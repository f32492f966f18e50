"""Thin adapters for frameworks; the logic is in the library."""
