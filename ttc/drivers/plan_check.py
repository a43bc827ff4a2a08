r"""The law that plans slices, tried on the machine at hand.

Where products, attention and all else run at rates of their own, a decoding
step of `N` rows takes

.. math:: t_N = \frac{2 P N}{R_\text{products}}
    + \frac{B_\text{KV}}{R_\text{attention}} + \frac{4 N V}{R_\text{drawing}}
    + \frac{4 N A L}{R_\text{between}}

seconds: `P` weights, the bytes of the caches' room (a CPU reads all of it, used
or not), logits on their way to tokens, and the `A` numbers that a layer makes
of a token between its products. A rate is that of the part alone, on arrays of
its own, at `N` rows; none is taken from decoding. On an accelerator the last
two terms are small, and the law of `scaling.slices` has none.
"""

import statistics
import time
from collections.abc import Callable

import jax

from ttc import evaluation
from ttc.drivers import bench_decode, plan_rates
from ttc.drivers.peers import Job
from ttc.drivers.plan_rates import Amounts
from ttc.drivers.timing import interleaved, spread
from ttc.models import TransformerConfig

_PROMPT_TOKENS, _NEW_TOKENS = 128, 64
_UNITS = ('GFLOP/s of products', *['GB/s of ' + x for x in Amounts._fields[1:]])


def check_here(
  counts: tuple[int, ...] = (1, 4, 16, 64),
  *,
  small: bool = False,
  repetitions: int = 3,
  clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
  """Measures the machine, predicts a model on it, and measures that.

  All take turns, so that what else the machine does hits all of them.

  Args:
    counts: numbers of samples to one prompt.
    small: a tiny random model in place of SmolLM2.
    repetitions: timed turns of each number.
    clock: that of the CPU, `time.process_time`, where others use it too.

  Returns:
    Predicted seconds over measured ones, a median for each number.
  """
  config, params = bench_decode.Bench(check=small).load()
  prompt = jax.numpy.arange(_PROMPT_TOKENS, dtype='int32') % config.vocab_size
  read = plan_rates.reading(config, _PROMPT_TOKENS)
  rows, found, ratios = [], [], []
  for count in counts:
    job = Job(jax.device_get(prompt), count, _NEW_TOKENS)
    draw, _ = bench_decode.ours(config, params, job)
    work = count, _PROMPT_TOKENS, _NEW_TOKENS
    engines = plan_rates.parts(config, *work) | {'read': read, 'decode': draw}
    seconds = interleaved(engines, repetitions, clock)
    amounts = plan_rates.step_amounts(config, *work)
    turns = [
      dict(zip(seconds, turn, strict=True))
      for turn in zip(*seconds.values(), strict=True)
    ]
    rates = [plan_rates.rates(amounts, turn) for turn in turns]
    expected = [
      predict(config, count, rate, plan_rates.of_each(turn['read']))
      for rate, turn in zip(rates, turns, strict=True)
    ]
    pairs = zip(expected, seconds['decode'], strict=True)
    of_turn = [predicted / measured for predicted, measured in pairs]
    ratios.append(statistics.median(of_turn))
    best = Amounts(*map(max, zip(*rates, strict=True)))
    rows.append([str(count), *(f'{rate / 1e9:.3g}' for rate in best)])
    steps = step_seconds(amounts, best)
    found.append(
      [
        str(count),
        *(f'{1e3 * each:.3g}' for each in steps),
        f'{statistics.median(expected):.2f}',
        spread(seconds['decode'], '.2f'),
        spread(of_turn, '.2f'),
      ]
    )
  print('\n'.join(evaluation.markdown_table(['N', *_UNITS], rows)), end='\n\n')
  header = ['N', *(f'{name}, ms a step' for name in Amounts._fields)]
  header += ['predicted s', 'measured s', 'predicted / measured']
  print('\n'.join(evaluation.markdown_table(header, found)))
  return ratios


def step_seconds(amounts: Amounts, rates: Amounts) -> Amounts:
  """Seconds of a step, by what they are spent on."""
  return Amounts(*(x / rate for x, rate in zip(amounts, rates, strict=True)))


def predict(
  config: TransformerConfig, count: int, rates: Amounts, reading_s: float
) -> float:
  """Seconds of a prompt and its samples.

  Args:
    config: of the model.
    count: samples.
    rates: at so many rows.
    reading_s: of the products of as many rows as the prompt has.
  """
  work = count, _PROMPT_TOKENS, _NEW_TOKENS
  step = step_seconds(plan_rates.step_amounts(config, *work), rates)
  # The prompt gives the first token: that one takes no step of the model.
  return reading_s + step.drawing + (_NEW_TOKENS - 1) * sum(step)
