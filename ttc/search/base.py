"""What all methods that spend samples share.

A method that only chooses among samples is a `SelectFn`: a pure function of the
samples of ONE problem, which may look at the first `n` of them. The same
function serves a live decoder and a file of recorded samples, and `n` is
traced, so a whole curve of accuracy against compute is one compiled call.

A score that is NaN never wins, weighs nothing in a vote, and is counted in
`Selection.nan_scores`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.types import (
  AnswerFn,
  FinishReason,
  Generation,
  Leaves,
  Prompt,
  Samples,
  ScoreFn,
  SelectFn,
  Selection,
)


class Method(NamedTuple):
  """A method, and what it declares of itself (taxonomy of 2503.24235).

  Attributes:
    name: the field's name of it.
    title: as a plot's legend says it.
    file: in `ttc`.
    paper: arXiv id.
    cost: generated tokens as a formula in `N` samples of `T` tokens.
    what: what is scaled.
    how: by which means.
    select: the method as a function of samples; None if it must steer decoding.
    decode: the method as it is run, `(setting, keys [B], prompt, N) ->
      Selection` with fields `[B]`, where `N` is static and the budget is `N T`
      tokens; see `setting.Setting`. None to draw `N` samples and `select`.
    judges_steps: whether it asks the verifier about unfinished responses.
    adds_scores: whether it adds scores up; they must not be negative then.
    needs: an attribute of the setting that may be None and must not be for
      `decode`.
  """

  name: str
  title: str
  file: str
  paper: str
  cost: str
  what: Literal['parallel', 'sequential', 'hybrid', 'internal']
  how: tuple[
    Literal['stimulation', 'verification', 'search', 'aggregation'], ...
  ]
  select: SelectFn | None = None
  decode: Callable[..., Selection] | None = None
  judges_steps: bool = False
  adds_scores: bool = False
  needs: Literal['thinking', 'revise', 'question', 'atoms'] | None = None


def drawn(samples: Samples, n: Int[Array, '']) -> Bool[Array, ' N']:
  """Which samples a method may look at: the first `n`."""
  return jnp.arange(samples.answers.shape[0]) < n


def scored(samples: Samples, n: Int[Array, '']) -> Bool[Array, ' N']:
  """Which of them can win by their score: they have an answer, and no NaN."""
  return drawn(samples, n) & (samples.answers >= 0) & ~jnp.isnan(samples.scores)


def run_all(
  samples: Samples, n: Int[Array, ''], answer: Int[Array, '']
) -> Selection:
  """The selection of a method that lets all `n` samples end by themselves."""
  looked_at = drawn(samples, n)
  lengths = jnp.where(looked_at, samples.lengths, 0)
  return Selection(
    answer,
    jnp.sum(lengths),
    jnp.max(lengths),
    nan_scores=jnp.sum(looked_at & jnp.isnan(samples.scores)),
  )


def observe(
  prompt: Prompt,
  generation: Generation,
  answer_fn: AnswerFn | None = None,
  score_fn: ScoreFn | None = None,
) -> Samples:
  """What selection methods need to know of a generation; fields `[B, N]`.

  Without an `answer_fn` each response counts as an answer of its own; without a
  `score_fn` the score is the mean log-probability per token.
  """
  B, N = generation.lengths.shape
  log_probs = jnp.sum(generation.log_probs, axis=-1)
  own = jnp.broadcast_to(jnp.arange(N), (B, N))
  return Samples(
    answers=answer_fn(prompt, generation) if answer_fn else own,
    scores=score_fn(prompt, generation)
    if score_fn
    else log_probs / jnp.maximum(generation.lengths, 1),
    log_probs=log_probs,
    lengths=generation.lengths,
    finished=generation.finish_reasons == FinishReason.STOP,
  )


def as_leaves(
  generation: Generation,
  scores: Float[Array, 'B N'],
  parents: Int[Array, ' N'] | None = None,
) -> Leaves:
  """Whole responses as the leaves of a search, each a node of its own.

  Args:
    generation: the responses.
    scores: what the verifier said of each; 0 if it was not asked.
    parents: which of the responses each was written behind; -1, or None for
      all, for the prompt.

  Returns:
    The leaves.
  """
  B, N = generation.lengths.shape
  own = jnp.arange(N, dtype=jnp.int32)
  to_each = lambda x: jnp.broadcast_to(x, (B, N)).astype(jnp.int32)
  return Leaves(
    tokens=generation.tokens,
    lengths=generation.lengths,
    log_probs=jnp.sum(generation.log_probs, axis=-1),
    finish_reasons=generation.finish_reasons,
    parents=to_each(-1 if parents is None else parents),
    nodes=to_each(own)[..., None],
    scores=scores[..., None],
    ends=generation.lengths[..., None],
  )


def select_each(select: SelectFn, samples: Samples) -> Selection:
  """Applies a method to all samples of each of `B` problems."""
  n = samples.answers.shape[1]
  return jax.vmap(select, in_axes=(0, None))(samples, jnp.int32(n))


def tally(
  answers: Int[Array, ' N'],
  weights: Float[Array, ' N'],
  mask: Bool[Array, ' N'],
) -> Float[Array, ' N']:
  """Total weight of each sample's answer, counted over `mask`; `-inf` outside.

  Samples without an answer or with a weight of NaN are outside. `N^2`
  comparisons, no sort, so answers may be any ids.
  """
  mask &= (answers >= 0) & ~jnp.isnan(weights)
  same = (answers[:, None] == answers) & mask
  totals = jnp.sum(jnp.where(same, weights, 0.0), axis=-1)
  return jnp.where(mask, totals, -jnp.inf)


def winner(
  answers: Int[Array, ' N'], totals: Float[Array, ' N']
) -> Int[Array, '']:
  """The answer with the greatest total, the first drawn on ties; -1 if none."""
  totals = jnp.where(jnp.isnan(totals), -jnp.inf, totals)
  best = jnp.argmax(totals)
  return jnp.where(totals[best] > -jnp.inf, answers[best], -1)
