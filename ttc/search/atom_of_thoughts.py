r"""Atom of Thoughts: answer what needs nothing, put the answers in, ask again.

Teng et al., "Atom of Thoughts for Markov LLM test-time scaling", 2502.12018. A
transition decomposes a question into a graph of subquestions, answers those
that need no other, and contracts: the next question takes these answers as
known and has the same answer as before. It holds all there is to know, so
nothing of what was done before is read again: a Markov chain of questions, each
with fewer subquestions and one step less deep. After at most three transitions
(fewer if the question is not so deep) what is left is answered directly.

The answer is one of three: that of the question asked directly, that of solving
it step by step to its end, and that of the contracted question. A judge says
what it takes for the answer, and the first of the three that agrees is kept, in
this order. Or the contracted question is not answered but handed to any other
method (`contract_question`, `best_contraction`); as a `Method`, to a vote.

Costs a response of `T` tokens for each subquestion that is answered and one for
each question asked directly; `d + 1` of them in sequence for depth `d`. It
helps a solver that is right on small questions and not on large ones, and does
nothing for one that errs at each step, wherever the step is taken.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from ttc.search.base import Method, observe, select_each, tally, winner
from ttc.search.question_graph import (
  Atoms,
  Questions,
  graph_depth,
  is_independent,
  is_needed,
)
from ttc.search.self_consistency import majority_vote
from ttc.search.setting import Setting
from ttc.types import AnswerFn, Params, Prompt, SampleFn, Selection

_PARTS_ID = 2**31 - 1  # names the stream; no sample has this id


class Answered(NamedTuple):
  """What a solver says to `N` questions of each of `B` problems."""

  answers: Int[Array, 'B N']  # ids; -1 for none, and where it was not asked
  tokens: Int[Array, 'B N']  # generated; 0 where it was not asked


# `(keys [B], questions [B, N, ...], asked [B, N]) -> Answered`. Nothing may
# depend on other problems or on what is not asked.
SolveFn = Callable[[Key[Array, ' B'], Questions, Bool[Array, 'B N']], Answered]


class Contraction(NamedTuple):
  """`B` questions after some transitions, and what these have cost."""

  question: Questions
  num_transitions: Int[Array, ' B']
  num_asked: Int[Array, ' B']  # subquestions
  tokens: Int[Array, ' B']  # generated in total
  depth: Int[Array, ' B']  # tokens generated one after another


class AtomOutput(NamedTuple):
  """What Atom of Thoughts says to `B` questions."""

  answers: Int[Array, ' B']
  method: Int[Array, ' B']  # whose: 0 direct, 1 decompose, 2 contract
  candidates: Int[Array, 'B 3']  # the answers of these
  contraction: Contraction  # the last question of the chain
  tokens: Int[Array, ' B']  # generated in total
  depth: Int[Array, ' B']  # generated one after another


def atom_of_thoughts(
  keys: Key[Array, ' B'],
  question: Questions,
  atoms: Atoms,
  solve_fn: SolveFn,
  max_transitions: int | Int[Array, ''] = 3,
  *,
  judge_fn: Callable[[Int[Array, 'B N']], Int[Array, ' B']] | None = None,
) -> AtomOutput:
  """Answers directly, step by step, and after contractions; keeps one of these.

  The three share what they can: solving step by step goes on where the chain of
  contractions ends. The public code makes one transition, the paper up to
  `min(3, d)`.

  Args:
    keys: `[B]`, one per problem; consumed.
    question: `B` of them.
    atoms: how they are taken apart.
    solve_fn: answers questions.
    max_transitions: of the chain; it also ends at depth 0. Traced.
    judge_fn: `answers [B, 3] -> [B]`, what it takes for the answer. The
      majority if None; `contract` then only ever lends its vote to another.

  Returns:
    An `AtomOutput`.
  """
  chain = contract_question(
    _stream(keys, 1), question, atoms, solve_fn, max_transitions
  )
  num_places = atoms.decompose(question).is_open.shape[-1]
  steps = contract_question(
    _stream(keys, 2), chain.question, atoms, solve_fn, num_places
  )
  goes_on = steps.num_asked > 0
  ask = functools.partial(_ask, solve_fn)
  direct, direct_cost = ask(_stream(keys, 0), question)
  contracted, contracted_cost = ask(_stream(keys, 3), chain.question)
  stepwise, stepwise_cost = ask(_stream(keys, 4), steps.question, goes_on)
  stepwise = jnp.where(goes_on, stepwise, contracted)
  candidates = jnp.stack([direct, stepwise, contracted], axis=1)
  method = first_agreeing(candidates, (judge_fn or _majority)(candidates))
  behind = jnp.maximum(contracted_cost, steps.depth + stepwise_cost)
  asked_cost = direct_cost + contracted_cost + stepwise_cost
  return AtomOutput(
    answers=jnp.take_along_axis(candidates, method[:, None], axis=1)[:, 0],
    method=method,
    candidates=candidates,
    contraction=chain,
    tokens=chain.tokens + steps.tokens + asked_cost,
    depth=jnp.maximum(direct_cost, chain.depth + behind),
  )


def contract_question(
  keys: Key[Array, ' B'],
  question: Questions,
  atoms: Atoms,
  solve_fn: SolveFn,
  max_transitions: int | Int[Array, ''] = 3,
  *,
  max_asked: int | Int[Array, ''] | None = None,
) -> Contraction:
  """Replaces questions by smaller ones with the same answers.

  With a solver that is never wrong no answer changes, each transition closes at
  least one subquestion and the depth falls by one. A subquestion that is left
  without an answer stays open, and so does a question whose graph has a circle.

  Args:
    keys: `[B]`, one per problem; consumed.
    question: `B` of them.
    atoms: how they are taken apart.
    solve_fn: answers subquestions.
    max_transitions: at most `min(max_transitions, depth)` are made; traced.
    max_asked: most subquestions to ask of a problem, the first ones of a round
      if there are more; traced. None for no limit.

  Returns:
    The questions, for `solve_fn` or any other method, and the cost.
  """
  limit = jnp.minimum(max_transitions, graph_depth(atoms.decompose(question)))
  count = jnp.zeros(keys.shape, jnp.int32)
  start = Contraction(question, count, count, count, count)

  def is_going(state):
    going = state.num_transitions < limit
    if max_asked is not None:
      going &= state.num_asked < max_asked
    return going

  def body(state):
    going = is_going(state)
    graph = atoms.decompose(state.question)
    asked = is_independent(graph) & is_needed(graph) & going[:, None]
    if max_asked is not None:
      left = max_asked - state.num_asked
      asked &= jnp.cumsum(asked, axis=1) <= left[:, None]
    answered = solve_fn(
      jax.vmap(jax.random.fold_in)(keys, state.num_transitions),
      atoms.subquestions(state.question),
      asked,
    )
    known = asked & (answered.answers >= 0)
    tokens = jnp.where(asked, answered.tokens, 0)
    return Contraction(
      question=atoms.contract(state.question, known, answered.answers),
      num_transitions=state.num_transitions + going,
      num_asked=state.num_asked + jnp.sum(asked, axis=1),
      tokens=state.tokens + jnp.sum(tokens, axis=1),
      depth=state.depth + jnp.max(tokens, axis=1),
    )

  return jax.lax.while_loop(lambda s: jnp.any(is_going(s)), body, start)


def best_contraction(
  keys: Key[Array, ' B'],
  question: Questions,
  atoms: Atoms,
  solve_fn: SolveFn,
  num_candidates: int = 3,
  max_transitions: int | Int[Array, ''] = 1,
) -> Contraction:
  """The plug-in of the paper: the best of a few contractions.

  Each is answered directly, as the question itself is; the answers vote. Kept
  is the first contraction with the fewest tokens of an answer among those that
  agree with the vote, or among all if none does.

  Args:
    keys: `[B]`, one per problem; consumed.
    question: `B` of them.
    atoms: how they are taken apart.
    solve_fn: answers questions.
    num_candidates: contractions, 3 in the paper; static.
    max_transitions: of each, 1 in the public code; traced.

  Returns:
    The contraction, with the cost of finding it.
  """

  def candidate(i):
    own = _stream(keys, i)
    made = contract_question(
      _stream(own, 0), question, atoms, solve_fn, max_transitions
    )
    return made, *_ask(solve_fn, _stream(own, 1), made.question)

  made, answers, tokens = jax.vmap(candidate, out_axes=1)(
    1 + jnp.arange(num_candidates)
  )
  direct, direct_cost = _ask(solve_fn, _stream(keys, 0), question)
  ballot = jnp.concatenate([direct[:, None], answers], axis=1)
  agrees = answers == _majority(ballot)[:, None]
  eligible = agrees | ~jnp.any(agrees, axis=1, keepdims=True)
  best = jnp.argmin(jnp.where(eligible, tokens, jnp.inf), axis=1)
  take = jax.vmap(lambda leaf, index: leaf[index])
  chosen = jax.tree.map(lambda leaf: take(leaf, best), made)
  return chosen._replace(
    tokens=jnp.sum(made.tokens + tokens, axis=1) + direct_cost,
    depth=jnp.maximum(direct_cost, jnp.max(made.depth + tokens, axis=1)),
  )


def first_agreeing(
  answers: Int[Array, 'B N'], verdict: Int[Array, ' B']
) -> Int[Array, ' B']:
  """Which answer is the first to agree with the judge; 0 if none does."""
  return jnp.argmax(answers == verdict[:, None], axis=1)


def sampling_solver(
  params: Params, sample_fn: SampleFn, answer_fn: AnswerFn
) -> SolveFn:
  """A policy as a solver: one response to every question.

  Args:
    params: of the policy.
    sample_fn: draws responses, see `ttc.sampling.generate`.
    answer_fn: reads them.

  Returns:
    A solver of `Prompt`s.
  """

  def solve_fn(keys, questions: Prompt, asked) -> Answered:
    B, N = asked.shape
    merge = lambda x: x.reshape(B * N, *x.shape[2:])
    each = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    generation = sample_fn(
      params,
      merge(each(keys, jnp.arange(N))),
      jax.tree.map(merge, questions),
      1,
      active=merge(asked)[:, None],
    )
    split = lambda x: x.reshape(B, N, *x.shape[1:])
    generation = jax.tree.map(split, generation)
    answers = jax.vmap(answer_fn, in_axes=1, out_axes=1)(questions, generation)
    return Answered(
      jnp.where(asked, answers[:, :, 0], -1), generation.lengths[:, :, 0]
    )

  return solve_fn


def _ask(
  solve_fn: SolveFn,
  keys: Key[Array, ' B'],
  question: Questions,
  asked: Bool[Array, ' B'] | None = None,
) -> tuple[Int[Array, ' B'], Int[Array, ' B']]:
  """The answer to one question of each problem, and its tokens."""
  if asked is None:
    asked = jnp.ones(keys.shape, bool)
  alone = jax.tree.map(lambda x: x[:, None], question)
  answered = solve_fn(keys, alone, asked[:, None])
  return answered.answers[:, 0], answered.tokens[:, 0]


def _stream(keys: Key[Array, ' B'], index) -> Key[Array, ' B']:
  return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, index)


def _majority(answers: Int[Array, 'B N']) -> Int[Array, ' B']:
  """The most frequent answer, the first on ties; -1 if there is none."""
  votes = jnp.ones(answers.shape, jnp.float32)
  return jax.vmap(winner)(answers, jax.vmap(tally)(answers, votes, votes > 0))


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """Contracts, and spends what is left on a vote on what is left."""
  if setting.atoms is None:
    raise ValueError('setting.atoms is None; this method needs its functions')
  answer_fn = setting.finished_answer_fn
  contracted = contract_question(
    _stream(keys, _PARTS_ID),
    prompt,
    setting.atoms,
    sampling_solver(setting.params, setting.sample_fn, answer_fn),
    max_asked=num_samples - 1,
  )
  num_votes = num_samples - contracted.num_asked
  generation = setting.sample_fn(
    setting.params,
    keys,
    contracted.question,
    num_samples,
    active=jnp.arange(num_samples) < num_votes[:, None],
  )
  samples = observe(contracted.question, generation, answer_fn)
  chosen = select_each(majority_vote, samples)
  return chosen._replace(
    tokens=chosen.tokens + contracted.tokens,
    depth=chosen.depth + contracted.depth,
  )


METHOD = Method(
  name='atom_of_thoughts',
  title='atom of thoughts',
  file='search/atom_of_thoughts.py',
  paper='2502.12018',
  cost='N T',
  what='hybrid',
  how=('stimulation', 'aggregation'),
  decode=_decode,
  needs='atoms',
)
