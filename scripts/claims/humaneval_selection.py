"""Votes of tests, and tests that tell (Ehrlich et al., 2025), on HumanEval."""

import random

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, search
from ttc.tasks import humaneval, mutations

NUM_CANDIDATES, NUM_INPUTS, NUM_DRAWS = 8, 16, 20
TOXIC_RATE = 0.2
VOTES = (1, 2, 4, 8, 16)


def reproduce(num_seeds: int) -> Row:
  """Selection among a solution and its mutants by tests that may be wrong."""
  runs = [executed(seed) for seed in range(num_seeds)]
  outputs, correct, mask = (
    jnp.asarray(np.concatenate(x)) for x in zip(*runs, strict=True)
  )
  keys = jax.random.split(jax.random.key(0), len(outputs))
  run = lambda rate: jax.device_get(
    accuracies(keys, outputs, correct, mask, rate)
  )
  main, poisoned = run(TOXIC_RATE), run(1.0)
  gain = difference(main['votes@8'], main['random'])
  told = difference(main['short list'], main['votes@8'])
  harm = difference(poisoned['votes@8'], poisoned['random'])
  names = ('random', *(f'votes@{n}' for n in VOTES), 'short list')
  cells = [f'{name} {interval(main[name])}' for name in names]
  return Row(
    f'humaneval_selection ({len(outputs) // num_seeds} of 164 problems, the '
    'solution and up to 7 mutants of one edit, executed)',
    'votes of tests select, also when every fifth is wrong; as many tests, '
    'half of them where the three best differ, select better',
    f'{"; ".join(cells)}; votes@8 to random {signed(gain)}, short list to '
    f'votes@8 {signed(told)}; tests that tell candidates apart '
    f'{100 * main["telling"].mean():.0f}%',
    f'all tests by authors of mutants: votes@8 {interval(poisoned["votes@8"])},'
    f' {signed(harm)} to random',
    bool(
      gain.mean > 1.96 * gain.standard_error
      and told.mean > 1.96 * told.standard_error
      and harm.mean < 2 * harm.standard_error
    ),
  )


def executed(seed):
  """What the candidates of each problem do; the solution comes first.

  Args:
    seed: of the mutants and the inputs.

  Returns:
    Ids of outputs `[B, 8, 16]`, -1 for none, whether each candidate passes the
    real tests `[B, 8]`, and which there are `[B, 8]`.
  """
  chosen, programs = [], []
  for problem in humaneval.load():
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
      humaneval.probe_program(problem, text, inputs)
      for text in [source, *wrong]
    ]
  results = evaluation.run_programs(
    programs, allow_execution=True, seconds=10.0
  )
  shape = (len(chosen), NUM_CANDIDATES)
  outputs = np.full((*shape, NUM_INPUTS), -1)
  correct = np.zeros(shape, bool)
  results = iter(results)
  for row, count in enumerate(chosen):
    ids = {}
    for column in range(count):
      probe = humaneval.read_probe(next(results).output, NUM_INPUTS)
      correct[row, column] = probe.passed
      outputs[row, column] = [
        -1 if text is None else ids.setdefault(text, len(ids))
        for text in probe.outputs
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
