"""What an evaluation chooses, and what goes together."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from ttc import models, sampling, search, strategies
from ttc.drivers import devices, options
from ttc.drivers.options import option
from ttc.kernels import block_topk
from ttc.sampling.logits import Preset

VERIFIERS = ('log_prob', 'exact')
RULES = {
  name: rule
  for name, rule in vars(block_topk).items()
  if isinstance(rule, block_topk.SelectionRule)
}
METHODS = {m.name: m for m in (*search.METHODS, *strategies.METHODS)}
SELECTING = {name: m for name, m in METHODS.items() if m.select is not None}
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
  quantization: str = option(
    options.one_of(('none', *models.QUANTIZATIONS)), 'none'
  )

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

  @property
  def recorded(self) -> dict[str, Any]:
    """What a run is told by; without defaults, which runs of before lack."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if getattr(self, field.name) != field.default
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchOptions(EvaluateOptions):
  """Those of methods that steer decoding; configs/math_search.py explains."""

  verifiers: tuple[str, ...] = option(
    options.several(options.text(), least=0), ()
  )
  baseline: str = option(options.text(empty=True), '')
  step_ends: tuple[str, ...] = option(
    options.several(options.text(empty=True), least=0), ('\n\n',)
  )
  max_steps: int = option(_whole(1, 10_000), 16)
  max_step_tokens: int = option(_whole(), 0)
  system: str = option(options.text(empty=True), '')
  prefill: str = option(options.text(empty=True), '')
  tools: str = option(options.text(empty=True), '')

  @property
  def directories(self) -> dict[str, str]:
    """Where each verifier that is a model is."""
    parts = (text.partition('=') for text in self.verifiers)
    return {name: directory for name, _, directory in parts}


class Choice(NamedTuple):
  """A method with the verifier that it uses."""

  name: str  # as it was asked for
  label: str
  method: search.Method
  verifier: str

  @property
  def decodes(self) -> bool:
    """Whether it steers decoding and shares no samples."""
    return self.method.select is None

  @property
  def asks(self) -> bool:
    """Whether it asks the verifier."""
    return 'verification' in self.method.how


def check_search(chosen: SearchOptions) -> tuple[list[Choice], Choice]:
  """`check` for all methods; also returns the baseline.

  Raises:
    ValueError: naming the value and what is accepted.
  """
  if not all(chosen.step_ends):
    raise ValueError(
      f'config.step_ends={chosen.step_ends} must be texts that are not empty'
    )
  for text in chosen.verifiers:
    name, _, directory = text.partition('=')
    if not name or not directory or name in VERIFIERS:
      raise ValueError(
        f'config.verifiers: {text!r} must be name=directory, the name none of '
        f'{VERIFIERS}'
      )
  known = {m.name: m for m in METHODS.values() if m.select or m.decode}
  choices = check(chosen, known, (*VERIFIERS, *chosen.directories))
  for choice in choices:
    if choice.method.judges_steps and choice.verifier == 'exact':
      able = [m.name for m in known.values() if not m.judges_steps]
      raise ValueError(
        f'config.methods: {choice.name!r} would ask the grader about '
        f'unfinished responses; those that can be told exact are {able}'
      )
  names = [choice.name for choice in choices]
  baseline = chosen.baseline or names[0]
  if baseline not in names:
    raise ValueError(
      f'config.baseline={baseline!r} is not one of config.methods: {names}'
    )
  return choices, choices[names.index(baseline)]


def check(
  chosen: EvaluateOptions,
  known: Mapping[str, search.Method] = SELECTING,
  verifiers: Sequence[str] = VERIFIERS,
) -> list[Choice]:
  """Refuses values that do not go together; returns the methods.

  Args:
    chosen: by the user.
    known: methods that there are.
    verifiers: that there are.

  Returns:
    The methods with their verifiers.

  Raises:
    ValueError: naming the value and what is accepted.
  """
  choices = [_choice(text, known, verifiers) for text in chosen.methods]
  for n in chosen.budgets:
    if n > chosen.num_samples and not all(c.decodes for c in choices):
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
  return choices


def _choice(
  text: str, known: Mapping[str, search.Method], verifiers: Sequence[str]
) -> Choice:
  """What one of `config.methods` says."""
  name, _, verifier = text.partition(':')
  if name not in known:
    raise ValueError(f'config.methods: {name!r} is not one of {sorted(known)}')
  if verifier and verifier not in verifiers:
    raise ValueError(
      f'config.methods: verifier {verifier!r} is not one of {tuple(verifiers)}'
    )
  title = known[name].title
  label = title + (f', {verifier} verifier' if verifier else '')
  return Choice(text, label, known[name], verifier or VERIFIERS[0])
