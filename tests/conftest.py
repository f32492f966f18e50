"""What holds for all tests."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's ``&`` and some CI runners leave it ignored, and so it would be in all programs that are under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
