"""Tree search, beam search and best-of-N at equal tokens (2502.07191)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks, verifiers
from ttc.claims.claim import (
  Checked,
  Claim,
  above,
  difference,
  high,
  interval,
  low,
  signed,
  text,
)
from ttc.testbeds.calibrated import (
  NUM_PROBLEMS,
  TASK,
  base,
  base_law,
  noisy_steps,
  unseen,
)
from ttc.types import Prompt

BUDGETS = (4, 16)
METHODS = {m.name: m for m in search.METHODS}
NAMES = ('weighted_best_of_n', 'beam_search', 'mcts')
CELLS = [
  *((v, m, n) for v in ('exact', 'noisy') for m in NAMES for n in BUDGETS),
  ('random', 'mcts', 16),
]


def measure(seed, size, cache):
  """Correctness and tokens of each problem, by verifier, method and N."""
  loaded, key = base(seed, size, cache), jax.random.key(600 + seed)
  num = size.problems(NUM_PROBLEMS)
  return {
    f'{verifier}, {name}, {n}': solve(
      loaded.model, loaded.params, key, verifier, name, n, num
    )
    for verifier, name, n in CELLS
  }


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def solve(model, params, key, verifier, name, n, num_problems):
  """Correctness and tokens of a method on the problems of a seed."""
  data_key, sample_key, noise_key = jax.random.split(key, 3)
  problems = unseen(TASK, data_key, num_problems)
  score_fns = {
    'exact': tasks.step_score_fn(TASK, problems),
    'noisy': noisy_steps(problems, noise_key),
    'random': lambda prompt, responses: verifiers.response_uniform(
      noise_key, responses.tokens, responses.lengths
    ),
  }
  setting = search.Setting(
    model=model,
    params=params,
    answer_fn=tasks.answer_fn(TASK, problems),
    score_fn=score_fns[verifier],
    eos_ids=(TASK.eos_id,),
    capacity=TASK.response_length,
    max_steps=TASK.response_length,
    max_step_tokens=1,
  )
  keys = jax.random.split(sample_key, num_problems)
  chosen = search.solve(
    METHODS[name], setting, keys, tasks.to_prompt(problems), n
  )
  right = chosen.answer == problems.answer
  return {'right': right, 'tokens': chosen.tokens}


@functools.cache
def table_error(trials=2000, size=3):
  """Standard errors between the mean value of roots and the exact value.

  A tree of depth two is expanded whole and then explored evenly.
  """
  model = models.table_model(size)
  table = model.init(jax.random.key(2))
  law = jax.nn.softmax(table)
  reward = jax.random.uniform(jax.random.key(3), (size, size))
  value = jnp.sum(law * reward, axis=1)

  def score_fn(prompt, responses):
    first, second = responses.tokens[..., 0], responses.tokens[..., 1]
    whole = responses.lengths == 2
    return jnp.where(whole, reward[first, second], value[first])

  steps = search.StepSampler(
    model=model,
    stop=sampling.stop_rules(size),
    eos_ids=(),
    capacity=2,
    max_steps=2,
    max_step_tokens=1,
  )
  prompt = Prompt(
    jnp.zeros((trials, 1), jnp.int32), jnp.ones((trials,), jnp.int32)
  )
  run = lambda keys: (
    search.mcts(
      table,
      keys,
      prompt,
      steps,
      score_fn,
      4,
      2,
      prior='drawn',
      c_init=1e4,
      num_simulations=4000,
    ).tree
  )
  tree = jax.jit(run)(jax.random.split(jax.random.key(4), trials))
  got = np.asarray(tree.value_sums[:, 0] / tree.visits[:, 0])
  exact = float(law[0] @ value)
  return (got.mean() - exact) / (got.std() / trials**0.5)


def beats_samples(verifier, n):
  """A check: MCTS is right more often than best-of-N if `n` is small."""

  def check(data):
    sampled, beam, found = (data[f'{verifier}, {m}, {n}'] for m in NAMES)
    gap = difference(found['right'], sampled['right'])
    to_beam = difference(found['right'], beam['right'])
    ratio = found['tokens'].mean() / sampled['tokens'].mean()
    wins = low(gap) > 0 if n == min(BUDGETS) else high(gap) >= 0
    return Checked(
      f'{verifier} verifier, N={n}: best-of-N {interval(sampled["right"])}, '
      f'MCTS {signed(gap)} at {ratio:.2f} times its tokens, to beam search '
      f'{signed(to_beam)}',
      wins and ratio < 1.05,
    )

  return check


CLAIM = Claim(
  'mcts (S3, L=8, e=.1)',
  '2502.07191',
  'PUCT search over steps beats best-of-N at equal tokens where N is small; '
  'its values converge to the exact ones',
  measure,
  checks=[
    *(beats_samples(v, n) for v in ('exact', 'noisy') for n in BUDGETS),
    text(
      lambda _: (
        'value of the root of a table against the exact one z = '
        f'{table_error():+.1f}'
      ),
      lambda _: abs(table_error()) < 3,
    ),
  ],
  controls=[
    text(
      lambda d: (
        f'random verifier, N=16: {interval(d["random, mcts, 16"]["right"])} '
        f'for one sample {100 * base_law()[0]:.1f} (the prior alone)'
      )
    ),
    above(
      'exact verifier against it ',
      'exact, mcts, 16/right',
      'random, mcts, 16/right',
    ),
  ],
)
