"""Users of an index with the official Python client, against a server at SEALDEX_URL whose root key is SEALDEX_ROOT_KEY."""
import os
import unittest
import uuid

import numpy
from cyborgdb import Client
from cyborgdb.openapi_client.exceptions import ApiException

URL = os.environ["SEALDEX_URL"]
ROOT_KEY = os.environ["SEALDEX_ROOT_KEY"]


class Users(unittest.TestCase):
    def setUp(self):
        self.root = Client(URL, ROOT_KEY)
        self.name = f"users {self._testMethodName} {uuid.uuid4()}"
        self.index = self.root.create_index(self.name, Client.generate_key())
        self.index.upsert([{"id": "a", "vector": [1.0, 2.0], "metadata": {"n": 1}}, {"id": "b", "vector": [5.0, 6.0]}])

    def tearDown(self):
        self.index.delete_index()

    def user(self, *permissions):
        """An index as the user sees it, who has a token and no index key."""
        made = self.index.create_user(list(permissions))
        self.assertEqual(set(made), {"user_id", "api_key"})
        self.assertTrue(made["api_key"].startswith("cdbk_1_"))
        return made["user_id"], Client(URL, made["api_key"]).load_index(self.name)

    def test_a_reader_reads_and_nothing_else(self):
        _, index = self.user("read")
        self.assertEqual(index.query(query_vectors=[1.0, 2.1], top_k=1)[0]["id"], "a")
        self.assertEqual(index.get(["a"], include=["metadata"])[0]["metadata"], {"n": 1})
        self.assertEqual(sorted(index.list_ids()), ["a", "b"])
        for forbidden in (
            lambda: index.upsert([{"id": "c", "vector": [1.0, 1.0]}]),
            lambda: index.delete(["a"]),
            lambda: index.train(),
            lambda: index.delete_index(),
            lambda: index.create_user(["read"]),
        ):
            with self.assertRaises(ValueError):
                forbidden()
        self.assertEqual(sorted(self.index.list_ids()), ["a", "b"])

    def test_a_user_who_may_only_write_writes_and_everybody_else_sees_it(self):
        _, index = self.user("write")
        _, reader = self.user("read")
        index.upsert([{"id": "b", "vector": [0.5, 0.25], "metadata": {"n": 2}, "contents": "of a writer"}])
        index.upsert(["d", "e"], numpy.array([[9.0, 8.0], [7.0, 6.0]], dtype=numpy.float32))
        index.delete(["e"])
        for seen in (reader, self.index):
            self.assertEqual(sorted(seen.list_ids()), ["a", "b", "d"])
            found = seen.query(query_vectors=[0.5, 0.25], top_k=1, filters={"n": 2}, include=["distance", "metadata"])
            self.assertEqual(found, [{"id": "b", "distance": 0.0, "metadata": {"n": 2}}])
            found = seen.query(query_vectors=numpy.array([[9.0, 8.0], [1.0, 2.0]], dtype=numpy.float32), top_k=1)
            self.assertEqual([row[0]["id"] for row in found], ["d", "a"])
            whole = seen.get(["b", "d"], include=["vector", "contents", "metadata"])
            self.assertEqual([list(item["vector"]) for item in whole], [[0.5, 0.25], [9.0, 8.0]])
            self.assertIn(whole[0]["contents"], ("of a writer", b"of a writer"))
        for forbidden in (
            lambda: index.query(query_vectors=[1.0, 2.0], top_k=1),
            lambda: index.get(["b"]),
            lambda: index.list_ids(),
        ):
            # Client 0.17 passes on what get is refused as it came.
            with self.assertRaises((ValueError, ApiException)):
                forbidden()

    def test_a_user_who_may_read_and_write_does_both(self):
        _, index = self.user("read", "write")
        index.upsert([{"id": "c", "vector": [9.0, 9.0]}])
        self.assertEqual(index.query(query_vectors=[9.0, 9.0], top_k=1)[0]["id"], "c")
        index.delete(["c"])
        self.assertEqual(sorted(self.index.list_ids()), ["a", "b"])

    def test_listed_with_permissions_and_revoked_at_once(self):
        user_id, index = self.user("read")
        writer_id, _ = self.user("write")
        self.assertEqual(
            self.index.list_users(),
            [{"user_id": user_id, "permissions": ["read"]}, {"user_id": writer_id, "permissions": ["write"]}],
        )
        self.assertEqual(len(index.query(query_vectors=[1.0, 2.0], top_k=2)), 2)
        self.index.delete_user(user_id)
        with self.assertRaises(ValueError):
            index.query(query_vectors=[1.0, 2.0], top_k=2)
        self.assertEqual([user["user_id"] for user in self.index.list_users()], [writer_id])

    def test_without_the_root_key_nobody_gets_in(self):
        for key in ("", "wrong", "cdbk_1_" + "A" * 75):
            with self.assertRaises(ValueError):
                Client(URL, key).list_indexes()


if __name__ == "__main__":
    unittest.main()
