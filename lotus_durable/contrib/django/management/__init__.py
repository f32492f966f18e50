"""For Django to find the commands."""
