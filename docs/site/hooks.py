"""The pages at the top of the repository are pages of the site too, and links between them and docs/ lead there.

On a code host both are read where they lie; so each link is written for the code host, and translated for the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
AT_THE_TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Where each of them is on the site."""
SOURCE = "https://github.com/lotus-durable/lotus-durable/blob/main/"
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside docs/."""
    for name, on_site in AT_THE_TOP.items():
        files.append(File.generated(config, on_site, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs'
    """Translate the links of a page."""
    where = page.file.src_uri
    folder = "" if where in AT_THE_TOP.values() else posixpath.join("docs", posixpath.dirname(where))

    def translated(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        if target not in AT_THE_TOP and not target.startswith("docs/"):
            return f"]({SOURCE}{target}"
        on_site = AT_THE_TOP.get(target, target.removeprefix("docs/"))
        return "](" + posixpath.relpath(on_site, posixpath.dirname(where) or ".")

    return _LINK.sub(translated, markdown)
