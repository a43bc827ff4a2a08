r"""MASA: a policy that predicts how it will do, trained beside its solutions.

Kim et al., "Meta-Awareness Enhances Reasoning Models: Self-Alignment
Reinforcement Learning", arXiv 2510.03259. Every prompt is rolled out twice by
the same policy: `G` solutions, and `M` answers to the question how many of them
will be right, how long they will be and what they will speak of. The rewards of
such a prediction need no labels, only the solutions:

.. math:: r_{pass} = 0.01^{|\bar s - \hat p|}, \quad
    r_{len} = 1[\min_i l_i < \hat l < \max_i l_i], \quad
    r_{meta} = (r_{notion} + r_{pass} + r_{len}) / 3

with the lengths of correct solutions. Both kinds form groups of their own. A
prediction then saves samples: prompts whose groups would be dead are skipped,
and responses that go far beyond the predicted length are cut; the trainer that
was released does neither. Costs `M` short responses a prompt, which count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.finetuning.policy_gradients import is_alive

NUM_BUCKETS = 8  # a pass rate is predicted as 0 to 8 eighths


def pass_reward(
  predicted: Float[Array, '*A'], measured: Float[Array, '*A']
) -> Float[Array, '*A']:
  """1 for the measured pass rate, .01 for an error of 1; both in [0, 1]."""
  return 0.01 ** jnp.abs(predicted - measured)


def length_reward(
  predicted: Float[Array, '*A M'],
  lengths: Int[Array, '*A G'],
  is_right: Bool[Array, '*A G'],
  strict: bool = True,
) -> Float[Array, '*A M']:
  """Whether a predicted length lies between those of correct solutions.

  As released the inequalities are strict, so that nothing can be right if there
  is one correct solution or all are as long.

  Args:
    predicted: in tokens.
    lengths: of the solutions.
    is_right: which of them count; 0 for all predictions if none does.
    strict: as released; otherwise the ends are right too. Static.

  Returns:
    0 or 1.
  """
  inf = jnp.iinfo(jnp.int32).max
  low = jnp.min(jnp.where(is_right, lengths, inf), axis=-1, keepdims=True)
  high = jnp.max(jnp.where(is_right, lengths, -1), axis=-1, keepdims=True)
  if strict:
    inside = (low < predicted) & (predicted < high)
  else:
    inside = (low <= predicted) & (predicted <= high)
  return inside.astype(jnp.float32)


def notion_reward(
  predicted: Sequence[str],
  problem: str,
  solutions: Sequence[str],
  is_right: Sequence[bool],
) -> float:
  """The share of predicted notions that tell right solutions from wrong ones.

  Notions that stand in the problem are no prediction and are dropped. One of
  the others counts if more right than wrong solutions contain it, letter by
  letter, its plural ending left off. 0 if none is left.

  Args:
    predicted: words.
    problem: its text.
    solutions: their texts.
    is_right: which are.
  """
  notions = [_singular(word.strip()) for word in predicted]
  notions = [word for word in notions if word and word not in problem]
  if not notions:
    return 0.0
  signs = [1 if right else -1 for right in is_right]
  counts = [
    sum(
      sign for text, sign in zip(solutions, signs, strict=True) if word in text
    )
    for word in notions
  ]
  return sum(count > 0 for count in counts) / len(notions)


def meta_reward(
  pass_: Float[Array, '*A'],
  length: Float[Array, '*A'],
  notion: Float[Array, '*A'] | float | None,
  is_parsed: Bool[Array, '*A'],
) -> Float[Array, '*A']:
  """The mean of the rewards; 0 for a prediction that cannot be read.

  Args:
    pass_: from `pass_reward`.
    length: from `length_reward`.
    notion: from `notion_reward`; None where nothing of the kind is asked.
    is_parsed: whether the prediction has all its fields.
  """
  if notion is None:
    mean = (pass_ + length) / 2
  else:
    mean = (pass_ + length + notion) / 3
  return jnp.where(is_parsed, mean, 0.0)


class Gate(NamedTuple):
  """When a prediction is sure enough to skip a prompt; numbers may be traced.

  Attributes:
    low: mean predicted pass rates up to this one,
    high: and from this one on,
    spread: are skipped if their standard deviation is at most this.
  """

  low: Float[Array, ''] | float = 0.05
  high: Float[Array, ''] | float = 0.95
  spread: Float[Array, ''] | float = 0.125


def keeps(
  predicted: Float[Array, '*P M'],
  gate: Gate = Gate(),  # noqa: B008
) -> Bool[Array, '*P']:
  """Which prompts are worth their samples.

  Args:
    predicted: `M` pass rates of each prompt, in [0, 1].
    gate: when not.
  """
  mean, spread = jnp.mean(predicted, axis=-1), jnp.std(predicted, axis=-1)
  sure = (mean <= gate.low) | (mean >= gate.high)
  return ~(sure & (spread <= gate.spread))


def choose_prompts(
  predicted: Float[Array, 'P M'],
  num_chosen: int,
  gate: Gate = Gate(),  # noqa: B008
) -> tuple[Int[Array, ' C'], Bool[Array, ' C']]:
  """The prompts to roll out, in static shapes.

  Args:
    predicted: `M` pass rates of each of `P` prompts.
    num_chosen: `C` of them; static.
    gate: those it does not keep come last.

  Returns:
    The prompts by falling `p (1 - p)`, and which of them the gate keeps.
  """
  mean = jnp.mean(predicted, axis=-1)
  kept = keeps(predicted, gate)
  order = jnp.argsort(jnp.where(kept, -mean * (1 - mean), 1.0), stable=True)
  chosen = order[:num_chosen]
  return chosen.astype(jnp.int32), kept[chosen]


def length_limit(
  predicted: Float[Array, '*P M'],
  multiple: Float[Array, ''] | float = 2.0,
  most: int = 8192,
) -> Int[Array, '*P']:
  """Where to cut responses: a multiple of the mean predicted length.

  Args:
    predicted: `M` lengths for each prompt, in tokens.
    multiple: 1.5 to 2.
    most: tokens there is room for.
  """
  limit = jnp.ceil(multiple * jnp.mean(predicted, axis=-1))
  return jnp.clip(limit, 1, most).astype(jnp.int32)


class GateReport(NamedTuple):
  """What a gate does to groups; shares in [0, 1]."""

  dead_removed: Float[Array, '']
  useful_kept: Float[Array, '']


def gate_report(
  kept: Bool[Array, ' P'], rewards: Float[Array, 'P G']
) -> GateReport:
  """How many dead groups it removes, and useful ones it keeps."""
  alive = is_alive(rewards)
  share = lambda which, of: jnp.sum(which & of) / jnp.maximum(jnp.sum(of), 1)
  return GateReport(share(~kept, ~alive), share(kept, alive))


def gate_bound(
  pass_rates: Float[Array, ' P'],
  group_size: int,
  gate: Gate = Gate(),  # noqa: B008
) -> GateReport:
  """What the gate that knows every pass rate does, in expectation.

  A group of `G` is dead with probability `p^G + (1 - p)^G`.

  Args:
    pass_rates: of prompts.
    group_size: `G`.
    gate: its borders.
  """
  p = pass_rates
  dead = p**group_size + (1 - p) ** group_size
  kept = (p > gate.low) & (p < gate.high)
  mean = lambda chance, which: (
    jnp.sum(jnp.where(which, chance, 0.0)) / jnp.maximum(jnp.sum(chance), 1e-12)
  )
  return GateReport(mean(dead, ~kept), mean(1 - dead, kept))


def cloning_targets(
  notion_rewards: Float[Array, 'P M'], threshold: float = 0.2
) -> tuple[Int[Array, ' P'], Bool[Array, ' P']]:
  """Which prediction of each prompt to imitate, its numbers set right.

  Args:
    notion_rewards: of the predictions.
    threshold: of the best, below which there is none.

  Returns:
    The best prediction, and whether it is good enough.
  """
  best = jnp.argmax(notion_rewards, axis=-1).astype(jnp.int32)
  return best, jnp.max(notion_rewards, axis=-1) >= threshold


def _singular(word: str) -> str:
  """Without the ending of a plural."""
  if word.endswith('ies'):
    return word[:-3]
  if word.endswith('es'):
    return word[:-2]
  return word[:-1] if word.endswith('s') else word
