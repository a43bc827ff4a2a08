"""Neighbours against numpy, detectors on pairs whose overlap is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.benchmarks import decontamination as d
from ttc.benchmarks import judges
from ttc.benchmarks.text_likeness import ratio


def unit(key, n):
  x = jax.random.normal(key, (n, 8))
  return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def test_nearest_is_a_full_sort():
  keys = jax.random.split(jax.random.key(0))
  train, test = unit(keys[0], 23), unit(keys[1], 5)
  train = train.at[20].set(train[3])  # of equal ones the first
  cosines = np.asarray(test @ train.T)
  order = np.argsort(-cosines, axis=1, kind='stable')[:, :6]
  for block_size in (4, 23, 64):
    values, ids = d.nearest(train, test, 6, block_size=block_size)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_allclose(
      values, np.take_along_axis(cosines, order, 1), rtol=1e-5
    )


def test_hashed_embedding():
  corpus = ['the red fox jumps', 'a blue whale swims', 'the red dog jumps']
  embed = d.hashed_embedding(corpus, max_share=1.0)
  x = embed(['The red FOX, jumps!', *corpus, '?'])
  np.testing.assert_allclose(np.linalg.norm(x[:4], axis=1), 1, rtol=1e-5)
  cosines = x @ x.T
  assert cosines[0, 1] == pytest.approx(1)  # case and marks do not count
  rare = d.hashed_embedding(corpus)(corpus)
  assert rare[0] @ rare[2] == pytest.approx(0, abs=0.1)
  assert cosines[0, 3] > 0.2 > cosines[0, 2] and not x[4].any()


def test_detectors():
  words = [f'w{i}' for i in range(20)]
  text = ' '.join(words)
  assert d.shared_words(text, text, 13) == 8
  changed = ' '.join([*words[:12], 'x', *words[13:]])
  assert d.shared_words(text, changed, 13) == 0
  assert d.word_overlap(changed, text) == pytest.approx(12 / 20)
  found = {name: f(text, changed) for name, f in d.DETECTORS.items()}
  assert found == {
    '13-grams of words': False, '8-grams over 70%': False,
    '50 characters': False, 'fuzzy ratio 95': True,
  }  # fmt: skip
  assert all(f(text, text) for f in d.DETECTORS.values())
  assert ratio('abcd', 'bcde') == pytest.approx(75)


def test_f1():
  assert d.detection_f1([True, False, True], [True, True, False]) == 0.5
  assert d.detection_f1([False] * 2, [True] * 2) == 0
  assert d.detection_f1([], []) == 0
  f1, x = d.best_threshold_f1(np.array([0.1, 0.9, 0.4]), [False, True, True])
  assert (f1, x) == (1.0, 0.4)


def test_a_rephrase_is_found_where_words_are_not_shared():
  train = ['Ann has 3 pears and eats one. How many pears are left?', 'The sky.']
  test = ['After eating 1 of her 3 pears, how many does Ann have?', 'A boat.']
  replies = {True: ['hm', 'True.', 'False'], False: ['well', '?', 'no']}
  judge = lambda prompts, num_votes=1: [
    replies['Ann' in p.split('Second')[1] and 'Ann' in p.split('Second')[0]]
    for p in prompts
  ]
  found = d.decontaminate(
    train, test, d.hashed_embedding(train), d.judged_same(judge, 'math')
  )
  assert found.contaminated == [True, False] and found.rate == 0.5
  assert found.neighbours[0, 0] == 0
  assert not any(f(test[0], train[0]) for f in d.DETECTORS.values())
  with pytest.raises(ValueError, match='top_k=3 of 2 training texts'):
    d.decontaminate(
      train, test, d.hashed_embedding(train), lambda pairs: [], top_k=3
    )
  with pytest.raises(ValueError, match="kind='maths' is not one of"):
    d.judged_same(judges.no_judge, 'maths')
