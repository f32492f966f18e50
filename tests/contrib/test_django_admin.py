"""The pages of Django's admin: used in a real browser, by a person; and refused to who may not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
import requests

from lotus_durable.flusher.stats import collect
from lotus_durable.queue.stats import QueueStats
from tests.operate.conftest import Scene, scene  # noqa: F401  # fixtures
from tests.rig import rigs, track  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROJECT = Path(__file__).with_name("admin_project.py")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUEUE = "/admin/lotus_durable/queue/"
LETTERS = f"{QUEUE}dead-letters/"


@pytest.fixture
def site(scene: Scene) -> Iterator[str]:  # noqa: F811
    """A project that is served, and its URL."""
    process = subprocess.Popen(
        [sys.executable, str(PROJECT), scene.rig.server.host, str(scene.rig.queue_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "DJANGO_"))},
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.communicate()


@pytest.fixture
def browser() -> Iterator[Chrome]:
    """Debian's Chromium, without a screen."""
    if CHROMIUM is None or DRIVER is None or importlib.util.find_spec("selenium") is None:
        pytest.skip("needs chromium (apt-get install chromium chromium-driver) and selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.implicitly_wait(30)
    yield driver
    driver.quit()


class Person:
    """Somebody at the browser."""

    def __init__(self, browser: Chrome, site: str, name: str) -> None:
        self._browser = browser
        self._site = site
        self.go("/admin/")
        self.type("username", name)
        self.type("password", name)
        self.press("Log in")

    def go(self, page: str) -> None:
        self._browser.get(self._site + page)

    def type(self, field: str, text: str) -> None:
        self._browser.find_element("name", field).send_keys(text)

    def press(self, button: str) -> None:
        self._go_by("css selector", f'input[type=submit][value="{button}"]')

    def follow(self, text: str) -> None:
        self._go_by("partial link text", text)

    def _go_by(self, by: str, what: str) -> None:
        """Press something, and wait for the page that comes."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.expected_conditions import staleness_of
        from selenium.webdriver.support.wait import WebDriverWait

        page = self._browser.find_element("css selector", "html")
        self._browser.find_element(by, what).click()
        # In the moment between two pages the driver may know neither, and says that it does not know why.
        WebDriverWait(self._browser, 30, ignored_exceptions=[WebDriverException]).until(staleness_of(page))

    def tick(self, selector: str) -> None:
        self._browser.find_element("css selector", selector).click()

    def read(self, selector: str) -> list[str]:
        return [" ".join(each.text.split()) for each in self._browser.find_elements("css selector", selector)]

    def errors(self) -> list[str]:
        """Return what the browser complains of."""
        log = self._browser.get_log("browser")  # type: ignore[attr-defined,no-untyped-call,unused-ignore]
        return [each["message"] for each in log if "favicon" not in each["message"]]


def stats(scene: Scene) -> QueueStats:  # noqa: F811
    return collect(scene.rig.directory)


def test_a_person_sees_what_is_wrong_puts_one_event_back_and_purges_the_others_after_being_asked(
    scene: Scene,  # noqa: F811
    browser: Chrome,
    site: str,
) -> None:
    ids = scene.make_dead(3, properties={"region": "<b>EU</b>"})
    scene.make_dead(1, customer_id="c2")
    person = Person(browser, site, "chief")
    person.follow("Queue")
    assert person.read(".lotus-sum") == ["4 accepted = 0 delivered + 0 pending + 0 parked + 4 dead letters + 0 purged"]
    assert person.read(".messagelist .warning") == ["4 events refused for good: mend the cause, and put them back"]

    person.follow("Time created too far")
    person.type("customer_id", "c1")
    person.press("Filter")
    assert len(person.read("#result_list tbody tr")) == 3
    person.follow("20")  # the first one, by its time
    assert '"region": "<b>EU</b>"' in person.read("pre")[0]
    scene.let_the_server_take_them()
    person.press("Put back")
    assert person.read(".messagelist .success") == ["1 dead letter put back."]
    scene.rig.client().drain()
    assert scene.rig.server.database == {ids[0]}

    person.type("customer_id", "c1")
    person.press("Filter")
    person.tick("input[value=all]")
    person.press("Purge…")
    assert "2 events will be thrown away." in person.read("#content")[0]
    person.follow("No, take me back")
    assert len(person.read("#result_list tbody tr")) == 2
    assert stats(scene).dead_lettered == 3
    person.tick("#lotus-all")
    person.press("Purge…")
    person.press("Yes, purge 2 events")
    assert person.read(".messagelist .success") == ["2 dead letters purged."]
    assert person.read("#result_list tbody tr") == ["None of them matches the filter."]
    found = stats(scene)
    assert (found.accepted, found.delivered, found.dead_lettered, found.discarded) == (4, 1, 1, 2)
    person.go("/admin/")
    assert len([each for each in person.read(".actionlist li") if "Dead letters" in each]) == 2
    assert person.errors() == []


class Visitor:
    """Somebody with a session, and no browser."""

    def __init__(self, site: str, name: str) -> None:
        self.site = site
        self._session = requests.Session()
        self._session.trust_env = False
        token = self._token(self.get("/admin/login/").text)
        self._send("/admin/login/", {"username": name, "password": name}, token)

    def get(self, page: str) -> requests.Response:
        return self._session.get(self.site + page, timeout=60)

    def post(self, page: str, fields: str, *, with_token: bool = True) -> requests.Response:
        """Send a form that is written as a query, with the token of the pages that this person sees."""
        token = self._token(self.get("/admin/password_change/").text) if with_token else ""
        return self._send(page, parse_qs(fields), token)

    def _send(self, page: str, fields: Mapping[str, object], token: str) -> requests.Response:
        data = {**fields, "csrfmiddlewaretoken": token} if token else fields
        return self._session.post(self.site + page, data=data, timeout=60)

    @staticmethod
    def _token(page: str) -> str:
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        return found.group(1) if found else ""


def test_nobody_looks_or_changes_without_the_permission_a_token_and_post(scene: Scene, site: str) -> None:  # noqa: F811
    [event_id, *_] = scene.make_dead(3)
    words = ("Put back", "Purge…")
    fields = f"event={event_id}&which=ticked"
    for name in ("customer", "clerk"):
        visitor = Visitor(site, name)
        for page in (QUEUE, LETTERS, f"{LETTERS}1/"):
            answer = visitor.get(page)
            assert answer.status_code == 403 or "/admin/login/" in answer.url, (name, page)
            assert event_id not in answer.text

    looker, mender, chief = (Visitor(site, name) for name in ("looker", "mender", "chief"))
    assert event_id in looker.get(LETTERS).text
    assert [word in looker.get(LETTERS).text for word in words] == [False, False]
    assert [word in mender.get(LETTERS).text for word in words] == [True, False]
    refused = [
        looker.post(f"{LETTERS}retry/", fields),
        looker.post(f"{LETTERS}purge/", f"{fields}&confirmed=yes"),
        mender.post(f"{LETTERS}purge/", f"{fields}&confirmed=yes"),
        chief.post(f"{LETTERS}retry/", fields, with_token=False),
        chief.post(f"{LETTERS}purge/", f"{fields}&confirmed=yes", with_token=False),
    ]
    assert [each.status_code for each in refused] == [403] * 5
    assert [chief.get(f"{LETTERS}{page}/?{fields}&confirmed=yes").status_code for page in ("retry", "purge")] == [
        405
    ] * 2
    assert [chief.get(f"{QUEUE}{page}/").status_code for page in ("others", "dead-letters/99", "add")] == [404] * 3
    beyond = "9" * 30  # what SQLite counts to
    assert [chief.get(f"{LETTERS}{page}").status_code for page in (f"{beyond}/", f"?after={beyond}")] == [404, 200]
    assert stats(scene).dead_lettered == 3

    assert "No event was ticked" in chief.post(f"{LETTERS}purge/", "which=ticked&confirmed=yes").text
    assert "the filter is wrong" in chief.post(f"{LETTERS}purge/", "which=all&confirmed=yes&older_than=soon").text
    assert "a time such as 30s" in chief.get(f"{LETTERS}?older_than=soon").text
    assert stats(scene).dead_lettered == 3
    assert "1 dead letter put back." in mender.post(f"{LETTERS}retry/", fields).text
    asked = chief.post(f"{LETTERS}purge/", "which=all").text
    assert "3 dead letters purged." not in asked
    assert stats(scene).dead_lettered == 2

    scene.make_dead(4)  # while a person reads the page
    [up_to] = re.findall(r'name="up_to" value="(\d+)"', asked)
    assert "2 dead letters purged." in chief.post(f"{LETTERS}purge/", f"which=all&confirmed=yes&up_to={up_to}").text
    assert stats(scene).dead_lettered == 5  # with the one that was put back and refused again

    shutil.rmtree(scene.rig.queue_dir)
    assert "The queue cannot be read: " in chief.get(QUEUE).text
