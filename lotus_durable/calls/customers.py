"""Calls about customers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Literal

from lotus_durable.errors import APIError, Conflict, InvalidRequest, QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.requests import ask

from .answers import Customer
from .arguments import Number, at_most_one, read, refused
from .caller import Caller, Outcome
from .generation import Generation
from .request import Request, get, needed, post, refuse_given

PaymentProvider = Literal["stripe", "braintree"]

_PATH = "/api/customers/"


def create_customer(
    caller: Caller,
    *,
    customer_id: str,
    name: str | None = None,
    currency: str | None = None,
    email: str | None = None,
    customer_name: str | None = None,
    payment_provider: PaymentProvider | None = None,
    payment_provider_id: str | None = None,
    properties: Mapping[str, Any] | None = None,
    address: Mapping[str, Any] | None = None,
    billing_address: Mapping[str, Any] | None = None,
    shipping_address: Mapping[str, Any] | None = None,
    tax_rate: Number | None = None,
) -> Customer:
    """Create a customer. Events of theirs that are parked are sent again at once.

    A request whose answer got lost is sent again: then a customer that exists is taken for the one just created.

    Args:
        customer_id: your id for them, the one you pass to ``track_event``.
        name: what they are called; the server of 2022 needs it.
        currency: of what they are billed in, as ``USD``; 2024 only.
        email: the server of 2024 needs it. That of 2022 keeps no addresses and is not sent it, so that one form of
            this call, with ``customer_id``, ``name`` and ``email``, is right for both.
        customer_name: the same as ``name``.
        payment_provider: ``stripe`` or ``braintree``, with ``payment_provider_id``; 2024 only.
        payment_provider_id: their id there.
        properties: anything about them; 2024 only.
        address: ``city``, ``country``, ``line1``, ``line2``, ``postal_code``, ``state``; 2024 only.
        billing_address: as ``address``.
        shipping_address: as ``address``.
        tax_rate: percent; 2024 only.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore an argument.
        Conflict: the id, or another customer's e-mail address, exists already.
        APIError: anything else that went wrong.
    """
    at_most_one(name=name, customer_name=customer_name)
    if (payment_provider is None) != (payment_provider_id is None):
        missing = "payment_provider" if payment_provider is None else "payment_provider_id"
        raise refused(missing, "payment_provider and payment_provider_id are needed together")
    given = read(create_customer, locals())
    customer_id, mail_address = given.pop("customer_id"), given.pop("email")
    names = given.pop("name"), given.pop("customer_name")
    shown_name = names[0] or names[1]

    def plan(generation: Generation) -> Request:
        if generation == "2022":
            refuse_given(generation, "ignores it", **given)
            if shown_name is None:
                raise needed("name", generation)
            return post(_PATH, {"customer_id": customer_id, "name": shown_name}, repeatable=True)
        if mail_address is None:
            raise needed("email", generation)
        body = {"customer_id": customer_id, "customer_name": shown_name, "email": mail_address, **given}
        body["default_currency_code"] = body.pop("currency")
        return post(_PATH, body, repeatable=True)

    def failed(outcome: Outcome) -> Customer:
        assert outcome.error is not None
        if isinstance(outcome.error, Conflict) and outcome.arrived_before:
            return _existing(caller, customer_id, outcome.error, mail_address)
        raise outcome.error

    customer = caller.answer("create_customer", plan, Customer, failed=failed)
    if caller.config.send:
        _send_parked_events(caller)
    return customer


def list_customers(caller: Caller) -> list[Customer]:
    """Return all customers.

    Raises:
        APIError: it went wrong.
    """
    return caller.answer("list_customers", lambda _: get(_PATH), list[Customer])


def get_customer(caller: Caller, *, customer_id: str) -> Customer:
    """Return one customer.

    Args:
        customer_id: without dots and slashes: the servers find no other in a URL, ``list_customers`` does.

    Raises:
        InvalidRequest: the id is refused.
        NotFound: there is none.
        APIError: anything else that went wrong.
    """
    question = get(_PATH + "{customer_id}/", read(get_customer, locals()))
    return caller.answer("get_customer", lambda _: question, Customer)


def _existing(caller: Caller, customer_id: str, conflict: Conflict, email: object) -> Customer:
    """Return the customer that an attempt whose answer got lost may have created.

    Raises:
        Conflict: it is somebody else's e-mail address that exists.
    """
    try:
        found = _find(caller, customer_id)
    except APIError:
        found = None
    if "email" not in conflict.detail.lower():
        return found or {"customer_id": customer_id}
    if found is None or found.get("email") != email:
        raise conflict
    return found  # both are taken, by this very customer, and the server named the one it checked first


def _find(caller: Caller, customer_id: str) -> Customer | None:
    try:
        return get_customer(caller, customer_id=customer_id)
    except InvalidRequest:  # an id that cannot stand in a URL
        return next((one for one in list_customers(caller) if one.get("customer_id") == customer_id), None)


def _send_parked_events(caller: Caller) -> None:
    """Have events that are parked, because there was no such customer, tried now and not at the next slow retry."""
    directory = QueueDirectory(caller.config.queue_dir)
    # No queue, or none that can be used: then nothing is parked in it.
    with contextlib.suppress(OSError, QueueDirectoryError):
        directory.check()
        os.stat(directory.journal)
        ask(directory, "drain")  # for which nobody waits
