"""Django's admin: how the queue is, and what the server refused, to be put back or purged. See docs/django-admin.md.

Permissions are those of a model, ``lotus_durable.view_queue`` to look, ``change_queue`` to put back and
``delete_queue`` to purge. Who did what is among the recent actions of Django's admin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST, require_safe

from lotus_durable import settings
from lotus_durable.cli.refused_events import KINDS, Refused
from lotus_durable.cli.wording import count
from lotus_durable.errors import LotusError
from lotus_durable.operate import Waiting, Where
from lotus_durable.operate.refused import Changed, RefusedEvents

from . import pages
from .models import Queue

_WAITING = Waiting(20.0)
"""Web servers end a request that takes longer than 30 seconds."""
_TROUBLE = (LotusError, OSError)


@admin.register(Queue)
class QueueAdmin(admin.ModelAdmin):  # type: ignore[misc]  # Django has no types
    """The pages. Those that change something take POST only, with the token against forged requests."""

    def get_urls(self) -> list[Any]:
        """Return these pages and none of a model with rows."""

        def page(route: str, view: Callable[..., HttpResponse], name: str) -> Any:  # noqa: ANN401  # Django's
            return path(route, self.admin_site.admin_view(view), name=f"lotus_durable_queue_{name}")

        return [
            page("", self.changelist_view, "changelist"),  # the name that the admin's index leads to
            page("<slug:kind>/", require_safe(self.list_view), "list"),
            page("<slug:kind>/<int:row>/", require_safe(self.event_view), "event"),
            page("<slug:kind>/retry/", require_POST(self.retry_view), "retry"),
            page("<slug:kind>/purge/", require_POST(self.purge_view), "purge"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002  # Django's
        """Nobody adds a queue."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show how the queue is."""
        self._check(may=self.has_view_permission(request))
        context = _read(lambda: pages.health(settings.resolved()))
        return self._page(request, "health", "Usage events", {**context, **(extra_context or {})})

    def list_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Show refused events, a page of them."""
        self._check(may=self.has_view_permission(request))
        form = pages.FilterForm(request.GET)
        context: dict[str, Any] = {"kind": kind, "form": form}
        if form.is_valid():
            context |= _read(lambda: pages.refused(_refused(kind, form.where), request.GET))
        return self._page(request, "list", _names(kind).title, context)

    def event_view(self, request: HttpRequest, kind: str, row: int) -> HttpResponse:
        """Show one event, all of it."""
        self._check(may=self.has_view_permission(request))
        context = _read(lambda: pages.event(_refused(kind, Where()), row))
        if not context:
            raise Http404("it is here no more: it was delivered, put back or purged")
        return self._page(request, "event", _names(kind).noun.capitalize(), {"kind": kind, **context})

    def retry_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Put events back."""
        self._check(may=self.has_change_permission(request))
        where = self._meant(request)
        if where is not None:
            self._change(request, kind, CHANGE, "put back", lambda: _refused(kind, where).retry(waiting=_WAITING))
        return HttpResponseRedirect(_list_url(kind, request))

    def purge_view(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Ask first; then throw events away."""
        self._check(may=self.has_delete_permission(request))
        where = self._meant(request)
        if where is None:
            return HttpResponseRedirect(_list_url(kind, request))
        if "confirmed" not in request.POST:
            context = _read(lambda: pages.purge(_refused(kind, where), request.POST))
            context |= {"kind": kind, "back": _list_url(kind, request)}
            return self._page(request, "purge", "Are you sure?", context)
        self._change(request, kind, DELETION, "purged", lambda: _refused(kind, where).purge(waiting=_WAITING))
        return HttpResponseRedirect(_list_url(kind, request))

    def _change(self, request: HttpRequest, kind: str, flag: int, what: str, change: Callable[[], Changed]) -> None:
        """Do it, say what came of it, and keep who did it."""
        try:
            done = change()
        except _TROUBLE as error:
            messages.error(request, f"Nothing more was {what}: {error}.")
            return
        names = _names(kind)
        words = f"{count(done.changed, names.noun)} {what}"
        messages.success(request, f"{words}.")
        if done.left:
            messages.warning(request, f"{count(done.left, 'event')} cannot be read, and stayed.")
        if done.changed:
            LogEntry.objects.create(
                user_id=request.user.pk,
                content_type_id=ContentType.objects.get_for_model(Queue).pk,
                object_repr=_names(kind).title,
                action_flag=flag,
                change_message=words,
            )

    def _meant(self, request: HttpRequest) -> Where | None:
        """Return which events the form means: those that were ticked, or all that its filter takes."""
        form = pages.FilterForm(request.POST)
        if not form.is_valid():
            messages.error(request, "Nothing was done: the filter is wrong.")
            return None
        if request.POST.get("which") == "all":
            up_to = request.POST.get("up_to", "")
            return form.where._replace(up_to=int(up_to) if up_to.isdecimal() else None)
        ids = frozenset(request.POST.getlist("event"))
        if not ids:
            messages.warning(request, "No event was ticked, and nothing was done.")
            return None
        return Where(ids=ids)

    def _check(self, *, may: bool) -> None:
        if not may:
            raise PermissionDenied

    def _page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        return TemplateResponse(
            request,
            f"lotus_durable/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "kinds": KINDS,
                "may_retry": self.has_change_permission(request),
                "may_purge": self.has_delete_permission(request),
                **context,
            },
        )


def _read(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return look()
    except _TROUBLE as error:
        return {"unreadable": str(error)}


def _refused(kind: str, where: Where) -> RefusedEvents:
    return RefusedEvents(settings.resolved(), _names(kind).state, where)


def _names(kind: str) -> Refused:
    try:
        return KINDS[kind]
    except KeyError:
        raise Http404 from None


def _list_url(kind: str, request: HttpRequest) -> str:
    query = pages.FilterForm(request.POST).as_query()
    url = reverse("admin:lotus_durable_queue_list", args=[kind])
    return f"{url}?{query}" if query else str(url)
