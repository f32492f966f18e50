"""The Lotus server of 2022-09."""
