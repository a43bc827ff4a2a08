"""Archon's architectures: layers of techniques, run by one compiled program.

Saad-Falcon et al., 2409.15254. An architecture is a tuple of layers, a typed
value that can be hashed, printed and compared. `encode` checks it against
Archon's rules of composition and makes an array of it, so that a search over
thousands of architectures compiles once. `run` gives the answer to ONE problem
from its drafts, which may come from a file or have been drawn a moment ago.

Rules: a generator comes first and nowhere else; each layer is of one kind; a
critic stands directly before the ranker or fuser that reads it; the last layer
leaves one candidate, a fuser of width 1 or a ranker that keeps 1. Costs what
its layers cost, see `ttc.strategies.layers`.
"""

import dataclasses
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.search.base import tally, winner
from ttc.strategies import layers
from ttc.strategies.layers import MAX_WIDTH, Drafts, Operators
from ttc.types import Selection


@dataclasses.dataclass(frozen=True)
class Generate:
  """Drafts of each model."""

  samples: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Critique:
  """An opinion of every candidate."""


@dataclasses.dataclass(frozen=True)
class Rank:
  """Keeps the best candidates."""

  keep: int


@dataclasses.dataclass(frozen=True)
class Verify:
  """Drops candidates that are believed less than the threshold."""

  threshold: float = 0.5


@dataclasses.dataclass(frozen=True)
class UnitTest:
  """Keeps the candidates that pass most tests."""

  num_tests: int


@dataclasses.dataclass(frozen=True)
class Fuse:
  """Replaces candidates by what fusers make of them."""

  width: int = 1


Layer: TypeAlias = Generate | Critique | Rank | Verify | UnitTest | Fuse
Architecture: TypeAlias = tuple[Layer, ...]
_KINDS = (Generate, Critique, Rank, Verify, UnitTest, Fuse)
_NOTHING = len(_KINDS)  # fills up a plan


class Plan(NamedTuple):
  """An architecture as arrays; `L` layers, `M` models."""

  kinds: Int[Array, ' L']
  amounts: Float[Array, 'L M']  # of a layer with one amount, it is the first


def check(architecture: Architecture) -> None:
  """Raises a `ValueError` that names the rule an architecture breaks."""
  if not architecture or not isinstance(architecture[0], Generate):
    raise ValueError(f'the first layer must be Generate, got {architecture}')
  for layer, after in zip(architecture, [*architecture[1:], None], strict=True):
    if isinstance(after, Generate):
      raise ValueError('only the first layer may be Generate')
    if isinstance(layer, Critique) and not isinstance(after, Rank | Fuse):
      raise ValueError(
        f'Critique must be followed by Rank or Fuse, got {after}'
      )
    amounts = dataclasses.astuple(layer)
    if isinstance(layer, Generate):
      if not layer.samples or min(layer.samples) < 0 or not any(layer.samples):
        raise ValueError(f'Generate needs samples, got {layer.samples}')
    elif not isinstance(layer, Verify) and any(n < 1 for n in amounts):
      raise ValueError(f'amounts must be positive, got {layer}')
    if isinstance(layer, Fuse) and layer.width > MAX_WIDTH:
      raise ValueError(f'width must be at most {MAX_WIDTH}, got {layer.width}')
    if isinstance(layer, Verify) and not 0 <= layer.threshold <= 1:
      raise ValueError(f'threshold must lie in 0..1, got {layer.threshold}')
  if architecture[-1] not in (Fuse(1), Rank(1)):
    raise ValueError(
      f'the last layer must be Fuse(1) or Rank(1), got {architecture[-1]}'
    )


def encode(
  architecture: Architecture, num_models: int, max_layers: int
) -> Plan:
  """Checks an architecture and makes arrays of it.

  Args:
    architecture: its layers.
    num_models: `M`; as many as the generator names.
    max_layers: `L`, of all architectures that one program shall run.

  Returns:
    The plan.

  Raises:
    ValueError: if it breaks a rule or does not fit.
  """
  check(architecture)
  if len(architecture) > max_layers:
    raise ValueError(
      f'max_layers is {max_layers}, got {len(architecture)} layers'
    )
  kinds = np.full(max_layers, _NOTHING, np.int32)
  amounts = np.zeros((max_layers, num_models), np.float32)
  for i, layer in enumerate(architecture):
    kinds[i] = _KINDS.index(type(layer))
    if isinstance(layer, Generate):
      if len(layer.samples) != num_models:
        raise ValueError(
          f'there are {num_models} models, got samples of {len(layer.samples)}'
        )
      amounts[i] = layer.samples
    else:
      amounts[i, : len(dataclasses.astuple(layer))] = dataclasses.astuple(layer)
  return Plan(jnp.asarray(kinds), jnp.asarray(amounts))


def run(
  plan: Plan, key: PRNGKeyArray, drafts: Drafts, operators: Operators
) -> Selection:
  """The answer of an architecture to one problem.

  Map over problems inside and over plans outside (`jax.lax.map`): a plan that
  is not batched runs only the operators that it has.

  Args:
    plan: from `encode`.
    key: random key of the problem, consumed.
    drafts: of the problem, at least as many of each model as the plan asks for.
    operators: what they cost.

  Returns:
    The answer, with the tokens of all layers.
  """

  def step(pool, layer):
    place, kind, amounts = layer
    amount = amounts[0]
    branches = (
      lambda: layers.generate(pool, drafts, amounts),
      lambda: layers.critique(pool, drafts, operators),
      lambda: layers.rank(pool, drafts, operators, amount),
      lambda: layers.verify(pool, drafts, operators, amount),
      lambda: layers.unit_test(pool, drafts, operators, amount),
      lambda: layers.fuse(
        pool, drafts, operators, amount, jax.random.fold_in(key, place)
      ),
      lambda: pool,
    )
    return jax.lax.switch(kind, branches), None

  places = jnp.arange(plan.kinds.shape[0])
  start = layers.empty_pool(drafts.answers.shape[0])
  pool, _ = jax.lax.scan(step, start, (places, *plan))
  votes = tally(drafts.answers, pool.copies * 1.0, pool.copies > 0)
  answer = winner(drafts.answers, votes)
  return Selection(answer, pool.tokens, pool.depth, pool.judged)


def describe(architecture: Architecture) -> str:
  """In words, such as `drafts 4+4+0 > critique > rank 2 > fuse 1`."""
  words = {
    Generate: 'drafts',
    Critique: 'critique',
    Rank: 'rank',
    Verify: 'verify',
    UnitTest: 'test',
    Fuse: 'fuse',
  }
  parts = []
  for layer in architecture:
    amounts = dataclasses.astuple(layer)
    if isinstance(layer, Generate):
      amounts = ('+'.join(map(str, layer.samples)),)
    parts.append(' '.join([words[type(layer)], *map(str, amounts)]))
  return ' > '.join(parts)
