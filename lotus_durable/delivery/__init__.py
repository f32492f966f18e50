"""From the queue to the server; knows no files but through the queue."""
