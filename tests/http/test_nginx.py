"""Behind a real nginx: what it answers by itself, early, or not at all, and the request after that."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lotus_durable.http.answer import Answer, NoAnswer, excerpt
from lotus_durable.testing import FakeLotus, Slow
from tests.delivery.scripted_server import (
    BODY,
    KEY,
    LIMIT,
    HttpTransport,
    Reply,
    ScriptedServer,
    says,
    sends,
    stays_silent,
)
from tests.ports import free_port
from tests.rig import Rig, rigs, track, wait_until  # noqa: F401  # rigs is a fixture

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    log_format status "$status";
    access_log {folder}/access.log status;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        client_max_body_size 100k;
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /refuses/ {{ return 403; }}
        location /drops/ {{ return 444; }}
        location /once/ {{
            keepalive_timeout 0;
            return 200 "{{}}";
        }}
    }}
}}
"""

Behind = Callable[..., tuple[ScriptedServer, HttpTransport]]


class Nginx:
    """nginx before one server."""

    def __init__(self, folder: Path, certificate: Path, upstream: ScriptedServer | FakeLotus) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self._log = folder / "access.log"
        configuration = folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                certificate=certificate,
                port=self.port,
                tls_port=self.tls_port,
                upstream=upstream.host,
            )
        )
        assert NGINX is not None
        command = [NGINX, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "nginx to listen")

    def transport(self, path: str = "", *, read_timeout: float = LIMIT) -> HttpTransport:
        return HttpTransport(f"http://127.0.0.1:{self.port}{path}", KEY, read_timeout=read_timeout)

    def statuses(self) -> list[str]:
        return self._log.read_text().split()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(LIMIT)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "nginx ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.tls_port)):
            return True
        return False


def said(came_back: Answer | NoAnswer) -> tuple[int, bytes]:
    assert isinstance(came_back, Answer)
    return came_back.status, came_back.body


@pytest.fixture
def nginx(tmp_path: Path, certificate: Path) -> Iterator[Callable[..., Nginx]]:
    """Start nginx before a server that gives these replies."""
    started: list[Nginx | ScriptedServer] = []

    def start(*replies: Reply) -> Nginx:
        server = ScriptedServer(*replies)
        server.__enter__()
        started.append(server)
        started.append(Nginx(tmp_path, certificate, server))
        assert isinstance(started[-1], Nginx)
        return started[-1]

    yield start
    for one in reversed(started):
        if isinstance(one, Nginx):
            one.stop()
        else:
            one.__exit__(None, None, None)


def test_requests_and_answers_pass(nginx: Callable[..., Nginx]) -> None:
    transport = nginx(*(says(201, b"%d" % number) for number in range(5))).transport()
    answers = [transport.post_batch(BODY) for _ in range(5)]
    transport.close()
    assert [said(each) for each in answers] == [(201, b"%d" % number) for number in range(5)]


@pytest.mark.parametrize("interim", [b"103 Early Hints\r\nLink: </a>", b"102 Processing", b"100 Continue"])
def test_whatever_it_makes_of_an_interim_answer_no_answer_is_anothers(
    nginx: Callable[..., Nginx], interim: bytes
) -> None:
    final = [b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(4)]
    replies = [sends(b"HTTP/1.1 " + interim + b"\r\n\r\n" + each, keep=True) for each in final]
    transport = nginx(*replies).transport(read_timeout=0.2)  # older ones pass on nothing but the interim answer
    for number in range(4):
        came_back = transport.post_batch(BODY)
        if isinstance(came_back, NoAnswer):
            assert came_back.sent
        elif came_back.status == 201:
            assert came_back.body == b"%d" % number
    transport.close()


@pytest.mark.parametrize(("path", "size", "status"), [("", 3_000_000, 413), ("/refuses", 90_000, 403)])
def test_an_answer_before_the_request_is_read_counts_and_the_next_request_gets_its_own(
    nginx: Callable[..., Nginx], path: str, size: int, status: int
) -> None:
    proxy = nginx(says(201))
    transport = proxy.transport(path)
    for _ in range(3):
        came_back = transport.post_batch(b"x" * size)
        assert isinstance(came_back, Answer)
        assert came_back.status == status
    transport.close()
    wait_until(lambda: len(proxy.statuses()) == 3, "all requests in its log")
    assert set(proxy.statuses()) == {str(status)}


def test_a_connection_it_drops_is_no_answer_to_a_request_that_was_sent(nginx: Callable[..., Nginx]) -> None:
    transport = nginx(says(201)).transport("/drops")
    came_back = transport.post_batch(BODY)
    assert isinstance(came_back, NoAnswer)
    assert (came_back.sent, came_back.was_kept) == (True, False)


def test_a_connection_it_does_not_keep_is_not_used_again(nginx: Callable[..., Nginx]) -> None:
    transport = nginx(says(201)).transport("/once")
    for _ in range(3):
        came_back = transport.post_batch(BODY)
        assert isinstance(came_back, Answer)
        assert came_back.status == 200


def test_after_a_request_that_was_given_up_the_next_gets_its_own_answer(nginx: Callable[..., Nginx]) -> None:
    proxy = nginx(stays_silent, says(201, b'"second"'))
    transport = proxy.transport(read_timeout=0.5)
    came_back = transport.post_batch(BODY)
    assert isinstance(came_back, NoAnswer)
    assert (came_back.timed_out, came_back.sent) == (True, True)
    assert said(transport.post_batch(BODY)) == (201, b'"second"')
    transport.close()
    wait_until(lambda: len(proxy.statuses()) == 2, "both requests in its log")
    assert sorted(proxy.statuses()) == ["201", "499"]


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_what_it_refuses_drops_and_cuts_short_loses_no_event_and_stores_none_twice(
    rigs: Callable[..., Rig],  # noqa: F811  # the fixture
    tmp_path: Path,
    certificate: Path,
    generation: str,
) -> None:
    """413 for batches over its limit, 499 for what comes too late for us, 502 while the server is away."""
    rig = rigs(generation)
    proxy = Nginx(tmp_path, certificate, rig.server)
    host = f"http://127.0.0.1:{proxy.port}"
    client = rig.client(host=host, timeout=(5.0, 1.0), flusher="auto")
    try:
        ids = track(client, 700, properties={"text": "x" * 200})
        rig.server.wait_for(700, LIMIT)
        rig.server.fail_next(Slow(2.0))
        ids += track(client, 20)
        wait_until(lambda: "499" in proxy.statuses(), "a request that was given up")
        rig.server.pause()
        ids += track(client, 20)
        wait_until(lambda: "502" in proxy.statuses(), "a request that it could not pass on")
        rig.server.resume()
        assert client.drain(60).complete
        assert rig.check(ids).delivered == len(ids)
        assert rig.server.database == set(ids)
        assert {"413", "499", "502", "201"} <= set(proxy.statuses())
    finally:
        rig.stop()
        proxy.stop()


def test_http_to_its_port_for_https_is_told_by_its_own_words(nginx: Callable[..., Nginx]) -> None:
    proxy = nginx(says(201))
    came_back = HttpTransport(f"http://127.0.0.1:{proxy.tls_port}", KEY).post_batch(BODY)
    assert isinstance(came_back, Answer)
    assert "plain HTTP request was sent to HTTPS port" in excerpt(came_back)
