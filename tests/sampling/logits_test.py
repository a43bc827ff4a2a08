"""Presets against literal NumPy transcriptions of what the engines do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.sampling import SamplingParams, check_sampling_params, filter_logits
from ttc.sampling import logits as logits_lib

PROBS = np.array([0.40, 0.25, 0.15, 0.10, 0.06, 0.04])


def softmax(logits):
  weights = np.exp(logits - logits.max())
  return weights / weights.sum()


def np_top_k(logits, k):
  if not 0 < k < logits.size:
    return logits
  return np.where(logits < np.sort(logits)[-k], -np.inf, logits)


def np_top_p(logits, p):
  """As transformers: ascending sort, drop while the mass is at most 1 - p."""
  if p >= 1:
    return logits
  order = np.argsort(logits, kind='stable')
  mass = np.cumsum(softmax(logits)[order])
  drop = mass <= 1 - p
  drop[-1] = False
  out = logits.copy()
  out[order[drop]] = -np.inf
  return out


def np_min_p(logits, floor):
  probs = softmax(logits)
  return np.where(probs < floor * probs.max(), -np.inf, logits)


def np_sglang(logits, k, p, floor):
  order = np.argsort(-logits, kind='stable')
  probs = softmax(logits)[order]
  keep = np.arange(probs.size) < (k if k > 0 else probs.size)
  if p < 1:
    keep &= np.cumsum(probs) - probs <= p
  keep &= probs >= floor * probs[0]
  out = np.full_like(logits, -np.inf)
  out[order[keep]] = logits[order[keep]]
  return out


def np_tunix(logits, k, p, floor):
  del floor
  return np_sglang(np_sglang(logits, k, 1.0, 0.0), 0, p, 0.0)


NUMPY = {
  'hf': lambda l, k, p, m: np_min_p(np_top_p(np_top_k(l, k), p), m),
  'vllm': lambda l, k, p, m: np_top_p(np_top_k(np_min_p(l, m), k), p),
  'sglang': np_sglang,
  'tunix': np_tunix,
}


filter_row = jax.jit(filter_logits)
filter_rows = jax.jit(jax.vmap(filter_logits))


def kept(probs, preset, k=0, p=1.0, min_p=0.0, temperature=1.0):
  logits = np.log(np.float32(probs)) / np.float32(temperature)
  params = SamplingParams(1.0, np.int32(k), np.float32(p), min_p, preset)
  masked = filter_row(logits, params)
  return set(np.flatnonzero(np.isfinite(masked)).tolist())


class LogitsTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'p': 0.7}, {'hf': 3, 'vllm': 3, 'sglang': 3, 'tunix': 3}),
    ({'k': 3, 'p': 0.8}, {'hf': 2, 'vllm': 2, 'sglang': 3, 'tunix': 2}),
    ({'k': 4, 'p': 0.85}, {'hf': 3, 'sglang': 4}),
    ({'min_p': 0.3}, {'hf': 3, 'vllm': 3, 'sglang': 3}),
    ({'p': 0.5, 'min_p': 0.3}, {'hf': 2, 'sglang': 2, 'vllm': 1}),
    ({'p': 0.7, 'temperature': 2.0}, {'hf': 4}),
  )
  def test_kept_sets_of_the_engines(self, params, sizes):
    for preset, size in sizes.items():
      self.assertEqual(kept(PROBS, preset, **params), set(range(size)), preset)

  def test_ties_are_kept_or_cut_by_rank(self):
    probs = [0.3, 0.2, 0.2, 0.2, 0.1]
    self.assertEqual(kept(probs, 'hf', k=2), {0, 1, 2, 3})
    self.assertEqual(kept(probs, 'vllm', k=2), {0, 1, 2, 3})
    self.assertEqual(kept(probs, 'sglang', k=2), {0, 1})
    self.assertEqual(kept(probs, 'tunix', k=2), {0, 1})

  @parameterized.product(
    preset=list(NUMPY), dtype=['float32', 'bfloat16'], seed=[0, 1]
  )
  def test_equals_numpy_on_random_rows(self, preset, dtype, seed):
    rng = np.random.default_rng(seed)
    rows, vocab = 250, 101
    logits = 4 * rng.normal(size=(rows, vocab))  # bfloat16 is full of ties
    logits = logits.astype(jnp.dtype(dtype)).astype(np.float32)
    k = rng.integers(0, vocab + 5, rows)
    p = np.where(rng.random(rows) < 0.2, 1.0, rng.uniform(0.05, 1, rows))
    m = np.where(rng.random(rows) < 0.3, 0.0, rng.uniform(0, 0.5, rows))
    m = np.zeros(rows) if preset == 'tunix' else m
    params = SamplingParams(
      np.ones(rows, 'f'),
      k.astype('i4'),
      p.astype('f'),
      m.astype('f'),
      preset,
    )
    got = np.isfinite(filter_rows(logits, params))
    want = np.stack(
      [
        np.isfinite(NUMPY[preset](np.asarray(l, np.float64), *args))
        for l, *args in zip(logits, k, p, m, strict=True)
      ]
    )
    # float32 sums may fall on the other side of a border: at most 1 row in 100.
    self.assertLessEqual(np.sum(np.any(got != want, axis=1)), rows // 100)

  def test_digits_of_any_size_give_one_threshold(self):
    rows = jax.random.normal(jax.random.key(0), (40, 101)).at[:, :3].set(-1.0)
    ordered = jax.jit(jax.vmap(logits_lib._ordered))(rows)

    def run(bits, ordered, k):
      return logits_lib._by_digits(lambda x: jnp.sum(x) >= k, bits, ordered)

    one, four = (
      jax.jit(jax.vmap(functools.partial(run, bits)))(ordered, np.arange(1, 41))
      for bits in (1, 4)
    )
    largest = np.sort(np.asarray(ordered), axis=1)[:, ::-1]
    np.testing.assert_array_equal(one, largest[np.arange(40), np.arange(40)])
    np.testing.assert_array_equal(one, four)

  def test_filters_that_are_known_to_be_off_are_left_out(self):
    off = logits_lib.without_idle_filters(SamplingParams(jnp.float32(0.7)))
    self.assertEqual((off.top_k, off.top_p, off.min_p), (None,) * 3)
    logits = jnp.log(PROBS)
    np.testing.assert_array_equal(
      logits_lib.law(logits, off), logits_lib.law(logits, SamplingParams(0.7))
    )

  @parameterized.parameters({'top_k': 3}, {'top_p': 0.9}, {'min_p': 0.1})
  def test_filters_that_are_on_or_not_known_are_kept(self, **on):
    one = SamplingParams(**on)
    self.assertIs(logits_lib.without_idle_filters(one), one)
    (name,) = on
    traced = jax.eval_shape(
      lambda x: logits_lib.without_idle_filters(SamplingParams(**{name: x})),
      getattr(SamplingParams(), name),
    )
    self.assertIsNotNone(getattr(traced, name))

  @parameterized.parameters(
    {'top_k': None, 'top_p': 0.9}, {'min_p': None}, {'temperature': None}
  )
  def test_none_is_refused_where_it_would_hide_a_filter(self, **values):
    with self.assertRaisesRegex(ValueError, 'is None'):
      logits_lib.check_sampling_params(SamplingParams(**values))

  def test_neutral_parameters_change_nothing(self):
    logits = jax.random.normal(jax.random.key(0), (64,))
    for preset in NUMPY:
      masked = filter_row(logits, SamplingParams(preset=preset))
      np.testing.assert_array_equal(masked, logits)

  @parameterized.parameters(
    ({'temperature': -0.1}, 'temperature=-0.1 must be >= 0'),
    ({'top_k': -1}, 'top_k=-1 must be >= 0'),
    ({'top_p': 0.0}, r'top_p=0.0 must be in \(0, 1\]'),
    ({'min_p': 1.0}, r'min_p=1.0 must be in \[0, 1\)'),
  )
  def test_bad_values_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      check_sampling_params(SamplingParams(**values))

  def test_unknown_preset_is_named(self):
    # A type checker, where there is one, is faster than the check itself.
    with self.assertRaisesRegex(Exception, "'openai'"):
      filter_logits(jnp.zeros(4), SamplingParams(preset='openai'))


if __name__ == '__main__':
  absltest.main()
