r"""Decoding speed beside transformers and llama.cpp, and beside the machine.

  python scripts/bench_decode.py --out=bench_decode.json
  python scripts/bench_decode.py --num_samples=1 --num_samples=16
  python scripts/bench_decode.py --check  # a tiny random model, in seconds

Each engine draws `N` samples of `--new_tokens` tokens to one prompt, prefill
included, compilation not, with the same float32 weights. Nothing stops a sample
early. Runs are interleaved (ours, peer, ours, peer, ...), so that what else the
machine does hits all of them; a ratio is of two neighbouring runs, and is
printed as its median with the smallest and the largest in brackets.

The limits of the machine are measured, not looked up: a decoding step must
read every weight once, at the bandwidth of copying an array, and multiply them
with every row, at the rate of matrix products. The fraction of the limit that
binds is printed: of bandwidth at the smallest `N`, of FLOPs at the largest.
"""

from absl import flags

from ttc.drivers import bench_decode, command

_MODEL = flags.DEFINE_string(
  'model', 'smollm2-135m', 'Model of the Llama family; see `ttc.models.load`.'
)
_NUM_SAMPLES = flags.DEFINE_multi_integer(
  'num_samples',
  [1, 4, 16, 64],
  'Samples to the prompt; repeat for several.',
  1,
)
_PROMPT_TOKENS = flags.DEFINE_integer(
  'prompt_tokens', 128, 'In the prompt.', 1, 10**6
)
_NEW_TOKENS = flags.DEFINE_integer(
  'new_tokens', 64, 'In each sample.', 2, 10**6
)
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 5, 'Timed runs of each engine for each number of samples.', 1
)
_PEERS = flags.DEFINE_list(
  'peers',
  ['transformers', 'llama_cpp'],
  'Engines to compare with; those not installed are left out.',
)
_GGUF = flags.DEFINE_string(
  'gguf', None, "Path of the model's GGUF file, for llama_cpp."
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny random model and sizes: does everything still run?'
)


def main():
  """Times all engines and prints two tables."""
  bench = bench_decode.Bench(
    model=_MODEL.value,
    num_samples=tuple(_NUM_SAMPLES.value),
    prompt_tokens=_PROMPT_TOKENS.value,
    new_tokens=_NEW_TOKENS.value,
    repetitions=_REPETITIONS.value,
    peers=tuple(_PEERS.value),
    gguf=_GGUF.value,
  )
  if _CHECK.value:
    bench = bench_decode.CHECK._replace(peers=bench.peers, gguf=bench.gguf)
  bench_decode.bench_decode(bench, _OUT.value)


if __name__ == '__main__':
  command.run('bench_decode', main, cache=False)
