"""The dashboard in a browser: live figures, its chart, a device, and what it says when something is away."""

import json
import re

from playwright.async_api import Browser, Page, Route, expect

from tests.browser.conftest import Sight
from tests.system.ledger import meter, now_text
from tests.system.node import Node, eventually


async def _see(sight: Sight, node: Node) -> Page:
    await sight.page.goto(node.url)
    await expect(sight.page.locator("#node")).to_contain_text("ready", timeout=30_000)
    return sight.page


async def test_it_shows_the_node_and_the_fleet_with_nothing_from_elsewhere(sight: Sight, node: Node) -> None:
    page = await _see(sight, node)
    await expect(page.locator("#devices")).to_have_text("2", timeout=30_000)
    await expect(page.locator("#devices-note")).to_have_text("1 vehicle, 1 meter")
    await expect(page.locator("#stored")).to_have_text(re.compile(r"^\d+$"))
    await expect(page.locator("#soc")).to_have_text("61.5 %")
    await expect(page.locator("#temp")).to_have_text("27.5 °C")
    await expect(page.locator("#efficiency")).to_have_text("90.0 %")
    # One pair of readings proves little, and the page says so.
    await expect(page.locator("#efficiency-note")).to_contain_text("Thin")
    await expect(page.locator("#efficiency-note")).to_contain_text("100 % of readings paired (1 pair)")
    await expect(page.locator("#newest")).to_have_text(re.compile("ago|just now"))
    await expect(page.locator("#ready")).to_have_text("Ready: all checks are passed.")
    await expect(page.locator("#checks")).to_contain_text("postgres: answers")
    await expect(page.locator("#problems")).to_contain_text("all_rejected: 1 request")
    await expect(page.locator("#refused")).to_have_text("1")
    assert sight.errors == []
    assert sight.only_asked(node.url)


async def test_the_rates_move_and_are_drawn(sight: Sight, node: Node) -> None:
    page = await _see(sight, node)
    await expect(page.locator("#chart canvas")).to_be_visible()
    for number in range(20):
        assert node.post("meter", meter("METER_2", 0.1 + number / 10)).status == 202
    await expect(page.locator("#received")).to_have_text(re.compile(r"^(0\.[1-9]|[1-9])"), timeout=30_000)
    await expect(page.locator("#committed")).to_have_text(re.compile(r"^(0\.[1-9]|[1-9])"), timeout=30_000)
    drawn = await page.evaluate("Math.max(...chart.data[1].filter((rate) => rate !== null))")
    assert drawn > 0
    assert sight.errors == []


async def test_a_device_is_looked_up(sight: Sight, node: Node) -> None:
    page = await _see(sight, node)
    await page.get_by_label("Id of a vehicle or meter").fill("VEHICLE_1")
    await page.get_by_role("button", name="Look up").click()
    found = page.locator("#device-found")
    await expect(found.get_by_role("heading", name="Vehicle VEHICLE_1")).to_be_visible()
    await expect(found).to_contain_text("61.5 %")
    await expect(found.locator("canvas")).to_be_visible()
    # It is no meter, which the browser notes by itself.
    assert [error for error in sight.errors if "404 (Not Found)" not in error] == []
    await page.get_by_label("Id of a vehicle or meter").fill("NOBODY")
    await page.get_by_role("button", name="Look up").click()
    await expect(found).to_have_text("No reading of NOBODY was ever stored, neither as a vehicle nor as a meter.")
    assert await found.locator("canvas").count() == 0


async def test_it_fits_a_telephone_and_both_schemes(browser: Browser, node: Node) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        context = await browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
        page = await _see(Sight(await context.new_page()), node)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        await context.close()
    assert len(grounds) == 2


async def test_a_key_is_asked_for_and_sent_and_forgotten_with_the_tab(sight: Sight, node: Node) -> None:
    asked: list[str | None] = []

    async def guard(route: Route) -> None:
        asked.append(route.request.headers.get("authorization"))
        if asked[-1] == "Bearer right":
            await route.continue_()
        else:
            await route.fulfill(status=401, content_type="application/problem+json", body="{}")

    await sight.page.route("**/v1/live", guard)
    page = sight.page
    await page.goto(node.url)
    await expect(page.locator("#key-form")).to_be_visible()
    await expect(page.locator("#node")).to_contain_text("locked")
    for key in ("wrong", "right"):
        await page.get_by_label("This node asks for an API key").fill(key)
        await page.get_by_role("button", name="Use this key").click()
        if key == "wrong":
            await expect(page.locator("#key-error")).to_have_text("This key was refused.")
    await expect(page.locator("#node")).to_contain_text("ready")
    await expect(page.locator("#key-form")).to_be_hidden()
    assert asked == [None, "Bearer wrong", "Bearer right"]
    assert await page.evaluate("localStorage.length") == 0


