"""The WSGI application, with its settings in the module: nothing is known of the queue before the first call."""

from __future__ import annotations

import os

import lotus_durable as lotus

from .wsgi import application

__all__ = ["application"]

lotus.api_key = os.environ["TEST_API_KEY"]
lotus.host = os.environ["TEST_HOST"]
lotus.queue_dir = os.environ["TEST_QUEUE_DIR"]
