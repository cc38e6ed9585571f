"""A node that asks for keys, in a browser: the dashboard and Swagger UI take one, and only from who has it."""

import json

from playwright.async_api import expect

from tests.browser.conftest import Sight
from tests.system.ledger import meter
from tests.system.node import Node

NOT_KNOWN = "\N{EN DASH}"
ENVIRON = {"HSEIE_AUTH__MODE": "keys"}


def _key(node: Node, name: str, *scopes: str) -> str:
    made = node.command("keys", "create", name, *(part for scope in scopes for part in ("--scope", scope)))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


async def test_the_dashboard_shows_nothing_without_a_key(sight: Sight, node: Node) -> None:
    page = sight.page
    await page.goto(node.url)
    await expect(page.locator("#key-form")).to_be_visible(timeout=30_000)
    await expect(page.locator("#devices")).to_have_text(NOT_KNOWN)
    for key, said in (
        ("nonsense", "This key was refused."),
        (_key(node, "a-device", "ingest"), "This key has not the scope read."),
    ):
        await page.get_by_label("This node asks for an API key").fill(key)
        await page.get_by_role("button", name="Use this key").click()
        await expect(page.locator("#key-error")).to_have_text(said, timeout=30_000)
    await page.get_by_label("This node asks for an API key").fill(_key(node, "an-operator", "read"))
    await page.get_by_role("button", name="Use this key").click()
    await expect(page.locator("#key-form")).to_be_hidden(timeout=30_000)
    await expect(page.locator("#devices")).to_have_text("2", timeout=30_000)
    await page.get_by_label("Id of a vehicle or meter").fill("METER_1")
    await page.get_by_role("button", name="Look up").click()
    await expect(page.get_by_role("heading", name="Meter METER_1")).to_be_visible()
    await page.reload()
    await expect(page.locator("#node")).to_contain_text("ready", timeout=30_000)  # it is kept in the tab
    assert await page.evaluate("localStorage.length + document.cookie.length") == 0


async def test_swagger_ui_takes_a_key(sight: Sight, node: Node) -> None:
    page = sight.page
    await page.goto(f"{node.url}/api")
    await page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    bearer = dialog.locator(".auth-container").filter(has_text="http, Bearer")
    await bearer.locator("input").fill(_key(node, "a-meter", "ingest"))
    await bearer.get_by_role("button", name="Apply credentials").click()
    await dialog.get_by_role("button", name="Close").first.click()
    block = page.locator(".opblock-post").filter(has=page.locator('[data-path="/v1/ingest/meter"]'))
    await block.locator(".opblock-summary-control").first.click()
    await block.get_by_role("button", name="Try it out").click()
    await block.locator("textarea.body-param__text").fill(json.dumps(meter("METER_SWAGGER", 0.25)))
    await block.get_by_role("button", name="Execute").click()
    await expect(block.locator(".live-responses-table .response .response-col_status").first).to_contain_text("202")
    assert sight.errors == []
    assert sight.only_asked(node.url)
