"""A broker that takes a relay for stuck, because it holds messages for longer than ``consumer_timeout``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flusher.lotus import WatchedLotus
from tests.rig import track

from .broker import Cluster, why_not
from .fleet import PATIENCE, Fleet

pytestmark = [pytest.mark.servers, pytest.mark.skipif(bool(why_not()), reason=why_not())]
CONFIG = "consumer_timeout = 25000\n"
"""Longer than a relay waits at its beginning for the request of another one, which it holds messages for, too."""
LOOKS_OFTEN = "-rabbit channel_tick_interval 500 -rabbit quorum_tick_interval 500"


@pytest.mark.timeout(300)
def test_what_the_broker_takes_back_while_lotus_is_away_is_delivered_afterwards_and_nothing_twice_at_once(
    tmp_path: Path,
) -> None:
    """3.10.8 closes the channel, 4.3.6 cancels the consumer and would take acknowledgements of it for the next."""
    with (
        Cluster(tmp_path / "broker", config=CONFIG, erlang=LOOKS_OFTEN) as broker,
        WatchedLotus("L22") as lotus,
        Fleet(tmp_path, broker, "q", lotus) as fleet,
    ):
        relay = fleet.relay().start_process()
        host = fleet.host()
        ids = track(host, 20)
        assert host.drain(PATIENCE).complete
        fleet.wait_until_stored(ids)
        lotus.pause()
        ids += track(host, 300)
        assert host.drain(PATIENCE).complete
        log = tmp_path / "relay.log"
        fleet.wait_for(lambda: "is served no more" in log.read_text(), "the broker to take it for stuck")
        lotus.resume()
        fleet.wait_until_stored(ids)
        assert host.drain(PATIENCE, through=True).complete
        assert lotus.most_at_once() == 1
        assert lotus.database >= set(ids)
        fleet.wait_for(lambda: relay.stats().delivered == len(ids), "all to be settled once")
        relay.stop()
        fleet.wait_for(lambda: fleet.count_messages() == 0, "everything to be acknowledged")
