"""A real browser, headless, spoken to through a pipe: no driver, no network of its own."""

import base64
import json
import os
import shutil
import signal
import time

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium to open the page in: `apt-get install chromium` brings it"
)
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """Chromium with one page.

    Args:
        folder: for its profile.
        width, height: of its window, in pixels.
        dark: whether its owner likes pages dark.
    """

    def __init__(self, folder, *, width=1100, height=1600, dark=False):
        down, self._commands = os.pipe()
        self._said, up = os.pipe()
        self._buffer, self._number = b"", 0
        self.console = []
        try:
            self._process = os.posix_spawn(
                CHROMIUM,
                [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}", f"--window-size={width},{height}"],
                {**os.environ, "HOME": str(folder)},
                setpgroup=0,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, down, 3),
                    (os.POSIX_SPAWN_DUP2, up, 4),
                ],
            )
        finally:
            os.close(down)
            os.close(up)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def _call(self, method, **params):
        self._number += 1
        said = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session"):
            said["sessionId"] = self._session
        os.write(self._commands, json.dumps(said).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return heard["result"]
            if heard.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}:
                self.console.append(heard["params"])

    def _hear(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._said, 1 << 20)
            assert piece, "the browser is gone"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, url):
        self._call("Page.navigate", url=url)
        self.until(f"location.href === {url!r} && document.readyState === 'complete'")

    def ask(self, expression):
        """What a piece of script finds in the page."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def text(self, key):
        return self.ask(f"document.getElementById({key!r}).textContent")

    def until(self, expression):
        """Wait for something to become true in the page."""
        deadline = time.monotonic() + 60
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"{expression} never came to be: {self.console}"
            time.sleep(0.05)

    def photograph(self, path):
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._commands)
        os.close(self._said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
