#!/usr/bin/env bash
# What surprised: a Session's `after_commit` event fires when a savepoint is released, while the transaction around it
#   is still open and may be rolled back. And then no event takes it back for the savepoint: there is one
#   `after_rollback` for the whole. The row that `after_commit` was about does not exist in the end.
# Seen with: SQLAlchemy 2.1.9, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: "track the call after the commit" by this event bills calls that were rolled
#   back. Only the end of the outermost transaction (`after_transaction_end` of one without a parent, after an
#   `after_commit` outside any savepoint) decides.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SQLAlchemy==2.1.9
cd "$folder"

cat > orders.py <<'PYTHON'
import platform
import sqlite3
import sys

import sqlalchemy
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

print("SQLAlchemy", sqlalchemy.__version__, "SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
engine = create_engine("sqlite:///orders.db")
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE orders (id INTEGER)"))

seen = []


def note(what: str) -> None:
    print("  " + what)
    seen.append(what)


with Session(engine) as session:
    event.listen(session, "after_commit", lambda session: note("after_commit"))
    event.listen(session, "after_rollback", lambda session: note("after_rollback"))
    session.execute(text("INSERT INTO orders VALUES (1)"))
    with session.begin_nested():
        session.execute(text("INSERT INTO orders VALUES (2)"))
    note("savepoint released")
    session.rollback()
    note("rolled back")
with engine.begin() as connection:
    rows = connection.execute(text("SELECT COUNT(*) FROM orders")).scalar()
print("rows in the table:", rows)
if (seen, rows) != (["after_commit", "savepoint released", "after_rollback", "rolled back"], 0):
    sys.exit("this has changed")
PYTHON
venv/bin/python orders.py
