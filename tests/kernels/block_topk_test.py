import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.kernels import block_sparse_attention as sparse_lib
from ttc.kernels import block_topk, partial_attention
from ttc.kernels import decode_attention as decode_lib
from ttc.kernels.block_topk import rules
from ttc.kernels.block_topk.api import split_blocks
from ttc.kernels.partial_attention import Segment


def jit(fn):
  """Jits with whatever decides on shapes static."""
  names = {'block_size', 'num_blocks', 'sink', 'local'}
  return jax.jit(
    fn, static_argnames=names & set(inspect.signature(fn).parameters)
  )


block_sparse_attention = jit(sparse_lib.block_sparse_attention)
decode_attention = jit(decode_lib.decode_attention)
softmax_attention = jit(partial_attention.softmax_attention)
pool_keys = jit(block_topk.pool_keys)
select_blocks = jit(block_topk.select_blocks)
best_blocks = jit(block_topk.block_topk)
paper_mask = jit(rules.paper_block_topk_mask)

RULES = {
  'mean_pool': block_topk.mean_pool,
  'moba': block_topk.moba,
  'quest': block_topk.quest,
  'nsa': block_topk.nsa,
  'oracle': block_topk.oracle,
  'lightning_indexer': block_topk.lightning_indexer,
  'sink_window': block_topk.sink_window,
  'random_blocks': block_topk.random_blocks,
}


def random(*shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 4))
def scores_of(rule, query, keys, lengths, block_size):
  longest = jnp.max(lengths, axis=1)[:, None]
  blocks, real = split_blocks(keys, longest, block_size)
  cached = rules.Cached(keys, rule.summarize(blocks, real), lengths)
  scores = rule.score(query, cached, block_size)  # [B, N, K, G, M]
  start = jnp.arange(scores.shape[-1]) * block_size
  exists = (start < lengths[..., None])[:, :, None, None]
  scores = jnp.where(exists, scores, -jnp.inf)
  combine = rule.combine or (lambda scores: scores[..., 0, :])
  return combine(scores)


def choose(rule, query, keys, lengths, block_size, num_blocks):
  scores = scores_of(rule, query, keys, lengths, block_size)
  start = jnp.arange(scores.shape[-1]) * block_size
  valid = start < lengths[..., None, None]
  return select_blocks(
    scores, jnp.zeros_like(valid), valid, num_blocks=num_blocks
  )


class EveryRuleTest(parameterized.TestCase):
  @parameterized.named_parameters(RULES.items())
  def test_scores_ignore_what_lies_beyond_the_length(self, rule):
    query, keys = random(2, 1, 2, 3, 8, seed=0), random(2, 2, 64, 8, seed=1)
    lengths = np.array([[40], [64]])
    other = keys.copy()
    other[0, :, 40:] = 100.0
    one = scores_of(rule, query, keys, lengths, 16)
    two = scores_of(rule, query, other, lengths, 16)
    self.assertEqual(one.shape, (2, 1, 2, 4))
    np.testing.assert_array_equal(one[0, ..., :3], two[0, ..., :3])
    self.assertFalse(np.any(np.isnan(one)))

  @parameterized.named_parameters(RULES.items())
  def test_all_blocks_are_all_of_attention(self, rule):
    query, keys = random(1, 2, 2, 3, 8, seed=0), random(1, 2, 40, 8, seed=1)
    lengths = np.array([[33, 40]])
    ids = choose(rule, query, keys, lengths, 16, 3)
    if rule is block_topk.sink_window:  # chooses nothing that is not forced
      self.assertTrue(np.all(ids == -1))
      return
    segment = Segment(keys, random(1, 2, 40, 8, seed=2))
    output, lse = block_sparse_attention(
      query, segment, lengths, ids, block_size=16
    )
    for n in range(2):
      expected = decode_attention(query[:, n], segment, lengths[:, n])
      np.testing.assert_allclose(output[:, n], expected[0], atol=2e-6)
      np.testing.assert_allclose(lse[:, n], expected[1], atol=2e-6)


