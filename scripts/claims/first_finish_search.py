"""The first responses to finish, where wrong ones are longer."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import models, sampling, search
from ttc.types import Prompt


def reproduce(num_seeds: int) -> Row:
  """Where wrong responses are longer the first to finish is better."""
  right_short = first_finish_world(0.10, 0.05, num_seeds)
  reversed_world = first_finish_world(0.05, 0.10, num_seeds)
  single, first, last = right_short
  gap = difference(first.right, single.right)
  depth = first.depth.mean() / single.depth.mean()
  lost = difference(reversed_world[1].right, reversed_world[0].right)
  other = difference(last.right, single.right)
  return Row(
    'first_finish_search (table, lengths Geom(.10) right, Geom(.05) wrong)',
    'FFS@8 at least 5 points above one sample, below 60% of its depth',
    f'{interval(first.right)} for 65.2, {signed(gap)} to one sample '
    f'{interval(single.right)}, at {100 * depth:.0f}% of its sequential tokens '
    f'and {first.tokens.mean() / single.tokens.mean():.2f} times its total',
    f'reversed world {interval(reversed_world[1].right)} for 34.8, '
    f'{signed(lost)}; last to finish {signed(other)}',
    bool(gap.mean > 0.05 and depth < 0.6 and lost.mean < 0 and other.mean < 0),
  )


class Outcome(NamedTuple):
  """Of one method, an entry per problem."""

  right: np.ndarray
  tokens: np.ndarray
  depth: np.ndarray


def first_finish_world(right_rate, wrong_rate, num_seeds, num_problems=1024):
  """One sample, FFS@8 and last-finish@8 where lengths are geometric.

  A table decides at its first token whether it will be right, and then ends at
  each token with the rate of that kind.
  """
  start, end_right, end_wrong, on_right, on_wrong = range(5)
  probs = np.full((5, 5), 1e-30)
  probs[on_right, [end_right, on_right]] = right_rate, 1 - right_rate
  probs[on_wrong, [end_wrong, on_wrong]] = wrong_rate, 1 - wrong_rate
  probs[start] = (probs[on_right] + probs[on_wrong]) / 2
  table = jnp.log(jnp.asarray(probs, jnp.float32))
  sample_fn = functools.partial(
    sampling.generate,
    model=models.table_model(5),
    capacity=200,
    stop=sampling.stop_rules(5, [end_right, end_wrong]),
  )
  prompt = Prompt(
    jnp.full((num_problems, 1), start), jnp.ones((num_problems,), jnp.int32)
  )

  def answer_fn(prompt, samples):
    last = jnp.maximum(samples.lengths - 1, 0)[..., None]
    end = jnp.take_along_axis(samples.tokens, last, axis=2)[..., 0]
    ended = (end == end_right) | (end == end_wrong)
    return jnp.where(ended, end - end_right, -1)  # 0 is right

  @jax.jit
  def run(key):
    keys = jax.random.split(key, num_problems)
    first = search.first_finish_search(
      table, keys, prompt, sample_fn, answer_fn, 8
    )
    everything = search.observe(
      prompt, sample_fn(table, keys, prompt, 8), answer_fn
    )
    alone = jax.vmap(search.majority_vote, in_axes=(0, None))
    single = alone(everything, jnp.int32(1))
    last = search.select_each(search.longest_vote(), everything)
    return single, first, last

  runs = [jax.device_get(run(jax.random.key(s))) for s in range(num_seeds)]
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *runs)
  return [
    Outcome((s.answer == 0).astype(np.float32), s.tokens, s.depth)
    for s in joined
  ]
