"""https in front of a FakeLotus: a proxy that ends TLS, so that the certificate is a test's own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


class HttpsProxy:
    """Passes what comes by TLS on to a server.

    Args:
        folder: for the key and the certificate.
        port: of the server.
        address: of the server.
    """

    def __init__(self, folder: Path, port: int, address: str = "127.0.0.1") -> None:
        key, self._certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(self._certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self._certificate, key)
        self._server = address, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def certificate(self) -> str:
        return self._certificate.read_text()

    def hang_up(self) -> None:
        """Close all connections: the next request needs a new one."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as outer:
            self.connections += 1
            self._open.add(outer)
            try:
                with socket.create_connection(self._server) as inner:
                    self._open.add(inner)
                    back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
                    back.start()
                    _copy(outer, inner)
                    back.join()
                    self._open.discard(inner)
            finally:
                self._open.discard(outer)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def https_in_front_of(folder: Path, port: int) -> Iterator[HttpsProxy]:
    proxy = HttpsProxy(folder, port)
    try:
        yield proxy
    finally:
        proxy.close()
