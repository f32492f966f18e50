"""The queue on disk; it knows no HTTP.

Everything here that reads or writes raises an OSError if the disk refuses. What else a function raises, and what holds
afterwards, is in its docstring.
"""
