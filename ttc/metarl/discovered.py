"""Learned rules as files, and those that come with the package.

rule, meta = metarl.load_rule('ta_lpg_bandit')
agent = metarl.learner(env, rule, meta, horizon=50)

A file says which rule it is, of which size, and how it was made: the command,
the seed and the seconds are in `about`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from ttc.io.files import Path
from ttc.io.learned import (
  check_shapes,
  learned_names,
  load_learned,
  save_learned,
)
from ttc.metarl.rules.interface import UpdateRule
from ttc.metarl.rules.lpg import lpg, ta_lpg
from ttc.metarl.rules.mirror_learning import lpo, ta_lpo
from ttc.types import Params

LEARNED = (lpg, lpo, ta_lpg, ta_lpo)  # makers of rules with meta-parameters


class Discovered(NamedTuple):
  """A learned rule.

  Attributes:
    rule: how agents learn.
    params: its meta-parameters.
    about: where they come from.
  """

  rule: UpdateRule
  params: Params
  about: Mapping[str, Any]


def make_rule(name: str, options: Mapping[str, Any]) -> UpdateRule:
  """A rule with meta-parameters, by the name of its maker.

  Raises:
    ValueError: for a name or an option that is not known.
  """
  makers = {make.__name__: make for make in LEARNED}
  if name not in makers:
    raise ValueError(
      f'rule {name!r} is not known; there are {", ".join(makers)}'
    )
  try:
    return makers[name](**options)
  except TypeError as error:
    raise ValueError(f'rule {name}: {error}') from None


def save_rule(
  path: Path,
  name: str,
  options: Mapping[str, Any],
  params: Params,
  about: Mapping[str, Any],
) -> None:
  """Writes a learned rule, atomically, as `.npz` of half-size floats.

  Args:
    path: of the file.
    name: of its maker.
    options: of the maker, such as its width.
    params: meta-parameters; kept as float16, which is finer than the noise that
      evolution puts on them.
    about: how it was made.
  """
  save_learned(path, params, {'rule': name, 'options': options, **about})


def load_rule(name: Path) -> Discovered:
  """Reads a rule that comes with the package, or one of one's own.

  Args:
    name: one of `rule_names()`, or the path of a file from `save_rule`.

  Raises:
    ValueError: if it is neither.

  Example:
    >>> metarl.rule_names()  # doctest: +NORMALIZE_WHITESPACE
    ['lpg_bandit', 'lpg_grid_world', 'lpo_cart_pole', 'ta_lpg_bandit',
     'ta_lpo_cart_pole']
    >>> metarl.load_rule('lpo_cart_pole').rule.name
    'lpo'
  """
  found = load_learned(name, 'ttc.metarl', 'rule')
  about = dict(found.about)
  try:
    rule = make_rule(about.pop('rule'), about.pop('options'))
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{found.path}: not a saved rule: {error}') from None
  check_shapes(found, jax.eval_shape(rule.init, jax.random.key(0)))
  return Discovered(rule, found.params, about)


def rule_names() -> list[str]:
  """Of the rules that come with the package."""
  return learned_names('ttc.metarl')
