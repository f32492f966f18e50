"""On ``PYTHONPATH`` of the processes under test, for the ``sitecustomize`` in it."""
