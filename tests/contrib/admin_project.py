"""A Django project with the admin, in one file, run as a program: it serves until its input ends.

Arguments: a Lotus server's URL, the queue directory. It prints its own URL. Users, each with the name as the password:
``chief`` may do everything, ``looker`` may look at the queue, ``mender`` may put back too, ``clerk`` is of the staff
and may do nothing, and ``customer`` is none of the staff.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import path

host, queue_dir = sys.argv[1], Path(sys.argv[2])
APPS = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="__main__",
    USE_TZ=True,
    STATIC_URL="/static/",
    DEBUG=True,  # static files are served
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in APPS), "lotus_durable.contrib.django"],
    MIGRATION_MODULES=dict.fromkeys(APPS),  # tables at once
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": queue_dir.parent / "django.db"}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    LOTUS={"API_KEY": "test-key", "HOST": host, "QUEUE_DIR": queue_dir, "FLUSHER": "external"},
)  # fmt: skip
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import Permission, User  # noqa: E402
from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]

STAFF = {"looker": ["view_queue"], "mender": ["view_queue", "change_queue"], "clerk": []}


class Server(ThreadingMixIn, WSGIServer):
    """Serves each connection by a thread: a browser keeps some open."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def make_users() -> None:
    User.objects.create_superuser("chief", password="chief")
    User.objects.create_user("customer", password="customer")
    for name, permissions in STAFF.items():
        user = User.objects.create_user(name, password=name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))


call_command("migrate", run_syncdb=True, verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
call_command("check", "--fail-level=WARNING", stdout=sys.stderr)
make_users()
server = make_server("127.0.0.1", 0, StaticFilesHandler(get_wsgi_application()), Server, Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  # what its caller waits for
sys.stdin.read()
