"""The service's OpenAPI document in, docs/reference/service.md out: every route with its parameters, every record with its fields.

python -m tools.service_reference
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "service.md"
HEAD = """# The service's API

A server that [`layerscout serve`](commands.md#layerscout-serve) started answers programs under `/api/v1`. This page is made from its own document
(`/api/v1/openapi.json`), which also has examples. In Python, `layerscout.service.client.Client` gives the same as typed records.

- Where the server has users, send `Authorization: Bearer TOKEN`. `/api/v1/health` is open to everybody.
- Bodies are JSON of at most 64 kB, sent as `application/json`. There is no CORS: pages of other sites cannot ask.
- Ids are digests: `ls1-…` of a store, 32 hexadecimal digits of a job and its ranking. A store's name does as well. A path or a URL is never taken.
- An error is a problem document (RFC 9457, `application/problem+json`) with the kind, the hint and the exit code of the command line.

"""
KINDS = """## Kinds of problems

| kind | exit code | HTTP status |
|---|---|---|
| <a id="usage"></a>`usage` | 2 | 400, 401, 403, 404, 405, 413, 415, 421, 422, 429 |
| <a id="data"></a>`data` | 4 | 404, 409, 503 |
| <a id="budget"></a>`budget` | 5 | 507 |
| <a id="missing_extra"></a>`missing_extra` | 3 | 501 |
| <a id="bug"></a>`bug` | 1 | 500 |

"""


def page(document: dict[str, Any]) -> str:
    """Return the page's text."""
    parts = [HEAD, KINDS, "## Routes\n\n"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(_route(path, method, route))
    parts.append("## Records\n\n")
    parts += [_record(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "".join(parts).rstrip("\n") + "\n"


def _route(path: str, method: str, route: dict[str, Any]) -> str:
    lines = [f"### {method.upper()} {path}\n", f"{route['description']}\n"]
    if parameters := route.get("parameters"):
        lines.append("| parameter | in | means |\n|---|---|---|")
        lines += [f"| `{one['name']}` | {one['in']} | {one['description']} |" for one in parameters]
        lines.append("")
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        lines.append(f"Takes {_type(body)}.")
    good = [answer for status, answer in route["responses"].items() if status.startswith("2")]
    kinds = [(kind, content.get("schema", {})) for answer in good for kind, content in answer.get("content", {}).items()]
    gives = " or ".join(dict.fromkeys(_type(schema) if kind == "application/json" and schema else f"`{kind}`" for kind, schema in kinds))
    lines.append(f"Gives {gives}.\n")
    return "\n".join(lines) + "\n"


def _record(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}\n", f"{' '.join(schema.get('description', '').split())}\n", "| field | type | means |\n|---|---|---|"]
    lines += [
        f"| `{field}` | {_type(facts)} | {' '.join(facts['description'].split())} |"
        for field, facts in schema.get("properties", {}).items()
    ]
    return "\n".join(lines) + "\n\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema or "allOf" in schema:
        return " or ".join(dict.fromkeys(_type(part) for part in schema.get("anyOf", schema.get("allOf", []))))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        inner = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {_type(inner)}" if inner else "list"
    return {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
        "object": "object",
    }.get(schema.get("type", ""), "any")


def main() -> None:
    from layerscout.service.app import make_app
    from layerscout.service.settings import ServeConfig

    with tempfile.TemporaryDirectory() as root:
        PAGE.write_text(page(make_app(ServeConfig(roots=(root,))).inner.openapi()), encoding="utf-8")


if __name__ == "__main__":
    main()
