"""Votes over shuffled choices against a preference for a place (2311.16452)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, scaling, search

NUM_OPTIONS, NUM_PASSES = 4, 5
NUM_PROBLEMS = 2000  # of a seed; the right options stand in turn in each slot
BIAS = 0.5  # chance of a preference's say, else the answer is right
STUBS = {'slot': 0, 'option': 1}  # what is preferred: a slot, or its content


def reproduce(num_seeds: int) -> Row:
  """Shuffled votes are flat in the place of the answer, and better."""
  runs = {
    stub: jax.tree.map(
      lambda *x: np.stack(x).astype(np.float32),
      *[run_seed(seed, stub) for seed in range(num_seeds)],
    )
    for stub in STUBS
  }
  right = {name: x.ravel() for name, x in runs['slot'].items()}
  by_place = {
    name: x.reshape(-1, NUM_OPTIONS).mean(axis=0) for name, x in right.items()
  }
  single, law = exact_laws()
  rows = right['shuffled'].size // NUM_OPTIONS
  errors = lambda p, n: np.sqrt(p * (1 - p) / n)
  z_single = (right['one shuffled'].mean() - single) / errors(
    single, right['one shuffled'].size
  )
  z_places = (by_place['shuffled'] - law) / errors(law, rows)
  gap = difference(right['shuffled'], right['one'])
  to_vote = difference(right['shuffled'], right['vote'])
  content = {name: x.ravel() for name, x in runs['option'].items()}
  blind = difference(content['shuffled'], content['vote'])
  places = lambda name: ', '.join(f'{100 * x:.1f}' for x in by_place[name])
  spread = np.ptp(by_place['one'])
  return Row(
    f'medprompt (a stub that takes the first of {NUM_OPTIONS} slots with '
    f'chance {BIAS}, else the right one)',
    'unshuffled accuracy hangs on where the answer stands; that of '
    f'{NUM_PASSES} shuffled votes does not, is higher and has its exact law',
    f'by place of the answer: one answer {places("one")}, {NUM_PASSES} '
    f'unshuffled votes {places("vote")}, {NUM_PASSES} shuffled '
    f'{places("shuffled")} for {100 * law:.1f} (largest |z| '
    f'{np.abs(z_places).max():.1f}); over places: one '
    f'{interval(right["one"])}, one shuffled '
    f'{interval(right["one shuffled"])} for {100 * single:.1f}, unshuffled '
    f'votes {interval(right["vote"])}, shuffled {interval(right["shuffled"])}, '
    f'{signed(gap)} to one, {signed(to_vote)} to as many unshuffled',
    'a stub that prefers the first option wherever it is shown: one '
    f'{interval(content["one"])}, unshuffled votes '
    f'{interval(content["vote"])}, shuffled {interval(content["shuffled"])}, '
    f'{signed(blind)}; the last of the shuffled votes instead of the winner '
    f'(as in the public code) {interval(right["last shuffled"])}',
    bool(
      spread > 0.4
      and abs(z_single) < 3
      and np.all(np.abs(z_places) < 3)
      and evaluation.confidence_interval(gap)[0] > 0
      and evaluation.confidence_interval(to_vote)[0] > 0
      and abs(blind.mean) < 3 * blind.standard_error
    ),
  )


def exact_laws():
  """Chances that one shuffled vote is right, and the winner of them all."""
  single = 1 - BIAS + BIAS / NUM_OPTIONS
  others = [(1 - single) / (NUM_OPTIONS - 1)] * (NUM_OPTIONS - 1)
  law = scaling.majority_accuracy_population(
    jnp.array([single, *others]), 0, NUM_PASSES
  )
  return single, float(law)


@functools.partial(jax.jit, static_argnums=1)
def run_seed(seed, stub):
  """Whether each method is right on each problem."""
  key = jax.random.key(900 + seed)
  shuffled_keys, plain_keys = jax.vmap(
    lambda key: jax.random.split(key, NUM_PROBLEMS)
  )(jax.random.split(key))
  gold = jnp.arange(NUM_PROBLEMS) % NUM_OPTIONS

  def ask(keys, orders):
    say = jax.vmap(jax.vmap(lambda key: jax.random.bernoulli(key, BIAS)))(keys)
    slot_of = lambda option: jnp.argmax(orders == option, axis=-1)
    preferred = 0 if stub == 'slot' else slot_of(0)
    return jnp.where(say, preferred, slot_of(gold[:, None, None]))

  shuffled = search.choice_shuffle(shuffled_keys, ask, NUM_OPTIONS, NUM_PASSES)
  # Sees the options as they are, and takes its choice from the shuffled slots.
  as_they_are = jnp.arange(NUM_OPTIONS)
  ask_plain = lambda keys, orders: jnp.argmax(
    orders == ask(keys, jnp.broadcast_to(as_they_are, orders.shape))[..., None],
    axis=-1,
  )
  plain = search.choice_shuffle(plain_keys, ask_plain, NUM_OPTIONS, NUM_PASSES)
  return {
    'one': plain.votes[:, 0] == gold,
    'vote': plain.options == gold,
    'one shuffled': shuffled.votes[:, 0] == gold,
    'last shuffled': shuffled.votes[:, -1] == gold,
    'shuffled': shuffled.options == gold,
  }
