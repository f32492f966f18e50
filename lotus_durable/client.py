"""The client: validate, append, and never wait; and its lifecycle."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack

from lotus_durable.calls import access, addons, credit, customers, plans, service, subscriptions
from lotus_durable.calls.binding import method
from lotus_durable.claim import claim_queue
from lotus_durable.config import Config, Options
from lotus_durable.errors import DeliveryBlocked, DiskRefused, EventRefused, LotusError, QueueDirectoryError
from lotus_durable.event.record import EventEncoder
from lotus_durable.imports import WAS_CUT, import_for_sqlite, import_for_tracking, was_cut
from lotus_durable.log import counted, log_to_stderr, warn_if_unencrypted
from lotus_durable.queue.backend import OtherBackend
from lotus_durable.queue.destination import OtherDestination
from lotus_durable.queue.stats import QueueStats, collect
from lotus_durable.reporter import Reporter
from lotus_durable.tracker import Process, abandon_inherited, open_queue

if TYPE_CHECKING:
    from lotus_durable.calls.caller import Caller
    from lotus_durable.delivery.candidate import Candidate
    from lotus_durable.delivery.drain import DrainReport
    from lotus_durable.flusher.look import Launcher

logger = logging.getLogger("lotus_durable")

_getpid = os.getpid
_started: set[Client] = set()
"""Clients that have tracked in this process and were not shut down; kept so that they are at exit."""


class Client:
    """Accepts usage events, keeps them on disk, and has them uploaded by one elected process.

    Any number of clients, threads and processes may share a queue directory. Nothing needs to be called around a
    fork. All options are keyword arguments, see :class:`~lotus_durable.config.Config`.

    Raises:
        ConfigurationError: an option is wrong.
        QueueDirectoryError: the queue directory is unsafe: others can write to it, or it belongs to somebody else; or
            the events in it are for another server, or another backend's.
    """

    def __init__(self, **options: Unpack[Options]) -> None:
        self._adopt(Config.resolve(options))

    @classmethod
    def from_config(cls, config: Config, *, needs_directory: bool = True) -> Client:
        """Return a client for a configuration that is resolved already.

        Args:
            config: the configuration.
            needs_directory: False: a queue directory that cannot be used is logged and reported, not raised, and
                events wait in memory until it can.
        """
        client = cls.__new__(cls)
        client._adopt(config, needs_directory=needs_directory)
        return client

    def _adopt(self, config: Config, *, needs_directory: bool = True) -> None:
        self.config = config
        self._process: Process | None = None
        self._processes: dict[int, Process] = {}
        self._writes = config.send and not config.sync_mode
        self._is_retired = False
        self._report = Reporter(config.on_error)
        if config.debug:
            log_to_stderr()
        warn_if_unencrypted(config.host)
        if config.backend == "sqlite":
            import_for_sqlite()
        if config.send:
            self._prepare_directory(needs_directory=needs_directory)
        import_for_tracking()

    def __repr__(self) -> str:
        return f"<Client host={self.config.host} queue_dir={self.config.queue_dir}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would carry the API key. Make a client in each process, or use it across a fork."""
        raise TypeError("a Client cannot be pickled: it holds the API key; make one in each process")

    def track_event(
        self,
        *,
        customer_id: str,
        event_name: str,
        properties: Mapping[str, Any] | None = None,
        time_created: datetime | str | None = None,
        idempotency_id: str | None = None,
    ) -> str:
        """Accept one event: when this returns, it survives this process, and will be delivered.

        Args:
            customer_id: the customer's id, as given to ``create_customer``; not empty.
            event_name: what happened, as the metrics name it; 1 to 200 characters.
            properties: a mapping with string keys of what JSON can hold; ``Decimal``, ``datetime``, ``date``,
                ``UUID``, ``Enum``, sets and tuples are converted.
            time_created: when it happened; now if not given. A naive datetime is taken as UTC.
            idempotency_id: at most 255 characters; the server counts events with the same id once. A random UUID if
                not given.

        Returns:
            The idempotency id.

        Raises:
            InvalidEvent: an argument is refused; names the field and the reason. Nothing was written.
            QueueFull: the event was not accepted: the queue is over ``max_queue_bytes``, or the disk takes no
                writes and the memory buffer is full.
            EventRefused: with ``sync_mode`` only: the server refused it for good.
        """
        process = self._process
        if process is None or process.pid != _getpid():
            process = self._enter_process()
        encoders = process.encoders
        try:
            encoder = encoders.pop()
        except IndexError:
            encoder = EventEncoder(self.config.max_event_bytes)
        try:
            event_id, record = encoder.encode(customer_id, event_name, properties, time_created, idempotency_id)
        finally:
            encoders.append(encoder)
        if self._writes:
            process.queue.append(record)
            if not process.is_started:
                self._start(process)
        elif self.config.send:
            self._send_at_once(process, record)
        return event_id

    def drain(self, timeout: float | None = None) -> DrainReport:
        """Have everything that is pending now delivered; from any process, for deploy hooks and tests.

        Args:
            timeout: seconds; None for as long as it takes.

        Returns:
            What was achieved. When delivery is blocked it returns at once, with the reason.

        Raises:
            DeliveryBlocked: this process can never drain, see :func:`lotus_durable.imports.was_cut`.
            DiskRefused: the queue directory cannot be used.
            QueueDamaged: the committed state cannot be read.
        """
        return self.watched_drain(timeout, lambda: None)

    def watched_drain(self, timeout: float | None, watch: Callable[[], None]) -> DrainReport:
        """Do what :meth:`drain` does, and call ``watch`` now and then, to show progress."""
        if was_cut():
            raise DeliveryBlocked(f"a drain needs another process: this one {WAS_CUT}")
        from lotus_durable.delivery.drain import drain, nothing_drained

        if not self.config.send:
            return nothing_drained()
        if self._report.is_running():
            return nothing_drained("a drain cannot be waited for in on_error: what calls that may be what drains")
        process = self._here()
        with _our_errors(), process.drain_candidate() as (candidate, begin):
            return drain(
                process.queue,
                timeout=timeout,
                why_not=lambda: self._why_not(process, candidate),
                has_better_key=candidate.has_better_key,
                begin=begin,
                watch=watch,
            )

    def flush(self, timeout: float | None = None) -> bool:
        """Drain, and return whether it was complete; a drop-in name. Raises what :meth:`drain` raises."""
        return self.drain(timeout).complete

    def stats(self) -> QueueStats:
        """Count what is in the queue, for all processes that share it.

        Raises:
            DiskRefused: the queue directory cannot be read.
            QueueDamaged: the committed state cannot be read.
        """
        process = self._here()
        with _our_errors():
            return collect(process.queue, process.queue.buffered())

    def shutdown(self, timeout: float | None = None) -> None:
        """Send what is pending if it is up to this process, for at most ``timeout`` seconds, and let go of the queue.

        Called at exit with ``exit_timeout``; nothing depends on it. Where another process leads there is no wait. What
        is left stays on disk. The client can be used again: it starts anew.

        Args:
            timeout: seconds; ``exit_timeout`` if not given.
        """
        process = self._process
        if process is None or process.pid != _getpid():
            return
        ends = time.monotonic() + (self.config.exit_timeout if timeout is None else timeout)
        with contextlib.suppress(LotusError):
            self._send_before_leaving(process, max(0.0, ends - time.monotonic()))
        self.release(max(0.0, ends - time.monotonic()))

    def release(self, timeout: float = 0.0) -> None:
        """Let go of the queue without sending; a request in flight has ``timeout`` seconds to end."""
        process, self._process = self._process, None
        _started.discard(self)
        if process is not None and process.pid == _getpid():
            self._processes.pop(process.pid, None)
            process.close(timeout)

    def retire(self) -> None:
        """Let go of the queue for good: whoever still tracks here has it written, and another client uploads it."""
        self._is_retired = True
        self.release()

    def join(self, timeout: float | None = None) -> None:
        """Stop uploading from this process, after the request in flight; a drop-in name. Events stay on disk.

        Args:
            timeout: seconds; None for as long as the request takes.
        """
        process = self._process
        if process is not None and process.pid == _getpid() and process.candidate is not None:
            process.candidate.stop(timeout)

    # The calls that answer

    ping = method(service.ping)
    verify_idems_received = method(service.verify_idems_received)
    create_customer = method(customers.create_customer)
    list_customers = method(customers.list_customers)
    get_customer = method(customers.get_customer)
    list_plans = method(plans.list_plans)
    get_plan = method(plans.get_plan)
    create_subscription = method(subscriptions.create_subscription)
    cancel_subscription = method(subscriptions.cancel_subscription)
    list_subscriptions = method(subscriptions.list_subscriptions)
    update_subscription = method(subscriptions.update_subscription)
    switch_subscription_plan = method(subscriptions.switch_subscription_plan)
    attach_addon = method(addons.attach_addon)
    cancel_addon = method(addons.cancel_addon)
    list_credits = method(credit.list_credits)
    create_credit = method(credit.create_credit)
    update_credit = method(credit.update_credit)
    void_credit = method(credit.void_credit)
    get_customer_access = method(access.get_customer_access)
    get_customer_metric_access = method(access.get_customer_metric_access)
    get_customer_feature_access = method(access.get_customer_feature_access)
    check_metric_access = method(access.check_metric_access)
    check_feature_access = method(access.check_feature_access)

    def caller(self) -> Caller:
        """Return what makes the calls above in this process."""
        _started.add(self)
        return self._here().caller()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    # Processes

    def _here(self) -> Process:
        process = self._process
        return process if process is not None and process.pid == _getpid() else self._enter_process()

    def _enter_process(self) -> Process:
        """Make what belongs to this process: at the first call in it, also after a fork that ran no hooks."""
        pid = _getpid()
        abandon_inherited()
        # setdefault is atomic: of two threads that come here at once, both get the same one. A lock could have been
        # held by another thread at the fork, for ever.
        process = self._processes.setdefault(pid, Process(self.config, self._report, may_start=not self._is_retired))
        if process.pid != pid:  # the parent's, in a child that got the same number
            process = self._processes[pid] = Process(self.config, self._report, may_start=not self._is_retired)
        self._processes = {pid: process}
        self._process = process
        return process

    def _start(self, process: Process) -> None:
        if process.tended is not None:
            process.tended.look_if_due()
            return
        try:
            process.start()
        except RuntimeError as error:
            # The process table is full, or the interpreter ends; the next event tries again.
            logger.warning("this process cannot start its flusher: %s; its events are kept on disk", error)
        _started.add(self)
        # Again, because the last to come is the first to be called: before filelock, imported meanwhile, looks through
        # its locks, and finds one that our thread is just making.
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)

    def _why_not(self, process: Process, candidate: Candidate | Launcher) -> str | None:
        from lotus_durable.delivery.drain import NO_KEY

        if self.config.api_key is None:
            return NO_KEY
        return process.reason_not_to_lead() or candidate.refusal()

    # Sending

    def _send_at_once(self, process: Process, record: bytes) -> None:
        """Send one event and wait for its verdict (``sync_mode``); what has none goes to the queue instead."""
        refusal = process.send_at_once(record)
        if refusal is None:
            return
        if refusal.is_final:
            raise EventRefused(refusal.reason)
        logger.warning("the event goes to the queue: %s", refusal.reason)
        process.queue.append(record)
        if not process.is_started:
            self._start(process)

    def _send_before_leaving(self, process: Process, timeout: float) -> None:
        candidate = process.candidate
        if candidate is None or not candidate.is_running() or not self.stats().pending or not candidate.is_eligible():
            return
        report = self.drain(timeout)
        if report.remaining:
            logger.warning(
                "%s left on disk in %s (%s), for the next process that uses it to send, or `lotus-durable drain`",
                counted(report.remaining, "event"),
                self.config.queue_dir,
                report.reason,
            )

    def _prepare_directory(self, *, needs_directory: bool) -> None:
        try:
            self._claim_directory()
        except (OtherDestination, OtherBackend):
            raise  # no waiting makes that right
        except QueueDirectoryError as error:
            if needs_directory:
                raise
            logger.error("%s; until it can be used, events wait in memory", error)  # noqa: TRY400  # not a defect
            self._report(error)

    def _claim_directory(self) -> None:
        try:
            open_queue(self.config, lambda _error: None).prepare()
            claim_queue(self.config)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise QueueDirectoryError(f"queue_dir {self.config.queue_dir} cannot be used: {error.strerror}") from error
        except OSError as error:
            # The disk may come back; until then events wait in memory, and that is reported when it happens.
            logger.warning("queue_dir %s cannot be used now: %s", self.config.queue_dir, error)


@contextlib.contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskRefused(f"the queue directory cannot be used: {error}") from error


def started_clients() -> list[Client]:
    """Return the clients that have tracked in this process, or in one it was forked from, and were not shut down."""
    return list(_started)


def _at_exit() -> None:
    for client in started_clients():
        client.shutdown()


atexit.register(_at_exit)
