r"""Prices test-time compute in equivalent FLOPs, and draws what follows.

  python scripts/kinetics.py --workdir=runs/kinetics
  python scripts/kinetics.py --workdir=runs/kinetics --hardware=h200 \
      --records=runs/small --records=runs/large

An eFLOP charges a byte read from memory as many FLOPs as the machine could have
done meanwhile (Kinetics, arXiv 2506.05333). From the formulas and the Qwen3
model cards alone this writes into the workdir

  report.md     claims with their figures, and the pictures
  claims.json   the same claims, for programs
  split.png     what a response costs: parameters, attention, reads of the cache
  isocost.png   model sizes and lengths of one price: FLOPs, dense, sparse
  tokens.png    the tokens that a price buys from each model

and, from the records that evaluate.py left in each --records directory,

  records.png   accuracy (pass@N) against eFLOPs, FLOPs and tokens, with the
                frontier over all models and numbers of trials

The claims are those of the paper's machine; the pictures follow the flags. Exit
status 1 if a claim does not hold.
"""

from absl import flags

from ttc.drivers import command
from ttc.drivers.kinetics import Prices, price_everything
from ttc.scaling.hardware import HARDWARE

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for all output.', required=True
)
_HARDWARE = flags.DEFINE_enum(
  'hardware', 'b200_fp8', sorted(HARDWARE), "Machine; b200_fp8 is the paper's."
)
_COMBINE = flags.DEFINE_enum(
  'combine', 'sum', ['sum', 'max'], 'FLOPs and bytes add up, or overlap.'
)
_PROMPT_TOKENS = flags.DEFINE_integer(
  'prompt_tokens', 256, 'In a prompt.', 1, 10**7
)
_KV_BUDGET = flags.DEFINE_integer(
  'kv_budget', 256, 'Tokens that sparse attention attends to.', 1, 10**7
)
_BLOCK_SIZE = flags.DEFINE_integer(
  'block_size', 16, 'Tokens of a block of sparse attention.', 1, 10**7
)
_RECORDS = flags.DEFINE_multi_string(
  'records', [], 'Directory of evaluate.py; repeat, or separate by commas.'
)


def main():
  """Writes everything; returns which claims do not hold."""
  prices = Prices(
    _HARDWARE.value,
    _COMBINE.value,  # pyright: ignore[reportArgumentType]  # stub says str
    _PROMPT_TOKENS.value,
    _KV_BUDGET.value,
    _BLOCK_SIZE.value,
  )
  records = [p for text in _RECORDS.value for p in text.split(',') if p]
  failed = price_everything(prices, _WORKDIR.value, records)
  return f'{"; ".join(failed)}: did not hold' if failed else None


if __name__ == '__main__':
  command.run('kinetics', main)
