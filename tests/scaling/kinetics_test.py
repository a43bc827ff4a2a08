import jax
import numpy as np
from absl.testing import absltest, parameterized

from ttc.scaling import costs, frontier, hardware, kinetics, kinetics_claims

SHAPE = costs.ModelShape(
  num_params=1000,
  num_layers=3,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
KV_ELEMENTS = 2 * 2 * 8 * 3  # Dkv of the shape
QWEN3 = hardware.QWEN3
INTENSITY = hardware.HARDWARE['b200_fp8'].intensity


def by_steps(shape, prompt, length, trials, budget=np.inf, shared=False):
  """FLOPs and bytes of attention, token by token.

  A step attends to the texts half way between those before and after it, which
  makes the sum equal to the paper's integral.
  """
  flops, read = 0, 0
  for step in range(length):
    attended = min(budget, prompt + step + 0.5)
    per_head = 2 * shape.head_dim * attended  # products, and as many for sums
    flops += trials * shape.num_layers * shape.num_heads * 2 * per_head
    rows = trials * attended
    if shared:
      rows = prompt + trials * (step + 0.5)
    read += rows * 2 * shape.num_kv_heads * shape.head_dim * shape.num_layers
  return flops, shape.bytes_per_element * read


def random_cases(num=2000):
  """Prompts, lengths, budgets, trials and blocks, many of them short."""
  rng = np.random.default_rng(0)
  draw = lambda high: np.floor(2 ** rng.uniform(0, np.log2(high), num))
  return draw(4096), draw(32768), draw(8192), draw(64), draw(512)


class DenseCostTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 1, 1), (5, 1, 3), (7, 20, 1), (20, 7, 4), (0, 33, 2)
  )
  def test_equals_the_loop_over_steps(self, prompt, length, trials):
    for shared in (True, False):
      cost = kinetics.dense_cost(
        SHAPE, prompt, length, trials, shared_prompt=shared
      )
      flops, read = by_steps(SHAPE, prompt, length, trials, shared=shared)
      self.assertEqual(cost.attention_flops, flops)
      self.assertEqual(cost.kv_bytes, read)
      self.assertEqual(cost.param_flops, 2 * 1000 * trials * length)
      self.assertEqual(cost.param_bytes, 0)

  def test_is_half_a_position_per_step_below_the_exact_counts(self):
    prompt, lengths = np.array([50]), np.array([[400, 400, 400]])
    cost = kinetics.dense_cost(SHAPE, 50, 400, 3)
    exact = costs.decode_flops(SHAPE, prompt, lengths).sum()
    half = 3 * 400 / 2
    self.assertEqual(exact - cost.flops, half * 4 * 4 * 8 * 3)
    self.assertLess(exact / cost.flops - 1, 1 / 400)
    read = costs.kv_bytes_read(SHAPE, prompt, lengths)[0]
    self.assertEqual(read - cost.bytes, half * SHAPE.kv_bytes_per_token)

  def test_without_a_prompt_memory_is_the_square_of_the_length(self):
    cost = kinetics.dense_cost(SHAPE, 0, 31)
    self.assertEqual(cost.bytes, KV_ELEMENTS * 31**2)
    eight_bits = SHAPE._replace(bytes_per_element=1)
    halved = kinetics.dense_cost(eight_bits, 0, 31)
    self.assertEqual(halved.bytes, cost.bytes / 2)
    self.assertEqual(halved.flops, cost.flops)

  def test_trials_share_the_reads_of_the_prompt_and_nothing_else(self):
    one, two, three = (kinetics.dense_cost(SHAPE, 9, 30, n) for n in (1, 2, 3))
    self.assertEqual(three.flops, 3 * one.flops)
    self.assertEqual(three.bytes - two.bytes, two.bytes - one.bytes)
    self.assertEqual(two.bytes - one.bytes, KV_ELEMENTS * 30**2)
    apart = kinetics.dense_cost(SHAPE, 9, 30, 3, shared_prompt=False)
    self.assertEqual(apart.bytes, 3 * one.bytes)

  def test_splitting_tokens_into_trials_makes_them_cheaper(self):
    # N trials of T / N tokens: the squares shrink, the prompt is read less.
    trials = np.array([1, 2, 4, 8])
    price = kinetics.eflops(
      kinetics.dense_cost(SHAPE, 100, 4096 / trials, trials), 500
    )
    np.testing.assert_array_less(np.diff(price), 0)

  def test_what_the_paper_leaves_out(self):
    plain = kinetics.dense_cost(SHAPE, 64, 100, 2)
    full = kinetics.dense_cost(
      SHAPE, 64, 100, 2, include_prefill=True, include_param_reads=16
    )
    prefill = costs.prefill_flops(SHAPE, np.array([64]))[0]
    added = full.flops - plain.flops
    np.testing.assert_allclose(added, prefill, rtol=1 / 64)
    # 2 * 100 steps of rows, 16 rows a step, all weights in two bytes.
    self.assertEqual(full.param_bytes, 200 / 16 * 2 * 1000)
    self.assertEqual(full.kv_bytes, plain.kv_bytes)

  def test_random_lengths_are_averaged_after_squaring(self):
    lengths = np.array([10.0, 50.0, 300.0])
    cost = kinetics.mean_cost(kinetics.dense_cost(SHAPE, 20, lengths, 4))
    first, second = lengths.mean(), (lengths**2).mean()
    np.testing.assert_allclose(
      cost.bytes, KV_ELEMENTS * (2 * 20 * first + 4 * second)
    )
    np.testing.assert_allclose(
      cost.flops,
      2 * 4 * 1000 * first
      + 2 * 4 * KV_ELEMENTS * (2 * 20 * first + second),  # r = 2
    )
    at_mean = kinetics.dense_cost(SHAPE, 20, first, 4)
    self.assertLess(at_mean.bytes, 0.6 * cost.bytes)

  def test_a_grid_is_one_call(self):
    models = kinetics.stack_models(list(QWEN3.values()), num_axes=3)
    trials = np.array([1, 2, 4, 8, 16, 32])[:, None, None]
    lengths = np.arange(2048, 32769, 2048)[:, None]
    budgets = np.array([32, 64, 128, 256, 512, 1024])
    grid = kinetics.sparse_cost(
      models, 256, lengths, budgets, trials, block_size=16
    )
    self.assertEqual(grid.flops.shape, (6, 6, 16, 6))
    one = kinetics.sparse_cost(QWEN3['14B'], 256, 6144, 128, 8, block_size=16)
    at = jax.tree.map(lambda x: x[4, 3, 2, 2], grid)
    np.testing.assert_array_equal(at, one)


