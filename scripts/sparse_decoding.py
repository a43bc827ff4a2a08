"""What sparse decoding costs a real model, and what it saves.

  python scripts/sparse_decoding.py --workdir=runs/sparse
  python scripts/sparse_decoding.py --workdir=runs/sparse --part=speed

Three measurements of block top-k and its neighbours (Kinetics, 2506.05333), by
KV budget, each appended to records.jsonl, from which a killed run goes on:

  text     log-probability per token of the last tokens of long texts (Python's
           own reference manual), beside dense decoding
  lookup   one code among a hundred (`tasks.code_lookup`): accuracy of greedy
           answers and the log-probability of the right ones
  speed    seconds per decoded token against the length of the context, dense
           and sparse, on this machine

The report has the tables; loss.png, lookup.png and speed.png the curves. On two
CPU cores the first two take some 20 minutes with SmolLM2.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.sparse_decoding import (
  PARTS,
  RULES,
  Study,
  measure_sparse_decoding,
)

_MODEL = flags.DEFINE_string('model', 'smollm2-135m', 'See `models.load`.')
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
_PART = flags.DEFINE_multi_enum('part', PARTS, PARTS, 'Measurements.')
_RULES = flags.DEFINE_multi_enum('rule', list(RULES)[:4], list(RULES), 'Rules.')
_BUDGETS = flags.DEFINE_multi_integer(
  'budget', [64, 128, 256], 'Tokens read per layer and KV head.'
)
_BLOCK_SIZE = flags.DEFINE_integer('block_size', 16, 'Tokens of a block.', 1)
_DENSE_LAYERS = flags.DEFINE_integer(
  'dense_layers', 1, 'The first so many layers stay dense.', 0
)
_CONTEXTS = flags.DEFINE_multi_integer(
  'context', [1024, 4096], 'Tokens of the texts before those that are scored.'
)
_TEXTS = flags.DEFINE_integer('texts', 8, 'Texts of each length.', 1, 10**4)
_ITEMS = flags.DEFINE_integer('items', 32, 'Prompts of the lookup.', 1)
_SPEED_CONTEXTS = flags.DEFINE_multi_integer(
  'speed_context', [256, 1024, 2048, 4096, 8000], 'Lengths that are timed.'
)
_ROWS = flags.DEFINE_integer('rows', 8, 'Responses that are timed together.', 1)


def main():
  """Measures what is missing and reports."""
  study = Study(
    model=_MODEL.value,
    parts=tuple(_PART.value),
    rules=tuple(_RULES.value),
    budgets=tuple(_BUDGETS.value),
    block_size=_BLOCK_SIZE.value,
    dense_layers=_DENSE_LAYERS.value,
    contexts=tuple(_CONTEXTS.value),
    texts=_TEXTS.value,
    items=_ITEMS.value,
    speed_contexts=tuple(_SPEED_CONTEXTS.value),
    rows=_ROWS.value,
  )
  measure_sparse_decoding(study, _WORKDIR.value)


if __name__ == '__main__':
  command.run('sparse_decoding', main, resumes=True)
