"""The OpenAPI document as it is served: what Litestar derives, with the refusals that are ours.

Litestar describes its own error body and calls every query parameter a text that may be null;
programs that are generated from the document should get what the interface really answers.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from pumpwatch.dashboard.models import Refusal

REFUSALS = {
    "400": "A parameter cannot be meant; the answer names it",
    "401": "The token is missing or wrong",
    "403": "Not from this machine, or under a name that is not served",
    "404": "There is no such thing",
    "429": "More requests than the recording can spare; ask again",
    "503": "A part is down or slow; ask again",
}
ALWAYS = ("403", "429")
OF_QUESTIONS = ("400", "404", "503")


class DocumentPlugin(JsonRenderPlugin):
    """Serves the mended document; nothing of it comes from a network."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Bytes of JSON."""
        return super().render(request, mend(openapi_schema))


def mend(document: dict[str, Any]) -> dict[str, Any]:
    """The document with our parameters and refusals; the given one is not changed."""
    document = msgspec.json.decode(msgspec.json.encode(document))
    _, components = msgspec.json.schema_components(
        [Refusal], ref_template="#/components/schemas/{name}"
    )
    document["components"]["schemas"] |= components
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                _mend_parameter(parameter)
            _mend_responses(path, method, operation)
    return document


def _mend_parameter(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    schema.pop("oneOf", None)  # absent is not null: a query cannot say null
    schema.setdefault("type", "string")


def _mend_responses(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    statuses = [*ALWAYS, "401"]
    if operation.get("parameters"):
        statuses += OF_QUESTIONS
        responses.pop("400", None)
    elif path.startswith("/api/"):
        statuses.append("400")  # parameters that the question does not know
    if method == "post":
        statuses += ["400", "404", "503"]
        responses.pop("400", None)
    for status in statuses:
        responses.setdefault(
            status,
            {
                "description": REFUSALS[status],
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}
                },
            },
        )
