"""The law that plans slices, tried on the machine at hand."""

import functools
import statistics

import jax
import jax.numpy as jnp

from ttc import evaluation, models
from ttc.drivers import bench_decode
from ttc.drivers.peers import Job
from ttc.drivers.timing import fastest, interleaved, spread
from ttc.models.layers import matmul
from ttc.scaling import costs, slices
from ttc.scaling.hardware import Hardware
from ttc.types import Params

_PROMPT_TOKENS, _NEW_TOKENS = 128, 64


def check_here(
  counts: tuple[int, ...] = (1, 4, 16, 64),
  *,
  small: bool = False,
  repetitions: int = 3,
) -> list[float]:
  """Measures the machine, predicts a model on it, and measures that.

  Args:
    counts: numbers of samples to one prompt.
    small: a tiny random model in place of SmolLM2.
    repetitions: timed runs of each number.

  Returns:
    Predicted seconds over measured ones, a median for each number.
  """
  config, params = bench_decode.Bench(check=small).load()
  prompt = jax.numpy.arange(_PROMPT_TOKENS, dtype='int32') % config.vocab_size
  bandwidth = bench_decode.copy_bandwidth(small=small)
  rates = {n: product_rate(config, n) for n in {*counts, _PROMPT_TOKENS}}
  at = ', '.join(f'{r / 1e9:.0f} at {n}' for n, r in sorted(rates.items()))
  print(
    f'measured: {bandwidth / 1e9:.1f} GB/s of a copy; the products of the '
    f'model, GFLOP/s by the number of rows: {at}\n'
  )
  rows, ratios = [], []
  for count in counts:
    job = Job(jax.device_get(prompt), count, _NEW_TOKENS)
    draw, _ = bench_decode.ours(config, params, job)
    seconds = interleaved({'ours': draw}, repetitions)['ours']
    reading, drawing = (
      _predict(config, params, Hardware(rates[n], bandwidth, 'measured'), count)
      for n in (_PROMPT_TOKENS, count)
    )
    expected = reading.prefill_s + _NEW_TOKENS * drawing.step_s
    found = [expected / s for s in seconds]
    ratios.append(statistics.median(found))
    rows.append(
      [
        str(count),
        f'{expected:.2f}',
        spread(seconds, '.2f'),
        spread(found, '.2f'),
      ]
    )
  header = ['N', 'predicted s', 'measured s', 'predicted / measured']
  print('\n'.join(evaluation.markdown_table(header, rows)))
  return ratios


def product_rate(
  config: models.TransformerConfig, num_rows: int, repetitions: int = 5
) -> float:
  """FLOP/s of all matrix products of a model, one behind the other.

  Every kernel is another array and is read once, as in a decoding step: a
  single one that is read again and again would stay in the processor's caches.

  Args:
    config: fixes shapes.
    num_rows: tokens that are multiplied at once.
    repetitions: timed calls, of which the fastest counts.
  """
  shapes, L = bench_decode.product_shapes(config), config.num_layers
  kernels = [[jnp.full(shape, 1e-3) for shape in shapes] for _ in range(L)]
  table = jnp.full((config.vocab_size, config.embed_dim), 1e-3)
  many = num_rows >= _PROMPT_TOKENS

  def run(kernels, table, x):
    product = functools.partial(matmul, many_rows=many)
    for layer in kernels:
      for kernel in layer:  # of what is wider a part goes on
        x = product(kernel, x[:, : kernel.shape[1]])
    return product(table, x)

  x = jnp.ones((num_rows, config.embed_dim))
  seconds = fastest(run, kernels, table, x, repetitions=repetitions)
  weights = L * sum(a * b for a, b in shapes) + table.size
  return 2 * num_rows * weights / seconds


def _predict(
  config: models.TransformerConfig, params: Params, here: Hardware, count: int
) -> slices.Prediction:
  """A prompt and its samples where products take what they were measured at.

  They were measured with their reading, so that only the longer of the two,
  products or bytes, counts.
  """
  shape = costs.model_shape(config, models.num_params(params))
  return slices.predict(
    shape,
    config.embed_dim,
    slices.Slice(here, 1),
    slices.Layout(1, 1),
    slices.Work(_PROMPT_TOKENS, _NEW_TOKENS, count),
    bytes_per_param=4.0,
    combine='max',
  )
