"""Whether an answer is one that the description promises: its status, headers, type and body."""

from collections.abc import Mapping
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator

FORMATS = Draft202012Validator.FORMAT_CHECKER


def closed(node: Any) -> Any:
    """A description without room to grow: a member that an answer has today has to be described today."""
    if isinstance(node, list):
        return [closed(child) for child in node]
    if not isinstance(node, dict):
        return node
    made = {name: closed(child) for name, child in node.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    return made


def operation_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The operation that a path (with or without a query) belongs to: a fixed one before one with parameters."""
    given = path.partition("?")[0].split("/")
    fitting = [
        pattern
        for pattern, item in document["paths"].items()
        if method.lower() in item
        and len(pattern.split("/")) == len(given)
        and all(part == there or part.startswith("{") for part, there in zip(pattern.split("/"), given, strict=True))
    ]
    best = min(fitting, key=lambda pattern: pattern.count("{"), default=None)
    return document["paths"][best][method.lower()] if best is not None else None


def check_described(
    document: dict[str, Any], method: str, path: str, status: int, headers: Mapping[str, str], body: Any
) -> None:
    """Fail where an answer is not as it is described; `body` is parsed where it is JSON. `document` may be `closed`."""
    operation = operation_of(document, method, path)
    if operation is None:
        assert status in (404, 405), f"{method} {path} is not described, and was answered with {status}"
        return
    assert str(status) in operation["responses"], f"{method} {path}: {status} is not described"
    described = operation["responses"][str(status)]
    for name, header in described.get("headers", {}).items():
        assert name in headers or not header.get("required"), f"{method} {path}: {status} without {name}"
        if name in headers and header["schema"]["type"] == "integer":
            validate(int(headers[name]), header["schema"], document)
    if "content" not in described:
        assert not body
        return
    content_type = headers["Content-Type"].partition(";")[0]
    assert content_type in described["content"], f"{method} {path}: {status} with {content_type}"
    validate(body, described["content"][content_type]["schema"], document)
    if "x-problem-codes" in described:
        assert body["code"] in described["x-problem-codes"], f"{method} {path}: {status} {body['code']}"


def validate(instance: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Raises ValidationError; formats count."""
    whole = {**schema, "components": document["components"]}
    jsonschema.validate(instance, whole, cls=Draft202012Validator, format_checker=FORMATS)
