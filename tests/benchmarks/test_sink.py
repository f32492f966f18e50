from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from benchmarks.server import Server, serving

_EVENT = b'{"idempotency_id":"a"}'


def _connected(sink: Server) -> socket.socket:
    address = urlsplit(sink.url)
    assert address.hostname is not None
    assert address.port is not None
    return socket.create_connection((address.hostname, address.port), timeout=10)


def _request(events: int) -> bytes:
    body = b",".join([_EVENT] * events)
    return b"POST /api/track/ HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_it_counts_events_and_answers_success(sink: Server) -> None:
    with _connected(sink) as connection:
        connection.sendall(_request(3))
        answer = connection.recv(1_000)
    assert answer.startswith(b"HTTP/1.1 201")
    assert answer.endswith(b'{"success":"all","failed_events":null}')
    counts = sink.wait_for(3, 10)
    assert (counts.requests, counts.events) == (1, 3)


def test_requests_that_come_in_pieces_or_together_are_told_apart(sink: Server) -> None:
    both = _request(2) + _request(1)
    with _connected(sink) as connection:
        for start in range(0, len(both), 7):
            connection.sendall(both[start : start + 7])
        counts = sink.wait_for(3, 10)
    assert counts.requests == 2


def test_after_a_mark_it_counts_anew_and_tells_new_connections_from_old_ones(sink: Server) -> None:
    with _connected(sink) as old:
        old.sendall(_request(1))
        sink.wait_for(1, 10)
        sink.mark()
        old.sendall(_request(1))
        assert sink.wait_for(1, 10).first_of_new is None
    with _connected(sink) as new:
        new.sendall(_request(1))
        assert sink.wait_for(2, 10).first_of_new is not None


def test_it_keeps_the_numbers_of_events_in_json_and_in_protobuf_and_a_server_that_is_down_keeps_none() -> None:
    bodies = [
        b'{"mb_used": 7}{"mb_used":1300}',
        b"\n\x07mb_used\x12\x03\x18\xac\x02",
        b'{"mb_used":8}',
        b'{"mb_used":9}',
    ]
    requests = [b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies]
    with serving(keeps_numbers=True) as sink:
        for request in requests[:2]:
            with _connected(sink) as connection:
                connection.sendall(request)
                assert connection.recv(1_000)
        sink.go_down()
        with _connected(sink) as connection:
            connection.sendall(requests[2])
            assert not connection.recv(1_000)
        sink.come_up()
        with _connected(sink) as connection:
            connection.sendall(requests[3])
            assert connection.recv(1_000)
        assert sink.numbers() == {7, 1300, 300, 9}


def test_waiting_for_events_that_never_come_ends(sink: Server) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 events"):
        sink.wait_for(1, 0.05)
