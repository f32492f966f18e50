"""A view of Django that tracks, called as a WSGI server calls it: middleware, routing, a form, a page of JSON."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

from benchmarks.subjects import Place, Track
from benchmarks.subjects.ours import opened as opened_client

_BODY = b"region=US&plan=large"


def opened(place: Place) -> Track:
    """Configure a project of one view, and return a call of it."""
    track = opened_client(place)
    conf: Any = import_module("django.conf")
    conf.settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
        USE_TZ=True,
    )
    http: Any = import_module("django.http")

    def view(request: Any) -> Any:  # noqa: ANN401  # Django's
        number = int(request.GET["number"])
        track(number)
        rows = [{"id": each, "name": f"row {each}", "price": each / 7} for each in range(20)]
        return http.JsonResponse({"region": request.POST["region"], "number": number, "rows": rows})

    urls: Any = import_module("django.urls")
    urlpatterns.append(urls.path("orders/", view))
    application = import_module("django.core.wsgi").get_wsgi_application()

    def call(number: int) -> None:
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/orders/",
            "QUERY_STRING": f"number={number}",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(_BODY)),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(_BODY),
        }
        response = application(environ, lambda *_: None)
        b"".join(response)
        response.close()

    return call


urlpatterns: list[Any] = []
