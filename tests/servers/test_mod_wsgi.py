"""mod_wsgi: Apache embeds Python, in sub-interpreters unless it is told otherwise."""

from __future__ import annotations

import shutil
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import WORKERS
from .running import Running
from .site import REPOSITORY, Site

MODULES = Path("/usr/lib/apache2/modules")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MODULE = MODULES / f"mod_wsgi.so-{VERSION}"
TAIL = 10

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        shutil.which("apache2", path="/usr/sbin:/usr/bin") is None or not MODULE.exists(),
        reason=f"Debian's apache2 and libapache2-mod-wsgi-py3 for Python {VERSION} are not installed",
    ),
]

CONFIGURATION = """
ServerRoot {root}
ServerName localhost
PidFile {root}/apache.pid
DefaultRuntimeDir {root}
ErrorLog {root}/server.log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {module}
Listen 127.0.0.1:{port}
StartServers 1
WSGISocketPrefix {root}/wsgi
{where}
WSGIScriptAlias / {root}/script.py {groups}
<Directory {root}>
    Require all granted
</Directory>
"""
DAEMON = f"WSGIDaemonProcess application processes={WORKERS} threads=2"
EVERY_WAY = {
    "daemon, sub-interpreter": (DAEMON, "process-group=application application-group=one"),
    "daemon, main interpreter": (DAEMON, "process-group=application application-group=%{GLOBAL}"),
    "embedded, sub-interpreter": ("", ""),
    "embedded, main interpreter": ("", "application-group=%{GLOBAL} process-group=%{GLOBAL}"),
}


def start(site: Site, way: str) -> Running:
    server = launch(site, way)
    wait_until(server.serves, "Apache serves")
    return server


def launch(site: Site, way: str) -> Running:
    port = free_port()
    where, groups = EVERY_WAY[way]
    (site.root / "script.py").write_text("from tests.servers.apps.wsgi import application\n")
    configuration = site.root / "apache.conf"
    configuration.write_text(
        CONFIGURATION.format(root=site.root, modules=MODULES, module=MODULE, port=port, where=where, groups=groups)
    )
    site.variables["PYTHONPATH"] = f"{REPOSITORY}:{sysconfig.get_path('purelib')}"
    return site.run(["/usr/sbin/apache2", "-f", str(configuration), "-DFOREGROUND"], port=port)


@pytest.mark.parametrize("way", EVERY_WAY)
def test_all_events_arrive_whatever_ends_a_process_those_before_the_stop_and_what_was_left_after_a_restart(
    way: str, site: Site
) -> None:
    server = start(site, way)
    with server.load() as load:
        first = load.wait_for_others(set(), 1)
        server.kill(first.pop())
        load.wait_for_others(set(load.answers), 1)
        server.send(signal.SIGUSR1)  # graceful: new processes, the old ones end their requests
        load.wait_for_others(set(load.answers), 1)
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)

    site.lotus.pause()
    server = start(site, way)
    server.track(TAIL)
    server.crash()
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    server = launch(site, way)
    if way.startswith("embedded"):
        wait_until(server.serves, "Apache serves")  # it imports the application with the first request
    site.check(at_least=2 * TAIL)
