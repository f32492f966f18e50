"""The queue on disk; it knows no HTTP.

What reads or writes here raises an OSError where the disk refuses; what else is raised, or what holds then, is said at
each function.
"""
