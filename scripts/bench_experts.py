r"""Decoding speed of a mixture of experts, and the experts that it reads.

  python scripts/bench_experts.py --out=bench_experts.json
  python scripts/bench_experts.py --num_samples=1 --num_samples=16
  python scripts/bench_experts.py --check  # a tiny model, in seconds

A random model of 8 experts, 2 of them for each token, draws `N` samples of
`--new_tokens` tokens to one prompt, beside `generate` of transformers on the
same float32 weights; runs are interleaved as in `bench_decode.py`. Of each step
it counts the experts that some sample chose and compares their bytes with the
expectation for even use, which is an upper bound for samples that choose
independently. A last table times each way of multiplying rows with experts, for
8 and 64 of them.
"""

from absl import flags

from ttc.drivers import bench_experts, command

_NUM_SAMPLES = flags.DEFINE_multi_integer(
  'num_samples', [1, 16, 64], 'Samples to the prompt; repeat for several.', 1
)
_PROMPT_TOKENS = flags.DEFINE_integer(
  'prompt_tokens', 64, 'In the prompt.', 1, 10**5
)
_NEW_TOKENS = flags.DEFINE_integer(
  'new_tokens', 33, 'In each sample.', 2, 10**5
)
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 5, 'Timed runs of each engine for each number of samples.', 1
)
_PEER = flags.DEFINE_bool('peer', True, 'Beside transformers, if installed.')
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny model and sizes: does everything still run?'
)


def main():
  """Times all and prints three tables."""
  bench = bench_experts.Bench(
    num_samples=tuple(_NUM_SAMPLES.value),
    prompt_tokens=_PROMPT_TOKENS.value,
    new_tokens=_NEW_TOKENS.value,
    repetitions=_REPETITIONS.value,
    has_peer=_PEER.value,
  )
  if _CHECK.value:
    bench = bench_experts.CHECK._replace(has_peer=bench.has_peer)
  bench_experts.bench_experts(bench, _OUT.value)


if __name__ == '__main__':
  command.run('bench_experts', main, cache=False)
