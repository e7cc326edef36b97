"""The LangChain store of the official client package against a running server at SEALDEX_URL."""
import os
import sys
import types
import unittest
import uuid
import warnings

# The package names this class in a type hint and needs nothing of it; see README.md.
sys.modules["sentence_transformers"] = types.SimpleNamespace(SentenceTransformer=type("SentenceTransformer", (), {}))

from cyborgdb import CyborgVectorStore  # noqa: E402
from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import Embeddings  # noqa: E402

URL = os.environ["SEALDEX_URL"]
WORDS = ["cat", "dog", "sea", "ship", "tree", "leaf", "star", "moon"]


class WordCounts(Embeddings):
    """Texts with the same words are near each other; nothing to download."""

    def embed_query(self, text: str) -> list[float]:
        return [1.0 + 10.0 * text.lower().split().count(word) for word in WORDS]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


TEXTS = ["cat and dog", "ship on the sea", "leaf of a tree", "star and moon", "sea star", "dog on a ship"]
METADATAS = [{"n": n, "even": n % 2 == 0} for n in range(len(TEXTS))]


class Store(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.arguments = {
            "index_name": f"langchain {uuid.uuid4()}",
            "index_key": CyborgVectorStore.generate_key(),
            "api_key": "none is needed here",
            "base_url": URL,
            "embedding": WordCounts(),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "Not enough data to train index", as it should be
            self.store = CyborgVectorStore.from_texts(
                TEXTS, metadatas=METADATAS, ids=[f"t{n}" for n in range(len(TEXTS))], **self.arguments
            )

    def tearDown(self):
        self.store.delete(delete_index=True)

    def test_search(self):
        found = self.store.similarity_search("cat dog", k=2)
        self.assertEqual(found[0].page_content, "cat and dog")
        self.assertEqual(found[0].metadata, {"n": 0, "even": True})

    def test_search_with_score(self):
        (best, score), (_, lower) = self.store.similarity_search_with_score("sea ship", k=2)
        self.assertEqual(best.page_content, "ship on the sea")
        self.assertAlmostEqual(score, 1.0, places=5)
        self.assertLess(lower, score)

    def test_search_by_vector(self):
        found = self.store.similarity_search_by_vector(WordCounts().embed_query("tree leaf"), k=1)
        self.assertEqual(found[0].page_content, "leaf of a tree")

    def test_filters(self):
        found = self.store.similarity_search("star", k=10, filter={"even": True, "n": {"$gt": 1}})
        self.assertEqual({document.metadata["n"] for document in found}, {2, 4})

    def test_retriever(self):
        retriever = self.store.as_retriever(search_kwargs={"k": 1})
        self.assertEqual(retriever.invoke("moon star")[0].page_content, "star and moon")

    def test_documents_get_list_delete(self):
        ids = self.store.add_documents([Document("cat on the moon", metadata={"new": True}), Document("dog at sea")])
        self.assertEqual(len(ids), 2)
        self.assertEqual(sorted(self.store.list_ids()), sorted([f"t{n}" for n in range(len(TEXTS))] + ids))
        first, second = self.store.get(ids)
        self.assertEqual((first.page_content, first.metadata), ("cat on the moon", {"new": True}))
        self.assertEqual((second.page_content, second.metadata), ("dog at sea", {}))
        self.assertTrue(self.store.delete(ids))
        self.assertEqual(self.store.get(ids), [])

    def test_second_handle_loads_the_same_index(self):
        again = CyborgVectorStore(**self.arguments)
        self.assertEqual(again.similarity_search("cat dog", k=1)[0].page_content, "cat and dog")
        self.assertEqual(again.index.metric, "cosine")

    async def test_async(self):
        ids = await self.store.aadd_texts(["moon tree"])
        found = await self.store.asimilarity_search("tree moon", k=1)
        self.assertEqual(found[0].page_content, "moon tree")
        self.assertTrue(await self.store.adelete(ids))


if __name__ == "__main__":
    unittest.main()
