"""The split by the hash of the prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks


def _twin(tokens, fraction):
  """FNV-1a and the finaliser of MurmurHash3 in Python's whole numbers."""
  state = 0x811C9DC5
  for token in tokens:
    if token:
      state = (state ^ token) * 0x01000193 % 2**32
  state = (state ^ state >> 16) * 0x85EBCA6B % 2**32
  state = (state ^ state >> 13) * 0xC2B2AE35 % 2**32
  state ^= state >> 16
  return (state >> 8) / 2**24 < fraction


def _words(length):
  """All words over six tokens, `[6^length, length]`."""
  return 3 + np.indices((6,) * length).reshape(length, -1).T


_is_test = jax.jit(jax.vmap(tasks.is_test, in_axes=(0, None)))


def test_hash_equals_the_twin():
  words = _words(4)
  got = _is_test(jnp.asarray(words), 0.3)
  expected = [_twin(word, 0.3) for word in words.tolist()]
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize('fraction', [0.1, 0.5])
def test_share_of_test_prompts(fraction):
  words = _words(5)
  share = float(_is_test(jnp.asarray(words), fraction).mean())
  # Three standard errors of a share of 7776 prompts.
  band = 3 * np.sqrt(fraction * (1 - fraction) / len(words))
  assert abs(share - fraction) < band


def test_ends_order_and_padding():
  words = jnp.asarray(_words(3))
  at = lambda fraction: np.asarray(_is_test(words, fraction))
  assert not at(0.0).any() and at(1.0).all()
  # A larger test set contains the smaller one.
  assert np.all(at(0.2) <= at(0.6)) and np.any(at(0.2) < at(0.6))
  padded = jnp.pad(words, ((0, 0), (0, 4)))
  np.testing.assert_array_equal(_is_test(padded, 0.3), at(0.3))
  # The order of the tokens matters.
  assert np.any(np.asarray(_is_test(words[:, ::-1], 0.3)) != at(0.3))


def test_splits_are_disjoint_and_hold_all_prompts():
  """All 216 words of S3 of length 3, each in one split only."""
  task = tasks.permutation_word_problem('s3', 3)
  sides = [tasks.on_split(task, side, 0.25) for side in ('train', 'test')]
  draw = jax.jit(jax.vmap(lambda key: [s.generate(key) for s in sides]))
  # 2048 draws leave out one of 160 words with probability 160 (159/160)^2048
  # = 4e-4.
  train, test = draw(jax.random.split(jax.random.key(0), 2048))
  train, test = (
    {tuple(x) for x in np.asarray(p.prompt).tolist()} for p in (train, test)
  )
  assert not train & test
  assert len(train | test) == 216
  assert all(_twin(prompt, 0.25) for prompt in test)


@pytest.mark.parametrize('fraction', [0.0, 1.0])
def test_empty_sides_are_refused(fraction):
  task = tasks.permutation_word_problem('s3', 3)
  with pytest.raises(ValueError, match='empty'):
    tasks.on_split(task, 'test', fraction)
