"""A real browser without a window, driven through a pipe by the DevTools protocol; one for all tests of a process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
AS_3_AND_4 = """import os, sys
read, write = os.dup2(int(sys.argv[1]), 100), os.dup2(int(sys.argv[2]), 101)
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
"""The browser reads commands from file 3 and answers in file 4."""


class Chromium:
    """One page in one browser. ``said``: errors and words of the console; ``requests``: what was asked for."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [sys.executable, "-ISc", AS_3_AND_4, str(theirs_in), str(theirs_out), PROGRAM, *FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._begin()
            stack.pop_all()

    def _begin(self) -> None:
        self._number, self._unread, self._session = 0, b"", ""
        self.said: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(1400, 900)

    def call(self, method: str, **words: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        self._number += 1
        sent = {"id": self._number, "method": method, "params": words}
        if self._session:
            sent["sessionId"] = self._session
        os.write(self._out, json.dumps(sent).encode() + b"\0")
        while True:
            heard = self._next(30)
            if heard.get("id") == self._number:
                assert "error" not in heard, heard["error"]
                result: dict[str, Any] = heard["result"]
                return result

    def _next(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._in], [], [], seconds)[0], "the browser does not answer"
            self._unread += os.read(self._in, 1 << 20)
        raw, _, self._unread = self._unread.partition(b"\0")
        heard: dict[str, Any] = json.loads(raw)
        words = heard.get("params", {})
        match heard.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(str(words["exceptionDetails"].get("exception", {}).get("description")))
            case "Runtime.consoleAPICalled":
                self.said.append(f"{words['type']}: {words['args']}")
            case "Log.entryAdded":
                self.said.append(str(words["entry"]["text"]))
            case "Page.javascriptDialogOpening":
                self.said.append(f"dialog: {words['message']}")
            case "Network.requestWillBeSent":
                self.requests.append(words["request"]["url"])
        return heard

    def open(self, path: Path, hash_: str = "") -> None:
        """Load a file from disk and wait until the page stands."""
        self.said.clear()
        self.requests.clear()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.absolute().as_uri() + hash_)
        self.wait("globalThis.replay || document.querySelector('#trouble')?.hidden === false", 30)

    def wait(self, expression: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < end, f"waited {seconds} s for {expression}"
            time.sleep(0.02)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page (of a promise: what it resolves to)."""
        how = {"returnByValue": True, "awaitPromise": True, "allowUnsafeEvalBlockedByCSP": False}
        found = self.call("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, shift: bool = False) -> None:
        code = {" ": "Space"}.get(key, key)
        typed = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        words = {"key": key, "code": code, "modifiers": 8 * shift} | ({"text": typed} if typed else {})
        self.call("Input.dispatchKeyEvent", type="keyDown", **words)
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def size(self, width: int, height: int, ratio: float = 1, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=phone
        )

    def prefer(self, **features: str) -> None:
        """``prefer(color_scheme="dark")``: what the reader likes; nothing said is nothing preferred."""
        told = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=told)

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no chromium and no google-chrome here")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
