"""Contraction carries a model beyond the questions it learned (2502.12018)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks
from ttc.claims.claim import (
  Checked,
  Claim,
  by_seed,
  difference,
  high,
  interval,
  low,
  signed,
  text,
)
from ttc.testbeds.expressions import (
  GRAMMAR,
  LARGE,
  MODEL,
  SMALL,
  VALUE_IDS,
  policy,
  prompt_atoms,
  read_value,
  task_of,
)

NUM_PROBLEMS = 512  # of a seed
NUM_TRANSITIONS = 3  # the paper's limit
MADE = [f'after {t}' for t in range(NUM_TRANSITIONS + 1)]


def measure(seed, size, cache):
  """Correctness and tokens of every way to answer, and what is kept."""
  params = policy(seed, size, cache).params
  num = size.problems(NUM_PROBLEMS)
  return run(params, jax.random.key(1100 + seed), num)


@functools.partial(jax.jit, static_argnums=2)
def run(params, key, num_problems):
  """Correctness and tokens of every way to answer, and what is kept."""
  data_key, sample_key, small_key, one_key, value_key = jax.random.split(key, 5)
  task = task_of(LARGE, LARGE)
  draw = lambda task, key: jax.vmap(task.generate)(
    jax.random.split(key, num_problems)
  )
  problems = draw(task, data_key)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, num_problems)
  sample_fn = functools.partial(
    sampling.generate,
    model=models.transformer(MODEL),
    capacity=1,
    stop=sampling.stop_rules(MODEL.vocab_size, VALUE_IDS),
  )
  greedy_fn = functools.partial(
    sample_fn, sampling=sampling.SamplingParams(temperature=0.0)
  )
  solve_fn = search.sampling_solver(params, greedy_fn, read_value)
  atoms = prompt_atoms()

  def answer(prompt):
    responses = greedy_fn(params, keys, prompt, 1)
    return read_value(prompt, responses)[:, 0], responses.lengths[:, 0]

  def contracted(atoms, num_transitions):
    made = search.contract_question(
      keys, prompt, atoms, solve_fn, num_transitions
    )
    answers, tokens = answer(made.question)
    return answers == problems.answer, made.tokens + tokens

  def all_at_once(prompt):
    graph = atoms.decompose(prompt)
    parts = search.is_needed(graph)
    return graph._replace(depends=~parts[:, :, None] & parts[:, None, :])

  def put_anything(prompt, mask, answers):
    anything = jax.random.randint(value_key, answers.shape, 0, GRAMMAR.modulus)
    return atoms.contract(prompt, mask, anything)

  rights, costs = jax.lax.map(
    functools.partial(contracted, atoms), jnp.arange(NUM_TRANSITIONS + 1)
  )
  results = {
    f'after {t}': (rights[t], costs[t]) for t in range(NUM_TRANSITIONS + 1)
  }
  results['values at random'] = contracted(
    atoms._replace(contract=put_anything), NUM_TRANSITIONS
  )
  results['all asked at once'] = contracted(
    atoms._replace(decompose=all_at_once), NUM_TRANSITIONS
  )
  votes = sample_fn(params, keys, prompt, LARGE)
  vote = search.select_each(
    search.majority_vote, search.observe(prompt, votes, read_value)
  )
  results['vote'] = vote.answer == problems.answer, vote.tokens
  kept = search.atom_of_thoughts(keys, prompt, atoms, solve_fn, NUM_TRANSITIONS)
  results['ensemble'] = kept.answers == problems.answer, kept.tokens
  for name, num_ops, key in (('small', SMALL, small_key), ('one', 1, one_key)):
    others = draw(task_of(num_ops, num_ops), key)
    answers, tokens = answer(tasks.to_prompt(others))
    results[name] = answers == others.answer, tokens
  right = {name: result[0] for name, result in results.items()}
  tokens = {name: result[1] for name, result in results.items()}
  as_floats = lambda x: x.astype(jnp.float32)
  return jax.tree.map(
    as_floats, {'right': right, 'tokens': tokens, 'method': kept.method}
  )


def derive(data):
  """Contracted to direct, to a vote of as many tokens, and by seed."""
  right, num_seeds = data['right'], data['num_seeds']
  direct, contracted = right[MADE[0]], right[MADE[-1]]
  of_seed = lambda x: by_seed(x, num_seeds)
  return {
    'ratios': of_seed(contracted) / of_seed(direct),
    'to vote': difference(contracted, right['vote']),
    'to direct': difference(contracted, direct),
    'to twice': difference(contracted, 2 * direct),
  }


def figure(data):
  """Of every size and every way to answer."""
  right, tokens = data['right'], data['tokens']
  chosen = [np.mean(data['method'] == i) for i in range(3)]
  cells = [f'{name} {interval(right[name])}' for name in MADE[1:]]
  return (
    f'1 operation {interval(right["one"])}, {SMALL} operations '
    f'{interval(right["small"])}; {LARGE} operations: direct '
    f'{interval(right[MADE[0]])} (chance {100 / GRAMMAR.modulus:.0f}), '
    f'contracted {", ".join(cells)}, {signed(data["to direct"])} to direct, by '
    f'seed {", ".join(f"{ratio:.1f}" for ratio in data["ratios"])} times as '
    f'many, {tokens[MADE[-1]].mean():.1f} tokens for '
    f'{tokens[MADE[0]].mean():.1f}; {signed(data["to vote"])} to a vote of '
    f'{LARGE} direct answers ({tokens["vote"].mean():.1f} tokens) '
    f'{interval(right["vote"])}; best of direct, decompose and contract '
    f'{interval(right["ensemble"])} ({tokens["ensemble"].mean():.1f} tokens; '
    f'kept {", ".join(f"{100 * share:.0f}%" for share in chosen)})'
  )


def doubles(data):
  """At least twice as many in every seed, and more than a vote."""
  return (
    low(data['to twice']) >= 0
    and min(data['ratios']) >= 2
    and low(data['to vote']) > 0
  )


def does_not_double(name):
  """A check: a control is right less than twice as often as direct."""

  def check(data):
    right, direct = data['right'][name], data['right'][MADE[0]]
    return Checked(
      f'{name}: {interval(right)}, {signed(difference(right, direct))} to '
      f'direct, {data["tokens"][name].mean():.1f} tokens',
      high(difference(right, 2 * direct)) < 0,
    )

  return check


CLAIM = Claim(
  f'atom_of_thoughts (sums modulo {GRAMMAR.modulus}, answered at once by '
  f'{MODEL.num_layers} layers of {MODEL.embed_dim} that learned up to {SMALL} '
  f'operations; prompts of {GRAMMAR.prompt_length} tokens, responses of one)',
  '2502.12018',
  f'of questions of {LARGE} operations at least twice as many are answered '
  'rightly through contraction as directly',
  measure,
  checks=[text(figure, doubles)],
  controls=[
    does_not_double('values at random'),
    does_not_double('all asked at once'),
  ],
  derive=derive,
)
