"""RoTTA: the memory against plain lists, one step by hand, moving moments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import Batch, Source, rotta
from ttc.adaptation.memory import empty_memory, remember_some
from ttc.adaptation.views import unchanged
from ttc.models.vision import convnet

KEY = jax.random.key(0)
K = 3


class PlainMemory:
  """Lists of `[name, entropy, age]`, one for each class."""

  def __init__(self, num_places):
    self.places, self.lists = num_places, [[] for _ in range(K)]

  def score(self, entropy, age):
    return 1 / (1 + math.exp(-age / self.places)) + entropy / math.log(K)

  def offer(self, name, label, entropy):
    sizes = [len(items) for items in self.lists]
    if sizes[label] >= self.places / K:
      classes = [label]
    elif sum(sizes) < self.places:
      classes = []
    else:
      classes = [c for c in range(K) if sizes[c] == max(sizes)]
    if classes:
      items = [(self.score(h, a), c, n) for c in classes
               for n, h, a in self.lists[c]]  # fmt: skip
      score, c, n = max(items)
      if score > self.score(entropy, 0):
        self.lists[c] = [i for i in self.lists[c] if i[0] != n]
        self.lists[label].append([name, entropy, 0])
    else:
      self.lists[label].append([name, entropy, 0])
    for items in self.lists:
      for item in items:
        item[2] += 1

  def content(self):
    return sorted(
      (n, c, a) for c, items in enumerate(self.lists) for n, _, a in items
    )


class MemoryTest(parameterized.TestCase):
  @parameterized.parameters(6, 7)
  def test_it_keeps_what_plain_lists_keep(self, num_places):
    rng = np.random.default_rng(num_places)
    plain = PlainMemory(num_places)
    memory = empty_memory(num_places, jnp.zeros((1, 1, 1)))
    offer = jax.jit(remember_some, static_argnums=5)
    for start in range(0, 120, 8):
      # Classes come in runs, so that places are fought for.
      labels = (start // 24 + (rng.random(8) < 0.3)) % K
      entropies = rng.random(8) * math.log(K)
      names = np.arange(start, start + 8)
      mask = rng.random(8) < 0.8
      memory = offer(
        memory,
        jnp.asarray(names, jnp.float32).reshape(8, 1, 1, 1),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(entropies, jnp.float32),
        jnp.asarray(mask),
        K,
      )
      for row in np.flatnonzero(mask):
        plain.offer(int(names[row]), int(labels[row]), float(entropies[row]))
      got = sorted(
        (int(image), int(label), int(age))
        for image, label, age in zip(
          memory.images[:, 0, 0, 0], memory.labels, memory.ages, strict=True
        )
        if label >= 0
      )
      self.assertEqual(got, plain.content())
    self.assertLen(got, num_places)


class RottaTest(absltest.TestCase):
  def test_one_step_by_hand(self):
    network = given_logits(K)
    adapter = compiled(
      rotta(
        network, optax.sgd(1.0), num_places=4, update_every=4, momentum=0.75,
        view=lambda key, images: 2 * images,
      )
    )  # fmt: skip
    rows = np.random.default_rng(0).normal(size=(6, K))
    # One of each class and a fourth, who finds one place left.
    rows[:4] = [[2, 0, 0], [0, 3, 0], [0, 0, 1.5], [0.5, 0, 0.3]]
    state = adapter.init(source_of(network), KEY)
    said, new = adapter.update(state, batch_of(rows), KEY)
    np.testing.assert_allclose(said.logits, rows, atol=1e-6)
    self.assertEqual(int(said.num_backward), 4)
    self.assertEqual(int(new.num_seen), 6)
    softmax = lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    gap = softmax(2 * rows[:4]) - softmax(rows[:4])
    # The first is the oldest: four images have come since its place was made.
    ages = np.array([4, 3, 2, 1])
    weights = 1 / (1 + np.exp(ages / 4))
    student = -(weights[:, None] * gap).mean(0)
    got = new.learning.params['norm/bias']
    np.testing.assert_allclose(got, student, atol=1e-6)
    teacher = new.teacher.params['norm/bias']
    np.testing.assert_allclose(teacher, 0.25 * student, atol=1e-6)

  def test_steps_do_not_depend_on_how_the_stream_is_cut(self):
    network = given_logits(K)
    adapter = compiled(
      rotta(
        network, optax.sgd(1.0), num_places=4, update_every=3, momentum=1.0,
        view=lambda key, images: 2 * images,
      )
    )  # fmt: skip
    rows = np.random.default_rng(1).normal(size=(12, K))
    ends = []
    for size in (12, 4, 6):
      state = adapter.init(source_of(network), KEY)
      for part in rows.reshape(-1, size, K):
        _, state = adapter.update(state, batch_of(part), KEY)
      ends.append(state)
    for other in ends[1:]:
      np.testing.assert_allclose(
        other.learning.params['norm/bias'],
        ends[0].learning.params['norm/bias'],
        atol=1e-6,
      )
      np.testing.assert_array_equal(other.memory.ages, ends[0].memory.ages)

  def test_each_has_moments_that_move_by_alpha(self):
    network = convnet(K, (4,), (1,))
    images = jax.random.uniform(KEY, (4, 8, 8, 1))
    variables = jax.jit(network.init)(KEY, images)
    darker = lambda key, x: x / 2
    seen = {}
    for alpha in (0.0, 0.25):
      adapter = compiled(
        rotta(network, num_places=4, update_every=4, alpha=alpha, view=darker)
      )
      source = Source(variables, images, jnp.zeros(4, jnp.int32))
      state = adapter.init(source, KEY)
      _, seen[alpha] = adapter.update(
        state, Batch(images, jnp.ones(4, bool)), KEY
      )
    old = variables['batch_stats']['norm0']
    for name in ('mean', 'var'):
      still = seen[0.0].teacher.moments['norm0'][name]
      np.testing.assert_allclose(still, old[name], atol=1e-6)
    is_filled = seen[0.25].memory.labels >= 0
    for moments, x in (
      (seen[0.25].teacher.moments, seen[0.25].memory.images),
      (seen[0.25].moments, seen[0.25].memory.images / 2),
    ):
      batch = jax.jit(network.apply, static_argnums=2)(
        variables, x, 'batch', is_filled
      ).moments['norm0']
      for name in ('mean', 'var'):
        wanted = 0.75 * old[name] + 0.25 * batch[name]
        np.testing.assert_allclose(moments['norm0'][name], wanted, atol=1e-5)

  def test_bad_sizes_are_named(self):
    with self.assertRaisesRegex(ValueError, '0 places, a step every 64'):
      rotta(given_logits(K), num_places=0, view=unchanged)


if __name__ == '__main__':
  absltest.main()
