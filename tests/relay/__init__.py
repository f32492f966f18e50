"""Between hosts and Lotus: a real broker, hosts that hand over to it, relays that take from it."""
