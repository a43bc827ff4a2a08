r"""Speed of a GRPO step beside TRL on torch, on the CPU.

  python scripts/bench_finetune.py
  python scripts/bench_finetune.py --width=256 --layers=4 --threads=1,2

Both train a transformer of the same random weights on the same prompts, with
responses of the same length and as many threads. Prints a Markdown table:
tokens sampled and trained a second, as the median of several steps with the
smallest and the largest, and the shares of our time. Needs trl and torch.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.bench_finetune import Shape, bench_finetune

_LAYERS = flags.DEFINE_integer('layers', 2, 'Of the model.', 1)
_WIDTH = flags.DEFINE_integer('width', 64, 'Of the model.', 16)
_PROMPTS = flags.DEFINE_integer('prompts', 16, 'Of a step.', 1)
_GROUP = flags.DEFINE_integer('group', 8, 'Responses to each.', 2)
_TOKENS = flags.DEFINE_integer('tokens', 32, 'Of a response.', 2)
_THREADS = flags.DEFINE_list('threads', '1,2', 'Of both, one after another.')
_REPETITIONS = flags.DEFINE_integer('repetitions', 10, 'Timed steps.', 1)


def main():
  """Times both and prints the table."""
  shape = Shape(
    _LAYERS.value, _WIDTH.value, _PROMPTS.value, _GROUP.value, _TOKENS.value
  )
  try:
    threads = [int(number) for number in _THREADS.value]
  except ValueError:
    raise ValueError(f'--threads={_THREADS.value} are no numbers') from None
  print(bench_finetune(shape, _REPETITIONS.value, threads))


if __name__ == '__main__':
  command.run('bench_finetune', main, cache=False)
