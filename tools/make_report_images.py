"""Make docs/images/report-*.png: a report on the example photos as a browser shows it, wide, narrow and dark.

Wants Chromium and its driver (Debian: ``apt-get install chromium chromium-driver``), and the package installed::

    python tools/make_report_images.py

Only ``examples/photos`` is shown: its pictures may be passed on freely.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
#: How WebDriver calls an element (W3C WebDriver, section 11).
ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
IMAGES: Final = ROOT / "docs" / "images"
#: Pictures of the page: name, window in CSS pixels, colour scheme, what is scrolled to, whether fakes are compared.
SHOTS: Final = (
    ("desktop", 1100, 900, "light", "header", False),
    ("photos", 1100, 640, "light", "#photos", False),
    ("compare", 800, 660, "light", "#photos", True),
    ("phone", 390, 1240, "light", "#photos", False),
    ("phone-figures", 390, 1240, "light", "#figures", False),
    ("dark", 1100, 900, "dark", ".charts", False),
)
#: Without the proxies of the environment: the driver is on this machine.
_LOCAL: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """A headless Chromium, steered through WebDriver; nothing but the standard library is needed.

    Raises:
        FileNotFoundError: Chromium or its driver is not installed.
    """

    def __init__(self) -> None:
        browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
        driver = shutil.which("chromedriver")
        if browser is None or driver is None:
            raise FileNotFoundError(
                "there is no Chromium with its driver here (apt-get install chromium chromium-driver)"
            )
        self._driver = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            self._address = f"http://127.0.0.1:{self._port()}"
            self._session = ""
            flags = ["--headless=new", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
            flags += ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
            logs = {"browser": "ALL", "performance": "ALL"}
            capabilities = {"goog:chromeOptions": {"binary": browser, "args": flags}, "goog:loggingPrefs": logs}
            session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._session = f"/session/{session['sessionId']}"
        except BaseException:
            self._driver.kill()
            self._driver.communicate()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self._driver.kill()
            self._driver.communicate()

    def open(self, page: Path, *, width: int = 1200, height: int = 900, scheme: str = "light") -> None:
        """Show a page in a window of this size, in CSS pixels, with this colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)
        self._send("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What the body of a function gives in the page."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str) -> Any:
        """What the body of a function hands to its only argument, in the page."""
        return self._send("POST", "/execute/async", {"script": script, "args": []})

    def click(self, selector: str) -> None:
        """Click the first element that fits, where it is on the screen."""
        self._send("POST", f"{self._element(selector)}/click", {})

    def press(self, selector: str, keys: str) -> None:
        """Type ``keys`` with the element in focus."""
        self._send("POST", f"{self._element(selector)}/value", {"text": keys})

    def log(self, kind: str) -> list[Any]:
        """What was logged since the last call: ``browser`` for the console, ``performance`` for the network."""
        entries: list[Any] = self._send("POST", "/se/log", {"type": kind})
        return entries

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def devtools(self, method: str, **parameters: object) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": method, "params": parameters})

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self._send("GET", "/screenshot"))

    def _element(self, selector: str) -> str:
        element = self._send("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{element[ELEMENT]}"

    def _port(self) -> str:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if match := re.search(rb"successfully on port (\d+)", line):
                return match[1].decode()
        raise RuntimeError("chromedriver did not start")

    def _send(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._address}{self._session}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with _LOCAL.open(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(json.load(error)["value"]["message"]) from error


def main() -> None:
    """Protect and check the example photos, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        page = report(Path(folder))
        for name, width, height, scheme, place, compare in SHOTS:
            browser.open(page, width=width, height=height, scheme=scheme)
            browser.run("document.querySelector(arguments[0]).scrollIntoView()", place)
            if compare:
                browser.click(".fake button")
            save(browser.picture(), IMAGES / f"report-{name}.png")


def report(folder: Path) -> Path:
    """The page on the example photos, made in ``folder``."""
    program, photos = [sys.executable, "-m", "dadfi_fast.cli"], ROOT / "examples" / "photos"
    subprocess.run([*program, "protect", photos, "--out", "protected", "--check", "0", "-q"], cwd=folder, check=True)
    options = ["--original", photos, "--also", "jpeg:90,75,margin:0.9,1.1", "--report", "report.html", "-q"]
    subprocess.run([*program, "check", "protected", *options], cwd=folder, check=True)
    return folder / "report.html"


def save(data: bytes, path: Path) -> None:
    """Save a screenshot in as few bytes as its colours allow."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
