"""The official Python client against a running server at SEALDEX_URL, whose root key, if it has one, is SEALDEX_ROOT_KEY. Runs
unchanged with client 0.17 and 0.18."""
import importlib.metadata
import os
import unittest
import uuid

import cyborgdb
import numpy as np
from cyborgdb import Client

URL = os.environ["SEALDEX_URL"]
ROOT_KEY = os.environ.get("SEALDEX_ROOT_KEY") or None
VERSION = importlib.metadata.version("cyborgdb")
IS_0_18 = VERSION.startswith("0.18")
DIMENSION = 32


def rows(count: int, seed: int = 1, dimension: int = DIMENSION) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def nearest(base: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    return np.argsort(((base - query) ** 2).sum(1), kind="stable")[:k].tolist()


def ids_of(results) -> list[str]:
    return [row["id"] for row in results]


class WithIndex(unittest.TestCase):
    """A fresh index for each test."""

    settings = {}

    def setUp(self):
        self.client = Client(URL, ROOT_KEY)
        self.name = f"{type(self).__name__} {self._testMethodName} {uuid.uuid4()}"
        self.key = Client.generate_key()
        self.index = self.client.create_index(self.name, self.key, **self.settings)

    def tearDown(self):
        if self.name in self.client.list_indexes():
            self.client.load_index(self.name, self.key).delete_index()


class Indexes(WithIndex):
    def test_the_package_is_the_one_asked_for(self):
        self.assertEqual(VERSION, os.environ["SEALDEX_CLIENT_VERSION"])

    def test_health(self):
        health = self.client.get_health()
        self.assertEqual((health["status"], health["api_version"]), ("healthy", "v1"))

    def test_create_list_load_delete(self):
        self.assertIn(self.name, self.client.list_indexes())
        self.index.upsert([{"id": "a", "vector": [1.0, 2.0]}])
        loaded = self.client.load_index(self.name, self.key)
        self.assertEqual((loaded.dimension, loaded.metric, loaded.n_lists), (2, "euclidean", 1))
        self.assertEqual(loaded.index_name, self.name)
        self.assertEqual(loaded.list_ids(), ["a"])
        loaded.delete_index()
        self.assertNotIn(self.name, self.client.list_indexes())

    def test_every_metric_and_precision_by_name(self):
        for metric in ["euclidean", "squared_euclidean", "cosine"]:
            for precision in ["float32", "float16"]:
                name = str(uuid.uuid4())
                index = self.client.create_index(name, self.key, dimension=3, metric=metric, storage_precision=precision)
                self.assertEqual((index.dimension, index.metric), (3, metric))
                index.upsert([{"id": "a", "vector": [1.0, 0.0, 0.0]}, {"id": "b", "vector": [0.0, 1.0, 0.0]}])
                found = index.query([0.0, 2.0, 0.0], top_k=1, include=["distance"])
                self.assertEqual(ids_of(found), ["b"])
                self.assertAlmostEqual(found[0]["distance"], {"cosine": 0.0}.get(metric, 1.0), places=5)
                index.delete_index()


class Writes(WithIndex):
    def test_upsert_of_dicts_and_get(self):
        self.index.upsert(
            [
                {"id": "full", "vector": [1.0, 0.25], "metadata": {"n": 1, "nested": {"list": [1, "two"]}}, "contents": "text"},
                {"id": "numpy", "vector": np.array([0.1, 0.2])},
                {"id": "bytes", "vector": [0.5, 0.5], "contents": b"\x00\xff"},
            ]
        )
        full, array, raw = self.index.get(["full", "numpy", "bytes"])
        self.assertEqual((full["vector"], full["contents"]), ([1.0, 0.25], "text"))
        self.assertEqual(full["metadata"], {"n": 1, "nested": {"list": [1, "two"]}})
        np.testing.assert_array_equal(np.float32(array["vector"]), np.float32([0.1, 0.2]))
        self.assertEqual((array["metadata"], array["contents"]), ({}, ""))
        self.assertEqual(raw["contents"], "AP8=", "the client sends bytes as base64 text")

    def test_upsert_of_ids_and_array(self):
        base = rows(50)
        self.index.upsert([f"i{i}" for i in range(50)], base)
        read = self.index.get([f"i{i}" for i in range(50)], include=["vector"])
        np.testing.assert_array_equal(np.float32([row["vector"] for row in read]), base)

    def test_upsert_of_ids_and_list(self):
        self.index.upsert(["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
        self.assertEqual(sorted(self.index.list_ids()), ["a", "b"])

    def test_upsert_binary_with_metadata(self):
        self.index.upsert_binary(["a", "b"], rows(2), metadata=[{"k": "v"}, {}])
        self.assertEqual([row["metadata"] for row in self.index.get(["a", "b"], include=["metadata"])], [{"k": "v"}, {}])

    @unittest.skipUnless(IS_0_18, "client 0.17 cannot send contents in the binary form")
    def test_upsert_binary_with_contents(self):
        self.index.upsert_binary(["a", "b"], rows(2), contents=["text", None])
        self.assertEqual([row["contents"] for row in self.index.get(["a", "b"], include=["contents"])], ["text", ""])

    def test_delete_and_list(self):
        self.index.upsert([f"i{i}" for i in range(10)], rows(10))
        self.index.delete(["i3", "i4", "nobody"])
        self.assertEqual(sorted(self.index.list_ids()), [f"i{i}" for i in range(10) if i not in (3, 4)])
        self.assertEqual(self.index.get(["i3"]), [])
        self.index.upsert(["i3"], rows(1, seed=9))
        self.assertEqual(len(self.index.list_ids()), 9)


class Queries(WithIndex):
    def setUp(self):
        super().setUp()
        self.base = rows(300)
        self.index.upsert_binary(
            [str(i) for i in range(300)], self.base, metadata=[{"parity": i % 2, "name": f"n{i % 7}"} for i in range(300)]
        )

    def check(self, found, query, k):
        self.assertEqual([int(id) for id in ids_of(found)], nearest(self.base, query, k))
        exact = np.sqrt(((self.base[nearest(self.base, query, k)].astype(np.float64) - query) ** 2).sum(1))
        np.testing.assert_allclose([row["distance"] for row in found], exact, rtol=1e-5)

    def test_list(self):
        query = rows(1, seed=5)[0]
        found = self.index.query(query.tolist(), top_k=7, include=["distance", "metadata"])
        self.check(found, query, 7)
        self.assertEqual(found[0]["metadata"]["parity"], int(found[0]["id"]) % 2)

    def test_list_of_lists(self):
        queries = rows(3, seed=6)
        for found, query in zip(self.index.query(queries.tolist(), top_k=5, include=["distance"]), queries, strict=True):
            self.check(found, query, 5)

    def test_array_of_one_dimension(self):
        query = rows(1, seed=7)[0]
        self.check(self.index.query(query, top_k=5, include=["distance"]), query, 5)

    def test_array_of_two_dimensions(self):
        queries = rows(4, seed=8)
        for found, query in zip(self.index.query(queries, top_k=5, include=["distance"]), queries, strict=True):
            self.check(found, query, 5)
        self.check(self.index.query(queries[:1], top_k=5, include=["distance"]), queries[0], 5)

    def test_binary(self):
        queries = rows(2, seed=9).astype(np.float64)
        for found, query in zip(self.index.query_binary(queries, top_k=5, include=["distance"]), queries, strict=True):
            self.check(found, np.float32(query), 5)

    def test_defaults(self):
        found = self.index.query(rows(1)[0].tolist())
        self.assertEqual(len(found), 100)
        self.assertEqual(set(found[0]), {"id"})

    def test_knobs_and_filters(self):
        query = rows(1, seed=10)[0]
        for vectors in [query, query.tolist()]:
            found = self.index.query(
                vectors, top_k=5, n_probes=3, greedy=True, rerank_mult=20, filters={"parity": 1}, include=["distance", "metadata"]
            )
            odd = [i for i in nearest(self.base, query, 300) if i % 2 == 1][:5]
            self.assertEqual([int(id) for id in ids_of(found)], odd)
        both = {"$and": [{"parity": {"$eq": 0}}, {"name": {"$in": ["n1", "n2"]}}]}
        found = self.index.query(query.tolist(), top_k=300, filters=both)
        self.assertEqual({int(id) for id in ids_of(found)}, {i for i in range(300) if i % 2 == 0 and i % 7 in (1, 2)})


class Training(WithIndex):
    def test_small_index(self):
        self.index.upsert([str(i) for i in range(100)], rows(100))
        self.assertFalse(self.index.is_trained())
        self.assertFalse(self.index.is_training())
        self.index.train()
        self.assertEqual(ids_of(self.index.query(rows(100)[42], top_k=1)), ["42"])

    def test_large_index(self):
        base = rows(11_000)
        self.index.upsert([str(i) for i in range(11_000)], base)
        self.index.train(n_lists=32, batch_size=2048, max_iters=20, tolerance=1e-6)
        self.assertTrue(self.index.is_trained())
        self.assertFalse(self.index.is_training())
        self.assertEqual(self.index.n_lists, 32)
        found = self.index.query(base[:50], top_k=1, include=["distance"])
        hits = sum(row[0]["id"] == str(i) and row[0]["distance"] < 1e-3 for i, row in enumerate(found))
        self.assertGreaterEqual(hits, 49, "vectors are found by themselves")

    @unittest.skipUnless(IS_0_18, "client 0.17 has no max_memory")
    def test_max_memory(self):
        self.index.upsert([str(i) for i in range(200)], rows(200))
        self.index.train(max_memory=512)


class Errors(WithIndex):
    settings = {"dimension": 2}

    def raises(self, status: int, call, *args, **kwargs):
        with self.assertRaises(Exception) as caught:
            call(*args, **kwargs)
        error = caught.exception
        if IS_0_18:
            from cyborgdb import exceptions

            kinds = {
                400: exceptions.ValidationError,
                401: exceptions.AuthenticationError,
                404: exceptions.NotFoundError,
                409: exceptions.ConflictError,
            }
            self.assertIs(type(error), kinds[status])
            self.assertEqual(error.status_code, status)
            self.assertTrue(error.detail, "the client shows our text")
            self.assertTrue(error.request_id, "the client shows X-Request-Id")
        else:
            self.assertIn(str(status), str(error))
        self.assertNotIn(self.key.hex(), str(error))

    def test_wrong_key(self):
        self.index.upsert([{"id": "a", "vector": [1.0, 2.0]}])
        self.raises(401, self.client.load_index, self.name, Client.generate_key())
        stranger = cyborgdb.EncryptedIndex(self.name, Client.generate_key(), self.client.api, self.client.api_client)
        self.raises(401, stranger.list_ids)
        self.raises(401, stranger.query, [1.0, 2.0])
        self.raises(401, stranger.delete_index)

    def test_no_such_index(self):
        self.raises(404, self.client.load_index, "nobody", self.key)

    def test_name_taken(self):
        self.raises(409, self.client.create_index, self.name, self.key)

    def test_bad_values(self):
        self.raises(400, self.client.create_index, "x", self.key, metric="dot")
        self.raises(400, self.client.create_index, "x", self.key, dimension=16_385)
        self.raises(400, self.index.upsert, [{"id": "a", "vector": [1.0]}])
        self.raises(400, self.index.upsert, ["a"], np.float32([[np.nan, 1.0]]))
        self.raises(400, self.index.query, [1.0, 2.0], top_k=0)
        self.raises(400, self.index.query, np.float32([1.0, 2.0]), top_k=0)
        self.raises(400, self.index.query, [1.0, 2.0], filters={"f": {"$near": 1}})
        self.assertEqual(self.index.list_ids(), [])


if __name__ == "__main__":
    unittest.main()
