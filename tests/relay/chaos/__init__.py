"""A fleet under strikes: hosts, a RabbitMQ cluster, two relays, Lotus; at the end its database is asked."""
