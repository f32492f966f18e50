"""``flusher="process"``: the leader is a child process that one of the workers starts.

::

    worker                                     its child
    launcher   nobody leads: take the lock
    child      start it ───────────────────▶   program   has the lock from birth: its starter's descriptor of it
               life: settings in one line ─▶   stdin     the line, then nothing; its end is the starter's end
               ◀─ log lines, errors ────────   outbox    what on_error and the log of the worker are told

The starter opens the lock file, locks it, and hands the descriptor over: the lock belongs to the open file, so it is
held without a gap, and of workers that notice at once that nobody leads one alone starts a child. What the child is to
know, the API key too, comes through a pipe and is in no argument and no environment.

The pipe's other end is open in the starter and nowhere else, so its end is the end of the starter (or its word to
stop), whatever pids mean here. The child then ends after its request in flight and the commit, and lets go of the
lock; another worker starts the next. A process forked from the starter closes its copy at once, or, where the fork ran
no hooks, with its first use of the library.
"""
