"""Contraction carries a model beyond the questions it learned (2502.12018)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.expression_world import (
  GRAMMAR,
  LARGE,
  MODEL,
  SMALL,
  VALUE_IDS,
  prompt_atoms,
  read_value,
  task_of,
  trained,
)
from claims.row import Row, difference, interval, signed
from ttc import evaluation, models, sampling, search, tasks

NUM_PROBLEMS = 512  # of a seed
NUM_TRANSITIONS = 3  # the paper's limit


def reproduce(num_seeds: int) -> Row:
  """Twice as large as any question learned: contracted it is answered."""
  by_seed = [
    jax.device_get(run(trained(seed), jax.random.key(1100 + seed)))
    for seed in range(num_seeds)
  ]
  right, tokens, method = jax.tree.map(
    lambda *leaves: np.concatenate(leaves).astype(np.float32), *by_seed
  )
  made = [f'after {t}' for t in range(NUM_TRANSITIONS + 1)]
  direct, contracted = right[made[0]], right[made[-1]]
  twice = lambda name: difference(right[name], 2 * direct)
  interval_of = evaluation.confidence_interval
  controls = 'values at random', 'all asked at once'
  gap = {
    name: difference(right[name], direct) for name in (made[-1], *controls)
  }
  to_vote = difference(contracted, right['vote'])
  ratios = [np.mean(r[made[-1]]) / np.mean(r[made[0]]) for r, _, _ in by_seed]
  chosen = [np.mean(method == i) for i in range(3)]
  cells = [f'{name} {interval(right[name])}' for name in made[1:]]
  return Row(
    f'atom_of_thoughts (sums modulo {GRAMMAR.modulus}, answered at once by '
    f'{MODEL.num_layers} layers of {MODEL.embed_dim} that learned up to '
    f'{SMALL} operations; prompts of {GRAMMAR.prompt_length} tokens, responses '
    'of one)',
    f'of questions of {LARGE} operations at least twice as many are answered '
    'rightly through contraction as directly',
    f'1 operation {interval(right["one"])}, {SMALL} operations '
    f'{interval(right["small"])}; {LARGE} operations: direct '
    f'{interval(direct)} (chance {100 / GRAMMAR.modulus:.0f}), contracted '
    f'{", ".join(cells)}, {signed(gap[made[-1]])} to direct, by seed '
    f'{", ".join(f"{ratio:.1f}" for ratio in ratios)} times as many, '
    f'{tokens[made[-1]].mean():.1f} tokens for {tokens[made[0]].mean():.1f}; '
    f'{signed(to_vote)} to a vote of {LARGE} direct answers '
    f'({tokens["vote"].mean():.1f} tokens) {interval(right["vote"])}; best of '
    f'direct, decompose and contract {interval(right["ensemble"])} '
    f'({tokens["ensemble"].mean():.1f} tokens; kept '
    f'{", ".join(f"{100 * share:.0f}%" for share in chosen)})',
    '; '.join(
      f'{name}: {interval(right[name])}, {signed(gap[name])} to direct, '
      f'{tokens[name].mean():.1f} tokens'
      for name in controls
    ),
    bool(
      interval_of(twice(made[-1]))[0] >= 0
      and min(ratios) >= 2
      and interval_of(to_vote)[0] > 0
      and all(interval_of(twice(name))[1] < 0 for name in controls)
    ),
  )


@jax.jit
def run(params, key):
  """Correctness and tokens of every way to answer, and what is kept."""
  data_key, sample_key, small_key, one_key, value_key = jax.random.split(key, 5)
  task = task_of(LARGE, LARGE)
  draw = lambda task, key: jax.vmap(task.generate)(
    jax.random.split(key, NUM_PROBLEMS)
  )
  problems = draw(task, data_key)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, NUM_PROBLEMS)
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
  return right, tokens, kept.method
