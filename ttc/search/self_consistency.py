"""Self-consistency: draw `N` samples and let their answers vote.

Wang et al., 2203.11171; weighted by a verifier in Li et al., 2206.02336; with
adaptive stopping in Aggarwal et al., 2305.11860. Costs `N T` generated tokens,
`T` in sequence if drawn in parallel. Needs no verifier; it amplifies the most
likely answer, so it gains where that is right and loses where it is wrong.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.sampling.stopping import Policy, Progress
from ttc.search.base import (
  Method,
  drawn,
  observe,
  run_all,
  scored,
  tally,
  winner,
)
from ttc.types import (
  AnswerFn,
  FinishReason,
  Generation,
  Params,
  Prompt,
  SampleFn,
  Samples,
  ScoreFn,
  SelectFn,
  Selection,
)
from ttc.verifiers.weights import WeightFn, softmax_weights


class SelfConsistencyOutput(NamedTuple):
  """What self-consistency returns for `B` prompts and `N` samples."""

  answers: Int[Array, ' B']  # the winners; -1 where no sample had an answer
  shares: Float[Array, ' B']  # of the votes that the winner got
  samples: Generation


def self_consistency(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  sample_fn: SampleFn,
  answer_fn: AnswerFn,
  num_samples: int,
  score_fn: ScoreFn | None = None,
  weight_fn: WeightFn | None = None,
) -> SelfConsistencyOutput:
  r"""Draws `N` samples and returns the answer with the most votes.

  .. math:: \hat a = \arg\max_a \sum_{i \le N} w_i [a(y_i) = a]

  Args:
    params: parameters of the policy, passed to `sample_fn`.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    sample_fn: draws the samples, see `ttc.sampling.generate`.
    answer_fn: the id of the answer in each sample, -1 for none.
    num_samples: `N`; static.
    score_fn: scores for a weighted vote.
    weight_fn: turns scores to weights; None counts every vote as one.

  Returns:
    A `SelfConsistencyOutput`; ties go to the answer that was drawn first.

  Example:
    >>> sample = functools.partial(
    ...   sampling.generate, model=models.table_model(4), capacity=1,
    ...   stop=sampling.stop_rules(4))
    >>> first = lambda prompt, drawn: drawn.tokens[..., 0]
    >>> vote = jax.jit(functools.partial(
    ...   search.self_consistency, sample_fn=sample, answer_fn=first,
    ...   num_samples=32))
    >>> table = jnp.log(jnp.array([[0.01, 0.09, 0.2, 0.7]] * 4))
    >>> prompt = Prompt(jnp.array([[1]]), jnp.array([1]))
    >>> vote(table, jax.random.key(0)[None], prompt).answers.tolist()
    [3]
  """
  generation = sample_fn(params, keys, prompt, num_samples)
  samples = observe(prompt, generation, answer_fn, score_fn)
  mask = samples.answers >= 0
  weights = mask.astype(jnp.float32)
  if weight_fn is not None:
    mask &= ~jnp.isnan(samples.scores)
    weights = jax.vmap(weight_fn)(samples.scores, mask)
  totals = jax.vmap(tally)(samples.answers, weights, mask)
  cast = jnp.sum(jnp.where(mask, weights, 0.0), axis=1)
  answers = jax.vmap(winner)(samples.answers, totals)
  share = jnp.max(totals, axis=1) / cast
  return SelfConsistencyOutput(
    answers, jnp.where(answers >= 0, share, 0.0), generation
  )


def majority_vote(samples: Samples, n: Int[Array, '']) -> Selection:
  """The most frequent answer among the first `n` samples.

  Example:
    >>> samples = Samples(
    ...   answers=jnp.array([5, 7, 7]), scores=jnp.array([0.9, 0.2, 0.3]),
    ...   log_probs=jnp.zeros(3), lengths=jnp.array([4, 2, 3]),
    ...   finished=jnp.ones(3, bool))
    >>> vote = search.majority_vote(samples, jnp.int32(3))
    >>> int(vote.answer), int(vote.tokens)
    (7, 9)
  """
  votes = jnp.ones_like(samples.scores)
  totals = tally(samples.answers, votes, drawn(samples, n))
  return run_all(samples, n, winner(samples.answers, totals))


def weighted_vote(weight_fn: WeightFn) -> SelectFn:
  """A vote in which each sample counts by its score."""

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    mask = scored(samples, n)
    weights = weight_fn(samples.scores, mask)
    totals = tally(samples.answers, weights, mask)
    return run_all(samples, n, winner(samples.answers, totals))

  return select


def beta_confidence(
  first: Int[Array, '*A'], second: Int[Array, '*A']
) -> Float[Array, '*A']:
  r"""Belief that the leading answer is the more likely of the top two.

  :math:`1 - I_{1/2}(v_1 + 1, v_2 + 1)` with votes :math:`v_1 \ge v_2`, the
  posterior under a uniform prior (2305.11860, their eq. for two answers).
  """
  return 1.0 - betainc(first + 1.0, second + 1.0, 0.5)


def beta_stop(
  answer_fn: Callable[[Array, Array], Array],
  threshold: float | Float[Array, ''] = 0.95,
) -> Policy:
  """A policy: cancels what still runs once the finished votes are confident.

  With fewer rows than samples it saves the samples that were not begun.

  Args:
    answer_fn: `(tokens [T], length) -> id` of the answer of one response, -1
      for none.
    threshold: stop when `beta_confidence` reaches it.

  Returns:
    A policy for `ttc.sampling`.
  """

  def policy(progress: Progress) -> Bool[Array, '']:
    answers = jax.vmap(answer_fn)(progress.tokens, progress.lengths)
    finished = progress.finish_reasons == FinishReason.STOP
    return _confidence(answers, finished) >= threshold

  return policy


def beta_stopped_vote(threshold: float | Float[Array, ''] = 0.95) -> SelectFn:
  """A majority vote over samples drawn one by one, until it is confident.

  Args:
    threshold: stop when `beta_confidence` reaches it; 0.95 in 2305.11860.

  Returns:
    A method whose `n` is the most samples it may draw. Its tokens, in total and
    in sequence, are those of the samples it drew.
  """

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    N = samples.answers.shape[0]
    after = lambda m: _confidence(samples.answers, jnp.arange(N) < m)
    sure = jax.vmap(after)(jnp.arange(1, N + 1)) >= threshold
    used = jnp.minimum(jnp.where(jnp.any(sure), jnp.argmax(sure) + 1, N), n)
    selection = majority_vote(samples, used)
    return selection._replace(depth=selection.tokens)

  return select


def _confidence(
  answers: Int[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, '']:
  """`beta_confidence` of the answers that `mask` counts."""
  totals = tally(answers, jnp.ones(answers.shape), mask)
  others = jnp.where(answers == winner(answers, totals), -jnp.inf, totals)
  count = lambda totals: jnp.maximum(jnp.max(totals), 0).astype(jnp.int32)
  return beta_confidence(count(totals), count(others))


METHOD = Method(
  name='self_consistency',
  title='self-consistency',
  file='search/self_consistency.py',
  paper='2203.11171',
  cost='N T',
  what='parallel',
  how=('aggregation',),
  select=majority_vote,
)
WEIGHTED = METHOD._replace(
  name='weighted_self_consistency',
  title='weighted self-consistency',
  paper='2206.02336',
  how=('verification', 'aggregation'),
  select=weighted_vote(softmax_weights),
)
ADAPTIVE = METHOD._replace(
  name='adaptive_consistency',
  title='self-consistency, beta stopping',
  paper='2305.11860',
  cost='E[n] T, n <= N',
  what='sequential',
  select=beta_stopped_vote(),
)
