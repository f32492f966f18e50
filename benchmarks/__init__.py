"""What durability costs, measured on the machine at hand: ``python -m benchmarks --help``.

One scenario a module in ``scenarios/``; what is measured, ours and others', in ``subjects/``. A scenario runs each
subject in processes of its own (``load``), so that no subject's threads are in another's way, and interleaves them, so
that a machine that is busy for a while is busy for all of them.
"""
