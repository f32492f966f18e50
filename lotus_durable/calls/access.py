"""Calls about access: may this customer use this feature, or another event of this kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lotus_durable.errors import ServerError

from .access_answer import Access, read_access
from .answers import FeatureAccess, FeatureAccessOfPlan, MetricAccess, MetricAccessOfPlan
from .arguments import SubscriptionFilter, exactly_one, read
from .caller import Caller
from .generation import PATH_OF_2022, Generation
from .request import Plan, Request, get, only_2024, refuse_given

_BY_EVENT = "/api/customer_metric_access/"
_BY_FEATURE_NAME = "/api/customer_feature_access/"
_BY_METRIC = "/api/metric_access/"
_BY_FEATURE = "/api/feature_access/"

_PATHS = {
    "event_name": _BY_EVENT,
    "feature_name": _BY_FEATURE_NAME,
    "metric_id": _BY_METRIC,
    "feature_id": _BY_FEATURE,
}


def get_customer_access(
    caller: Caller,
    *,
    customer_id: str,
    event_name: str | None = None,
    feature_name: str | None = None,
    metric_id: str | None = None,
    feature_id: str | None = None,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
    timeout: float | None = None,
) -> Access:
    """Ask whether a customer may use a feature, or has enough left for another event.

    Each question is a request. What to do when Lotus cannot be asked, or for how long an answer may be repeated, is
    yours to say: docs/calls/access.md has both. With ``send=False`` everybody has access.

    Args:
        customer_id: who.
        event_name: an event. Access is being below the limit of a component of a plan of theirs that counts it.
        feature_name: or a feature of a plan of theirs.
        metric_id: or a metric; 2024 only.
        feature_id: or a feature by its id, of their add-ons too; 2024 only.
        subscription_filters: look only at subscriptions that have these filters; 2024 only.
        timeout: seconds for all of it; ``call_timeout`` if not given.

    Returns:
        ``access``, and the usage and limits it was derived from where the server tells them. It has no truth value of
        its own.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server would ignore an argument.
        NotFound: there is no such customer, metric or feature.
        AuthenticationError: the server does not know the API key.
        UnexpectedAnswer: the answer does not say whether there is access.
        APIError: Lotus cannot be asked. The server of 2022 also fails on a customer with a limit and no usage yet
            (``ServerError``).
    """
    kind = exactly_one(event_name=event_name, feature_name=feature_name, metric_id=metric_id, feature_id=feature_id)
    given = read(get_customer_access, locals())
    seconds = given.pop("timeout")
    question = _question(_PATHS[kind], given)

    def plan(generation: Generation) -> Request:
        if generation == "2024":
            return question
        refuse_given(generation, "knows event_name and feature_name", metric_id=metric_id, feature_id=feature_id)
        refuse_given(generation, "ignores it", subscription_filters=subscription_filters or None)
        return get(PATH_OF_2022, question.query)

    if not caller.config.send:
        caller.check(plan)
        return Access(access=True)
    outcome = caller.outcome("get_customer_access", plan, timeout=seconds)
    if outcome.error is not None:
        if outcome.generation == "2022" and isinstance(outcome.error, ServerError):
            outcome.error.add_note("The server of 2022 also fails on a customer who has a limit and no usage yet.")
        raise outcome.error
    access = read_access(outcome.generation, kind, outcome.json())
    if access is None:
        raise outcome.unexpected("the answer does not say whether there is access")
    return access


def get_customer_metric_access(
    caller: Caller,
    *,
    customer_id: str,
    event_name: str | None = None,
    metric_id: str | None = None,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
) -> list[MetricAccessOfPlan]:
    """Return usage and limits for an event or a metric, one entry for each active subscription.

    Args:
        customer_id: who.
        event_name: an event; or
        metric_id: a metric.
        subscription_filters: look only at subscriptions that have these filters.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has ``get_customer_access`` only.
        NotFound: there is no such customer or metric.
        APIError: anything else that went wrong.
    """
    exactly_one(event_name=event_name, metric_id=metric_id)
    plan = _only_2024(_BY_EVENT, read(get_customer_metric_access, locals()))
    return caller.answer("get_customer_metric_access", plan, list[MetricAccessOfPlan])


def get_customer_feature_access(
    caller: Caller,
    *,
    customer_id: str,
    feature_name: str,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
) -> list[FeatureAccessOfPlan]:
    """Return access to a feature, one entry for each active subscription.

    Args:
        customer_id: who.
        feature_name: the feature.
        subscription_filters: look only at subscriptions that have these filters.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has ``get_customer_access`` only.
        NotFound: there is no such customer.
        APIError: anything else that went wrong.
    """
    plan = _only_2024(_BY_FEATURE_NAME, read(get_customer_feature_access, locals()))
    return caller.answer("get_customer_feature_access", plan, list[FeatureAccessOfPlan])


def check_metric_access(
    caller: Caller,
    *,
    customer_id: str,
    metric_id: str,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
) -> MetricAccess:
    """Return access to a metric with the usage and limits of each active subscription.

    ``access`` is the server's word: it counts a subscription without this metric as one without a limit.

    Args:
        customer_id: who.
        metric_id: the metric.
        subscription_filters: look only at subscriptions that have these filters.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has ``get_customer_access`` only.
        NotFound: there is no such customer or metric.
        APIError: anything else that went wrong.
    """
    plan = _only_2024(_BY_METRIC, read(check_metric_access, locals()))
    return caller.answer("check_metric_access", plan, MetricAccess)


def check_feature_access(
    caller: Caller,
    *,
    customer_id: str,
    feature_id: str,
    subscription_filters: Sequence[SubscriptionFilter] | None = None,
) -> FeatureAccess:
    """Return access to a feature, also by add-ons, for each active subscription.

    Args:
        customer_id: who.
        feature_id: the feature.
        subscription_filters: look only at subscriptions that have these filters.

    Raises:
        InvalidRequest: an argument is refused, see ``argument``.
        NotSupported: the server of 2022 has ``get_customer_access`` only.
        NotFound: there is no such customer or feature.
        APIError: anything else that went wrong.
    """
    plan = _only_2024(_BY_FEATURE, read(check_feature_access, locals()))
    return caller.answer("check_feature_access", plan, FeatureAccess)


def _only_2024(path: str, given: dict[str, Any]) -> Plan:
    return only_2024(_question(path, given), "has get_customer_access only")


def _question(path: str, given: dict[str, Any]) -> Request:
    """Return a question of the server of 2024, with filters as its versions read them.

    Django REST framework reads a list of objects in a query as ``name[0]field=…`` and ignores anything else without a
    word; the server's documentation asks for JSON in text. So both are sent, and each version finds its own.
    """
    conditions = given.pop("subscription_filters")
    query = dict(given)
    if conditions:
        query["subscription_filters"] = json.dumps(conditions, ensure_ascii=False)
        for index, one in enumerate(conditions):
            query[f"subscription_filters[{index}]property_name"] = one["property_name"]
            query[f"subscription_filters[{index}]value"] = one["value"]
    return get(path, query)
