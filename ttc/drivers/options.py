"""What a run may be asked for: one typed check of a configuration.

The options of a driver are the fields of a frozen dataclass, each with the rule
of what it accepts:

  @dataclasses.dataclass(frozen=True)
  class Options:
    num_samples: int = option(whole(1))
    temperature: float = option(real(0.0))
    methods: tuple[str, ...] = option(several(text()))

`parse(Options, mapping)` gives the value or raises a `ValueError` of one line
that names the option, its value and what is accepted.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

Options = TypeVar('Options')

# Sizes beyond this are slips of the keyboard, and would exhaust any memory.
MOST = 10**7
SEED_BITS = 32  # what `jax.random.key` takes without dropping bits


class Rule(NamedTuple):
  """What an option accepts."""

  accepts: str  # in words, behind 'must be'
  read: Callable[[Any], Any]  # the value, or raises ValueError


def option(rule: Rule, default: Any = dataclasses.MISSING) -> Any:
  """A field of a class of options."""
  if default is dataclasses.MISSING:
    return dataclasses.field(metadata={'rule': rule})
  return dataclasses.field(default=default, metadata={'rule': rule})


def parse(kind: type[Options], values: Mapping[str, Any]) -> Options:
  """Reads the options of a driver from a configuration.

  Args:
    kind: a dataclass whose fields were made by `option`.
    values: of a config file, `config.to_dict()`.

  Returns:
    An instance of `kind`.

  Raises:
    ValueError: for the first value that is missing, unknown, of the wrong type
      or not accepted.
  """
  fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
  if unknown := sorted(set(values) - set(fields)):
    raise ValueError(
      f'config.{unknown[0]} is not known; there are {", ".join(fields)}'
    )
  read = {}
  for name, field in fields.items():
    if name in values:
      read[name] = check(f'config.{name}', values[name], field.metadata['rule'])
    elif field.default is dataclasses.MISSING:
      raise ValueError(f'config.{name} is missing')
  return kind(**read)


def check(name: str, value: Any, rule: Rule) -> Any:
  """The value as the rule reads it; ValueError of one line if it does not."""
  try:
    return rule.read(value)
  except ValueError:
    shown = repr(value)
    shown = shown if len(shown) < 200 else f'{shown[:200]}...'
    raise ValueError(f'{name}={shown} must be {rule.accepts}') from None


def whole(low: int = 0, high: int = MOST) -> Rule:
  """A whole number from `low` to `high`."""

  def read(value):
    if isinstance(value, bool) or not isinstance(value, int):
      raise ValueError
    if not low <= value <= high:
      raise ValueError
    return value

  return Rule(f'a whole number from {low} to {high}', read)


def seed() -> Rule:
  """A seed; beyond 32 bits two seeds would be the same."""
  return whole(0, 2**SEED_BITS - 1)


def real(
  low: float = -math.inf,
  high: float = math.inf,
  *,
  above: bool = False,
  below: bool = False,
) -> Rule:
  """A finite number from `low` to `high`.

  Args:
    low: the least.
    high: the most.
    above: not `low` itself.
    below: not `high` itself.

  Returns:
    The rule.
  """

  def read(value):
    if isinstance(value, bool) or not isinstance(value, int | float):
      raise ValueError
    value = float(value)
    if not math.isfinite(value) or not low <= value <= high:
      raise ValueError
    if (above and value == low) or (below and value == high):
      raise ValueError
    return value

  bounds = [f'{"above" if above else "at least"} {low:g}'] * math.isfinite(low)
  upper = 'below' if below else 'at most'
  bounds += [f'{upper} {high:g}'] * math.isfinite(high)
  return Rule(' '.join(['a finite number', ' and '.join(bounds)]).strip(), read)


def text(*, empty: bool = False) -> Rule:
  """A string."""

  def read(value):
    if not isinstance(value, str) or not (empty or value.strip()):
      raise ValueError
    return value

  return Rule('a text' if empty else 'a text that is not empty', read)


def truth() -> Rule:
  """True or False."""

  def read(value):
    if not isinstance(value, bool):
      raise ValueError
    return value

  return Rule('True or False', read)


def one_of(choices: Sequence[str]) -> Rule:
  """One of some names."""

  def read(value):
    if not isinstance(value, str) or value not in choices:
      raise ValueError
    return value

  return Rule(f'one of {", ".join(choices)}', read)


def dtype() -> Rule:
  """The type of weights and activations."""
  return one_of(('float32', 'bfloat16', 'float16'))


def several(rule: Rule, *, least: int = 1, most: int = 1000) -> Rule:
  """So many of what `rule` accepts, none twice."""

  def read(values):
    if not isinstance(values, list | tuple) or not (
      least <= len(values) <= most
    ):
      raise ValueError
    values = tuple(rule.read(value) for value in values)
    if len(set(values)) < len(values):
      raise ValueError
    return values

  return Rule(f'a tuple of different values, each {rule.accepts}', read)
