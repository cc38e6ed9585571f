"""A real browser, and a node with a little data for it to look at.

playwright's asynchronous interface lives in one event loop for the whole folder: its synchronous one would run a loop
beneath everybody else's tests. Calls of a Node block that loop, which harms nobody.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from tests.system.conftest import Stage, module_stage, new_database, seed
from tests.system.ledger import meter, now_text
from tests.system.node import Node, eventually

__all__ = ["module_stage", "new_database", "seed"]  # fixtures, found by their names

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for the browser and all its tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a browser; without one the tests are skipped, except where everything has to be there."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"no browser: none of {', '.join(NAMES)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """A browser with a fresh profile, and a home of its own, since not every account has one."""
    home = str(tmp_path_factory.mktemp("home"))
    environ = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS), env=environ)
        yield running
        await running.close()


class Sight:
    """A page, and what went wrong or out on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._on_request)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def only_asked(self, origin: str) -> bool:
        """Whether something was asked, and nobody but `origin`."""
        return bool(self.requests) and all(url.startswith((f"{origin}/", "data:", "blob:")) for url in self.requests)


@pytest_asyncio.fixture(loop_scope="session")
async def sight(browser: Browser) -> AsyncIterator[Sight]:
    context = await browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(30_000)
    yield Sight(await context.new_page())
    await context.close()


@pytest.fixture(scope="module")
def node(chromium: str, module_stage: Stage, new_database: Callable[[], str], request: Any) -> Node:
    """A node with a vehicle and its meter. A module's ENVIRON configures it."""
    environ = getattr(request.module, "ENVIRON", {})
    node = module_stage.node(DATABASE_URL=new_database(), **environ).start()
    vehicle = {"vehicleId": "VEHICLE_1", "soc": 61.5, "kwhDeliveredDc": 0.9, "batteryTemp": 27.5}
    at = now_text()
    key = _admin_key(node) if environ.get("HSEIE_AUTH__MODE") == "keys" else {}
    assert node.post("meter", [meter("METER_1", 1.0, time=at)], Prefer="wait", **key).status == 201
    assert node.post("vehicle", {**vehicle, "timestamp": at}, Prefer="wait", **key).status == 201
    assert node.post("meter", [{"nonsense": 1}], **key).status == 400
    stats = "/v1/analytics/stats"
    eventually(lambda: node.call("GET", stats, headers=key).body["totalReadings"] == 2, "both are counted")
    return node


def _admin_key(node: Node) -> dict[str, str]:
    made = node.command("keys", "create", "tests", "--scope", "admin")
    assert made.returncode == 0, made.stderr
    return {"Authorization": f"Bearer {made.stdout.strip()}"}
