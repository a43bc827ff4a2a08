"""PERK beside attention where contexts grow (2507.06415)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning
from ttc.claims.claim import Claim, by_seed, every, text
from ttc.testbeds import long_recall as bed

LENGTHS = (16, 32, 64, 128, 256)  # facts; 32 were trained on
QUESTIONS = 16  # of a context
UNROLLED = {'perk': 2, 'perk, all steps': bed.STEPS}
STEPS = 16  # to read with at test time
LONGER = f'perk, {STEPS} steps'


def measure(seed, size, cache):
  """Which questions are answered right, by method and length."""
  del cache
  key = jax.random.key(300 + seed)
  found = {}
  for name, num_unrolled in UNROLLED.items():
    perk, losses = bed.train_perk(key, num_unrolled, size.steps(200))
    more = finetuning.read_longer(perk, STEPS - bed.STEPS)
    longer = name.replace('perk', LONGER)
    for reader, how in ((name, perk), (longer, more)):
      found[reader] = _by_length(
        seed, size, functools.partial(bed.read_and_answer, how)
      )
    if name == 'perk':
      found['another context'] = _by_length(
        seed,
        size,
        lambda context, about, perk=more: bed.read_and_answer(
          perk, context._replace(facts=_turned(context.facts)), about
        ),
      )
  params, losses = bed.train_in_context(key, size.steps(2000))
  found['in context'] = _by_length(
    seed, size, lambda context, _: bed.answer_in_context(params, context)
  )
  return found | {'last loss in context': losses[-1]}


def _turned(facts):
  """The same keys with each other's values."""
  return jnp.stack([facts[:, 0], jnp.roll(facts[:, 1], 1)], axis=1)


def _by_length(seed, size, answer):
  """Right or wrong, `[contexts * questions]`, by the number of facts."""
  keys = jax.random.split(jax.random.key(900 + seed), size.problems(32))
  found = {}
  for n in LENGTHS:

    def one(key, n=n):
      context = bed.draw(key, n, QUESTIONS)
      return answer(context, context)

    right = jax.jit(lambda keys, one=one: jax.lax.map(one, keys))(keys)
    found[str(n)] = right.reshape(-1)
  return found


def at(data, name, length):
  """Accuracy of each seed."""
  return by_seed(data[name][str(length)], data['num_seeds'])


def gap(data, name):
  """Of two steps differentiated through to four, mean of lengths, by seed."""
  pairs = [
    at(data, name, n) - at(data, f'{name}, all steps', n) for n in LENGTHS
  ]
  return np.mean(pairs, axis=0)


def told(name, asks=lambda data: True):
  """Accuracy by the number of facts."""

  def say(data):
    parts = [f'{100 * at(data, name, n).mean():.1f}' for n in LENGTHS]
    return f'{name}, 16, 32, 64, 128, 256 facts: {", ".join(parts)}'

  return text(say, asks)


CLAIM = Claim(
  'PERK: recall of facts by gradient steps, trained on 32 facts',
  '2507.06415',
  'with 128 and 256 facts, 4 and 8 times those of training, PERK that reads '
  f'with {STEPS} steps at test time, {STEPS // bed.STEPS} times those of '
  'training, keeps 90% and 75% of its accuracy and is 20 points above the same '
  'transformer with the facts in its context, in every seed; two steps '
  'differentiated through are within 3 points of four',
  measure,
  checks=[
    told(LONGER),
    told('in context'),
    every(
      'it keeps 90% and 75%, and is 20 points above, at 128 and at 256',
      lambda d: [
        (at(d, LONGER, n) > share * at(d, LONGER, bed.TRAINED))
        & (at(d, LONGER, n) > at(d, 'in context', n) + 0.2)
        for n, share in ((128, 0.9), (256, 0.75))
      ],
    ),
  ],
  controls=[
    told(f'{LONGER}, all steps'),
    every(
      'differentiated through all steps it is within 3 points, mean of lengths',
      lambda d: np.abs(gap(d, LONGER)) < 0.03,
    ),
    told('perk'),
    told('perk, all steps'),
    text(
      lambda d: (
        'with the 4 steps of training it fell short, and two steps were '
        f'{100 * np.mean(gap(d, "perk")):+.1f} points from four'
      )
    ),
    told(
      'another context',
      lambda d: all(
        np.all(at(d, 'another context', n) < 0.25) for n in LENGTHS
      ),
    ),
    text(
      lambda d: (
        'last loss in context, nats: '
        + ', '.join(f'{x:.2f}' for x in d['last loss in context'])
      )
    ),
  ],
)
