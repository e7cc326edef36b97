"""Indexes of the key registry's slots with the official Python client: no call carries a key. The server is at SEALDEX_URL, its root
key is SEALDEX_ROOT_KEY, and SEALDEX_SLOTS names slots of every kind."""
import os
import unittest
import uuid

import numpy as np
from cyborgdb import Client

URL = os.environ["SEALDEX_URL"]
ROOT_KEY = os.environ["SEALDEX_ROOT_KEY"]
SLOTS = os.environ["SEALDEX_SLOTS"].split()


class OfSlots(unittest.TestCase):
    def each_slot(self):
        """A fresh index of every slot, gone after its turn."""
        for slot in SLOTS:
            with self.subTest(slot=slot):
                name = f"{slot} {uuid.uuid4()}"
                index = Client(URL, ROOT_KEY).create_index(name, kms_name=slot)
                index.upsert(
                    [
                        {"id": "a", "vector": [1.0, 2.0], "metadata": {"n": 1}, "contents": "first"},
                        {"id": "b", "vector": [5.0, 6.0], "metadata": {"n": 2}},
                    ]
                )
                try:
                    yield name, index
                finally:
                    index.delete_index()

    def test_every_call_works_without_a_key(self):
        for name, index in self.each_slot():
            self.assertIn(name, Client(URL, ROOT_KEY).list_indexes())
            index = Client(URL, ROOT_KEY).load_index(name)
            self.assertEqual((index.dimension, index.metric, index.is_trained()), (2, "euclidean", False))
            index.upsert(["c", "d"], np.array([[7.0, 8.0], [9.0, 9.0]], dtype=np.float32))
            found = index.query(query_vectors=[1.0, 2.1], top_k=1, include=["distance", "metadata"])
            self.assertEqual((found[0]["id"], found[0]["metadata"]), ("a", {"n": 1}))
            found = index.query(query_vectors=np.array([[9.0, 9.1]], dtype=np.float32), top_k=1)
            self.assertEqual(found[0]["id"], "d")
            found = index.query(query_vectors=[0.0, 0.0], top_k=4, filters={"n": {"$gt": 1}})
            self.assertEqual([row["id"] for row in found], ["b"])
            self.assertEqual(index.get(["a"])[0]["contents"], "first")
            index.train()
            index.delete(["d"])
            self.assertEqual(sorted(index.list_ids()), ["a", "b", "c"])

    def test_users_come_and_go(self):
        for name, index in self.each_slot():
            reader, writer = index.create_user(["read"]), index.create_user(["read", "write"])
            self.assertEqual(
                index.list_users(),
                [
                    {"user_id": reader["user_id"], "permissions": ["read"]},
                    {"user_id": writer["user_id"], "permissions": ["read", "write"]},
                ],
            )
            theirs = Client(URL, writer["api_key"]).load_index(name)
            theirs.upsert([{"id": "e", "vector": [3.0, 3.0]}])
            reads = Client(URL, reader["api_key"]).load_index(name)
            self.assertEqual(reads.query(query_vectors=[3.0, 3.0], top_k=1)[0]["id"], "e")
            with self.assertRaises(ValueError):
                reads.upsert([{"id": "f", "vector": [0.0, 0.0]}])
            index.delete_user(reader["user_id"])
            with self.assertRaises(ValueError):
                reads.query(query_vectors=[3.0, 3.0], top_k=1)
            self.assertEqual([user["user_id"] for user in index.list_users()], [writer["user_id"]])
            self.assertEqual(sorted(theirs.list_ids()), ["a", "b", "e"])

    def test_a_key_beside_a_slot_is_refused_and_disturbs_nobody(self):
        for name, index in self.each_slot():
            with self.assertRaises(ValueError) as refused:
                Client(URL, ROOT_KEY).load_index(name, Client.generate_key()).list_ids()
            self.assertIn("KMS-backed", str(refused.exception))
            self.assertEqual(sorted(index.list_ids()), ["a", "b"])

    def test_a_slot_that_is_not_there_is_named(self):
        with self.assertRaises(ValueError) as refused:
            Client(URL, ROOT_KEY).create_index(str(uuid.uuid4()), kms_name="absent")
        self.assertIn("absent", str(refused.exception))


if __name__ == "__main__":
    unittest.main()
