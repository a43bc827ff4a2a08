"""The first responses to finish, where wrong ones are longer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search
from ttc.claims.claim import Claim, compares, interval, text
from ttc.types import Prompt

RATES = 0.10, 0.05  # of ending a right and a wrong response, at each token


def measure(seed, size, cache):
  """Where wrong responses are longer, and where right ones are."""
  del cache
  num, key = size.problems(1024), jax.random.key(seed)
  return {
    'wrong longer': geometric_lengths(key, *RATES, num),
    'reversed': geometric_lengths(key, *RATES[::-1], num),
  }


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def geometric_lengths(key, right_rate, wrong_rate, num_problems):
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

  keys = jax.random.split(key, num_problems)
  first = search.first_finish_search(
    table, keys, prompt, sample_fn, answer_fn, 8
  )
  everything = search.observe(
    prompt, sample_fn(table, keys, prompt, 8), answer_fn
  )
  alone = jax.vmap(search.majority_vote, in_axes=(0, None))
  chosen = {
    'single': alone(everything, jnp.int32(1)),
    'first': first,
    'last': search.select_each(search.longest_vote(), everything),
  }
  return {
    name: {
      'right': (s.answer == 0).astype(jnp.float32),
      'tokens': s.tokens,
      'depth': s.depth,
    }
    for name, s in chosen.items()
  }


def costs(data):
  """In depth and in tokens, to those of one sample."""
  first, single = (data['wrong longer'][x] for x in ('first', 'single'))
  share = lambda what: first[what].mean() / single[what].mean()
  return share('depth'), share('tokens')


def figure(data):
  """Beside one sample, and the law."""
  right = {k: x['right'] for k, x in data['wrong longer'].items()}
  depth, tokens = costs(data)
  return (
    f'{interval(right["first"])} for 65.2, one sample '
    f'{interval(right["single"])}, at {100 * depth:.0f}% of its sequential '
    f'tokens and {tokens:.2f} times its total'
  )


CLAIM = Claim(
  'first_finish_search (table, lengths Geom(.10) right, Geom(.05) wrong)',
  '2505.18149',
  'FFS@8 at least 5 points above one sample, below 60% of its depth',
  measure,
  checks=[
    text(figure, lambda d: costs(d)[0] < 0.6),
    compares(
      'first to one ',
      'wrong longer/first/right',
      'wrong longer/single/right',
      lambda gap: gap.mean > 0.05,
    ),
  ],
  controls=[
    text(
      lambda d: (
        f'reversed world {interval(d["reversed"]["first"]["right"])} for 34.8'
      )
    ),
    compares(
      'to one sample ',
      'reversed/first/right',
      'reversed/single/right',
      lambda lost: lost.mean < 0,
    ),
    compares(
      'last to finish ',
      'wrong longer/last/right',
      'wrong longer/single/right',
      lambda other: other.mean < 0,
    ),
  ],
)
