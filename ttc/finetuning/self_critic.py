"""Timo's self-critic: a model judges its own responses, and learns from that.

Su et al., "Timo: Towards Better Temporal Reasoning for Language Models", arXiv
2406.14192. `N = 5` responses to a question of four options are drawn; those
that answer properly are right or wrong by their choice; the same model gives
each up to five points, under one rubric as a right answer and under another as
a wrong one that convinces; the best of each kind are a pair for DPO, see
`pick_pairs`. Costs `N` responses and `3 N` short judgements a question.
"""

import re
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_POINTS = 5
# What each point is given for; in our words.
AS_RIGHT = """Read the question and the answer, and add up points:
1 if the answer speaks of what was asked;
1 if it says which dates, times or order matter;
1 if it works towards the result step by step;
1 if every step follows from the one before;
1 if its result is right and it ends with one clear choice.
Write "Score:" and the sum."""
AS_WRONG = """The answer below is wrong. Add up points for how well it hides it:
1 if it speaks of what was asked;
1 if it names dates, times or an order as the question has them;
1 if it looks as if it worked step by step;
1 if most of its steps are right;
1 if a careful reader would have to calculate to find the mistake.
Write "Score:" and the sum."""
_PHRASE = re.compile(r'the answer is \(([^()\n]+)\)', re.IGNORECASE)
_SCORE = re.compile(r'score:?\s*(-?\d+(?:\.\d+)?)', re.IGNORECASE)


def answer_choice(response: str, choices: Sequence[str] = 'abcd') -> str | None:
  """The choice that a response names, if it answers as it should.

  "The answer is (x)" must be there once, and in the last line; the words may be
  written in capitals. None for any other response.

  Args:
    response: text.
    choices: what x may be: letters, or the options themselves.
  """
  found = _PHRASE.findall(response)
  last = response.strip().rpartition('\n')[2]
  if len(found) != 1 or not _PHRASE.search(last):
    return None
  return {x.lower(): x for x in choices}.get(found[0].strip().lower())


def parse_score(judgement: str) -> float:
  """The number behind the last "Score:"; NaN if there is none."""
  found = _SCORE.findall(judgement)
  return float(found[-1]) if found else float('nan')


def mean_score(
  scores: Float[Array, '*A J'], drop_zero: bool = False
) -> Float[Array, '*A']:
  """The mean of `J` judgements, those that mean nothing left out.

  Args:
    scores: NaN where none could be read; outside of 0 to 5 none counts.
    drop_zero: leave out zeros as well, as the released code does by mistake.
      Static.

  Returns:
    The means, -1 where no judgement is left.
  """
  counts = (scores >= 0) & (scores <= MOST_POINTS)
  if drop_zero:
    counts &= scores != 0
  total = jnp.sum(jnp.where(counts, scores, 0.0), axis=-1)
  number = jnp.sum(counts, axis=-1)
  return jnp.where(number > 0, total / jnp.maximum(number, 1), -1.0)
