"""AdaNPC: votes by hand, limits, and what joins the memory."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from compiled import compiled

from ttc.adaptation import adapter
from ttc.adaptation.adanpc import Memory, adanpc, neighbour_scores
from ttc.models.vision import Classifier, Outputs

scores_of = compiled(neighbour_scores)
unit = compiled(adapter.unit)
NUM_CLASSES, SIZE = 4, 6


def pixels_as_features():
  def apply(variables, images, moments='source', mask=None, between=None):
    features = images.reshape(len(images), -1)
    return Outputs(features[:, :NUM_CLASSES], features, {})

  return Classifier(lambda key, x: {}, apply, NUM_CLASSES, 0, (), False)


def draw(seed, rows):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(rows, SIZE, 1, 1)).astype(np.float32)
  labels = rng.integers(NUM_CLASSES, size=rows).astype(np.int32)
  return features, labels


def memory(seed, rows):
  features, labels = draw(seed, rows)
  keys = np.asarray(unit(features.reshape(rows, -1)))
  return Memory(keys, labels, np.ones(rows, bool))


class AdaNPCTest(parameterized.TestCase):
  def test_votes_are_those_of_numpy(self):
    known, queries = memory(0, 40), memory(1, 7).keys
    scores = scores_of(known, queries, NUM_CLASSES, 5, 0.3)
    cosine = np.asarray(queries) @ np.asarray(known.keys).T
    for row, got in zip(cosine, np.asarray(scores), strict=True):
      nearest = np.argsort(-row)[:5]
      weights = np.exp(row[nearest] / 0.3)
      weights /= weights.sum()
      votes = np.bincount(
        np.asarray(known.labels)[nearest], weights, NUM_CLASSES
      )
      np.testing.assert_allclose(got, np.minimum(votes + 1e-5, 1), atol=1e-6)

  def test_one_vector_a_class_is_the_nearest_centroid(self):
    known = memory(2, NUM_CLASSES)._replace(
      labels=np.arange(NUM_CLASSES, dtype=np.int32)
    )
    queries = memory(3, 9).keys
    scores = scores_of(known, queries, NUM_CLASSES, 1)
    np.testing.assert_array_equal(
      np.argmax(scores, -1), (queries @ known.keys.T).argmax(-1)
    )

  def test_a_hot_vote_counts_heads(self):
    known, queries = memory(4, 30), memory(5, 4).keys
    scores = scores_of(known, queries, NUM_CLASSES, 30, 1e6)
    share = np.bincount(known.labels, minlength=NUM_CLASSES) / 30
    np.testing.assert_allclose(scores, np.tile(share, (4, 1)), atol=1e-4)

  def test_everybody_twice_is_everybody_once(self):
    known, queries = memory(6, 20), memory(7, 5).keys
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), known)
    np.testing.assert_allclose(
      scores_of(known, queries, NUM_CLASSES, 4),
      scores_of(twice, queries, NUM_CLASSES, 8),
      atol=1e-5,
    )

  def run_method(self, method, batches):
    images, labels = draw(8, 12)
    source = adapter.Source({}, images, labels)
    state = jax.jit(method.init)(source, jax.random.key(0))
    update = jax.jit(method.update)
    for batch in batches:
      _, state = update(state, batch, jax.random.key(0))
    return jax.device_get(state)

  def test_nothing_joins_above_certainty(self):
    method = adanpc(pixels_as_features(), 3, 8, threshold=1.1)
    batch = adapter.Batch(draw(9, 5)[0], np.ones(5, bool))
    state = self.run_method(method, [batch] * 3)
    self.assertEqual(int(state.num_joined), 0)
    self.assertEqual(int(state.memory.is_filled.sum()), 12)

  def test_the_oldest_newcomers_make_room_and_the_source_stays(self):
    method = adanpc(pixels_as_features(), 3, 8, threshold=0.0)
    batches = [
      adapter.Batch(draw(seed, 5)[0], np.arange(5) < 4) for seed in (9, 10, 11)
    ]
    state = self.run_method(method, batches)
    self.assertEqual(int(state.num_joined), 12)
    first = unit(draw(8, 12)[0].reshape(12, -1))
    np.testing.assert_array_equal(state.memory.keys[:12], first)
    joined = lambda b: np.asarray(unit(b.images.reshape(5, -1)))[:4]
    np.testing.assert_allclose(state.memory.keys[12:16], joined(batches[2]))
    np.testing.assert_allclose(state.memory.keys[16:], joined(batches[1]))

  def test_the_releases_confidence_never_reaches_a_quarter(self):
    # Of ten classes, softmax of scores is at most e / (e + 9) = .232.
    sure = jax.nn.softmax(jnp.eye(10))
    self.assertLess(float(sure.max()), 0.2321)
    method = adanpc(
      pixels_as_features(), 1, 8, threshold=0.6, confidence='softmax_of_scores'
    )
    batch = adapter.Batch(draw(9, 5)[0], np.ones(5, bool))
    self.assertEqual(int(self.run_method(method, [batch]).num_joined), 0)

  @parameterized.parameters(
    ((3, 0), '3 neighbours, 0 places: at least 1'),
    ((13, 8), '12 images of the source for 13 neighbours'),
  )
  def test_sizes_that_do_not_fit_are_refused(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      self.run_method(adanpc(pixels_as_features(), *sizes), [])


if __name__ == '__main__':
  absltest.main()
