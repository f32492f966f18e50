"""The version, alone in a module so that building needs no imports."""

__version__ = "0.1.0"
