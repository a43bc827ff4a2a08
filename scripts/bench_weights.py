r"""What bfloat16 and int8 cost a model in accuracy, and bring it in speed.

  python scripts/bench_weights.py --out=bench_weights.json
  python scripts/bench_weights.py --num_samples=1 --num_samples=16
  python scripts/bench_weights.py --model=PATH --text=FILE --tasks=times_table

Beside float32: negative log-likelihood of a text (Python's manual, or --text),
divergence and agreement of the likeliest token at each of its positions, greedy
answers to tasks; then tokens a second. Runs are interleaved with each other and
with a copy of an array; ratios are medians of neighbouring runs. A step must
read every weight once: the fraction of the copy's bandwidth is printed.
"""

from absl import flags

from ttc.drivers import bench_weights, command

_MODEL = flags.DEFINE_string('model', 'smollm2-135m', 'See models.load.')
_KINDS = flags.DEFINE_list(
  'kinds', list(bench_weights.KINDS), 'Forms of the weights, float32 first.'
)
_NUM_TOKENS = flags.DEFINE_integer('num_tokens', 2048, 'Of text.', 0, 10**5)
_TEXT = flags.DEFINE_string('text', None, "A file; else Python's manual.")
_TASKS = flags.DEFINE_list(
  'tasks', ['times_table', 'addition_1digit'], 'Text tasks to answer.'
)
_NUM_ITEMS = flags.DEFINE_integer('num_items', 80, 'Of each task.', 1)
_NUM_SAMPLES = flags.DEFINE_multi_integer(
  'num_samples', [1, 4, 16, 64], 'To a prompt; repeat for several.', 1
)
_NEW_TOKENS = flags.DEFINE_integer('new_tokens', 64, 'Of a sample.', 1, 10**5)
_REPETITIONS = flags.DEFINE_integer('repetitions', 5, 'Timed runs.', 1)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')


def main():
  """Measures all and prints two tables."""
  bench = bench_weights.Bench(
    model=_MODEL.value,
    kinds=tuple(_KINDS.value),
    num_tokens=_NUM_TOKENS.value,
    text=_TEXT.value,
    tasks=tuple(_TASKS.value),
    num_items=_NUM_ITEMS.value,
    num_samples=tuple(_NUM_SAMPLES.value),
    new_tokens=_NEW_TOKENS.value,
    repetitions=_REPETITIONS.value,
  )
  bench_weights.bench_weights(bench, _OUT.value)


if __name__ == '__main__':
  command.run('bench_weights', main)
