"""Counts what a decoding step launches, in the program made for a device.

  python scripts/count_launches.py --platform=h200
  python scripts/count_launches.py --platform=v5e --model=Qwen3-8B

Needs the extra kernels-aot, which brings the compilers, and no device; two to
four minutes.
"""

from absl import flags

from ttc.drivers import command, launches
from ttc.models.published import PUBLISHED
from ttc.scaling.slices import Work

_MODEL = flags.DEFINE_enum(
  'model', 'Qwen3-0.6B', list(PUBLISHED), 'Shape of the layers.'
)
_PLATFORM = flags.DEFINE_enum(
  'platform', 'h200', launches.PLATFORMS, 'Compiled for.'
)
_SAMPLES = flags.DEFINE_integer('samples', 16, 'Of one prompt.', 1)
_CONTEXT = flags.DEFINE_integer('context', 4096, 'Tokens of the prompt.', 1)
_NEW_TOKENS = flags.DEFINE_integer('new_tokens', 1024, 'Of a response.', 1)


def main():
  """Compiles, counts and prints."""
  launches.print_launches(
    PUBLISHED[_MODEL.value],
    _PLATFORM.value,
    Work(_CONTEXT.value, _NEW_TOKENS.value, _SAMPLES.value),
  )


if __name__ == '__main__':
  command.run('count_launches', main, cache=False)
