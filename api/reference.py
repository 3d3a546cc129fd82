"""The OpenAPI document: what FastAPI makes of the routes, with an example of every request and every answer.

The examples are in `examples.json` by operation: {"path": {...}, "request": ..., "status": "200", "type": "...",
"response": ...}. They were recorded from a running service; tests/integration/test_examples.py records them again.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})


def operation_id(route: APIRoute) -> str:
    """The function's name: short, and stable for generated clients."""
    return route.name


def install(app: FastAPI) -> None:
    """Serve the document with examples."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _describe(plain())
        assert app.openapi_schema is not None  # noqa: S101 - `plain` has set it
        return app.openapi_schema

    app.openapi = described  # pyright: ignore[reportAttributeAccessIssue] - FastAPI's documented way to extend it


@cache
def examples() -> dict[str, dict[str, Any]]:
    """By operation id."""
    return json.loads(files("api").joinpath("examples.json").read_text(encoding="utf-8"))


def _describe(document: dict[str, Any]) -> None:
    recorded = examples()
    for operations in document["paths"].values():
        for method, operation in operations.items():
            if method in METHODS and operation["operationId"] in recorded:
                _exemplify(operation, recorded[operation["operationId"]])


def _exemplify(operation: dict[str, Any], example: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] in example.get("path", {}):
            parameter["example"] = example["path"][parameter["name"]]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = example["request"]
    answer = operation["responses"].get(example["status"], {})
    if example["type"] in answer.get("content", {}):
        answer["content"][example["type"]]["example"] = example["response"]
