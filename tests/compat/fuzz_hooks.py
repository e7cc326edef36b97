"""Hooks for Schemathesis: most requests name an index that exists and its key, so that they get past the door to what is behind it.

Schemathesis loads this file because SCHEMATHESIS_HOOKS names it.
"""
import hashlib
import json
import os

import schemathesis

INDEX_NAME = os.environ["SEALDEX_FUZZ_INDEX"]
INDEX_KEY = os.environ["SEALDEX_FUZZ_KEY"]
# These make and remove indexes: they keep the names they were given.
OWN_NAMES = ("/indexes/create", "/indexes/delete")


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and not case.operation.path.endswith(OWN_NAMES) and chosen(body):
        if "index_name" in body:
            body["index_name"] = INDEX_NAME
        body["index_key"] = INDEX_KEY


def chosen(body) -> bool:
    """Four requests in five, and always the same ones."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode(errors="replace")).digest()
    return digest[0] % 5 != 0
