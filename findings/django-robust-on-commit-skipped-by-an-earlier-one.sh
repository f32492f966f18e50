#!/usr/bin/env bash
# What surprised: `transaction.on_commit(callback, robust=True)` protects the callbacks after it, not itself: when a
#   callback that was registered before it is not robust and raises, the robust one is never called, and nothing is
#   logged about it. The transaction is committed; a later transaction does not call it either.
# Seen with: Django 6.1.3, SQLite, Python 3.12.1, on 2026-11-29.
# Why it matters to a durable event queue: an event that waits for the commit depends on every callback of the
#   application that was registered before it. That cannot be mended from inside the callback: it is said on the page.
set -euo pipefail
python=${PYTHON:-python3.12}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  echo "skipped: this Django needs Python 3.12 or later; name one in PYTHON"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Django==6.1.3
cd "$folder"

cat > orders.py <<'PYTHON'
import logging
import platform
import sqlite3
import sys
from functools import partial

import django
from django.conf import settings

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "orders.db"}})
django.setup()
from django.db import connection, transaction  # noqa: E402

print("Django", django.get_version(), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("django").addHandler(handler)
called = []


def fails() -> None:
    raise KeyError("in a callback")


with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (id INTEGER)")
try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (1)")
        transaction.on_commit(partial(called.append, "robust, first"), robust=True)
        transaction.on_commit(fails)
        transaction.on_commit(partial(called.append, "robust, after it"), robust=True)
except KeyError:
    print("the block raised KeyError")
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("INSERT INTO orders VALUES (2)")
with sqlite3.connect("orders.db") as other:
    rows = [number for (number,) in other.execute("SELECT id FROM orders")]
print("committed rows", rows, "- callbacks that ran:", called, "- logged:", logged)
if (rows, called, logged) != ([1, 2], ["robust, first"], []):
    sys.exit("this has changed")
PYTHON
venv/bin/python orders.py
