"""The SQLite backend: persist-queue's SQLiteQueue as the main queue."""
