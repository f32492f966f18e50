"""The module's settings, and the default client made of them."""

from __future__ import annotations

from tests.rig import Rig
from tests.scripts import lines, run


def test_a_setting_assigned_after_the_first_event_takes_effect(rig: Rig) -> None:
    """The first event waits: nobody says that the key it was tracked under is the same organisation's."""
    assert lines(
        """
        import lotus_durable as lotus
        lotus.queue_dir, lotus.host, lotus.api_key = queue_dir, host, "wrong-key"
        lotus.flusher = "external"
        lotus.track_event(customer_id="c", event_name="x")
        lotus.api_key = "test-key"
        lotus.track_event(customer_id="c", event_name="x")
        report = lotus.drain(20)
        say(report.delivered, report.remaining, "another API key" in report.reason)
        """,
        rig.queue_dir,
        rig.server.host,
    ) == ["1 1 True"]


def test_a_setting_wins_over_the_environment(rig: Rig) -> None:
    assert lines(
        """
        import lotus_durable as lotus
        from lotus_durable.settings import client
        lotus.flush_interval = 0.25
        say(client().config.flush_interval, client().config.max_batch_events)
        """,
        rig.queue_dir,
        rig.server.host,
        LOTUS_QUEUE_DIR=str(rig.queue_dir),
        LOTUS_FLUSH_INTERVAL="3",
        LOTUS_MAX_BATCH_EVENTS="7",
    ) == ["0.25 7"]


def test_a_wrong_setting_is_named_at_the_first_call(rig: Rig) -> None:
    result = run(
        """
        import lotus_durable as lotus
        lotus.timeout = "soon"
        lotus.track_event(customer_id="c", event_name="x")
        """,
        rig.queue_dir,
        rig.server.host,
        LOTUS_QUEUE_DIR=str(rig.queue_dir),
    )
    assert result.returncode == 1
    assert "ConfigurationError: lotus_durable.timeout: a number is needed" in result.stderr


def test_the_drop_in_names_work(rig: Rig) -> None:
    assert lines(
        """
        import lotus_durable as lotus
        lotus.api_key, lotus.host, lotus.queue_dir = "test-key", host, queue_dir
        lotus.debug = False
        lotus.track_event(customer_id='customer123', event_name='api_call', properties={'region': 'US', 'mb_used': 150})
        say(lotus.flush(20))
        lotus.join()
        lotus.shutdown()
        """,
        rig.queue_dir,
        rig.server.host,
    ) == ["True"]
    [event] = rig.server.events
    assert event["properties"] == {"region": "US", "mb_used": 150}
