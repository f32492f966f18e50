"""What an event is: its checks, its record on disk, its form on the wire. No I/O."""
