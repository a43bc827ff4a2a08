r"""Medprompt: near exemplars, chains of one's own, votes over shuffled choices.

Nori et al., "Can generalist foundation models outcompete special-purpose
tuning?", 2311.16452. Three parts that are of use alone:

  nearest_exemplars      the solved questions that are most like the new one
  self_generated_chains  their reasoning, written by the model, kept when right
  choice_shuffle         asks with the options in several orders, and votes

A model that prefers a place among the options, whatever stands there, gives its
vote to another option in each order, while a model that knows the answer gives
it to the same one. If it takes the first slot with chance `b` and is right
otherwise, a shuffled vote is right with chance

.. math:: (1 - b) + b / O

for `O` options, wherever the right one stood; the chance that `M` of them win
is `scaling.majority_accuracy_population`.

Costs `M` responses of `T` tokens per question, each after `K` exemplars, and
`A T` tokens once per training question for `A` attempts at a chain.

Axes: `E` training questions, `K` exemplars, `O` options, `M` passes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.search.base import tally, winner
from ttc.types import AnswerFn, Params, Prompt, SampleFn

# `(keys [B, M], orders [B, M, O]) -> slots [B, M]`: the slot that is chosen
# where slot `j` shows option `orders[b, m, j]`, -1 for none.
AskFn = Callable[[Key[Array, 'B M'], Int[Array, 'B M O']], Int[Array, 'B M']]


class GeneratedChains(NamedTuple):
  """A chain of reasoning for each of `E` training questions."""

  tokens: Int[Array, 'E T']  # of the first right attempt, else of the first
  lengths: Int[Array, ' E']
  is_right: Bool[Array, ' E']  # whether it ends in the true answer


class ChoiceShuffleOutput(NamedTuple):
  """The vote of `M` passes on each of `B` questions."""

  options: Int[Array, ' B']  # the winners; -1 where no pass chose any
  shares: Float[Array, ' B']  # of the votes that the winner got
  votes: Int[Array, 'B M']  # the option that each pass chose


def nearest_exemplars(
  queries: Float[Array, 'B D'],
  pool: Float[Array, 'E D'],
  num_exemplars: int,
  usable: Bool[Array, 'B E'] | None = None,
) -> Int[Array, 'B K']:
  """The training questions whose embeddings have the greatest cosine.

  The paper has `K = 5` from an embedding model; any function of the question
  serves. Costs `B E D` multiplications.

  Args:
    queries: embeddings of the questions.
    pool: of the training questions.
    num_exemplars: `K`; static.
    usable: False where a training question must not be shown: the question
      itself, or one without a right chain. None to show any.

  Returns:
    Indices into the pool, nearest first, the first on ties; -1 where no more
    are usable.

  Raises:
    ValueError: if `K` exceeds the pool.
  """
  if num_exemplars > pool.shape[0]:
    raise ValueError(
      f'num_exemplars={num_exemplars} must be at most the {pool.shape[0]} '
      'questions of the pool'
    )
  unit = lambda x: (
    x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
  )
  cosine = jnp.matmul(unit(queries), unit(pool).T, precision='highest')
  known = ~jnp.isnan(cosine)
  if usable is not None:
    known &= usable
  cosine = jnp.where(known, cosine, -jnp.inf)
  values, indices = jax.lax.top_k(cosine, num_exemplars)
  return jnp.where(values > -jnp.inf, indices, -1)


def self_generated_chains(
  params: Params,
  keys: Key[Array, ' E'],
  prompt: Prompt,
  sample_fn: SampleFn,
  answer_fn: AnswerFn,
  truth: Int[Array, ' E'],
  num_attempts: int,
) -> GeneratedChains:
  """Has the model write the exemplars' reasoning, and tells which is right.

  A chain whose answer is right may be wrong on the way; one whose answer is
  wrong surely is. The paper has one attempt.

  Args:
    params: of the model, passed to `sample_fn`.
    keys: `[E]`, one per training question; consumed.
    prompt: the training questions.
    sample_fn: see `ttc.sampling.generate`.
    answer_fn: the answer that a chain ends in, -1 for none.
    truth: the true answers, none of them negative.
    num_attempts: chains per question; static.

  Returns:
    The first right chain of each question. Pass `is_right` to
    `nearest_exemplars` as what is usable.
  """
  drawn = sample_fn(params, keys, prompt, num_attempts)
  right = answer_fn(prompt, drawn) == truth[:, None]
  first = jnp.argmax(right, axis=1)[:, None]
  return GeneratedChains(
    jnp.take_along_axis(drawn.tokens, first[..., None], axis=1)[:, 0],
    jnp.take_along_axis(drawn.lengths, first, axis=1)[:, 0],
    jnp.any(right, axis=1),
  )


def relabel_options(
  tokens: Int[Array, '*A'], letters: Int[Array, ' O'], order: Int[Array, ' O']
) -> Int[Array, '*A']:
  """Rewrites the letters in a chain for another order of the options.

  A chain that concludes "(B)" was written for the options as they were; once
  they are shuffled, so must its letters be, or the exemplar teaches a wrong
  answer.

  Args:
    tokens: the chain, or any text of the exemplar.
    letters: the token that names each slot.
    order: the option that each slot shows now; slot `o` showed option `o`.

  Returns:
    The tokens; those that are not letters are as they were.
  """
  named = tokens[..., None] == letters
  letter_now = letters[jnp.argsort(order)]  # of each option
  chosen = letter_now[jnp.argmax(named, axis=-1)]
  return jnp.where(jnp.any(named, axis=-1), chosen, tokens)


def choice_shuffle(
  keys: Key[Array, ' B'], ask_fn: AskFn, num_options: int, num_passes: int
) -> ChoiceShuffleOutput:
  r"""Asks with the options in `M` random orders and votes over the options.

  .. math:: \hat a = \arg\max_a \sum_{m \le M} [\pi_m(j_m) = a]

  where slot `j_m` was chosen of the order :math:`\pi_m`. Every pass has its own
  order, the first one too. The paper has `M = 5`.

  Args:
    keys: `[B]`, one per question; consumed. Pass `m` is the same whatever the
      number of passes.
    ask_fn: the model, or any other function of the question and the orders.
    num_options: `O`; static.
    num_passes: `M`; static.

  Returns:
    A `ChoiceShuffleOutput`; ties go to the option that was chosen first.
  """
  of_pass = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  pass_keys = jax.vmap(of_pass, in_axes=(0, None))(keys, jnp.arange(num_passes))
  order_keys, ask_keys = jnp.moveaxis(
    jax.vmap(jax.vmap(jax.random.split))(pass_keys), -1, 0
  )
  shuffle = lambda key: jax.random.permutation(key, num_options)
  orders = jax.vmap(jax.vmap(shuffle))(order_keys)
  slots = ask_fn(ask_keys, orders)[..., None]
  votes = jnp.take_along_axis(orders, jnp.maximum(slots, 0), axis=-1)
  votes = jnp.where(slots >= 0, votes, -1)[..., 0]
  valid = votes >= 0
  totals = jax.vmap(tally)(votes, valid.astype(jnp.float32), valid)
  options = jax.vmap(winner)(votes, totals)
  cast = jnp.maximum(jnp.sum(valid, axis=1), 1)
  won = jnp.sum(valid & (votes == options[:, None]), axis=1)
  return ChoiceShuffleOutput(options, won / cast, votes)
