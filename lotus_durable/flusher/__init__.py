"""Who flushes: one process for each queue, nobody's child, started by whoever looks and finds none.

::

    a process that tracks                                the flusher
    look      is the lock held? is there trouble? ──┐    program   what runs: settings, signals, descriptors
    starting  back-off, last words, who was told    │    lock      filelock's lock, one to look at, the directory's
    spawn     sh -c '… &': nobody's child  ─────────┴──▶ life      how long it stays, and who it makes way for
    hung      the same beat for ten seconds: end it      control   beats, waits, what others ask; between any two steps

A process that tracks imports the left column only: no filelock, no requests, no SQLite.
"""
