"""Contractions: what they keep, how they end, and solvers that err."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, search, tasks
from ttc.tasks import expressions
from ttc.types import Prompt

LARGE = expressions.Grammar(modulus=5, num_places=8, ops='+-')
SMALL = expressions.Grammar(modulus=3, num_places=3, ops='+-')


def atoms_of(grammar):
  """Expressions as questions: parsed, not asked of anyone."""
  return search.Atoms(
    decompose=lambda x: search.QuestionGraph(
      jax.vmap(expressions.dependencies)(x), x.ops >= 0
    ),
    subquestions=jax.vmap(expressions.definitions),
    contract=jax.vmap(expressions.substitute),
  )


def solver(grammar, error=0.0, most=26):
  """Errs at each definition with a chance, and guesses at large questions."""

  def answer(key, x):
    n, p = grammar.num_places, grammar.modulus
    uniform = jax.random.uniform(key, (2 * n + 1,))
    errs = uniform[:n] < error
    other = 1 + jnp.floor((p - 1) * uniform[n : 2 * n]).astype(jnp.int32)
    value = expressions.evaluate(grammar, x, errs * other)
    guess = jnp.floor(p * uniform[-1]).astype(jnp.int32)
    return jnp.where(jnp.sum(x.ops >= 0) <= most, value, guess)

  def solve_fn(keys, questions, asked):
    each = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    own = each(keys, jnp.arange(asked.shape[1]))
    answers = jax.vmap(jax.vmap(answer))(own, questions)
    return search.Answered(
      jnp.where(asked, answers, -1), 2 * asked.astype(jnp.int32)
    )

  return solve_fn


def keys_of(seed, count):
  return jax.random.split(jax.random.key(seed), count)


def every_small_expression():
  """All that three definitions in order can say, the last being the root."""
  n, p = SMALL.num_places, SMALL.modulus
  sides = [
    list(itertools.product([*range(j), *range(n, n + p)], repeat=2))
    for j in range(n)
  ]
  operands = np.array(list(itertools.product(*sides)), np.int32)
  ops = np.array(list(itertools.product((0, 1), repeat=n)), np.int32)
  which, op = np.indices((len(operands), len(ops))).reshape(2, -1)
  return expressions.Expression(
    ops[op], operands[which], np.full(which.size, n - 1, np.int32)
  )


def longest_path(depends, is_open):
  """In steps, by trying all orders of what is open."""
  best = 0
  places = np.flatnonzero(is_open)
  for size in range(2, len(places) + 1):
    for path in itertools.permutations(places, size):
      if all(depends[a, b] for a, b in itertools.pairwise(path)):
        best = max(best, size - 1)
  return best


def test_depth_and_independence_of_all_graphs_of_four():
  pairs = [(i, j) for i in range(4) for j in range(i)]
  depends = np.zeros((2 ** len(pairs), 4, 4), bool)
  for row, bits in zip(
    depends, itertools.product((0, 1), repeat=len(pairs)), strict=True
  ):
    for (i, j), bit in zip(pairs, bits, strict=True):
      row[i, j] = bit
  open_ = np.array(list(itertools.product((False, True), repeat=4)))
  graph = search.QuestionGraph(
    np.broadcast_to(depends[:, None], (64, 16, 4, 4)),
    np.broadcast_to(open_, (64, 16, 4)),
  )
  measure = jax.jit(
    lambda g: (
      search.graph_depth(g),
      search.is_independent(g),
      search.is_needed(g),
    )
  )
  depth, independent, needed = jax.device_get(measure(graph))
  for g, m in np.ndindex(64, 16):
    assert depth[g, m] == longest_path(depends[g], open_[m])
    for i in range(4):
      waits = any(depends[g, i] & open_[m])
      awaited = any(depends[g, :, i] & open_[m])
      assert independent[g, m, i] == (open_[m, i] and not waits)
      assert needed[g, m, i] == (open_[m, i] and awaited)
  # Two that need each other, one that needs them, one that needs nothing.
  circle = np.zeros((4, 4), bool)
  circle[0, 1] = circle[1, 0] = circle[2, 0] = True
  depth, *_ = measure(
    search.QuestionGraph(np.broadcast_to(circle, (64, 16, 4, 4)), graph.is_open)
  )
  closed = open_[:, 0] & open_[:, 1]
  np.testing.assert_array_equal(depth[0] == -1, closed)


class Chain(NamedTuple):
  """Contractions of expressions by a solver that is never wrong."""

  answers: np.ndarray  # `[rounds, B]`, by all allowed transitions
  num_open: np.ndarray
  depth: np.ndarray
  num_transitions: np.ndarray
  num_asked: np.ndarray


def contract_exactly(grammar, questions):
  """With 0, 1, ... allowed transitions."""
  atoms = atoms_of(grammar)
  count = questions.root.size

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(None, 0))
  def run(questions, most):
    made = search.contract_question(
      keys_of(0, count), questions, atoms, solver(grammar), most
    )
    return Chain(
      jax.vmap(functools.partial(expressions.evaluate, grammar))(made.question),
      jnp.sum(made.question.ops >= 0, axis=1),
      search.graph_depth(atoms.decompose(made.question)),
      made.num_transitions,
      made.num_asked,
    )

  questions = jax.tree.map(jnp.asarray, questions)
  return jax.device_get(run(questions, jnp.arange(grammar.num_places + 1)))


@functools.cache
def random_questions():
  """Of one to eight definitions, some of them shared."""

  @jax.jit
  @jax.vmap
  def draw(key, num_ops):
    return expressions.random_expression(key, LARGE, num_ops, 0.3)

  return draw(keys_of(1, 512), 1 + jnp.arange(512) % 8)


@pytest.mark.parametrize(
  'which', ['every small one', pytest.param('random', marks=pytest.mark.slow)]
)
def test_every_contraction_keeps_the_answer_and_is_one_step_less_deep(which):
  if which == 'random':
    chain = contract_exactly(LARGE, random_questions())
    assert chain.depth[0].max() >= 5
  else:
    chain = contract_exactly(SMALL, every_small_expression())
    assert chain.answers.shape[1] == 8 * 9 * 16 * 25
    assert set(np.unique(chain.depth[0])) == {0, 1, 2}
  np.testing.assert_array_equal(
    chain.answers, chain.answers[:1].repeat(len(chain.answers), axis=0)
  )
  goes_on = chain.depth[:-1] > 0
  assert np.all(chain.num_open[1:][goes_on] < chain.num_open[:-1][goes_on])
  np.testing.assert_array_equal(
    chain.depth[1:], np.maximum(chain.depth[:-1] - 1, 0)
  )
  rounds = np.arange(len(chain.depth))[:, None]
  np.testing.assert_array_equal(
    chain.num_transitions, np.minimum(rounds, chain.depth[0])
  )
  # What is asked is closed, and nothing else.
  np.testing.assert_array_equal(
    chain.num_asked, chain.num_open[0] - chain.num_open
  )


def test_a_circle_is_left_alone_and_what_has_no_answer_stays_open():
  n = SMALL.num_places
  x = expressions.Expression(
    jnp.zeros((2, n), jnp.int32),
    jnp.array([[[1, 3], [0, 3], [0, 4]], [[3, 4], [0, 3], [1, 0]]]),
    jnp.full(2, 2),
  )
  keys, atoms = keys_of(0, 2), atoms_of(SMALL)
  run = jax.jit(
    lambda solve_fn: search.contract_question(keys, x, atoms, solve_fn),
    static_argnums=0,
  )
  made = run(solver(SMALL))
  assert made.num_transitions.tolist() == [0, 2]
  first = lambda question: jax.tree.map(lambda leaf: leaf[0], question)
  jax.tree.map(np.testing.assert_array_equal, first(made.question), first(x))

  def silent(keys, questions, asked):
    del keys, questions
    return search.Answered(jnp.full(asked.shape, -1), 3 * asked)

  made = run(silent)
  jax.tree.map(np.testing.assert_array_equal, made.question, x)
  assert made.tokens.tolist() == [0, 2 * 3]


ERROR, MOST = 0.05, 4  # chance at each definition; a small question


@functools.cache
def erring():
  """Whether eight definitions come out right, and how many were left over."""
  count = 4096

  @jax.jit
  def run(keys):
    draw = lambda key: expressions.random_expression(
      key, LARGE, jnp.int32(8), 0.0
    )
    x = jax.vmap(draw)(keys)
    truth = jax.vmap(functools.partial(expressions.evaluate, LARGE))(x)

    def right(most, num_transitions):
      solve_fn = solver(LARGE, ERROR, most)
      made = search.contract_question(
        keys, x, atoms_of(LARGE), solve_fn, num_transitions
      )
      alone = jax.tree.map(lambda leaf: leaf[:, None], made.question)
      answered = solve_fn(keys, alone, jnp.ones((count, 1), bool))
      left = jnp.sum(made.question.ops >= 0, axis=1)
      return answered.answers[:, 0] == truth, left

    most, num_transitions = jnp.array([[8, 8, MOST, MOST], [0, 8, 0, 3]])
    return jax.lax.map(lambda each: right(*each), (most, num_transitions))

  return jax.device_get(run(keys_of(2, count)))


def assert_near(values, law):
  """Within four standard errors of a chance."""
  error = np.sqrt(law * (1 - law) / len(values))
  assert abs(values.mean() - law) < 4 * error, (values.mean(), law)


@pytest.mark.slow
def test_contraction_changes_nothing_for_errors_of_single_steps():
  """Eight bijections, an error at each: the law of a noisy chain."""
  (direct, contracted, *_), _ = erring()
  law = tasks.noisy_chain_accuracy(ERROR, 8, LARGE.modulus)
  assert_near(direct, law)
  assert_near(contracted, law)


def test_contraction_lifts_a_solver_of_small_questions_to_the_law_of_steps():
  (_, _, large, small), (*_, left) = erring()
  law = tasks.noisy_chain_accuracy(ERROR, 8, LARGE.modulus)
  assert_near(large, 1 / LARGE.modulus)  # guesses
  assert_near(small[left <= MOST], law)
  assert_near(small[left > MOST], 1 / LARGE.modulus)
  assert np.mean(left <= MOST) > 0.9


def test_the_first_that_agrees_with_the_judge_is_kept():
  cases = np.array(list(itertools.product((-1, 0, 1, 2), repeat=4)), np.int32)
  answers, verdict = cases[:, :3], cases[:, 3]
  got = jax.device_get(jax.jit(search.first_agreeing)(answers, verdict))
  for row, judged, which in zip(answers.tolist(), verdict, got, strict=True):
    assert which == (row.index(judged) if judged in row else 0)


class Tagged(NamedTuple):
  """A question that is contracted once, to one that bears what was said."""

  tag: jax.Array  # 0 if it is whole


TAGGED = search.Atoms(
  decompose=lambda x: search.QuestionGraph(
    jnp.broadcast_to(jnp.array([[0, 0], [1, 0]]) > 0, (*x.tag.shape, 2, 2)),
    (x.tag[:, None] == 0) | (jnp.arange(2) == 1),
  ),
  subquestions=lambda x: Tagged(jnp.full((*x.tag.shape, 2), -1)),
  contract=lambda x, mask, answers: Tagged(
    jnp.where(mask[:, 0], answers[:, 0], x.tag)
  ),
)


def speaks(keys, questions, asked):
  """Whole questions: 0 or 1; parts: 1 or 2; contracted ones: what they bear."""
  draw = lambda key: jax.random.randint(key, asked.shape[1:], 0, 2)
  coin = jax.vmap(draw)(keys)
  tag = questions.tag
  answers = jnp.where(tag > 0, tag, jnp.where(tag < 0, 1 + coin, coin))
  return search.Answered(answers, (10 + tag) * asked)


def three_answers(judge_fn=None):
  return jax.jit(
    functools.partial(
      search.atom_of_thoughts,
      keys_of(3, 64),
      Tagged(jnp.zeros(64, jnp.int32)),
      TAGGED,
      speaks,
      judge_fn=judge_fn,
    )
  )


def test_three_answers_and_the_order_of_ties():
  run = three_answers()
  out = jax.device_get(run(max_transitions=3))
  direct, stepwise, contracted = out.candidates.T
  np.testing.assert_array_equal(stepwise, contracted)
  np.testing.assert_array_equal(contracted, out.contraction.question.tag)
  assert set(zip(direct.tolist(), contracted.tolist(), strict=True)) == {
    (0, 1), (0, 2), (1, 1), (1, 2),
  }  # fmt: skip
  # Two of three agree; the first of them is `decompose` unless all do.
  np.testing.assert_array_equal(out.answers, contracted)
  np.testing.assert_array_equal(
    out.method, np.where(direct == contracted, 0, 1)
  )
  np.testing.assert_array_equal(out.tokens, 9 + 10 + (10 + contracted))
  np.testing.assert_array_equal(out.depth, 9 + (10 + contracted))
  # With no transition nothing is contracted, but all is solved step by step.
  out = jax.device_get(run(max_transitions=0))
  assert np.all(out.contraction.num_transitions == 0)
  np.testing.assert_array_equal(out.candidates[:, 0], direct)
  assert np.all(out.candidates[:, 1] >= 1) and np.all(out.candidates[:, 2] <= 1)


@pytest.mark.slow
def test_a_judge_has_the_last_word():
  out = three_answers(lambda answers: answers[:, 2])(max_transitions=0)
  np.testing.assert_array_equal(out.answers, out.candidates[:, 2])
  # What nobody said: the direct answer.
  out = three_answers(lambda answers: answers[:, 0] + 9)(max_transitions=0)
  np.testing.assert_array_equal(out.method, 0)
  np.testing.assert_array_equal(out.answers, out.candidates[:, 0])


def test_the_best_contraction_agrees_with_the_vote_and_is_short():
  """A part is answered by 1 to 9; contractions with odd ones answer alike."""
  count = 4096

  def solve_fn(keys, questions, asked):
    draw = lambda key: jax.random.randint(key, asked.shape[1:], 1, 10)
    tag = questions.tag
    part = jax.vmap(draw)(keys)
    whole = jnp.where(tag % 2 == 1, 0, tag)  # even ones: an answer of their own
    return search.Answered(jnp.where(tag < 0, part, whole), jnp.maximum(tag, 1))

  run = functools.partial(
    search.best_contraction, atoms=TAGGED, solve_fn=solve_fn
  )
  made = jax.device_get(
    jax.jit(run)(keys_of(4, count), Tagged(jnp.zeros(count, jnp.int32)))
  )
  tag = made.question.tag
  # The whole question is answered as odd ones are, and comes first: if any of
  # the three is odd, the shortest odd one is kept, else the shortest in votes.
  odd = lambda t: ((10 - t + 1) // 2 + 4) / 9  # not odd, or at least t
  law = {t: odd(t) ** 3 - odd(t + 2) ** 3 for t in (1, 3, 5, 7, 9)}
  for t, chance in law.items():
    assert_near(tag == t, chance)
  np.testing.assert_array_equal(made.num_asked, 1)
  # Three parts of one token, the whole question, three contractions.
  assert np.all(made.tokens >= 3 + 1 + tag + 2)
  assert np.all(made.tokens <= 3 + 1 + 3 * 9)


# A table that says a value and ends, whatever it is asked.
WRITTEN = expressions.Grammar(modulus=5, num_places=4)
TASK = expressions.expression_task(WRITTEN, 4, 2)
BATCH, CAPACITY = 6, 3
MODEL = models.table_model(TASK.vocab_size)
PROBLEMS = jax.jit(jax.vmap(TASK.generate))(keys_of(5, BATCH))
SAYS_VALUES = (
  jnp.full((TASK.vocab_size,) * 2, -jnp.inf)
  .at[2, 3:8]
  .set(jnp.array([2.0, 1.0, 0.0, 0.0, 1.0]))
  .at[3:8, TASK.eos_id]
  .set(0.0)
)
METHOD = {m.name: m for m in search.METHODS}['atom_of_thoughts']


def parsed_atoms(grammar):
  """Prompts as questions."""
  parse = jax.vmap(functools.partial(expressions.parse, grammar))
  render = functools.partial(expressions.render, grammar)
  graph = lambda x: search.QuestionGraph(
    jax.vmap(expressions.dependencies)(x), x.ops >= 0
  )

  def subquestions(prompt):
    each = jax.vmap(expressions.definitions)(parse(prompt.tokens))
    tokens = jax.vmap(jax.vmap(render))(each)
    return Prompt(tokens, jnp.full(tokens.shape[:2], tokens.shape[2]))

  def contract(prompt, mask, answers):
    x = jax.vmap(expressions.substitute)(parse(prompt.tokens), mask, answers)
    return prompt._replace(tokens=jax.vmap(render)(x))

  return search.Atoms(
    lambda prompt: graph(parse(prompt.tokens)), subquestions, contract
  )


def setting_of(problems, atoms):
  return search.Setting(
    model=MODEL,
    params=SAYS_VALUES,
    answer_fn=tasks.answer_fn(TASK, problems),
    score_fn=tasks.score_fn(TASK, problems),
    eos_ids=(TASK.eos_id,),
    capacity=CAPACITY,
    max_steps=CAPACITY,
    atoms=atoms,
  )


@functools.partial(jax.jit, static_argnums=0)
def solve(num_samples, keys, problems):
  setting = setting_of(problems, parsed_atoms(WRITTEN))
  prompt = tasks.to_prompt(problems)
  chosen = search.solve(METHOD, setting, keys, prompt, num_samples)
  depth = search.graph_depth(setting.atoms.decompose(prompt))
  return chosen, jnp.broadcast_to(depth, keys.shape)


def test_a_policy_spends_its_budget_and_nothing_depends_on_the_batch():
  """Two tokens to a response, `N` responses to a problem."""
  keys = keys_of(6, BATCH)
  chosen, depth = jax.device_get(solve(6, keys, PROBLEMS))
  assert set(depth.tolist()) == {1, 2, 3}
  np.testing.assert_array_equal(chosen.tokens, 2 * 6)
  np.testing.assert_array_equal(chosen.depth, 2 * (depth + 1))
  assert np.all((chosen.answer >= 0) & (chosen.answer < 5))
  order = np.array([3, 0, 5, 2, 2, 1])
  take = lambda tree: jax.tree.map(lambda x: x[order], tree)
  moved, _ = solve(6, keys[order], take(PROBLEMS))
  for name in ('answer', 'tokens', 'depth'):
    np.testing.assert_array_equal(
      getattr(moved, name), take(getattr(chosen, name))
    )


@pytest.mark.slow
def test_a_policy_as_a_solver_and_one_response():
  """One response is the question itself, as without the method."""
  keys, prompt = keys_of(6, BATCH), tasks.to_prompt(PROBLEMS)
  setting = setting_of(PROBLEMS, parsed_atoms(WRITTEN))
  chosen, depth = jax.device_get(solve(1, keys, PROBLEMS))
  plain = setting.sample_fn(setting.params, keys, prompt, 1)
  first = setting.finished_answer_fn(prompt, plain)[:, 0]
  np.testing.assert_array_equal(chosen.answer, first)
  np.testing.assert_array_equal(chosen.tokens, 2)
  solve_fn = search.sampling_solver(
    setting.params, setting.sample_fn, setting.finished_answer_fn
  )
  made = search.contract_question(keys, prompt, setting.atoms, solve_fn)
  num_ops = np.sum(PROBLEMS.data.ops >= 0, axis=1)
  np.testing.assert_array_equal(made.num_transitions, depth)
  np.testing.assert_array_equal(made.num_asked, num_ops - 1)
  np.testing.assert_array_equal(made.tokens, 2 * made.num_asked)


def test_a_setting_without_atoms_is_refused():
  with pytest.raises(ValueError, match='atoms is None'):
    search.solve(
      METHOD,
      setting_of(PROBLEMS, None),
      keys_of(0, BATCH),
      tasks.to_prompt(PROBLEMS),
      2,
    )
