"""Half the samples by path probabilities (Zhou et al., 2025)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, search
from ttc.search.rpc import (
  first_copies,
  log_confidences,
  path_weights,
  surviving_paths,
)
from ttc.tasks import answer_world

NUM_PROBLEMS = 500  # of a seed


def reproduce(num_seeds: int) -> Row:
  """RPC of 16 samples against self-consistency of 32."""
  runs = [worlds_of(seed, False) for seed in range(num_seeds)]
  blind = [worlds_of(seed, True) for seed in range(num_seeds)]
  join = lambda runs: jax.tree.map(lambda *x: np.concatenate(x), *runs)
  (told, untold), ece = (join(runs), join(blind)), {}
  for name, (right, sure) in told.items():
    by_seed = zip(
      right.reshape(num_seeds, -1), sure.reshape(num_seeds, -1), strict=True
    )
    ece[name] = np.array(
      [
        evaluation.expected_calibration_error(jnp.asarray(c), jnp.asarray(r))
        for r, c in by_seed
      ]
    )
  vote, rpc = told['SC@32'], told['RPC@16']
  gap = difference(rpc[0], vote[0])
  same = difference(rpc[0], told['SC@16'][0])
  lost = difference(untold['RPC@16'][0], untold['SC@16'][0])
  calibrated = difference(ece['RPC@16'], ece['SC@32'])
  cells = [
    f'{name} {interval(right)}, ECE {100 * ece[name].mean():.1f}'
    for name, (right, _) in told.items()
  ]
  return Row(
    'rpc (AnswerWorld, 5 answers of 16 paths, path probabilities)',
    'RPC@16 is as accurate as SC@32, and its ECE is lower',
    f'{"; ".join(cells)}; RPC@16 to SC@32 {signed(gap)}, to SC@16 '
    f'{signed(same)}; ECE to SC@32 {signed(calibrated)}',
    'confidences permuted over paths: RPC@16 '
    f'{interval(untold["RPC@16"][0])}, {signed(lost)} to SC@16',
    bool(
      gap.mean > -gap.standard_error
      and calibrated.mean < 0
      and lost.mean < 2 * lost.standard_error
    ),
  )


@functools.partial(jax.jit, static_argnums=1)
def worlds_of(seed, permuted):
  """Chance of being right and confidence, per problem, of each method.

  Args:
    seed: of the problems and the samples.
    permuted: give the paths each other's confidences, after drawing.

  Returns:
    By name, two arrays over problems.
  """

  def problem(key):
    world_key, path_key, order_key = jax.random.split(key, 3)
    world = answer_world.random_world(world_key, 5, 16, path_spread=2.0)
    paths = answer_world.draw_paths(path_key, world, 32)
    if permuted:
      shuffled = jax.random.permutation(order_key, world.log_probs)
      world = world._replace(log_probs=shuffled)
    samples = answer_world.observe_paths(world, paths)

    def outcome(weights):
      shares = search.answer_shares(samples.answers, weights)
      right = search.split_accuracy(samples.answers, shares, jnp.int32(0))
      return right, jnp.max(shares)

    def rpc(mask, length_norm, prune):
      x = log_confidences(samples, length_norm=length_norm)
      kept = surviving_paths(x, mask) if prune else mask
      return outcome(path_weights(x, kept & first_copies(samples, mask)))

    x = samples.log_probs
    mask = jnp.arange(32) < 16
    best = mask & (x == jnp.max(jnp.where(mask, x, -jnp.inf)))
    return {
      'SC@32': outcome(jnp.ones(32)),
      'SC@16': outcome(mask.astype(jnp.float32)),
      'most probable path@16': outcome(best.astype(jnp.float32)),
      'PC@16': rpc(mask, False, False),
      'RPC@16': rpc(mask, False, True),
      'RPC@16 by geometric means': rpc(mask, True, True),
    }

  keys = jax.random.split(jax.random.key(seed), NUM_PROBLEMS)
  return jax.vmap(problem)(keys)
