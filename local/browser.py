"""A headless Chromium, spoken to over the DevTools protocol: what a page shows, and whom it asks."""

import base64
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "chromium is not installed (apt-get install chromium)"
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
             "--remote-allow-origins=*", "--hide-scrollbars")  # fmt: skip


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on loopback; gives its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Browser:
    """One tab. `requests` are the URLs that it asked for, `errors` what the page did wrong, as its console says."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number, self.session = socket, 0, ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "DOM", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; events that come first are noted."""
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters, **session}))
        while (message := json.loads(self.socket.recv())).get("id") != self.number:
            self._note(message.get("method", ""), message.get("params", {}))
        assert "error" not in message, (method, message)
        return message["result"]

    def _note(self, event: str, told: Any) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))

    def theme(self, name: str) -> None:
        """The colours that the person prefers: light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path: Path, height: int = 0) -> None:
        """Keep the page as a PNG, whole or its first so many pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def open(self, url: str, width: int = 1024, height: int = 900) -> None:
        """Go to a page, as wide as that, and wait until it is loaded and has its fonts."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript is."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.1)

    def elements(self, name: str) -> list[Any]:
        """All elements of that name, those in closed shadow roots too (the theme puts diagrams there)."""
        document = self.call("DOM.getFlattenedDocument", depth=-1, pierce=True)
        return [node for node in document["nodes"] if node["nodeName"].lower() == name]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A Chromium with its profile in that folder."""
    log = folder / "chromium.log"
    with log.open("w") as stderr:
        process = subprocess.Popen([str(CHROMIUM), *ARGUMENTS, f"--user-data-dir={folder}"], stderr=stderr)
    try:
        end = time.monotonic() + 30
        while not (found := re.search(r"listening on (ws://\S+)", log.read_text())):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        with closing(websocket.create_connection(found[1], timeout=60)) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(20)
