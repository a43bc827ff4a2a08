"""The TPU kernels agree with the references, without a TPU."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import kernel_matrix
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax._src.pallas.mosaic.interpret import interpret_pallas_call
from jax.experimental.pallas import tpu as pltpu

from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.block_sparse_attention import mosaic_tpu as sparse_tpu
from ttc.kernels.block_topk import block_scores
from ttc.kernels.block_topk import mosaic_tpu as topk_tpu
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.decode_attention import mosaic_tpu as decode_tpu
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import mosaic_tpu as shared_tpu
from ttc.kernels.shared_prefix_attention import shared_prefix_attention

OPERATIONS = {
  'decode_attention': decode_attention,
  'block_sparse_attention': block_sparse_attention,
  'block_scores': block_scores,
  'shared_prefix_attention': shared_prefix_attention,
}
KERNELS = {
  'decode_attention': decode_tpu.decode_attention,
  'block_sparse_attention': sparse_tpu.block_sparse_attention,
  'block_scores': topk_tpu.block_scores,
  'shared_prefix_attention': shared_tpu.shared_prefix_attention,
}
CASES = {(case.operation, case.name): case for case in kernel_matrix.CASES}
NAMED = [('_'.join(name), case) for name, case in CASES.items()]
# Few steps of each kernel, for the simulator of a TPU's memories is slow.
NAMED_SMALL = [
  (name, case)
  for name, case in NAMED
  if case.name in ('odd_rows', 'block_8', 'paged', 'odd_group', 'few')
]


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def jit(case, implementation='interpret'):
  operation = functools.partial(
    OPERATIONS[case.operation], **case.keywords, implementation=implementation
  )
  return jax.jit(operation)


def run(case):
  return jit(case)(*case.cast(jnp.float32))


def simulate(case):
  """Runs a kernel on simulated memories; raises if it is not safe.

  Memory begins as NaN, copies happen when waited for, and reads out of bounds
  and unordered accesses are errors.
  """
  interpret = pltpu.InterpretParams(detect_races=True)
  kernel = functools.partial(
    KERNELS[case.operation], **case.keywords, interpret=interpret
  )
  results = jax.block_until_ready(jax.jit(kernel)(*case.cast(jnp.float32)))
  if interpret_pallas_call.races.races_found:  # later versions raise by default
    raise RuntimeError('a race')
  return results


class AgreementTest(parameterized.TestCase):
  @parameterized.named_parameters(NAMED)
  def test_equals_the_reference(self, case):
    self.equals_the_reference(case, jnp.float32)

  def test_equals_the_reference_in_bfloat16(self):
    for case in kernel_matrix.ONE_OF_EACH:
      self.equals_the_reference(case, jnp.bfloat16)

  @parameterized.named_parameters(NAMED)
  @pytest.mark.slow
  def test_all_equal_the_reference_in_bfloat16(self, case):
    self.equals_the_reference(case, jnp.bfloat16)

  def equals_the_reference(self, case, dtype):
    jitted = jit(case)
    kernel_matrix.check(case, jitted(*case.cast(dtype)), dtype)
    if case.operation != 'block_scores':
      large = case.with_large_logits()
      kernel_matrix.check(large, jitted(*large.cast(dtype)), dtype)

  @parameterized.named_parameters(NAMED_SMALL)
  def test_reads_what_it_wrote_and_nothing_else(self, case):
    kernel_matrix.check(case, simulate(case), jnp.float32)

  @pytest.mark.slow
  def test_many_blocks_are_done_in_several_calls(self):
    case = CASES['block_sparse_attention', 'block_16']
    fewest = 4 * case.keywords['block_size']
    with mock.patch.object(sparse_tpu, '_MAX_BLOCKS', fewest):
      jax.clear_caches()
      self.addCleanup(jax.clear_caches)
      kernel_matrix.check(case, run(case), jnp.float32)

  def test_one_layer_of_a_stack(self):
    for case in kernel_matrix.ONE_OF_EACH:
      operation = OPERATIONS[case.operation]
      for how in ('interpret', 'xla'):
        got = jax.jit(
          functools.partial(operation, implementation=how, **case.keywords)
        )(*kernel_matrix.in_stack(case).cast(jnp.float32), layer=jnp.int32(1))
        kernel_matrix.check(case, got, jnp.float32)


class NotReadTest(absltest.TestCase):
  """What is not attended to is not multiplied by 0 either: it may be NaN."""

  def test_tiles_beyond_the_length(self):
    case = CASES['decode_attention', 'long']
    query, keys, lengths = case.arguments
    last = 1024 * np.maximum(-(-lengths // 1024), 1)[:, None, None, None]
    token = np.arange(keys.k.shape[-2])[:, None]
    spoilt = Segment(*(np.where(token < last, x, np.nan) for x in keys))
    spoilt = case._replace(arguments=(query, spoilt, lengths))
    kernel_matrix.check(case, run(spoilt), jnp.float32)

  def test_blocks_not_chosen(self):
    case = CASES['block_sparse_attention', 'paged']
    query, pool, lengths, ids, pages = case.arguments
    ids = np.broadcast_to(ids[:, :, :1], ids.shape)  # heads choose the same
    block = case.keywords['block_size'] * ids < lengths[..., None, None]
    sequence = np.arange(len(ids))[:, None, None, None]
    read = pages[np.broadcast_to(sequence, ids.shape), ids][block & (ids >= 0)]
    chosen = np.isin(np.arange(len(pool.k)), read)[:, None, None, None]
    self.assertFalse(np.all(chosen))
    clean = case._replace(arguments=(query, pool, lengths, ids, pages))
    pool = Segment(*(np.where(chosen, x, np.nan) for x in pool))
    spoilt = case._replace(arguments=(query, pool, lengths, ids, pages))
    kernel_matrix.check(clean, run(spoilt), jnp.float32)


@pytest.mark.slow
class BrokenTest(parameterized.TestCase):
  """Kernels that are wrong on purpose do not pass.

  Slow, since each test forgets all compiled programs, also those of others.
  """

  def setUp(self):
    super().setUp()
    jax.clear_caches()  # of traces of the kernel as it is, and then as it was
    self.addCleanup(jax.clear_caches)

  @parameterized.parameters(
    ('decode_attention', 'long', '_tile_to_fetch', lambda step, *_: 0 * step),
    (
      'decode_attention', 'long', '_visible',
      lambda shape, *_: jnp.full(shape, True),
    ),
    (
      'block_sparse_attention', 'block_128', '_block_at',
      lambda address, head, S, size: (0, head, sparse_tpu.pl.ds(0, size)),
    ),
    (
      'block_sparse_attention', 'block_128', '_visible',
      lambda seen, size: jnp.full((1, len(seen) * size), True),
    ),
    (
      'shared_prefix_attention', 'reading', '_last_seen',
      lambda length, *_: length,
    ),
  )  # fmt: skip
  def test_wrong_numbers(self, operation, name, part, wrong):
    module = {
      'decode_attention': decode_tpu,
      'block_sparse_attention': sparse_tpu,
      'shared_prefix_attention': shared_tpu,
    }[operation]
    with mock.patch.object(module, part, wrong):
      got = run(CASES[operation, name])
    with self.assertRaises(AssertionError):
      kernel_matrix.check(CASES[operation, name], got, jnp.float32)

  @parameterized.parameters(
    (
      '_block_at',
      lambda address, head, S, size: (
        0,
        head,
        sparse_tpu.pl.ds(S + 0 * address, size),
      ),
    ),
    ('_slot', lambda step: 0 * step),
  )
  def test_unsafe_memory(self, part, wrong):
    case = CASES['block_sparse_attention', 'block_8']
    with (
      mock.patch.object(sparse_tpu, part, wrong),
      self.assertRaises((RuntimeError, AssertionError, IndexError)),
    ):
      simulate(case)


class TransformationsTest(parameterized.TestCase):
  """`vmap` is one call of the kernel; `grad` is the reference's."""

  def operation(self, name):
    """A function of what `vmap` maps and of what it shares, and both."""
    A, B, N, K, G, D, S, block_size = 3, 2, 2, 2, 4, 64, 32, 8
    keys = Segment(normal(1, B, K, S, D), normal(2, B, K, S, D))
    if name == 'decode_attention':
      return (
        lambda query, keys, lengths, how: decode_attention(
          query, keys, lengths, implementation=how
        ),
        (normal(0, A, B, K, G, D),),
        (keys, np.array([5, 32])),
      )
    if name == 'shared_prefix_attention':
      T, P = 32, 24
      suffix = Segment(*(normal(i, A, B, N, K, 40, D) for i in (3, 4)))
      before = np.random.default_rng(4).integers(0, 40 - T, (A, B, N))
      prefix = Segment(normal(1, B, K, P, D), normal(2, B, K, P, D))
      return (
        lambda query, suffix, before, prefix, prompts, how: (
          shared_prefix_attention(
            query, prefix, prompts, suffix, before, implementation=how
          )
        ),
        (normal(0, A, B, N, T, K, G, D), suffix, before),
        (prefix, np.array([5, P])),
      )
    query = normal(0, A, B, N, K, G, D)
    if name == 'block_scores':
      score = lambda query, pooled, how: block_scores(
        query, pooled, implementation=how
      )
      return score, (query,), (normal(1, B, K, S, D),)
    ids = np.random.default_rng(3).permutation(4)[:3]
    ids = np.broadcast_to(ids, (A, B, N, K, 3))
    lengths = np.random.default_rng(4).integers(0, S, (A, B, N))
    return (
      lambda query, lengths, ids, keys, how: block_sparse_attention(
        query, keys, lengths, ids, block_size=block_size, implementation=how
      ),
      (query, lengths, ids),
      (keys,),
    )

  @parameterized.product(name=tuple(OPERATIONS), shared=(True, False))
  def test_vmap_is_one_call(self, name, shared):
    function, mapped, common = self.operation(name)
    axes = (0,) * len(mapped) + (None if shared else 0,) * len(common)
    if not shared:
      common = jax.tree.map(lambda x: np.stack([x] * 3), common)

    def batched(how):
      return jax.jit(jax.vmap(functools.partial(function, how=how), axes))

    arguments = (*mapped, *common)
    traced = batched('mosaic_tpu').trace(*arguments)
    text = traced.lower(lowering_platforms=('tpu',)).as_text()
    self.assertEqual(text.count('stablehlo.custom_call @tpu_custom_call'), 1)
    self.assertNotIn('stablehlo.while', text)
    got, want = batched('interpret')(*arguments), batched('xla')(*arguments)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5), got, want
    )

  @parameterized.parameters(True, False)
  def test_vmap_over_stacks_of_responses(self, shared):
    """Of one prompt, or each with a prompt of its own."""
    _, (query, suffix, before), (prefix, prompts) = self.operation(
      'shared_prefix_attention'
    )
    stack = lambda axis, x: np.stack([x, 2 * x, x + 1], axis)
    suffix = jax.tree.map(functools.partial(stack, 1), suffix)
    prefix = jax.tree.map(functools.partial(stack, 0), prefix)
    if not shared:
      prefix = jax.tree.map(functools.partial(stack, 0), prefix)

    def run(how):
      operation = functools.partial(
        shared_prefix_attention, layer=jnp.int32(2), implementation=how
      )
      axes = (0, None if shared else 0, None, 0, 0)
      return jax.jit(jax.vmap(operation, axes))(
        query, prefix, prompts, suffix, before
      )

    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5),
      run('interpret'),
      run('xla'),
    )

  @parameterized.parameters(
    'decode_attention', 'block_sparse_attention', 'block_scores'
  )
  def test_vmap_over_stacks(self, name):
    """Of layers `[A, L, ...]`, each with keys of its own."""
    _, (query, *others), (keys, *shared) = self.operation(name)
    stack = jax.tree.map(lambda x: np.stack([x, 2 * x, x + 1]), keys)
    stacks = jax.tree.map(lambda x: np.stack([x, -x, 3 * x]), stack)
    others += [jnp.stack([x] * 3) for x in shared]
    block_size = {'block_size': 8} if others[1:] else {}

    def run(how):
      operation = functools.partial(
        OPERATIONS[name], layer=jnp.int32(2), implementation=how, **block_size
      )
      return jax.jit(jax.vmap(operation))(query, stacks, *others)

    jax.tree.map(
      functools.partial(np.testing.assert_allclose, atol=1e-5),
      run('interpret'),
      run('xla'),
    )

  @parameterized.parameters(*OPERATIONS)
  def test_gradient(self, name):
    function, mapped, common = self.operation(name)

    def gradient(how):
      def loss(query, common):
        results = jax.vmap(lambda *mapped: function(*mapped, *common, how=how))(
          query, *mapped[1:]
        )
        seen = lambda x: jnp.where(jnp.isfinite(x), jnp.sin(x), 0)
        return sum(jnp.sum(seen(x)) for x in jax.tree.leaves(results))

      # Lengths and ids have no gradient.
      return jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))(
        mapped[0], common
      )

    got, want = gradient('interpret'), gradient('xla')
    real = lambda x: x.dtype == np.float32
    for one, two in zip(
      filter(real, jax.tree.leaves(got)),
      filter(real, jax.tree.leaves(want)),
      strict=True,
    ):
      self.assertTrue(np.any(np.asarray(two)))
      np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


if __name__ == '__main__':
  absltest.main()
