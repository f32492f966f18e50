"""The pages as a site: built as it is published, and read as a browser does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

import lotus_durable

ROOT = Path(__file__).parent.parent
CONFIGURATION = (ROOT / "mkdocs.yml").read_text()
AT_THE_TOP = {"index.md", "changelog.md", "contributing.md", "security.md"}
PAGES = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} | AT_THE_TOP


class Reader(HTMLParser):
    """What a page names and what it asks for."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.add(found.get("id") or "")
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        loaded = found.get("src") or (found.get("href") if tag == "link" else None)
        if loaded:
            self.loaded.append(loaded)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


read = cache(Reader)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_PROXY": "", "HTTPS_PROXY": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_every_page_is_in_the_navigation_once() -> None:
    nav = CONFIGURATION.partition("\nnav:\n")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"[\w/-]+\.md", nav)) == sorted(PAGES)


def test_it_is_built_without_a_warning_and_every_link_leads_to_a_heading_that_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links are those of any page, from the top of a server
            continue
        for link in read(page).links:
            if re.match(r"https?:|mailto:", link):
                continue
            path, _, heading = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), f"{page.name}: {link}"
            assert not heading or target.suffix != ".html" or heading in read(target).names, f"{page.name}: {link}"


def test_a_reader_s_browser_asks_no_other_server_for_anything(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not [each for each in read(page).loaded if re.match(r"(https?:)?//", each)], page.name
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text()), style.name


def test_the_reference_has_all_that_users_call(site: Path) -> None:
    known = {name.rpartition(".")[2] for name in read(site / "api.html").names}
    assert set(lotus_durable.__all__) - known == {"__version__"}


def test_the_reference_is_written_in_the_site_s_own_language(site: Path) -> None:
    for page in ("api.html", "format.html"):
        text = "".join(read(site / page).text)
        assert not re.findall(r":(?:class|func|meth|mod|data):|``", text)
