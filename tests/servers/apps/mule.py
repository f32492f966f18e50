"""What a mule of uWSGI runs: it tracks as many events as each message says."""

from __future__ import annotations

import uwsgi  # type: ignore[import-untyped]  # there inside uWSGI only

from tests.servers.apps.tracking import track

while True:
    track(int(uwsgi.mule_get_msg()))
