"""Chains of revisions against parallel samples at equal tokens (2408.03314)."""

import functools

import jax
import jax.numpy as jnp

from ttc import sampling, search, tasks, verifiers
from ttc.claims.claim import (
  Claim,
  above,
  difference,
  listed,
  low,
  shows,
  signed,
  text,
)
from ttc.testbeds.calibrated import unseen
from ttc.testbeds.revision import (
  AGAIN,
  CAPACITY,
  KEEP,
  NUM_CONTEXT,
  TASK,
  accuracies,
  level,
  reviser,
)

NUM_PROBLEMS, N = 384, 8  # problems of a seed, attempts at each
DEPTHS = (1, 2, 4, 8)
ERROR_RATE = 0.2  # of the verifier
SELECTIONS = {
  'verifier, whole chain': {},
  'verifier, last only': {'last_only': True},
  'majority': {'weighted': False},
}
WHOLE = 'verifier, whole chain'


def measure(seed, size, cache):
  """By depth of the chains: each selection, and each attempt."""
  loaded, num = reviser(seed, size, cache), size.problems(NUM_PROBLEMS)
  key = jax.random.key(820 + seed)
  return {
    str(depth): run(loaded.model, loaded.params, key, depth, num)
    for depth in DEPTHS
  }


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def run(model, params, key, depth, num_problems):
  """Correctness of each selection and of each attempt."""
  data_key, sample_key, noise_key = jax.random.split(key, 3)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  attempts = search.revisions(
    params,
    jax.random.split(sample_key, num_problems),
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


def derive(data):
  """The best depth, levels of the problems, and how often chains spoil."""
  chain, levels = data['8']['right'], data['1']['level']
  whole = {d: data[str(d)][WHOLE] for d in DEPTHS}
  spoiled = []
  for b in range(3):
    rows = chain[levels == b]
    before, after = rows[:, :-1] > 0, rows[:, 1:] > 0
    spoiled.append((~after)[before].mean())
  best = max(DEPTHS, key=lambda d: whole[d].mean())
  return {
    'whole': whole,
    'levels': levels,
    'chain': chain,
    'spoiled': spoiled,
    'best': best,
    'gain': difference(whole[best], whole[1]),
  }


def by_depth(data):
  """Of each selection."""
  cells = '; '.join(
    f'{name} {slashed(data[str(d)][name].mean() for d in DEPTHS)}'
    for name in SELECTIONS
  )
  return f'chains of {"/".join(map(str, DEPTHS))} attempts: {cells}'


def by_level(data):
  """Whether chains are best on easy problems, and a mix on hard ones."""
  at = [
    {d: x[data['levels'] == b].mean() for d, x in data['whole'].items()}
    for b in range(3)
  ]
  easy, _, hard = at
  on_easy = easy[8] >= max(easy.values()) - 0.005
  on_hard = max(hard, key=lambda d: hard[d]) in (2, 4)
  return (
    'whole chain on easy, medium and hard problems '
    f'{", ".join(slashed(x.values()) for x in at)}: sequential best on easy '
    f'{"yes" if on_easy else "no"}, a mix best on hard '
    f'{"yes" if on_hard else "no"}'
  )


def by_attempt(data):
  """The first and the eighth, and how often a revision spoils one."""
  first, fresh = accuracies()
  of_level = lambda place: [
    data['chain'][data['levels'] == b, place].mean() for b in range(3)
  ]
  laws = [(1 - KEEP[AGAIN]) * (1 - p) for p in fresh]
  return (
    f'one attempt {slashed(of_level(0))}, law {slashed(first)}; the eighth '
    f'{slashed(of_level(-1))}; turned wrong by one more revision '
    f'{slashed(data["spoiled"])}, law {slashed(laws)}'
  )


def slashed(shares):
  """Percentages on one line."""
  return listed(shares, '/')


CLAIM = Claim(
  f'revisions (S3, three difficulties, N={N}, verifier wrong for 20%)',
  '2408.03314',
  'at equal tokens chains of revisions beat parallel samples, and a choice '
  'over the whole chain beats its last attempt; right answers are turned wrong',
  measure,
  checks=[
    text(by_depth),
    text(
      lambda d: f'depth {d["best"]} against 1 {signed(d["gain"])}',
      lambda d: d['best'] > 1 and low(d['gain']) > 0,
    ),
    text(by_level),
    text(by_attempt, lambda d: min(d['spoiled']) > 0.02),
  ],
  controls=[
    shows('last attempt only, depth 8: ', '8/verifier, last only'),
    above('the whole chain against it ', f'8/{WHOLE}', '8/verifier, last only'),
  ],
  derive=derive,
  because='the model copies its attempt in six of ten revisions, so that a '
  'chain of eight holds four different ones where eight parallel ones differ, '
  'and a fresh one is not right so much more often',
)
