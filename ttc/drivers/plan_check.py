"""The law that plans slices, tried on the machine at hand."""

import statistics

import jax

from ttc import evaluation, models
from ttc.drivers import bench_decode
from ttc.drivers.peers import Job
from ttc.drivers.timing import interleaved, spread
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
  limits = bench_decode.machine_limits(config, max(counts), small=small)
  here = Hardware(
    limits['model_shape_flops_per_s'], limits['copy_bytes_per_s'], 'measured'
  )
  print(
    f'{here.flops / 1e9:.0f} GFLOP/s at the shapes of the model and '
    f'{here.bandwidth / 1e9:.1f} GB/s, measured\n'
  )
  rows, ratios = [], []
  for count in counts:
    job = Job(jax.device_get(prompt), count, _NEW_TOKENS)
    draw, _ = bench_decode.ours(config, params, job)
    seconds = interleaved({'ours': draw}, repetitions)['ours']
    expected = _predict(config, params, here, count)
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


def _predict(
  config: models.TransformerConfig, params: Params, here: Hardware, count: int
) -> float:
  """Seconds of a prompt and its samples."""
  shape = costs.model_shape(config, models.num_params(params))
  found = slices.predict(
    shape,
    config.embed_dim,
    slices.Slice(here, 1),
    slices.Layout(1, 1),
    slices.Work(_PROMPT_TOKENS, _NEW_TOKENS, count),
    bytes_per_param=4.0,
  )
  return found.prefill_s + _NEW_TOKENS * found.step_s
