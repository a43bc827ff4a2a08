"""What an evaluation chooses, and what goes together."""

import dataclasses
from typing import NamedTuple, get_args

from ttc import models, sampling, search
from ttc.drivers import devices, options
from ttc.drivers.options import option
from ttc.kernels import block_topk
from ttc.sampling.logits import Preset
from ttc.types import SelectFn

VERIFIERS = ('log_prob', 'exact')
RULES = {
  name: rule
  for name, rule in vars(block_topk).items()
  if isinstance(rule, block_topk.SelectionRule)
}
_whole = options.whole


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
  """What an evaluation chooses; configs/smollm2_arithmetic.py explains each."""

  seed: int = option(options.seed())
  model: str = option(options.text())
  dtype: str = option(options.dtype())
  tasks: tuple[str, ...] = option(options.several(options.text()))
  task_path: str = option(options.text(empty=True))
  num_items: int = option(_whole(1))
  task_seed: int = option(options.seed())
  num_samples: int = option(_whole(1, 100_000))
  temperature: float = option(options.real(0.0))
  top_k: int = option(_whole())
  top_p: float = option(options.real(0.0, 1.0, above=True))
  min_p: float = option(options.real(0.0, 1.0, below=True))
  preset: Preset = option(options.one_of(get_args(Preset)))
  max_new_tokens: int = option(_whole())
  methods: tuple[str, ...] = option(options.several(options.text()))
  budgets: tuple[int, ...] = option(options.several(_whole(1)))
  num_permutations: int = option(_whole(1, 100_000))
  num_resamples: int = option(_whole(1, 1_000_000))
  attention: str = option(options.one_of(('dense', *sorted(RULES))))
  kv_budget: int = option(_whole(1))
  block_size: int = option(_whole(1))
  batch_size: int = option(_whole(1, 100_000))
  num_rows: int = option(_whole(0, 100_000))
  model_parallel: int = option(_whole(1))

  @property
  def sampling(self) -> sampling.SamplingParams:
    """The law that samples are drawn from."""
    return sampling.SamplingParams(
      self.temperature, self.top_k, self.top_p, self.min_p, self.preset
    )

  @property
  def sparse_attention(self) -> models.SparseAttention | None:
    """What a decoding step attends to; None for everything."""
    if self.attention == 'dense':
      return None
    return models.SparseAttention(
      RULES[self.attention], self.block_size, self.kv_budget
    )


class Choice(NamedTuple):
  """A method with the verifier that it uses."""

  label: str
  select: SelectFn
  verifier: str


def check(chosen: EvaluateOptions) -> list[Choice]:
  """Refuses values that do not go together; returns the methods.

  Raises:
    ValueError: naming the value and what is accepted.
  """
  for n in chosen.budgets:
    if n > chosen.num_samples:
      raise ValueError(
        f'config.budgets={chosen.budgets} must be numbers of samples, 1 to '
        f'num_samples={chosen.num_samples}'
      )
  sampling.check_sampling_params(chosen.sampling)
  devices.check_parallel(chosen.model_parallel)
  if chosen.kv_budget % chosen.block_size:
    raise ValueError(
      f'config.kv_budget={chosen.kv_budget} must be a multiple of '
      f'block_size={chosen.block_size}'
    )
  known = {
    m.name: (m.title, m.select) for m in search.METHODS if m.select is not None
  }
  choices = []
  for text in chosen.methods:
    name, _, verifier = text.partition(':')
    if name not in known:
      raise ValueError(
        f'config.methods: {name!r} is not one of {sorted(known)}'
      )
    if verifier and verifier not in VERIFIERS:
      raise ValueError(
        f'config.methods: verifier {verifier!r} is not one of {VERIFIERS}'
      )
    title, select = known[name]
    label = title + (f', {verifier} verifier' if verifier else '')
    choices.append(Choice(label, select, verifier or VERIFIERS[0]))
  return choices
