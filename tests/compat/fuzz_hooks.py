"""Hooks for Schemathesis: most requests name an index that exists and its key, and of these most carry vectors of its dimension, so that they
get past the door to what is behind it. The rest stay as they were generated.

Schemathesis loads this file because SCHEMATHESIS_HOOKS names it.
"""
import base64
import hashlib
import json
import os
import struct

import schemathesis

INDEX_NAME = os.environ["SEALDEX_FUZZ_INDEX"]
INDEX_KEY = os.environ["SEALDEX_FUZZ_KEY"]
DIMENSION = 3


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    lot = draw(body)
    if not isinstance(body, dict):
        return
    if case.operation.path.endswith("/indexes/delete") and body.get("index_name") == INDEX_NAME:
        body["index_name"] = "another"
    if lot == 0:
        return
    body["index_key"] = INDEX_KEY
    if case.operation.path.endswith("/indexes/create"):
        body.pop("kms_name", None)
    elif "index_name" in body and not case.operation.path.endswith("/indexes/delete"):
        body["index_name"] = INDEX_NAME
    if lot > 1:
        fit_vectors(body)


def draw(body) -> int:
    """A number from 0 to 4, always the same one for the same request."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode(errors="replace")).digest()
    return digest[0] % 5


def fit_vectors(body: dict) -> None:
    for item in listed(body.get("items")):
        if isinstance(item, dict):
            item["vector"] = fit(item.get("vector"))
    if "query_vectors" in body:
        rows = [row for row in listed(body["query_vectors"]) if isinstance(row, list)]
        body["query_vectors"] = [fit(row) for row in rows] if rows else fit(body["query_vectors"])
    if isinstance(batch := body.get("batch"), dict):
        rows = len(listed(batch["ids"])) if "ids" in batch else 2
        batch["dimension"] = DIMENSION
        batch["vectors_b64"] = base64.b64encode(struct.pack(f"<{rows * DIMENSION}f", *range(rows * DIMENSION))).decode()
        for name in ("metadata", "contents"):
            if isinstance(batch.get(name), list):
                batch[name] = (batch[name] + [None] * rows)[:rows]


def fit(vector) -> list:
    numbers = [x for x in listed(vector) if isinstance(x, (int, float)) and abs(x) < 1e30]
    return (numbers + [0.5, 1.5, 2.5])[:DIMENSION]


def listed(value) -> list:
    return value if isinstance(value, list) else []
