"""Reading pages that a task wrote: as a parser sees them, and as a browser does."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

VOID = {"br", "input", "link", "meta"}
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
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

    def seen(self) -> Iterator[str]:
        """The texts, and the attributes that are read."""
        yield from (self.attributes.get(name) or "" for name in ("aria-label", "placeholder"))
        if self.tag not in ("style", "script", "code"):
            for child in self.children:
                yield from [child] if isinstance(child, str) else child.seen()

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


class Chromium:
    """A running Chromium, asked through pipes; each page is in a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.log = open(folder / "chromium.log", "wb")  # noqa: SIM115 - closed in close
        commands, self._commands = os.pipe()
        self._events, events = os.pipe()
        flags = [*FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{events}', "bash", program, *flags],
            pass_fds=(commands, events), stdout=self.log, stderr=self.log,
        )  # fmt: skip
        os.close(commands)
        os.close(events)
        self._numbers = itertools.count(1)
        self._buffer = b""

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        for pipe in (self._commands, self._events):
            os.close(pipe)
        self.log.close()

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Sends a command of the DevTools protocol, and waits for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda found: found.get("id") == number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def wait_for(self, event: str, session: str) -> None:
        self._wait(lambda found: found.get("method") == event and found["sessionId"] == session)

    def _wait(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            while b"\0" not in self._buffer:
                assert select.select([self._events], [], [], 60)[0], "Chromium does not answer"
                block = os.read(self._events, 1 << 16)
                assert block, "Chromium has ended; see chromium.log"
                self._buffer += block
            line, _, self._buffer = self._buffer.partition(b"\0")
            found: dict[str, Any] = json.loads(line)
            if is_wanted(found):
                return found

    @contextmanager
    def tab(self, address: str, width: int, media: str, is_dark: bool) -> Iterator[str]:
        """Opens an address, and gives the session of the tab after five virtual seconds."""
        context = self.ask("Target.createBrowserContext")["browserContextId"]
        target = self.ask("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]  # fmt: skip
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", session, media=media, features=[scheme])
        self.ask("Page.enable", session)
        self.ask("Page.navigate", session, url=address)
        self.wait_for("Page.loadEventFired", session)
        policy = {"policy": "pauseIfNetworkFetchesPending", "budget": 5000}
        self.ask("Emulation.setVirtualTimePolicy", session, **policy)
        self.wait_for("Emulation.virtualTimeBudgetExpired", session)
        yield session
        self.ask("Target.disposeBrowserContext", browserContextId=context)

    def evaluate(self, session: str, script: str) -> Any:
        found = self.ask("Runtime.evaluate", session, expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")


@dataclass
class Layout:
    """How a page looks in a window."""

    window: int  # width
    page: int  # width; more than the window's if it scrolls sideways
    outside: list[str]  # elements that are cut off at the side
    picture: bytes  # PNG


# Elements with a text of their own that lie outside the window or outside what clips them.
OUTSIDE = """
  [...document.querySelectorAll("main *, header *")].filter((node) => {
    const texts = [...node.childNodes].filter((child) => child.nodeType === 3);
    if (!texts.some((text) => text.data.trim())) return false;
    const box = node.getBoundingClientRect();
    if (!box.width || !box.height) return false;
    let [left, right] = [0, innerWidth];
    for (let above = node.parentElement; above; above = above.parentElement) {
      if (getComputedStyle(above).overflowX === "visible") continue;
      const around = above.getBoundingClientRect();
      [left, right] = [Math.max(left, around.left), Math.min(right, around.right)];
    }
    return box.left < left - 1 || box.right > right + 1;
  }).map((node) => `${node.tagName} ${node.textContent.slice(0, 40)}`)
"""


class Browser:
    """Chromium, and the only server that it can be asked for."""

    def __init__(self, program: str, folder: Path, chromium: Chromium) -> None:
        self.program, self.folder, self.chromium = program, folder, chromium
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
        with self._tab(page, state, 1280) as session:
            made = self.chromium.evaluate(session, "document.documentElement.outerHTML")
        return parse(f"<!doctype html>\n{made}")

    def lay_out(
        self, page: str, width: int, *, is_dark: bool = False, is_printed: bool = False
    ) -> Layout:
        """Opens a page in a window of some width."""
        media = "print" if is_printed else "screen"
        with self._tab(page, "", width, media, is_dark) as session:
            found = self.chromium.evaluate(
                session, f"[innerWidth, document.documentElement.scrollWidth, {OUTSIDE}]"
            )
            height = self.chromium.evaluate(session, "document.documentElement.scrollHeight")
            size = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
            picture = self.chromium.ask(
                "Page.captureScreenshot", session, captureBeyondViewport=True, clip=size
            )
        return Layout(*found, base64.b64decode(picture["data"]))

    @contextmanager
    def _tab(
        self, page: str, state: str, width: int, media: str = "screen", is_dark: bool = False
    ) -> Iterator[str]:
        self.page = page
        self.requests.clear()
        address = f"http://127.0.0.1:{self.server.server_port}/report.html#{state}"
        with self.chromium.tab(address, width, media, is_dark) as session:
            yield session

    def open(self, address: str, *flags: str) -> Node:
        """Opens an address in a Chromium of its own, and returns the final document."""
        more = ["--virtual-time-budget=5000", "--dump-dom", *flags]
        command = [self.program, *FLAGS, *more, f"--user-data-dir={self.folder}", address]
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


# What is called so in Korean, too; and what is typed.
NAMES = re.compile(
    "KLUE|MRC|ROUGE|UNK|ECE|Pearson|Spearman|MCC|CRF|JavaScript|bert_ko|--[a-z_]+|id:|[0-9a-f]{12,}"
)


def check_page(browser: Browser, page: str, korean: str, data: Iterable[str]) -> None:
    """Checks that a page can be read in narrow and wide windows, light, dark and printed.

    Args:
        browser: to open it with.
        page: in English.
        korean: the same page in Korean, which must have no English.
        data: the data's own words of Latin letters, which the Korean page has.
    """
    for made in (page, korean):
        for width, is_dark in ((360, True), (1280, False)):
            layout = browser.lay_out(made, width, is_dark=is_dark)
            assert layout.page <= layout.window == width, (width, layout.page)
            assert layout.outside == [], width
            assert browser.requests == ["/report.html"]
        printed = browser.lay_out(made, 700, is_dark=True, is_printed=True)
        assert printed.page <= 700
    shown = browser.show(korean)
    assert shown.all("html")[0].attributes["lang"] == "ko"
    parts = [shown.all("title")[0], *shown.all("header"), *shown.all("main")]
    seen = NAMES.sub(" ", " ".join(text for part in parts for text in part.seen()))
    for word in sorted(data, key=len, reverse=True):
        seen = seen.replace(word, " ")
    assert re.findall("[A-Za-z]{3,}", seen) == []


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium")
    chromium = Chromium(program, tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def browser(tmp_path: Path, chromium: Chromium) -> Iterator[Browser]:
    browser = Browser(shutil.which("chromium") or "", tmp_path / "profile", chromium)
    yield browser
    browser.server.shutdown()
    browser.server.server_close()
