"""Votes amplify the mode, right or wrong (Wang et al., 2022)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import base_law, base_samples
from claims.row import Row, curve, interval, standard_error
from ttc import models, sampling, scaling, search
from ttc.types import Prompt


def reproduce(num_seeds: int) -> Row:
  """Votes help where the mode is right, and hurt where it is wrong."""
  samples, gold = base_samples(num_seeds)
  budgets = [1, 4, 16]
  votes = curve(search.majority_vote, samples, gold, budgets).accuracy
  law = base_law()
  expected = [
    float(scaling.majority_accuracy_population(law, 0, k)) for k in budgets
  ]
  cells = [
    f'majority@{k} {interval(votes[:, i])} for {100 * expected[i]:.1f}'
    for i, k in enumerate(budgets)
  ]
  errors = [standard_error(votes[:, i]) for i in range(3)]
  far = np.abs(votes.mean(axis=0) - np.array(expected)) / np.array(errors)

  wrong_mode = jnp.array([0.3, 0.4, 0.3])
  table = jnp.zeros((3, 3)) + jnp.log(wrong_mode)
  worse = np.concatenate(
    [one_token_votes(table, seed, 32) for seed in range(num_seeds)]
  )
  exact = float(scaling.majority_accuracy_population(wrong_mode, 0, 32))
  lost = abs(worse.mean() - exact) < 3 * standard_error(worse)
  return Row(
    'self_consistency',
    'voting amplifies the mode, as the multinomial law says',
    '; '.join(cells) + f'; largest |z| {far.max():.1f}',
    f'wrong mode, p=(.3, .4, .3): majority@32 {interval(worse)} for '
    f'{100 * exact:.1f}, below 30',
    bool(far.max() < 3 and lost and votes[:, 2].mean() > votes[:, 0].mean()),
  )


def one_token_votes(table, seed, n, num_problems=4096):
  """Whether votes of `n` answers of one token choose the answer 0."""
  prompt = Prompt(
    jnp.zeros((num_problems, 1), jnp.int32),
    jnp.ones((num_problems,), jnp.int32),
  )

  @jax.jit
  def vote(key):
    output = search.self_consistency(
      table,
      jax.random.split(key, num_problems),
      prompt,
      functools.partial(
        sampling.generate,
        model=models.table_model(len(table)),
        capacity=1,
        stop=sampling.stop_rules(len(table)),
      ),
      lambda prompt, samples: samples.tokens[..., 0],
      n,
    )
    return output.answers == 0

  return np.asarray(vote(jax.random.key(seed)), np.float32)
