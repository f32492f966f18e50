"""A Django project in one module: settings, a view, and what ``manage.py`` does."""

from __future__ import annotations

import os
import sys

from django.http import HttpRequest, HttpResponse
from django.urls import path

from .tracking import track

SECRET_KEY = "for tests"
DEBUG = True
ROOT_URLCONF = __name__
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True


def _front(_: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


def _track(_: HttpRequest, count: int) -> HttpResponse:
    track(count)
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("", _front), path("track/<int:count>", _track)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.servers.apps.manage"
    execute_from_command_line(sys.argv)
