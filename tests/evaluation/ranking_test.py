"""Ranking metrics, against values by hand and permutations."""

import functools
import itertools

import jax
import numpy as np

from ttc import evaluation


@functools.partial(jax.jit, static_argnums=2)
def metrics(relevance, corpus, k):
  return (
    evaluation.reciprocal_rank(relevance),
    evaluation.ndcg(relevance, corpus, k),
    evaluation.recall(relevance, corpus, k),
    evaluation.summarize_ranking(relevance, corpus, k),
  )


def test_one_relevant_item_by_its_rank():
  # At rank 1, 2, 3, not among what was returned, and not anywhere.
  corpus = np.eye(5, 4, dtype=np.float32)
  relevance = corpus[:, :3]
  ranks, all_gains, all_found, _ = metrics(relevance, corpus, 10)
  np.testing.assert_allclose(ranks, [1, 1 / 2, 1 / 3, 0, 0])
  gains = [1, 1 / np.log2(3), 1 / 2, 0, 0]
  np.testing.assert_allclose(all_gains, gains, rtol=1e-6)
  np.testing.assert_array_equal(all_found, [1, 1, 1, 0, 0])
  _, gain, found, summary = metrics(relevance, corpus, 2)
  np.testing.assert_allclose(gain, [*gains[:2], 0, 0, 0], rtol=1e-6)
  np.testing.assert_array_equal(found, [1, 1, 0, 0, 0])
  np.testing.assert_allclose(summary.mrr.mean, (1 + 1 / 2 + 1 / 3) / 5)
  np.testing.assert_allclose(summary.ndcg.mean, sum(gains[:2]) / 5, rtol=1e-6)
  error = np.std([1, 1, 0, 0, 0], ddof=1) / np.sqrt(5)
  np.testing.assert_allclose(summary.recall.standard_error, error, rtol=1e-6)


def test_no_order_is_better_than_by_relevance():
  corpus = [3.0, 2.0, 1.0, 0.0]
  orders = np.array(list(itertools.permutations(corpus)), np.float32)
  every = np.broadcast_to(orders[:1], orders.shape)
  _, gain, found, _ = metrics(orders, every, 3)
  assert np.argmax(gain) == 0 and gain[0] == 1
  # By hand: the relevances 0, 1, 2 first, of 3, 2, 1 at best.
  worst = (1 / np.log2(3) + 2 / 2) / (3 + 2 / np.log2(3) + 1 / 2)
  np.testing.assert_allclose(gain[-1], worst, rtol=1e-6)
  assert np.all(gain[:-1] > worst + 1e-3)
  np.testing.assert_allclose(found, 1 - (orders[:, 3] > 0) / 3, rtol=1e-6)
