#!/usr/bin/env bash
# What surprised: `Session.close()` (and so the end of `with Session(...)`) rolls back on the database what was not
#   committed, and neither `after_rollback` nor `after_soft_rollback` is called. A savepoint that is left open by it ends
#   in the same silence. Only `after_transaction_end` is called, which is called after a commit as well.
# Seen with: SQLAlchemy 2.1.9 and 2.0.58, SQLite 3.40.1, Python 3.11.7, on 2026-11-29.
# Why it matters to a durable event queue: who keeps events until the commit and forgets them in `after_rollback` keeps
#   those of a session that was closed, and writes them at the commit of the next transaction of that session.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
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
    connection.execute(text("DROP TABLE IF EXISTS orders"))
    connection.execute(text("CREATE TABLE orders (id INTEGER)"))

called = []
session = Session(engine)
for name in ("after_commit", "after_rollback", "after_soft_rollback", "after_transaction_end"):
    event.listen(session, name, lambda *_, name=name: called.append(name))


def seen(what: str) -> list[str]:
    found = called.copy()
    called.clear()
    print(f"{what:40} {found}")
    return found


session.execute(text("INSERT INTO orders VALUES (1)"))
session.close()
closed = seen("close()")
session.execute(text("INSERT INTO orders VALUES (2)"))
session.begin_nested()
session.close()
nested = seen("close() with a savepoint open")
session.execute(text("INSERT INTO orders VALUES (3)"))
session.commit()
committed = seen("commit()")
session.close()
with engine.begin() as connection:
    rows = [number for (number,) in connection.execute(text("SELECT id FROM orders"))]
print("rows in the table:", rows)
end = "after_transaction_end"
if (closed, nested, committed, rows) != ([end], [end, end], ["after_commit", end], [3]):
    sys.exit("this has changed")
PYTHON
for version in 2.1.9 2.0.58; do
  venv/bin/pip install --quiet "SQLAlchemy==$version"
  venv/bin/python orders.py
done
