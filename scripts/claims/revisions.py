"""Chains of revisions against parallel samples at equal tokens (2408.03314)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.revision_world import (
  AGAIN,
  CAPACITY,
  KEEP,
  NUM_CONTEXT,
  TASK,
  accuracies,
  level,
  reviser,
  test_problems,
)
from claims.row import Row, difference, interval, signed
from ttc import evaluation, sampling, search, tasks, verifiers

NUM_PROBLEMS, N = 384, 8  # problems of a seed, attempts at each
DEPTHS = (1, 2, 4, 8)
ERROR_RATE = 0.2  # of the verifier
SELECTIONS = {
  'verifier, whole chain': {},
  'verifier, last only': {'last_only': True},
  'majority': {'weighted': False},
}


def reproduce(num_seeds: int) -> Row:
  """A mix of chains and parallel samples is best, chosen over whole chains."""
  model, params = reviser(num_seeds)
  runs = {
    depth: [
      jax.device_get(run(model, p, jax.random.key(820 + seed), depth))
      for seed, p in enumerate(params)
    ]
    for depth in DEPTHS
  }
  join = lambda parts: jax.tree.map(lambda *x: np.concatenate(x), *parts)
  outcomes = {depth: join(parts) for depth, parts in runs.items()}
  levels = outcomes[1]['level']
  whole = {d: o['verifier, whole chain'] for d, o in outcomes.items()}
  best = max(DEPTHS, key=lambda d: whole[d].mean())
  gain = difference(whole[best], whole[1])
  against_last = difference(whole[8], outcomes[8]['verifier, last only'])
  low = lambda gap: evaluation.confidence_interval(gap)[0]

  chain = outcomes[8]['right']  # [problems, 8]
  first, fresh = accuracies()
  spoiled, laws = [], []
  for b in range(3):
    rows = chain[levels == b]
    before, after = rows[:, :-1] > 0, rows[:, 1:] > 0
    spoiled.append((~after)[before].mean())
    laws.append((1 - KEEP[AGAIN]) * (1 - fresh[b]))
  by_level = [
    slashed(whole[d][levels == b].mean() for d in DEPTHS) for b in range(3)
  ]
  single = [chain[levels == b, 0].mean() for b in range(3)]
  eighth = [chain[levels == b, -1].mean() for b in range(3)]
  easy, hard = (
    {d: whole[d][levels == b].mean() for d in DEPTHS} for b in (0, 2)
  )
  on_easy = easy[8] >= max(easy.values()) - 0.005
  on_hard = max(hard, key=hard.get) in (2, 4)
  last_only = outcomes[8]['verifier, last only']
  return Row(
    f'revisions (S3, three difficulties, N={N}, verifier wrong for 20%)',
    'at equal tokens chains of revisions beat parallel samples, and a choice '
    'over the whole chain beats its last attempt; right answers are turned '
    'wrong',
    f'chains of {"/".join(map(str, DEPTHS))} attempts: '
    + '; '.join(
      f'{name} {slashed(outcomes[d][name].mean() for d in DEPTHS)}'
      for name in SELECTIONS
    )
    + f'; depth {best} against 1 {signed(gain)}; whole chain on easy, medium '
    f'and hard problems {", ".join(by_level)}: sequential best on easy '
    f'{"yes" if on_easy else "no"}, a mix best on hard '
    f'{"yes" if on_hard else "no"}; one attempt {slashed(single)}, law '
    f'{slashed(first)}; the eighth {slashed(eighth)}; turned wrong by one '
    f'more revision {slashed(spoiled)}, law {slashed(laws)}',
    f'last attempt only, depth 8: {interval(last_only)}, the whole chain '
    f'against it {signed(against_last)}',
    bool(
      best > 1
      and low(gain) > 0
      and low(against_last) > 0
      and min(spoiled) > 0.02
    ),
  )


def slashed(shares):
  """Percentages on one line."""
  return '/'.join(f'{100 * share:.1f}' for share in shares)


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(model, params, key, depth):
  """Correctness of each selection and of each attempt."""
  data_key, sample_key, noise_key = jax.random.split(key, 3)
  problems = test_problems(data_key, NUM_PROBLEMS)
  prompt = tasks.to_prompt(problems)
  attempts = search.revisions(
    params,
    jax.random.split(sample_key, NUM_PROBLEMS),
    prompt,
    N // depth,
    depth,
    search.fixed_feedback([AGAIN]),
    model=model,
    capacity=CAPACITY,
    stop=sampling.stop_rules(model.vocab_size, [TASK.eos_id]),
    num_context=NUM_CONTEXT,
  )
  right = tasks.score_fn(TASK, problems)(prompt, attempts)
  uniform = verifiers.response_uniform(
    noise_key, attempts.tokens, attempts.lengths
  )
  says_right = (right > 0) ^ (uniform < ERROR_RATE)
  score_fn = lambda *_: jnp.where(says_right, 0.9, 0.1)
  answer_fn = tasks.answer_fn(TASK, problems)
  samples = search.observe(prompt, attempts, answer_fn, score_fn)
  outcome = {
    name: search.select_each(search.chain_vote(depth, **how), samples).answer
    == problems.answer
    for name, how in SELECTIONS.items()
  }
  return {**outcome, 'right': right, 'level': jax.vmap(level)(problems)}
