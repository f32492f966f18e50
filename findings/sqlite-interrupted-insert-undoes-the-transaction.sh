#!/usr/bin/env bash
# What surprised: a statement that is interrupted (Connection.interrupt(), or a progress handler that has seen a time
#   limit pass) takes the whole transaction with it when it is an INSERT, UPDATE or DELETE: all that was written since
#   BEGIN is undone, in_transaction is False, and the next statement begins a new transaction without a word. An
#   interrupted SELECT, a broken constraint and a full database undo no more than themselves.
# Seen with: SQLite 3.40.1, Python 3.11.7, on 2026-11-30.
# Why it matters to a durable event queue: a limit on the time of statements looks like one more error that may be
#   caught per row. "except OperationalError: skip this one", and commit() stores what came after it, not the batch
#   before.
set -euo pipefail
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > limits.py <<'PYTHON'
import platform
import sqlite3
import sys

print("SQLite", sqlite3.sqlite_version, "Python", platform.python_version())
MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
STATEMENTS = {
    "an INSERT, interrupted": f"{MANY} INSERT INTO events SELECT 100 + i, hex(zeroblob(200)) FROM n",
    "an UPDATE, interrupted": f"{MANY} UPDATE events SET body = (SELECT max(i) FROM n)",
    "a SELECT, interrupted": f"{MANY} SELECT max(i) FROM n",
    "an INSERT of a known id": "INSERT INTO events VALUES (1, 'again')",
    "an INSERT, database full": f"{MANY} INSERT INTO events SELECT 100 + i, hex(zeroblob(200)) FROM n",
}
seen = {}
for name, statement in STATEMENTS.items():
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT)")
    database.execute("PRAGMA max_page_count = 100")
    for number in (1, 2, 3):
        database.execute("INSERT INTO events VALUES (?, 'before')", (number,))
    if "interrupted" in name:
        database.execute("PRAGMA max_page_count = 100000")
        database.set_progress_handler(lambda: True, 10000)  # stands for: the time is up
    try:
        database.execute(statement).fetchall()
    except sqlite3.Error as error:
        said = f"{type(error).__name__}: {error}"
    database.set_progress_handler(None, 0)
    within = database.in_transaction
    database.execute("INSERT INTO events VALUES (4, 'after')")
    database.commit()
    seen[name] = within, [row[0] for row in database.execute("SELECT id FROM events")]
    print(f"{name:25} {said}; in_transaction {within}; after commit(): {seen[name][1]}")
if list(seen.values()) != [(False, [4])] * 2 + [(True, [1, 2, 3, 4])] * 3:
    sys.exit("this has changed")
PYTHON
"$python" limits.py
