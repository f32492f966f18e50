"""From many hosts over a broker to Lotus: both ends of a queue of RabbitMQ, for the loop in ``delivery/``.

A host hands over what its queue holds (:mod:`.handover` is its place), and one relay receives it (:mod:`.source`) and
delivers it to Lotus as a flusher does. What stands in a message is in :mod:`.message`, where the broker is in
:mod:`.address`. The library is py-amqp; what its errors mean only :mod:`.connection` knows.
"""