class SparseCostTest(parameterized.TestCase):
  @parameterized.parameters(
    (10, 40, 4),  # always bound
    (10, 40, 10),
    (10, 40, 17),  # bound on the way
    (10, 40, 50),  # at the last step
    (10, 5, 30),  # a short generation: never
    (0, 6, 1),
  )
  def test_equals_the_loop_over_steps(self, prompt, length, budget):
    cost = kinetics.sparse_cost(SHAPE, prompt, length, budget, 3)
    flops, read = by_steps(SHAPE, prompt, length, 3, budget)
    self.assertEqual(cost.attention_flops, flops)
    self.assertEqual(cost.kv_bytes, read)
    self.assertEqual(cost.param_flops, 2 * 1000 * 3 * length)

  def test_a_budget_for_everything_is_dense_without_sharing(self):
    cost = kinetics.sparse_cost(SHAPE, 12, 30, 42, 5)
    dense = kinetics.dense_cost(SHAPE, 12, 30, 5, shared_prompt=False)
    np.testing.assert_array_equal(cost, dense)

  def test_is_linear_in_tokens_within_long_prompts(self):
    lengths = np.array([100, 200, 400])
    cost = kinetics.sparse_cost(SHAPE, 64, lengths, 64, np.array([4, 2, 1]))
    for field in cost:
      np.testing.assert_array_equal(field, field[0])

  def test_never_negative_never_above_dense_monotone_in_budget(self):
    prompt, length, budget, trials, block = random_cases()
    shape = QWEN3['8B']
    dense = kinetics.dense_cost(
      shape, prompt, length, trials, shared_prompt=False
    )
    sparse = kinetics.sparse_cost(shape, prompt, length, budget, trials)
    more = kinetics.sparse_cost(shape, prompt, length, budget + 1, trials)
    search = kinetics.search_cost(shape, prompt, length, block, trials)
    total = kinetics.sparse_cost(
      shape, prompt, length, budget, trials, block_size=block
    )
    rounding = 1 + 1e-12
    fields = zip(dense, sparse, more, search, total, strict=True)
    for of_dense, of_sparse, of_more, of_search, of_total in fields:
      self.assertTrue(np.all(of_sparse >= 0))
      self.assertTrue(np.all(of_sparse <= rounding * of_dense))
      self.assertTrue(np.all(of_sparse <= rounding * of_more))
      # Search adds to dense what dense would read of half a key per block.
      self.assertTrue(np.all(of_search <= rounding * of_dense / (2 * block)))
      np.testing.assert_allclose(of_total, of_sparse + of_search)
    short = (budget > prompt) & (length < (budget - prompt) / 2)
    self.assertGreater(np.sum(short), 100)  # where released code is negative

  def test_when_a_shared_prompt_is_cheaper_than_sparsity(self):
    prompt, length, budget, trials, block = random_cases()
    dense = kinetics.dense_cost(SHAPE, prompt, length, trials)
    sparse = kinetics.sparse_cost(
      SHAPE, prompt, length, budget, trials, block_size=block
    )
    edge = (1 - 1 / (2 * block)) * (prompt / trials + length / 2)
    sure = (budget <= prompt) & (np.abs(budget / edge - 1) > 1e-9)
    above = (sparse.bytes > dense.bytes)[sure]
    np.testing.assert_array_equal(above, (budget > edge)[sure])
    self.assertGreater(above.sum(), 50)
    self.assertGreater((~above).sum(), 50)


