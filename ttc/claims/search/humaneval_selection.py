"""Votes of tests, and tests that tell (Ehrlich et al., 2025), on HumanEval."""

import random

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, search
from ttc.claims.claim import Claim, compares, interval, shows, text
from ttc.tasks import humaneval, mutations

NUM_CANDIDATES, NUM_INPUTS, NUM_DRAWS = 8, 16, 20
TOXIC_RATE = 0.2
VOTES = (1, 2, 4, 8, 16)


def measure(seed, size, cache):
  """What solutions and their mutants do on inputs, executed."""
  del cache
  outputs, correct, mask = executed(seed, size.problems(164))
  return {'outputs': outputs, 'correct': correct, 'mask': mask}


def executed(seed, num_problems):
  """What the candidates of each problem do; the solution comes first.

  Args:
    seed: of the mutants and the inputs.
    num_problems: of the benchmark, from its first on.

  Returns:
    Ids of outputs `[B, 8, 16]`, -1 for none, whether each candidate passes the
    real tests `[B, 8]`, and which there are `[B, 8]`.
  """
  chosen, programs = [], []
  for problem in humaneval.load()[:num_problems]:
    rng = random.Random(f'{seed} {problem.task_id}')
    source = problem.prompt + problem.canonical_solution
    wrong = mutations.mutants(
      source, problem.entry_point, NUM_CANDIDATES - 1, seed
    )
    examples = humaneval.tested_arguments(problem)
    if len(wrong) < 2 or not examples:
      continue
    inputs = [
      mutations.vary(rng, rng.choice(examples)) for _ in range(NUM_INPUTS)
    ]
    chosen.append(1 + len(wrong))
    programs += [
      evaluation.FunctionCheck(
        text, problem.entry_point, humaneval.tests(problem), inputs
      )
      for text in [source, *wrong]
    ]
  verdicts = iter(
    evaluation.check_functions(programs, allow_execution=True, seconds=10.0)
  )
  shape = (len(chosen), NUM_CANDIDATES)
  outputs = np.full((*shape, NUM_INPUTS), -1)
  correct = np.zeros(shape, bool)
  for row, count in enumerate(chosen):
    ids = {}
    for column in range(count):
      verdict = next(verdicts)
      correct[row, column] = verdict.passed
      outputs[row, column] = [
        -1 if text is None else ids.setdefault(text, len(ids))
        for text in verdict.outputs
      ]
  mask = np.arange(NUM_CANDIDATES) < np.array(chosen)[:, None]
  return outputs, correct, mask


@jax.jit
def accuracies(keys, outputs, correct, mask, toxic_rate):
  """Chance of a right selection per problem, by name; 20 draws of authors."""

  def draw(key, outputs, correct, mask):
    wrong_key, toxic_key, tie_key = jax.random.split(key, 3)
    # A test's author has the right solution in mind, or one of the mutants.
    others = jnp.where(mask & (jnp.arange(NUM_CANDIDATES) > 0), 0.0, -jnp.inf)
    author = jax.random.categorical(wrong_key, others, shape=(NUM_INPUTS,))
    toxic = jax.random.uniform(toxic_key, (NUM_INPUTS,)) < toxic_rate
    author = jnp.where(toxic, author, 0)
    expected = outputs[author, jnp.arange(NUM_INPUTS)]
    passed = (outputs == expected) & (expected >= 0)

    index = jnp.arange(NUM_INPUTS)
    votes = lambda tests: search.test_votes(passed, tests)
    by = lambda votes, mask: search.mean_correct(
      search.most_votes(votes, mask), correct
    )
    # Four tests make the short list, four where it differs decide. Mutants
    # tend to be longer, so size must not break ties.
    sizes = jax.random.permutation(tie_key, NUM_CANDIDATES)
    three = search.top_voted(votes(index < 4), sizes, mask)
    telling = search.telling_inputs(outputs, three) & (index >= 4)
    telling &= jnp.cumsum(telling) <= 4
    return {
      'random': search.mean_correct(mask, correct),
      **{f'votes@{n}': by(votes(index < n), mask) for n in VOTES},
      'short list': by(votes((index < 4) | telling), three),
      'telling': jnp.mean(search.telling_inputs(outputs, mask)),
    }

  def problem(key, *data):
    drawn = jax.vmap(draw, in_axes=(0, None, None, None))(
      jax.random.split(key, NUM_DRAWS), *data
    )
    return jax.tree.map(jnp.mean, drawn)

  return jax.vmap(problem)(keys, outputs, correct, mask)


def derive(data):
  """Accuracy of every selection, by tests of which some or all are wrong."""
  outputs, correct, mask = (
    jnp.asarray(data[name]) for name in ('outputs', 'correct', 'mask')
  )
  keys = jax.random.split(jax.random.key(0), len(outputs))
  run = lambda rate: jax.device_get(
    accuracies(keys, outputs, correct, mask, rate)
  )
  return {'main': run(TOXIC_RATE), 'poisoned': run(1.0)}


def figure(data):
  """Of every selection."""
  names = ('random', *(f'votes@{n}' for n in VOTES), 'short list')
  num = len(data['outputs']) // data['num_seeds']
  return f'{num} problems: ' + '; '.join(
    f'{name} {interval(data["main"][name])}' for name in names
  )


def clearly_above(gap):
  """By 1.96 standard errors."""
  return gap.mean > 1.96 * gap.standard_error


CLAIM = Claim(
  'humaneval_selection (most of 164 problems, the solution and up to 7 mutants '
  'of one edit, executed)',
  '2501.14723',
  'votes of tests select, also when every fifth is wrong; as many tests, half '
  'of them where the three best differ, select better',
  measure,
  checks=[
    text(figure),
    compares(
      'votes@8 to random ', 'main/votes@8', 'main/random', clearly_above
    ),
    compares(
      'short list to votes@8 ', 'main/short list', 'main/votes@8', clearly_above
    ),
    text(
      lambda d: (
        'tests that tell candidates apart '
        f'{100 * d["main"]["telling"].mean():.0f}%'
      )
    ),
  ],
  controls=[
    shows('all tests by authors of mutants: votes@8 ', 'poisoned/votes@8'),
    compares(
      'to random ',
      'poisoned/votes@8',
      'poisoned/random',
      lambda harm: harm.mean < 2 * harm.standard_error,
    ),
  ],
  derive=derive,
)
