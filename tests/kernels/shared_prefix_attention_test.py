import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc.kernels import dispatch
from ttc.kernels.partial_attention import Segment, merge_partials
from ttc.kernels.shared_prefix_attention import (
  reference,
  shared_prefix_attention,
)

attend = jax.jit(shared_prefix_attention, static_argnames='softcap')


def random(*shape, seed):
  # Numpy's numbers: those of jax compile once for each shape.
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain_attention(query, keys, values, window, softcap=None):
  """Causal attention of the last `T` of `S` positions; one head, float64.

  query `[T, D]`, keys and values `[S, D]`.
  """
  T, S = len(query), len(keys)
  distance = np.arange(S - T, S)[:, None] - np.arange(S)
  logits = np.float64(query) @ np.float64(keys).T / np.sqrt(query.shape[-1])
  if softcap is not None:
    logits = softcap * np.tanh(logits / softcap)
  seen = (distance >= 0) & (distance < (window or S))
  logits = np.where(seen, logits, -np.inf)
  lse = np.logaddexp.reduce(logits, axis=-1)
  return np.exp(logits - lse[:, None]) @ np.float64(values), lse


class SharedPrefixAttentionTest(parameterized.TestCase):
  @parameterized.product(
    groups=(1, 3),
    num_queries=(1, 4),
    options=(
      {},
      {'window': 3},
      {'softcap': 1.5},
      {'window': 3, 'softcap': 2.0},
    ),
  )
  def test_equals_attention_over_the_concatenation(
    self, groups, num_queries, options
  ):
    B, N, T, K, G, D, P, S = 3, 2, num_queries, 2, groups, 8, 6, 9
    query = random(B, N, T, K, G, D, seed=0)
    prefix = Segment(random(B, K, P, D, seed=1), random(B, K, P, D, seed=2))
    suffix = Segment(
      random(B, N, K, S, D, seed=3), random(B, N, K, S, D, seed=4)
    )
    prefix_lengths = np.array([0, 1, P])
    suffix_lengths = np.array([[0, 1], [S - T, 2], [3, S - T]])
    output, lse = attend(
      query, prefix, prefix_lengths, suffix, suffix_lengths, **options
    )
    window, softcap = options.get('window'), options.get('softcap')
    output, lse = np.asarray(output), np.asarray(lse)
    for b, n, k, g in np.ndindex(B, N, K, G):
      p, s = int(prefix_lengths[b]), int(suffix_lengths[b, n]) + T
      keys, values = (
        np.concatenate([one[b, k, :p], two[b, n, k, :s]])
        for one, two in zip(prefix, suffix, strict=True)
      )
      expected, expected_lse = plain_attention(
        query[b, n, :, k, g], keys, values, window, softcap
      )
      np.testing.assert_allclose(output[b, n, :, k, g], expected, atol=1e-5)
      np.testing.assert_allclose(lse[b, n, :, k, g], expected_lse, atol=1e-5)

  def test_without_prefix(self):
    B, N, T, K, G, D = 2, 2, 5, 2, 2, 4
    query = random(B, N, T, K, G, D, seed=0)
    suffix = Segment(
      random(B, N, K, T, D, seed=1), random(B, N, K, T, D, seed=2)
    )
    zeros = np.zeros((B, N), np.int32)
    output, _ = attend(query, None, zeros[:, 0], suffix, zeros)
    output = np.asarray(output)
    for b, n, k, g in np.ndindex(B, N, K, G):
      expected, _ = plain_attention(
        query[b, n, :, k, g], suffix.k[b, n, k], suffix.v[b, n, k], None
      )
      np.testing.assert_allclose(output[b, n, :, k, g], expected, atol=1e-5)

  def test_what_lies_beyond_the_lengths_is_not_seen(self):
    query = random(1, 1, 1, 1, 1, 4, seed=0)
    prefix = Segment(random(1, 1, 5, 4, seed=1), random(1, 1, 5, 4, seed=2))
    suffix = Segment(
      random(1, 1, 1, 5, 4, seed=3), random(1, 1, 1, 5, 4, seed=4)
    )
    lengths = np.array([2]), np.array([[1]])
    spoil = lambda leaf: np.where(np.arange(5)[:, None] < 2, leaf, 1e4)
    one = attend(query, prefix, lengths[0], suffix, lengths[1])
    two = attend(
      query,
      jax.tree.map(spoil, prefix),
      lengths[0],
      jax.tree.map(spoil, suffix),
      lengths[1],
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])

  @parameterized.parameters((None, 4), (2, 4), (3, 5, 0.7))
  def test_blocks_change_nothing(self, *how):
    self.blocks_change_nothing(*how)

  @parameterized.parameters((3, 3), (3, 5), (100, 12))
  @pytest.mark.slow
  def test_blocks_of_other_sizes_change_nothing(self, *how):
    self.blocks_change_nothing(*how)

  def blocks_change_nothing(self, window, key_block, softcap=None):
    B, N, T, K, G, D, P, S = 2, 2, 9, 2, 2, 4, 7, 12
    arrays = (
      random(B, N, T, K, G, D, seed=0),
      Segment(random(B, K, P, D, seed=1), random(B, K, P, D, seed=2)),
      Segment(random(B, N, K, S, D, seed=3), random(B, N, K, S, D, seed=4)),
    )
    arrays = jax.tree.map(jnp.asarray, arrays)
    lengths = jnp.array([5, 0]), jnp.array([[2, 0], [3, 1]])

    def total(arrays):
      query, prefix, suffix = arrays
      output, lse = reference.shared_prefix_attention(
        query,
        prefix,
        lengths[0],
        suffix,
        lengths[1],
        window=window,
        softcap=softcap,
      )
      return jnp.sum(jnp.sin(output)) + jnp.sum(jnp.cos(lse)), (output, lse)

    most = 4 * B * N * K * G * key_block
    whole = jax.jit(jax.grad(total, has_aux=True))(arrays)
    with (
      mock.patch.object(reference, '_BLOCK', key_block),
      mock.patch.object(reference, '_MOST_LOGITS_OF_ROW', 0),
      mock.patch.object(reference, '_LOGITS_OF_BLOCK', most),
    ):
      blocks = jax.jit(jax.grad(lambda x: total(x), has_aux=True))(arrays)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5), blocks, whole
    )

  @parameterized.parameters(False, True)
  def test_blocks_of_one_layer_of_a_stack(self, x64):
    B, N, T, K, G, D, S = 1, 2, 5, 2, 1, 4, 12
    query = random(B, N, T, K, G, D, seed=0)
    stack = Segment(*(random(3, B, N, K, S, D, seed=i) for i in (1, 2)))
    lengths = np.zeros(B, np.int32), np.full((B, N), 4, np.int32)
    query, stack, lengths = jax.tree.map(jnp.asarray, (query, stack, lengths))

    def run(suffix, layer):
      return reference.shared_prefix_attention(
        query, None, lengths[0], suffix, lengths[1], layer=layer
      )

    one = jax.tree.map(lambda x: x[1], stack)
    with (
      jax.enable_x64(x64),
      mock.patch.object(reference, '_BLOCK', 5),
      mock.patch.object(reference, '_MOST_LOGITS_OF_ROW', 0),
    ):
      got = jax.jit(run)(stack, jnp.int32(1))
      want = jax.jit(lambda suffix: run(suffix, None))(one)
    jax.tree.map(np.testing.assert_array_equal, got, want)

  def test_a_cap_that_no_kernel_has_is_left_to_the_reference(self):
    query = random(1, 2, 1, 2, 1, 8, seed=0)
    keys = Segment(*(random(1, 2, 2, 4, 8, seed=i) for i in (1, 2)))
    lengths = np.zeros(1, np.int32), np.full((1, 2), 3, np.int32)
    query, keys, lengths = jax.tree.map(jnp.asarray, (query, keys, lengths))
    run = lambda name, **options: shared_prefix_attention(
      query, None, lengths[0], keys, lengths[1], implementation=name, **options
    )[0]
    with mock.patch.object(dispatch, 'say_that_none_can') as said:
      run('interpret')
      said.assert_not_called()
      got = run('interpret', softcap=1.0)
    said.assert_called_once_with('decoding with a soft-cap')
    np.testing.assert_array_equal(got, run('xla', softcap=1.0))
    with mock.patch.object(dispatch, '_say_once') as said:
      dispatch.say_that_none_can('a soft-cap')
      said.assert_not_called()  # a CPU has no kernels anyway
      with mock.patch.object(jax, 'default_backend', lambda: 'gpu'):
        dispatch.say_that_none_can('a soft-cap')
    said.assert_called_once()

  @parameterized.parameters(1500, 4096)
  def test_memory_is_linear_in_the_prompt(self, T):
    query = jax.ShapeDtypeStruct((1, 1, T, 1, 4, 8), jnp.float32)
    keys = jax.ShapeDtypeStruct((1, 1, 1, T, 8), jnp.float32)
    zeros = jax.ShapeDtypeStruct((1, 1), jnp.int32)

    def prefill(query, keys, zeros):
      return attend(query, None, zeros[:, 0], keys, zeros)

    program = jax.jit(prefill).lower(query, Segment(keys, keys), zeros)
    temporary = program.compile().memory_analysis().temp_size_in_bytes
    # Logits, weights and mask of one block, and blocks of results.
    self.assertLess(temporary, 4 * 4 * (3 * 512**2 + 8 * 2 * T))

  def test_a_gradient_has_a_gradient(self):
    keys = Segment(*(random(6, 1, 2, 1, 8, seed=i) for i in (1, 2)))
    zeros = jnp.zeros((6, 1), jnp.int32)

    def slope(query, implementation):
      def total(query):
        output, lse = shared_prefix_attention(
          query, None, zeros[:, 0], keys, zeros, implementation=implementation
        )
        return jnp.sum(output**2) + jnp.sum(lse**2)

      return jnp.sum(jax.grad(total)(query) ** 2)

    query = jnp.asarray(random(6, 1, 1, 2, 1, 8, seed=0))
    found, expected = (
      jax.jit(jax.grad(slope), static_argnums=1)(query, name)
      for name in (None, 'xla')
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_gradient_with_a_hidden_prefix_is_finite(self):
    query = random(2, 1, 2, 1, 2, 4, seed=0)
    prefix = Segment(random(2, 1, 3, 4, seed=1), random(2, 1, 3, 4, seed=2))
    suffix = Segment(
      random(2, 1, 1, 2, 4, seed=3), random(2, 1, 1, 2, 4, seed=4)
    )

    def total(arrays, prefix_lengths, suffix_lengths):
      query, prefix, suffix = arrays
      output, _ = shared_prefix_attention(
        query, prefix, prefix_lengths, suffix, suffix_lengths
      )
      return jnp.sum(jnp.sin(output))

    gradients = jax.jit(jax.grad(total))(
      (query, prefix, suffix), np.array([0, 3]), np.zeros((2, 1), np.int32)
    )
    for leaf in jax.tree.leaves(gradients):
      self.assertTrue(np.all(np.isfinite(leaf)))
    self.assertFalse(np.any(gradients[1].k[0]))


class MergePartialsTest(absltest.TestCase):
  def test_nothing_seen_gives_zero_and_minus_infinity(self):
    nothing = np.zeros((3, 4), np.float32), np.full(3, -np.inf, np.float32)
    output, lse = jax.jit(merge_partials)([nothing, nothing])
    np.testing.assert_array_equal(output, np.zeros((3, 4)))
    np.testing.assert_array_equal(lse, np.full(3, -np.inf))

  def test_a_set_that_is_not_seen_takes_no_part(self):
    hidden = random(3, 4, seed=0), np.full(3, -np.inf, np.float32)
    seen = random(3, 4, seed=1), random(3, seed=2)
    output, lse = jax.jit(merge_partials)([hidden, seen])
    np.testing.assert_allclose(output, seen[0], atol=1e-6)
    np.testing.assert_allclose(lse, seen[1], atol=1e-6)

  def test_associative_and_commutative(self):
    one, two, three = [
      (random(5, 4, seed=seed), random(5, seed=seed + 3)) for seed in range(3)
    ]
    merge = jax.jit(merge_partials)
    together = merge([one, two, three])
    stepwise = merge([merge([three, one]), two])
    np.testing.assert_allclose(together[0], stepwise[0], atol=1e-6)
    np.testing.assert_allclose(together[1], stepwise[1], atol=1e-6)


if __name__ == '__main__':
  absltest.main()
