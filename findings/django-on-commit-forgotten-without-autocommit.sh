#!/usr/bin/env bash
# What surprised: with AUTOCOMMIT off, callbacks of transaction.on_commit() do not run when the transaction is
#   committed by transaction.commit(). They wait until autocommit is switched on, which such a program never does,
#   and the rollback of any later transaction throws away those of the committed ones before it, too.
# Seen with: Django 6.1.3, SQLite, Python 3.12.1, on 2026-11-29.
# Why it matters to a durable event queue: "track in on_commit()" is the advice for Django, and on a connection in
#   manual mode every event is forgotten, without an error. (on_commit() does raise there outside of atomic(), which
#   makes one think that inside of it all is well.)
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
import platform
import sqlite3
import sys
from functools import partial

import django
from django.conf import settings

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "orders.db", "AUTOCOMMIT": False}
settings.configure(DATABASES={"default": DATABASE})
django.setup()
from django.db import connection, transaction  # noqa: E402

print("Django", django.get_version(), "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
called = []


def order(number: int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s)", [number])
        transaction.on_commit(partial(called.append, number))


def look(when: str) -> None:
    with sqlite3.connect("orders.db") as other:
        rows = [number for (number,) in other.execute("SELECT id FROM orders")]
    print(f"{when:34} committed rows {rows}, callbacks that ran {called}")
    seen.append((rows, list(called)))


seen = []
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (id INTEGER)")
transaction.commit()
order(1)
transaction.commit()
look("order 1, commit")
with connection.cursor() as cursor:
    cursor.execute("SELECT * FROM orders")
transaction.rollback()
look("a later SELECT, rollback")
order(2)
transaction.commit()
look("order 2, commit")
transaction.set_autocommit(True)
look("autocommit switched on")
if seen != [([1], []), ([1], []), ([1, 2], []), ([1, 2], [2])]:
    sys.exit("this has changed")
PYTHON
venv/bin/python orders.py
