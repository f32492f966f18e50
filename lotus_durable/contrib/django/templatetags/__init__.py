"""For Django to find what the templates use."""
