"""Reading pages that a task wrote: as a parser sees them, and as a browser does."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

VOID = {"br", "input", "link", "meta"}
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=5000", "--dump-dom",
]  # fmt: skip


@dataclass
class Node:
    """An element; its children are elements and strings."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child

    def all(self, tag: str, kind: str | None = None) -> list[Node]:
        """Elements by tag and the whole value of their class."""
        return [
            node
            for node in self
            if node.tag == tag and (kind is None or node.attributes.get("class") == kind)
        ]

    def by_id(self, name: str) -> Node:
        (node,) = (node for node in self if node.attributes.get("id") == name)
        return node

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Parser(HTMLParser):
    """Builds a tree without the line ends between elements; unmatched tags are errors."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("document")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not data.isspace() or "\n" not in data:
            self.open[-1].children.append(data)


def parse(page: str) -> Node:
    parser = Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == [parser.root]
    names = [name for node in parser.root if (name := node.attributes.get("id"))]
    assert len(set(names)) == len(names)
    return parser.root


@pytest.fixture(name="parse", scope="session")
def parse_fixture() -> Callable[[str], Node]:
    return parse


class Browser:
    """Chromium, and the only server that it can be asked for."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.requests: list[str] = []  # paths
        self.page = ""
        browser = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                browser.requests.append(self.path)
                self.send_response(200 if self.path == "/report.html" else 404)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                if self.path == "/report.html":
                    self.wfile.write(browser.page.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, page: str, state: str = "", script: str = "") -> Node:
        """Opens a page, lets a script act as a user and returns the final document.

        Args:
            page: as a task wrote it.
            state: the part of its address after #.
            script: runs after the page's own; the policy, which forbids it, is removed.
        """
        if script:
            page = page.replace("Content-Security-Policy", "x").replace(
                "</body>", f"<script>{script}</script></body>"
            )
        self.page = page
        self.requests.clear()
        return self.open(f"http://127.0.0.1:{self.server.server_port}/report.html#{state}")

    def open(self, address: str, *flags: str) -> Node:
        """Opens an address, and returns the final document."""
        command = [self.program, *FLAGS, *flags, f"--user-data-dir={self.folder}", address]
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        return parse(done.stdout.decode())

    def list_ids(self, page: str, states: Iterable[str]) -> list[list[str]]:
        """Opens a page, visits the states and returns the ids in its list for each."""
        script = f"""
          (async () => {{
            const seen = [];
            for (const state of {json.dumps(list(states))}) {{
              location.hash = state;
              await new Promise((resolve) => setTimeout(resolve, 50));
              const links = [...document.querySelectorAll("#items .about a")];
              seen.push(links.map((link) => link.textContent));
            }}
            document.title = JSON.stringify(seen);
          }})();
        """
        found: list[list[str]] = json.loads(self.show(page, script=script).all("title")[0].text)
        return found


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium")
    browser = Browser(program, tmp_path / "profile")
    yield browser
    browser.server.shutdown()
    browser.server.server_close()
