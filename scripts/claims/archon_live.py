"""Architectures over the drafts of three trained models (Archon, 2024)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims import archon, flops_exchange
from claims import strategy_world as world
from claims.row import Row, difference, interval, signed
from ttc import strategies

SIZES = tuple(flops_exchange.SIZES)
PRICES = np.array(
  [
    round(flops_exchange.num_params(size) / flops_exchange.num_params(SIZES[0]))
    for size in SIZES
  ]
)
BUDGET = 1000  # tokens of the small model per problem


def reproduce(num_seeds: int) -> Row:
  """Bayesian search on one half of the words, measured on the other."""
  plans, singles = world.all_plans(), archon.stack(archon.SINGLES)
  found, single, exhaustive = [], [], []
  optimism, spent, chosen = [], [], []
  for seed in range(num_seeds):
    right, tokens = evaluate(seed, plans)
    alone, alone_tokens = evaluate(seed, singles)
    dev = np.arange(right.shape[1]) % 2 == 0
    value = lambda right, tokens, dev=dev: strategies.within_budget(
      right[:, dev].mean(axis=1), tokens[:, dev].mean(axis=1), BUDGET
    )
    values = value(right, tokens).reshape(world.SIZES)
    values[0, 0, 0] = -1.0  # nobody writes a draft
    _, points, _ = world.regrets(
      archon.SEARCHES['Bayesian'],
      values,
      archon.NUM_EVALUATIONS,
      range(archon.NUM_SEARCHES),
    )
    at = np.ravel_multi_index(points.T, world.SIZES)
    best = int(np.argmax(value(alone, alone_tokens)))
    found.append(right[at][:, ~dev].mean(axis=0))
    single.append(alone[best, ~dev])
    exhaustive.append(right[np.argmax(values), ~dev])
    optimism.append(right[at][:, dev].mean() - found[-1].mean())
    spent.append([tokens[at][:, ~dev].mean(), alone_tokens[best, ~dev].mean()])
    chosen.append(
      f'{strategies.describe(world.architecture_at(tuple(points[0])))} against '
      f'{strategies.describe(archon.SINGLES[best])}'
    )
  found, single, exhaustive = (
    np.concatenate(x).astype(float) for x in (found, single, exhaustive)
  )
  gain = difference(found, single)
  spent = np.mean(spent, axis=0)
  return Row(
    f'archon_live (S4, three trained models, prices {PRICES.tolist()}; judges '
    f'of known law; {BUDGET} tokens per problem)',
    'an architecture that Bayesian search finds on drafts of trained models '
    'beats the best single technique of one model on unseen words',
    f'unseen words {interval(found)} for {spent[0]:.0f} tokens, best single '
    f'{interval(single)} for {spent[1]:.0f}, {signed(gain)}; optimism of the '
    f'search {100 * np.mean(optimism):+.1f}; one of the found: {chosen[0]}',
    'the best of all architectures on the words of the search, on unseen ones '
    f'{interval(exhaustive)}, {signed(difference(exhaustive, single))} to the '
    'best single',
    bool(gain.mean > 1.96 * gain.standard_error),
  )


def evaluate(seed, plans):
  """Correctness and tokens, `[S, B]`, of plans on words of a seed."""
  keys, drafts, gold = drawn(seed)
  return jax.device_get(_run(keys, drafts, gold, plans))


@jax.jit
def _run(keys, drafts, gold, plans):
  answers, tokens = world.run_plans(keys, drafts, plans)
  return answers == gold, tokens


@functools.cache
def drawn(seed):
  """Keys, drafts and right answers of the words of a seed; drawn once."""
  data_key, sample_key, judge_key, run_key = jax.random.split(
    jax.random.fold_in(jax.random.key(5000), seed), 4
  )
  problems = flops_exchange.draw_problems(data_key)
  answers, tokens, models, places = [], [], [], []
  for m, size in enumerate(SIZES):
    model, params = flops_exchange.trained(size, seed)
    key = jax.random.fold_in(sample_key, m)
    n = world.MAX_DRAFTS[m]
    samples = jax.device_get(
      flops_exchange.respond(model, params, problems, key, n)[1]
    )
    answers.append(samples.answers)
    tokens.append(PRICES[m] * samples.lengths)
    models.append(np.full_like(samples.answers, m))
    places.append(np.broadcast_to(np.arange(n), samples.answers.shape))
  answers, tokens, models, places = (
    jnp.asarray(np.concatenate(x, axis=1))
    for x in (answers, tokens, models, places)
  )
  gold = jnp.asarray(problems.answer)
  num_answers = int(max(answers.max(), gold.max())) + 1

  @jax.vmap
  def judge(key, answers, gold):
    seen = jnp.where(answers < 0, num_answers, answers)
    return world.judged(jax.random.split(key, 4), seen, gold, num_answers + 1)

  judge_keys = jax.random.split(judge_key, gold.size)
  drafts = judge(judge_keys, answers, gold)._replace(
    answers=answers, tokens=tokens, models=models, places=places
  )
  return jax.random.split(run_key, gold.size), drafts, gold