class ScoresTest(absltest.TestCase):
  def test_pooled_keys_are_means_over_real_tokens(self):
    keys = random(2, 3, 21, 8, seed=0)
    pooled = pool_keys(keys, np.array([[21], [9]]), block_size=8)
    self.assertEqual(pooled.shape, (2, 3, 3, 8))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
    close(pooled[0, :, 2], keys[0, :, 16:].mean(1))
    close(pooled[1, :, 1], keys[1, :, 8])
    close(pooled[1, :, 2], 0)

  def test_mean_over_the_group_is_a_mean_of_scores(self):
    query, keys = random(2, 2, 2, 4, 8, seed=0), random(2, 2, 32, 8, seed=1)
    lengths = np.full((2, 2), 32)
    together = scores_of(block_topk.mean_pool, query, keys, lengths, 8)
    apart = [
      scores_of(
        block_topk.mean_pool, query[..., g : g + 1, :], keys, lengths, 8
      )
      for g in range(4)
    ]
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=1e-5)

  def test_quest_bounds_every_key_of_its_block(self):
    query, keys = random(3, 1, 2, 1, 8, seed=0), random(3, 2, 64, 8, seed=1)
    lengths = np.full((3, 1), 64)
    bound = scores_of(block_topk.quest, query, keys, lengths, 16)
    logits = np.einsum('bnkgd,bksd->bnks', query, keys) * 8**-0.5
    best = logits.reshape(3, 1, 2, 4, 16).max(-1)
    self.assertTrue(np.all(bound >= best - 1e-5))
    literal = np.maximum(
      query * keys.reshape(3, 2, 4, 16, 8).max(-2)[:, None],
      query * keys.reshape(3, 2, 4, 16, 8).min(-2)[:, None],
    )
    np.testing.assert_allclose(
      bound, literal.sum(-1) * 8**-0.5, rtol=1e-4, atol=1e-5
    )

  def test_opposite_keys_cancel_in_the_mean_and_not_in_quest(self):
    query = random(1, 1, 1, 1, 8, seed=0)
    keys = 0.1 * random(1, 1, 64, 8, seed=1)
    along = 5 * query[0, 0, 0]
    keys[0, 0, 32:48] = np.where(np.arange(16)[:, None] % 2, along, -along)
    lengths = np.full((1, 1), 64)
    mean = scores_of(block_topk.mean_pool, query, keys, lengths, 16)
    bound = scores_of(block_topk.quest, query, keys, lengths, 16)
    self.assertAlmostEqual(float(mean[0, 0, 0, 2]), 0.0, delta=1e-5)
    self.assertEqual(int(np.argmax(bound)), 2)

  def test_indexer_with_positive_logits_is_the_token_oracle(self):
    query = np.abs(random(1, 1, 2, 1, 8, seed=0))
    keys = np.abs(random(1, 2, 40, 8, seed=1))
    lengths = np.full((1, 1), 40)
    one = choose(block_topk.lightning_indexer, query, keys, lengths, 1, 5)
    two = choose(block_topk.oracle, query, keys, lengths, 1, 5)
    np.testing.assert_array_equal(np.sort(one), np.sort(two))

  def test_nsa_is_a_share_of_the_compressed_softmax(self):
    query, keys = random(1, 1, 1, 2, 8, seed=0), random(1, 1, 64, 8, seed=1)
    lengths = np.full((1, 1), 64)
    scores = scores_of(block_topk.nsa, query, keys, lengths, 32)
    windows = np.stack([keys[0, 0, s : s + 32].mean(0) for s in (0, 16, 32)])
    windows = np.concatenate([windows, keys[0, 0, 48:].mean(0)[None]])
    mass = jax.nn.softmax(query[0, 0, 0] @ windows.T * 8**-0.5).sum(0)
    np.testing.assert_allclose(
      scores[0, 0, 0], [mass[0] + mass[1], mass[2] + mass[3]], rtol=1e-5
    )
    self.assertAlmostEqual(float(scores.sum()), 2.0, delta=1e-5)
    with self.assertRaisesRegex(ValueError, 'block_size=8 is not a multiple'):
      scores_of(block_topk.nsa, query, keys, lengths, 8)