class SearchCostTest(absltest.TestCase):
  def test_reads_a_key_per_block_and_vanishes_with_large_blocks(self):
    dense = kinetics.dense_cost(SHAPE, 10, 30, 4)
    search = kinetics.search_cost(SHAPE, 10, 30, 8, 4)
    self.assertEqual(search.kv_bytes, dense.kv_bytes / 16)
    self.assertEqual(search.attention_flops, dense.attention_flops / 16)
    self.assertEqual(search.param_flops, 0)
    far = kinetics.search_cost(SHAPE, 10, 30, 1e12, 4)
    self.assertLess(far.flops + far.bytes, 1e-5)

  def test_blocks_are_not_rounded_away(self):
    # Floor division finds no block at all here.
    self.assertEqual((2 * 100 + 20) // 256, 0)
    self.assertGreater(kinetics.search_cost(SHAPE, 100, 20, 256).bytes, 0)

  def test_at_the_balanced_size_search_reads_what_attention_reads(self):
    block = kinetics.balanced_block_size(512, 8192, 128)
    self.assertEqual(block, (512 + 4096) / 256)
    search = kinetics.search_cost(SHAPE, 512, 8192, block)
    attention = kinetics.sparse_cost(SHAPE, 512, 8192, 128)
    np.testing.assert_allclose(search.bytes, attention.bytes)


class EquivalentFlopsTest(absltest.TestCase):
  def test_sum_and_roofline(self):
    cost = kinetics.DecodeCost(*map(np.asarray, (1.0, 2.0, 3.0, 4.0)))
    self.assertEqual(kinetics.eflops(cost, 10), 3 + 70)
    self.assertEqual(kinetics.eflops(cost, 10, 'max'), 70)
    self.assertEqual(kinetics.eflops(cost, 0.1, 'max'), 3)

  def test_affordable_length_inverts_the_price(self):
    models = kinetics.stack_models(list(QWEN3.values()))
    price = lambda length: kinetics.eflops(
      kinetics.dense_cost(models, 256, length), INTENSITY
    )
    lengths = np.array([10, 100, 1e3, 1e4, 1e5, 1e6])
    found = kinetics.affordable_length(price, price(lengths))
    np.testing.assert_allclose(found, lengths, rtol=1e-9)


class HardwareTest(absltest.TestCase):
  def test_intensities(self):
    known = {
      'b200_fp8': 562.5, 'b200': 281.25, 'h100': 295, 'h200': 206,
      'tpu_v5e': 241, 'tpu_v5p': 166, 'tpu_v6e': 560,
    }  # fmt: skip
    self.assertCountEqual(known, hardware.HARDWARE)
    for name, intensity in known.items():
      found = hardware.HARDWARE[name].intensity
      np.testing.assert_allclose(found, intensity, rtol=0.01, err_msg=name)

  def test_a_mixture_costs_what_is_active(self):
    # Half the KV heads and a tenth of the FLOPs of 32B per token.
    moe, dense = hardware.QWEN3_MOE['30B-A3B'], QWEN3['32B']
    self.assertEqual(moe.kv_bytes_per_token, 96 * 1024)
    self.assertEqual(dense.kv_bytes_per_token, 256 * 1024)
    short = [kinetics.dense_cost(m, 1, 1).flops for m in (moe, dense)]
    np.testing.assert_allclose(short[0] / short[1], 3.3 / 32.76, rtol=1e-3)


class PaperTest(absltest.TestCase):
  """What follows from the formulas and the model cards alone."""

  def test_claims_hold(self):
    for check in kinetics_claims.CLAIMS:
      claim = check()
      self.assertTrue(claim.holds, f'{claim.claim}: {claim.figure}')

  def test_parameters_are_four_percent(self):
    cost = kinetics.dense_cost(QWEN3['8B'], 256, 8192)
    price = kinetics.eflops(cost, INTENSITY)
    self.assertAlmostEqual(cost.param_flops / price, 0.0431, delta=5e-5)
    self.assertAlmostEqual(cost.param_flops / cost.flops, 0.865, delta=5e-4)

  def test_the_cache_grows_slower_than_the_parameters(self):
    params = np.array([m.num_params for m in QWEN3.values()])
    cache = np.array([m.kv_bytes_per_token for m in QWEN3.values()])
    growth = frontier.growth_per_doubling(params, cache)
    self.assertAlmostEqual(growth, 1.150, delta=5e-4)  # the paper says 1.18

  def test_14b_for_8k_costs_like_4b_for_9k(self):
    spent = kinetics.dense_cost(QWEN3['14B'], 256, 8192)
    price = lambda length: kinetics.eflops(
      kinetics.dense_cost(QWEN3['4B'], 256, length), INTENSITY
    )
    length = kinetics.affordable_length(
      price, kinetics.eflops(spent, INTENSITY)
    )
    self.assertAlmostEqual(length, 8883, delta=1)
    by_flops = spent.param_flops / (2 * QWEN3['4B'].num_params)
    self.assertAlmostEqual(by_flops, 30098, delta=1)  # the paper says 24k

  def test_doubling_the_length(self):
    lengths = np.array([16384, 32768])
    grows = lambda cost: np.divide(*kinetics.eflops(cost, INTENSITY)[::-1])
    shape = QWEN3['8B']
    dense = grows(kinetics.dense_cost(shape, 1024, lengths))
    sparse = grows(kinetics.sparse_cost(shape, 1024, lengths, 1024))
    self.assertAlmostEqual(dense, 3.74, delta=0.005)
    self.assertAlmostEqual(sparse, 2, delta=1e-12)


if __name__ == '__main__':
  absltest.main()
