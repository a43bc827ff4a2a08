"""First Finish Search: run `N` samples and take the one that ends first.

Agarwal et al., "First Finish Search: efficient test-time scaling in large
language models", 2505.18149. Costs `N min_i T_i` generated tokens, `min_i T_i`
in sequence. Gains where short responses are more often right, as the
likelihood ratio of lengths given right and wrong says, and loses where they are
less often right. With `k > 1` it waits for the `k` shortest, which vote.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ttc.sampling.stopping import first_finish
from ttc.search.base import (
  Method,
  as_leaves,
  drawn,
  observe,
  run_all,
  select_each,
  tally,
  winner,
)
from ttc.search.setting import Setting
from ttc.types import (
  AnswerFn,
  Params,
  Prompt,
  SampleFn,
  Samples,
  SelectFn,
  Selection,
)


def first_finish_search(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  sample_fn: SampleFn,
  answer_fn: AnswerFn,
  num_samples: int,
  num_finished: int | Int[Array, ''] = 1,
) -> Selection:
  """Runs `N` samples until `num_finished` have ended; those vote.

  Args:
    params: parameters of the policy, passed to `sample_fn`.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    sample_fn: draws the samples and takes a `policy`.
    answer_fn: the id of the answer in each sample, -1 for none.
    num_samples: `N`; static.
    num_finished: `k`, how many to wait for.

  Returns:
    Answers and their cost, `[B]`. What was cancelled has been paid for.
  """
  policy = first_finish(num_finished)
  generation = sample_fn(params, keys, prompt, num_samples, policy=policy)
  samples = observe(prompt, generation, answer_fn)
  chosen = select_each(shortest_vote(num_finished), samples)
  unread = jnp.zeros_like(samples.scores)
  return chosen._replace(leaves=as_leaves(generation, unread))


def shortest_vote(num_finished: int | Int[Array, ''] = 1) -> SelectFn:
  """A vote of the `k` samples that end first, the others cancelled then.

  A sample that was cut by a limit has not ended; if fewer than `k` end, those
  that do vote, and everything runs to its limit. Equal lengths: lower index
  first.
  """

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    mask = drawn(samples, n)
    ended = mask & samples.finished
    rank = _rank(jnp.where(ended, samples.lengths, jnp.iinfo(jnp.int32).max))
    chosen = ended & (rank < num_finished)
    totals = tally(samples.answers, jnp.ones_like(samples.scores), chosen)
    longest = jnp.max(jnp.where(mask, samples.lengths, 0))
    last = jnp.max(jnp.where(chosen, samples.lengths, 0))
    depth = jnp.where(jnp.sum(ended) >= num_finished, last, longest)
    tokens = jnp.where(mask, jnp.minimum(samples.lengths, depth), 0)
    return Selection(winner(samples.answers, totals), jnp.sum(tokens), depth)

  return select


def longest_vote(num_finished: int | Int[Array, ''] = 1) -> SelectFn:
  """The control: a vote of the `k` longest samples that end by themselves."""

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    ended = drawn(samples, n) & samples.finished
    rank = _rank(jnp.where(ended, -samples.lengths, 1))
    chosen = ended & (rank < num_finished)
    totals = tally(samples.answers, jnp.ones_like(samples.scores), chosen)
    return run_all(samples, n, winner(samples.answers, totals))

  return select


def _rank(values: Int[Array, ' N']) -> Int[Array, ' N']:
  """Place of each value in ascending order, ties by index."""
  return jnp.argsort(jnp.argsort(values, stable=True), stable=True)


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """What runs when the first has finished is cancelled."""
  return first_finish_search(
    setting.params,
    keys,
    prompt,
    setting.sample_fn,
    setting.finished_answer_fn,
    num_samples,
  )


METHOD = Method(
  name='first_finish_search',
  title='first finish',
  file='search/first_finish_search.py',
  paper='2505.18149',
  cost='N min(T)',
  what='parallel',
  how=('search',),
  select=shortest_vote(),
  decode=_decode,
)
CONTROL = METHOD._replace(
  name='last_finish_search',
  title='last finish (control)',
  cost='N T',
  select=longest_vote(),
  decode=None,
)