class SelectionTest(absltest.TestCase):
  def test_forced_first_then_the_best_then_none(self):
    scores = np.array([[1.0, 5.0, 3.0, 4.0, 9.0]], np.float32)
    forced = np.array([[True, False, False, False, False]])
    valid = np.array([[True, True, True, True, False]])
    select = lambda k: select_blocks(scores, forced, valid, num_blocks=k)
    np.testing.assert_array_equal(select(3), [[0, 1, 3]])
    np.testing.assert_array_equal(select(5), [[0, 1, 3, 2, -1]])
    np.testing.assert_array_equal(select(9), [[0, 1, 3, 2, -1]])

  def test_sink_and_window_are_always_chosen(self):
    query, keys = random(1, 2, 2, 2, 8, seed=0), random(1, 2, 160, 8, seed=1)
    lengths = np.array([[160, 70]])
    pooled = pool_keys(keys, np.array([[160]]), block_size=16)
    ids = best_blocks(
      query, pooled, lengths, block_size=16, num_blocks=5, sink=4, local=20
    )
    self.assertEqual(ids.shape, (1, 2, 2, 5))
    for k in range(2):
      self.assertLessEqual({0, 8, 9}, set(np.asarray(ids[0, 0, k]).tolist()))
      self.assertEqual({0, 1, 2, 3, 4}, set(np.asarray(ids[0, 1, k]).tolist()))

  def test_needle_is_found_by_its_block_and_not_by_a_window(self):
    # kernels.md 2 (b): one block along the query among small noise.
    D, S, block_size = 64, 1024, 16
    query = random(1, 1, 1, 1, D, seed=0)
    keys = 0.1 * random(1, 1, S, D, seed=1)
    keys[0, 0, 480:496] = 16 * query[0, 0, 0] / np.linalg.norm(query)
    segment = Segment(keys, random(1, 1, S, D, seed=2))
    lengths = np.full((1, 1), S)
    dense, _ = decode_attention(query[:, 0], segment, lengths[:, 0])
    ids = choose(block_topk.mean_pool, query, keys, lengths, block_size, 2)
    found, _ = block_sparse_attention(
      query, segment, lengths, ids, block_size=block_size
    )
    np.testing.assert_allclose(found[:, 0], dense, atol=1e-3)
    window = np.array([[[[0, 63]]]])
    missed, _ = block_sparse_attention(
      query, segment, lengths, window, block_size=block_size
    )
    self.assertGreater(np.abs(missed[:, 0] - dense).max(), 0.1)

  def test_the_papers_own_variant(self):
    query, keys = random(1, 1, 2, 2, 8, seed=0), random(1, 2, 100, 8, seed=1)
    mask = functools.partial(
      paper_mask, block_size=16, num_blocks=2, sink=4, local=8
    )
    short = mask(query, keys, np.array([[44]]))  # 4 + 8 + 2 * 16: all of it
    np.testing.assert_array_equal(short.sum(-1), 44)
    kept = np.asarray(mask(query, keys, np.array([[100]])))
    # 88 candidates: 5 blocks of 16, and 8 that join the window.
    np.testing.assert_array_equal(kept.sum(-1), 4 + 2 * 16 + 8 + 8)
    self.assertTrue(np.all(kept[..., :4]) and np.all(kept[..., 84:]))
    scores = np.einsum(
      'kgd,kmd->km', query[0, 0], keys[0, :, 4:84].reshape(2, 5, 16, 8).mean(2)
    )
    for k in range(2):
      best = np.sort(np.argsort(scores[k])[-2:])
      blocks = kept[0, 0, k, 4:84].reshape(5, 16)
      np.testing.assert_array_equal(np.flatnonzero(blocks.all(1)), best)
      np.testing.assert_array_equal(np.flatnonzero(blocks.any(1)), best)


