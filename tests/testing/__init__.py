"""Tests of the public fake server."""
