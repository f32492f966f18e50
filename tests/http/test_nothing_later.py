"""After the first request nothing is opened or imported any more, and no patch of the application's is met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from lotus_durable.http.answer import Answer, NoAnswer
from tests.delivery.scripted_server import (
    BODY,
    KEY,
    HttpTransport,
    ScriptedServer,
    hangs_up,
    says,
    stays_silent,
    talking,
)

WATCHED = """
import sys
events = []
is_watching = False
def hook(event, arguments):
    if is_watching and (event == "open" or event == "import"):
        events.append((event, str(arguments[0])))
sys.addaudithook(hook)

from lotus_durable.http.connection import Connection

transports = [Connection(host, "abcdefgh.0123456789", read_timeout=1.0) for host in sys.argv[1:]]
for transport in transports:
    transport.exchange("POST", "/api/track/", b"{}")
is_watching = True
for transport in transports:
    for _ in range(2):
        transport.close()
        print(transport.exchange("POST", "/api/track/", b"{}"))
        print(transport.exchange("POST", "/api/track/", b"{}"))
is_watching = False
sys.exit(repr(events) if events else None)
"""


def test_no_file_is_opened_and_nothing_imported_after_the_first_request(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    retry = says(429, b"", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT")
    with (
        ScriptedServer(says(201), retry, says(201), stays_silent, tls=certificate) as safe,
        ScriptedServer(says(201), says(201), hangs_up) as plain,
    ):
        hosts = [safe.host, plain.host, "https://nobody.invalid", "http://bücher.invalid", "http://127.0.0.1:1"]
        result = subprocess.run([sys.executable, "-c", WATCHED, *hosts], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert "Answer(status=201" in result.stdout
    assert "no answer from https" in result.stdout


def test_a_ca_bundle_that_a_deploy_removes_is_needed_no_more(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with talking(says(201), tls=certificate) as (server, transport):
        assert isinstance(transport.post_batch(BODY), Answer)
        certificate.unlink()
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        transport.close()
        assert isinstance(transport.post_batch(BODY), Answer)
    assert server.connections == 2


def test_a_ca_bundle_that_could_not_be_read_is_read_when_it_is_there(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = certificate.read_text()
    with talking(says(201), tls=certificate) as (_, transport):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        certificate.write_text("# nothing yet")
        assert transport.post_batch(BODY) == NoAnswer(
            "TLS: the CA bundle that REQUESTS_CA_BUNDLE names cannot be read, or holds no certificate"
        )
        certificate.write_text(f"# Főtanúsítvány\n{text}")
        assert isinstance(transport.post_batch(BODY), Answer)


@pytest.mark.parametrize("names", [("a.pem",), ("a.pem", "b.pem")])
def test_a_directory_of_certificates_is_read_whole(
    names: tuple[str, ...], certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "folder").mkdir()
    for name in names:
        (bundle / name).write_text(certificate.read_text())
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    with talking(says(201), tls=certificate) as (_, transport):
        assert isinstance(transport.post_batch(BODY), Answer)


def test_without_requests_own_bundle_the_systems_is_trusted(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.http.routes.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with talking(says(201), tls=certificate) as (_, transport):
        assert isinstance(transport.post_batch(BODY), Answer)


def test_a_proxy_of_the_environment_is_used_and_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(says(201)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host)
        transport = HttpTransport("http://lotus.example", KEY)
        for _ in range(2):
            assert isinstance(transport.post_batch(BODY), Answer)
        assert proxy.connections == 1
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "lotus.example")
        transport.close()
        assert isinstance(transport.post_batch(BODY), Answer)
        transport.close()
    assert proxy.connections == 2
    assert proxy.requests[0].line == "POST http://lotus.example/api/track/ HTTP/1.1"


def test_a_server_on_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with talking(says(201)) as (_, transport):
        assert isinstance(transport.post_batch(BODY), Answer)


def test_a_proxy_gets_the_password_of_its_url_and_the_server_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(says(201)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host.replace("http://", "http://user:secret@"))
        transport = HttpTransport("http://lotus.example", KEY)
        assert isinstance(transport.post_batch(BODY), Answer)
        transport.close()
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert proxy.requests[0].headers["host"] == "lotus.example"


def test_what_an_application_patches_of_requests_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``requests_cache.install_cache`` (the session) and ``responses`` (the adapter's send) do it."""

    def patched(*_: object, **__: object) -> Any:
        raise AssertionError("our request went through the application's patch")

    for owner, name in (
        (requests, "Session"),
        (requests.sessions, "Session"),
        (requests.adapters.HTTPAdapter, "send"),
    ):
        monkeypatch.setattr(owner, name, patched)
    with talking(says(201)) as (_, transport):
        assert isinstance(transport.post_batch(BODY), Answer)


def test_an_application_that_has_its_own_requests_answered_by_responses_or_a_cache_gets_ours_sent(
    tmp_path: Path,
) -> None:
    cache, responses = pytest.importorskip("requests_cache"), pytest.importorskip("responses")
    with talking(says(201, b'"real"')) as (server, transport):
        cache.install_cache(str(tmp_path / "cache"), allowable_methods=("GET", "POST"))
        try:
            with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
                mocked.add("POST", server.host + "/api/track/", json="false")
                assert transport.post_batch(BODY) == Answer(201, "application/json", b'"real"')
        finally:
            cache.uninstall_cache()
    assert len(server.requests) == 1
