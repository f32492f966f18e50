"""The server of 2024-02: nginx in front, a Go service for ``/api/track*``, Django for the rest of ``/api/``."""
