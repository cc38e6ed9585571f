"""Swagger UI at /api in a browser: from the package alone, complete, and what it offers really works."""

import json

from playwright.async_api import Locator, Page, expect

from hseie.route_table import ROUTES
from tests.browser.conftest import Sight
from tests.system.ledger import meter
from tests.system.node import Node


async def _open(sight: Sight, node: Node) -> Page:
    await sight.page.goto(f"{node.url}/api")
    await expect(sight.page.locator(".opblock").first).to_be_visible(timeout=30_000)
    return sight.page


async def _try_out(page: Page, method: str, path: str) -> Locator:
    block = page.locator(f".opblock-{method}").filter(has=page.locator(f'[data-path="{path}"]'))
    await block.locator(".opblock-summary-control").first.click()
    await block.get_by_role("button", name="Try it out").click()
    return block


async def test_all_operations_are_listed_with_nothing_from_elsewhere(sight: Sight, node: Node) -> None:
    page = await _open(sight, node)
    await expect(page.locator(".opblock")).to_have_count(len(ROUTES))
    listed = await page.locator(".opblock-summary-path").evaluate_all("(all) => all.map((one) => one.dataset.path)")
    assert sorted(listed) == sorted(route.path for route in ROUTES)
    assert sight.errors == []
    assert sight.only_asked(node.url)


async def test_a_get_is_tried_out(sight: Sight, node: Node) -> None:
    block = await _try_out(await _open(sight, node), "get", "/v1/ingest/meter/{id}/current")
    await block.locator('input[placeholder="id"]').fill("METER_1")
    await block.get_by_role("button", name="Execute").click()
    await expect(block.locator(".live-responses-table .response .response-col_status").first).to_contain_text("200")
    await expect(block.locator(".live-responses-table")).to_contain_text("kwhConsumedAc")
    assert sight.errors == []


async def test_a_reading_is_sent(sight: Sight, node: Node) -> None:
    block = await _try_out(await _open(sight, node), "post", "/v1/ingest/meter")
    await block.locator("textarea.body-param__text").fill(json.dumps(meter("METER_SWAGGER", 0.25)))
    await block.get_by_role("button", name="Execute").click()
    await expect(block.locator(".live-responses-table .response .response-col_status").first).to_contain_text("202")
    await expect(block.locator(".live-responses-table")).to_contain_text("METER_SWAGGER")
    assert sight.errors == []
    assert sight.only_asked(node.url)