class RecallTest(absltest.TestCase):
  def test_share_of_attention_on_correlated_keys(self):
    """kernels.md 2 (c), where the heads of a group ask nearly the same."""
    S, D, G, seeds, shared = 1024, 64, 4, 50, 0.92
    eps = random(seeds, 1, S, D, seed=0)
    private = random(seeds, 1, 1, G, D, seed=1)
    common = random(seeds, 1, 1, 1, D, seed=2)
    query = 3 * (shared * common + (1 - shared**2) ** 0.5 * private)
    lengths = np.full((seeds, 1), S)

    def recall(rule, keys, block_size):
      ids = choose(rule, query, keys, lengths, block_size, 128 // block_size)
      logits = np.einsum('bnkgd,bksd->bnkgs', query, keys) * D**-0.5
      share = np.asarray(jax.nn.softmax(logits, axis=-1))
      chosen = np.arange(S) // block_size == np.asarray(ids)[..., None]
      return (share * chosen.any(-2)[:, :, :, None]).sum(-1).mean()

    expected = {  # rule, block size: recall at rho = 0.9 and at 0
      ('oracle', 1): (0.92, 0.95),
      ('oracle', 16): (0.81, 0.65),
      ('mean_pool', 16): (0.73, 0.29),
      ('quest', 16): (0.68, 0.19),
      ('random_blocks', 16): (0.12, 0.12),
    }
    for i, rho in enumerate((0.9, 0.0)):
      keys = eps.copy()
      for t in range(1, S):
        keys[:, :, t] = (
          rho * keys[:, :, t - 1] + (1 - rho**2) ** 0.5 * eps[:, :, t]
        )
      for (name, block_size), figures in expected.items():
        with self.subTest(f'{name}, rho={rho}'):
          got = recall(RULES[name], keys, block_size)
          # Standard error over 50 seeds is below 0.02.
          self.assertAlmostEqual(got, figures[i], delta=0.06)


class MaskedDefinitionTest(absltest.TestCase):
  def test_block_sparse_equals_masked_attention(self):
    B, N, K, G, D, S, bs = 2, 3, 2, 2, 8, 44, 16  # the last block sticks out
    query = random(B, N, K, G, D, seed=0)
    segment = Segment(random(B, K, S, D, seed=1), random(B, K, S, D, seed=2))
    lengths = np.array([[44, 17, 0], [1, 16, 40]])
    rng = np.random.default_rng(3)
    ids = np.stack([rng.permutation(3) for _ in range(B * N * K)])
    ids = ids.reshape(B, N, K, 3)
    ids[..., 2] = -1
    output, lse = block_sparse_attention(
      query, segment, lengths, ids, block_size=bs
    )
    seen = (np.arange(S) // bs == ids[..., None]).any(-2)
    seen &= np.arange(S) < lengths[..., None, None]
    for n in range(N):
      expected = softmax_attention(query[:, n], segment, seen[:, n, :, None])
      np.testing.assert_allclose(output[:, n], expected[0], atol=2e-6)
      np.testing.assert_allclose(lse[:, n], expected[1], atol=2e-6)
    self.assertTrue(np.all(np.asarray(output[0, 2]) == 0))
    self.assertTrue(np.all(np.asarray(lse[0, 2]) == -np.inf))

  def test_pages(self):
    B, K, D, S, bs = 2, 2, 8, 64, 16
    query = random(B, 1, K, 2, D, seed=0)
    segment = Segment(random(B, K, S, D, seed=1), random(B, K, S, D, seed=2))
    lengths, ids = np.array([[64], [30]]), np.array([[[[3, 0]] * K]] * B)
    pages = np.random.default_rng(4).permutation(8).reshape(B, 4)
    paged = lambda x: (
      np.zeros((8, K, bs, D), np.float32),
      x.reshape(B, K, 4, bs, D).transpose(0, 2, 1, 3, 4),
    )
    pool = []
    for leaf in segment:
      empty, blocks = paged(leaf)
      empty[pages] = blocks
      pool.append(empty)
    one = block_sparse_attention(query, segment, lengths, ids, block_size=bs)
    two = block_sparse_attention(
      query, Segment(*pool), lengths, ids, pages, block_size=bs
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


if __name__ == '__main__':
  absltest.main()
