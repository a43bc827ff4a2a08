"""Votes over shuffled choices against a preference for a place (2311.16452).

Where it must fail: a stub that knows its subject badly. Without a preference it
takes the option behind the right one in 70%, so one answer is right in .125 +
.5 * .3 = 27.5%, and votes, freed of places, amplify what it takes for right:
of five shuffled ones, with .275 for the right and .475 for that wrong option,
25.1% are right (2e5 draws). Power: of 6000 problems an error of 0.8 points.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling, search
from ttc.claims.claim import (
  Claim,
  above,
  compares,
  equals,
  interval,
  listed,
  low,
  shows,
  text,
)

NUM_OPTIONS, NUM_PASSES = 4, 5
NUM_PROBLEMS = 2000  # of a seed; the right options stand in turn in each slot
BIAS = 0.5  # chance of a preference's say, else the answer is right
STUBS = 'slot', 'option', 'mistaken'
MISTAKEN = 0.7  # chance of the wrong option, of one that does not know better


def measure(seed, size, cache):
  """With a stub that prefers a slot, and with one that prefers an option."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {stub: run_seed(seed, stub, num) for stub in STUBS}


@functools.partial(jax.jit, static_argnums=(1, 2))
def run_seed(seed, stub, num_problems):
  """Whether each method is right on each problem."""
  key = jax.random.key(900 + seed)
  shuffled_keys, plain_keys = jax.vmap(
    lambda key: jax.random.split(key, num_problems)
  )(jax.random.split(key))
  gold = jnp.arange(num_problems) % NUM_OPTIONS

  def ask(keys, orders):
    say = jax.vmap(jax.vmap(lambda key: jax.random.bernoulli(key, BIAS)))(keys)
    slot_of = lambda option: jnp.argmax(orders == option, axis=-1)
    preferred = slot_of(0) if stub == 'option' else 0
    errs = jax.vmap(
      jax.vmap(
        lambda key: jax.random.bernoulli(jax.random.fold_in(key, 1), MISTAKEN)
      )
    )
    wrong = errs(keys) & (stub == 'mistaken')
    believed = (gold[:, None] + wrong) % NUM_OPTIONS
    return jnp.where(say, preferred, slot_of(believed[..., None]))

  shuffled = search.choice_shuffle(shuffled_keys, ask, NUM_OPTIONS, NUM_PASSES)
  # Sees the options as they are, and takes its choice from the shuffled slots.
  as_they_are = jnp.arange(NUM_OPTIONS)
  ask_plain = lambda keys, orders: jnp.argmax(
    orders == ask(keys, jnp.broadcast_to(as_they_are, orders.shape))[..., None],
    axis=-1,
  )
  plain = search.choice_shuffle(plain_keys, ask_plain, NUM_OPTIONS, NUM_PASSES)
  right = {
    'one': plain.votes[:, 0] == gold,
    'vote': plain.options == gold,
    'one shuffled': shuffled.votes[:, 0] == gold,
    'last shuffled': shuffled.votes[:, -1] == gold,
    'shuffled': shuffled.options == gold,
  }
  return jax.tree.map(lambda x: x.astype(jnp.float32), right)


def exact_laws():
  """Chances that one shuffled vote is right, and the winner of them all."""
  single = 1 - BIAS + BIAS / NUM_OPTIONS
  others = [(1 - single) / (NUM_OPTIONS - 1)] * (NUM_OPTIONS - 1)
  law = scaling.majority_accuracy_population(
    jnp.array([single, *others]), 0, NUM_PASSES
  )
  return single, float(law)


def derive(data):
  """Accuracy by place of the answer, and how far it is from its law."""
  right = data['slot']
  single, law = exact_laws()
  places = {
    name: x.reshape(-1, NUM_OPTIONS).mean(axis=0) for name, x in right.items()
  }
  off = lambda mean, p, n: (mean - p) / np.sqrt(p * (1 - p) / n)
  size = right['shuffled'].size
  return {
    'places': places,
    'law': law,
    'single': single,
    'z single': off(right['one shuffled'].mean(), single, size),
    'z places': off(places['shuffled'], law, size // NUM_OPTIONS),
  }


def by_place(data):
  """Accuracies where the answer stands in each slot."""
  at = lambda name: listed(data['places'][name])
  most = np.abs(data['z places']).max()
  return (
    f'by place of the answer: one answer {at("one")}, {NUM_PASSES} unshuffled '
    f'votes {at("vote")}, {NUM_PASSES} shuffled {at("shuffled")} for '
    f'{100 * data["law"]:.1f} (largest |z| {most:.1f})'
  )


def over_places(data):
  """Accuracies of all problems."""
  right = data['slot']
  return (
    f'over places: one {interval(right["one"])}, one shuffled '
    f'{interval(right["one shuffled"])} for {100 * data["single"]:.1f}, '
    f'unshuffled votes {interval(right["vote"])}, shuffled '
    f'{interval(right["shuffled"])}'
  )


CLAIM = Claim(
  f'medprompt (a stub that takes the first of {NUM_OPTIONS} slots with chance '
  f'{BIAS}, else the right one)',
  '2311.16452',
  'unshuffled accuracy hangs on where the answer stands; that of '
  f'{NUM_PASSES} shuffled votes does not, is higher and has its exact law',
  measure,
  checks=[
    text(
      by_place,
      lambda d: (
        np.ptp(d['places']['one']) > 0.4 and np.all(np.abs(d['z places']) < 3)
      ),
    ),
    text(over_places, lambda d: abs(d['z single']) < 3),
    above('shuffled to one ', 'slot/shuffled', 'slot/one'),
    above('to as many unshuffled ', 'slot/shuffled', 'slot/vote'),
  ],
  controls=[
    shows(
      'a stub that prefers the first option wherever it is shown: one ',
      'option/one',
    ),
    shows('unshuffled votes ', 'option/vote'),
    shows('shuffled ', 'option/shuffled'),
    equals('to unshuffled ', 'option/shuffled', 'option/vote'),
    shows('a stub that is mistaken: one ', 'mistaken/one'),
    compares(
      'shuffled votes to it ',
      'mistaken/shuffled',
      'mistaken/one',
      lambda gap: low(gap) <= 0,
    ),
    shows(
      'the last of the shuffled votes instead of the winner (as in the public '
      'code) ',
      'slot/last shuffled',
    ),
  ],
  derive=derive,
)