async def test_failed_checks_stand_there_in_words(sight: Sight, node: Node) -> None:
    now = {
        "state": "ready", "version": "9", "rates": None, "waiting": 7, "active": 2, "missingShards": [1], "rejected": 0,
        "problems": {}, "deadLettered": None, "fleet": None, "fleetIsOld": True,
        "checks": [{"name": "postgres", "ok": False, "detail": "not reachable", "degraded": False}],
    }  # fmt: skip
    body = f'event: past\ndata: {{"rates": []}}\n\nevent: now\ndata: {json.dumps(now)}\n\n'
    await sight.page.route("**/v1/live", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    await sight.page.goto(node.url)
    await expect(sight.page.locator("#ready")).to_have_text("Not ready: postgres: not reachable.")
    await expect(sight.page.locator("#checks")).to_contain_text("postgres: not reachable (failed)")
    await expect(sight.page.locator("#fleet-note")).to_contain_text("PostgreSQL does not answer")
    await expect(sight.page.locator("#waiting")).to_have_text("9")
    await expect(sight.page.locator("#waiting-note")).to_contain_text("not counted: shard 1")
    await expect(sight.page.locator("#banner")).to_contain_text("No connection to the node: the connection ended")


async def test_it_comes_back_by_itself_after_a_restart_of_analytics(sight: Sight, node: Node) -> None:
    page = await _see(sight, node)
    pid = node.kill("analytics")
    await expect(page.locator("#banner")).to_contain_text("No connection to the node", timeout=30_000)
    node.until_back("analytics", pid)
    await expect(page.locator("#banner")).to_be_hidden(timeout=30_000)
    await expect(page.locator("#node")).to_contain_text("ready")


async def test_a_reload_is_not_held_up_by_a_listener(sight: Sight, node: Node) -> None:
    await _see(sight, node)
    former = node.children()
    done = node.command("reload")
    assert done.returncode == 0, done.stderr
    eventually(lambda: node.children().get("analytics") not in (None, former["analytics"]), "a new analytics")
    await expect(sight.page.locator("#node")).to_contain_text("ready", timeout=30_000)


async def test_alerts_are_listed_and_lead_to_their_devices(sight: Sight, node: Node) -> None:
    at = now_text()
    vehicle = {"vehicleId": "VEHICLE_LOSSY", "soc": 50, "kwhDeliveredDc": 0.4, "batteryTemp": 30, "timestamp": at}
    assert node.post("meter", meter("METER_LOSSY", 1.0, time=at), Prefer="wait").status == 201
    assert node.post("vehicle", vehicle, Prefer="wait").status == 201
    long_ago = now_text(3600)
    assert node.post("meter", meter("METER_QUIET", 1.0, time=long_ago), Prefer="wait").status == 201
    path = "/v1/analytics/alerts"
    eventually(lambda: node.get(path).body["totalPairs"] and node.get(path).body["totalSilent"], "both are known")
    page = await _see(sight, node)
    worst, quiet = page.locator("#worst tbody tr"), page.locator("#quiet tbody tr")
    await expect(page.locator("#alerts")).to_have_text("1", timeout=30_000)
    await expect(worst).to_have_count(1)
    await expect(worst).to_contain_text("VEHICLE_LOSSY")
    await expect(worst).to_contain_text("40.0 %")
    await expect(worst).to_contain_text("0.60 kWh")
    await expect(page.locator("#alerts-note")).to_have_text("less than 85 % of AC arrives as DC")
    await expect(page.locator("#alerts-state")).to_contain_text("Pairs from")
    await expect(quiet.first).to_contain_text("METER_QUIET")
    await expect(quiet.first).to_contain_text("60 min ago")
    await worst.get_by_role("link", name="METER_LOSSY").click()
    await expect(page.locator("#device-found")).to_contain_text("Meter METER_LOSSY")
    async with page.expect_download() as saved:
        await page.locator("#all-alerts").get_by_role("link", name="pairs").click()
    assert (await saved.value).suggested_filename == "alerts_pairs.csv"
    await page.evaluate("sessionStorage.setItem('hseie.key', 'any')")
    async with page.expect_download() as saved:
        await page.locator("#all-alerts").get_by_role("link", name="silent devices").click()
    file = await (await saved.value).path()
    assert "METER_QUIET" in file.read_text()
    assert [error for error in sight.errors if "404 (Not Found)" not in error] == []
    assert sight.only_asked(node.url)
