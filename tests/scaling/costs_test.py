import numpy as np
from absl.testing import absltest

from ttc import scaling

SHAPE = scaling.ModelShape(
  num_params=8_190_000_000,
  num_layers=36,
  num_heads=32,
  num_kv_heads=8,
  head_dim=128,
)
PROMPTS = np.array([5, 17])
LENGTHS = np.array([[3, 7, 1], [4, 0, 4]])


def token_flops(context):
  """One token through the model, attending to `context` positions."""
  weights = 2 * SHAPE.num_params
  scores = 2 * SHAPE.num_heads * SHAPE.head_dim * context
  mixing = 2 * SHAPE.num_heads * SHAPE.head_dim * context
  return weights + SHAPE.num_layers * (scores + mixing)


class CostsTest(absltest.TestCase):
  def test_kv_bytes_of_a_token(self):
    # Qwen3-8B: 36 layers, 8 heads of 128, keys and values, 2 bytes: 144 KiB.
    self.assertEqual(SHAPE.kv_bytes_per_token, 144 * 1024)
    half = SHAPE._replace(bytes_per_element=1)
    self.assertEqual(half.kv_bytes_per_token, 72 * 1024)

  def test_prefill_is_the_sum_over_tokens(self):
    expected = [
      sum(token_flops(t) for t in range(1, prompt + 1)) for prompt in PROMPTS
    ]
    np.testing.assert_array_equal(
      scaling.prefill_flops(SHAPE, PROMPTS), expected
    )

  def test_decode_is_the_sum_over_steps(self):
    expected = [
      [sum(token_flops(p + i) for i in range(1, l + 1)) for l in row]
      for p, row in zip(PROMPTS, LENGTHS, strict=True)
    ]
    np.testing.assert_array_equal(
      scaling.decode_flops(SHAPE, PROMPTS, LENGTHS), expected
    )

  def test_prefill_and_decode_are_one_pass_over_the_whole_text(self):
    both = scaling.prefill_flops(SHAPE, PROMPTS)[:, None]
    both = both + scaling.decode_flops(SHAPE, PROMPTS, LENGTHS)
    for p, row, got in zip(PROMPTS, LENGTHS, both, strict=True):
      np.testing.assert_array_equal(got, scaling.prefill_flops(SHAPE, p + row))

  def test_windows_limit_what_some_layers_attend_to(self):
    shape = SHAPE._replace(window=6, windowed_layers=30)

    def flops(context):
      windowed = token_flops(min(context, 6)) - token_flops(0)
      full = token_flops(context) - token_flops(0)
      return token_flops(0) + (30 * windowed + 6 * full) / 36

    np.testing.assert_array_equal(
      scaling.prefill_flops(shape, PROMPTS),
      [sum(flops(t) for t in range(1, p + 1)) for p in PROMPTS],
    )
    np.testing.assert_array_equal(
      scaling.decode_flops(shape, PROMPTS, LENGTHS),
      [
        [sum(flops(p + i) for i in range(1, l + 1)) for l in row]
        for p, row in zip(PROMPTS, LENGTHS, strict=True)
      ],
    )

  def test_reads_and_writes_step_by_step(self):
    for shared in (True, False):
      read, written = np.zeros(2), np.zeros(2)
      for b, (prompt, row) in enumerate(zip(PROMPTS, LENGTHS, strict=True)):
        written[b] += prompt * (1 if shared else 3)
        for i in range(1, row.max() + 1):
          running = np.sum(row >= i)
          written[b] += running
          read[b] += prompt * (1 if shared else running) + running * i
      np.testing.assert_array_equal(
        scaling.kv_bytes_read(SHAPE, PROMPTS, LENGTHS, shared_prompt=shared),
        read * SHAPE.kv_bytes_per_token,
      )
      np.testing.assert_array_equal(
        scaling.kv_bytes_written(SHAPE, PROMPTS, LENGTHS, shared_prompt=shared),
        written * SHAPE.kv_bytes_per_token,
      )

  def test_one_response_cannot_share(self):
    one = LENGTHS[:, :1]
    for fn in (scaling.kv_bytes_read, scaling.kv_bytes_written):
      np.testing.assert_array_equal(
        fn(SHAPE, PROMPTS, one),
        fn(SHAPE, PROMPTS, one, shared_prompt=False),
      )

  def test_two_segment_cache_against_the_naive_one(self):
    # The 4-layer example of the decoding notes: 10.5 MB against 75.5 MB.
    toy = scaling.ModelShape(
      num_params=10**6,
      num_layers=4,
      num_heads=4,
      num_kv_heads=4,
      head_dim=32,
      bytes_per_element=4,
    )
    arguments = (toy, 1, 32, 512, 64)
    self.assertEqual(scaling.kv_cache_bytes(*arguments), (512 + 32 * 64) * 4096)
    naive = scaling.kv_cache_bytes(*arguments, shared_prompt=False)
    self.assertEqual(naive, 32 * (512 + 64) * 4096)
    self.assertEqual(naive, 75_497_472)
