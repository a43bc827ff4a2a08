"""Rewiring experts on the fly where routers do not expect a text (2510.14853).

Texts are the first half of a chain's walk, what is measured is the second half,
which is never learned from.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import experts
from ttc.claims.claim import Claim, at, by_seed, estimate, high, low, text
from ttc.testbeds import biased_routers as bed

NUM_TEXTS = 64
REWIRING = experts.Rewiring(optax.sgd(3.0), 5, 1.0, l2=0.05)
COMMON = tuple(c for c in range(bed.NUM_CHAINS) if c != bed.RARE)


def measure(seed, size, cache):
  """Loss and accuracy of continuations, by text and by what was learned from.

  The first index of a name is the chain of the text, the second that of the
  prompt whose vectors it is read under.
  """
  mixture = bed.trained(seed, size, cache)
  bias = bed.router_bias(mixture, seed)
  num = size.problems(NUM_TEXTS)
  texts = [bed.texts_of(seed, num, c, 0) for c in range(bed.NUM_CHAINS)]
  learn = jax.jit(
    lambda texts, rewiring_share: experts.rewire(
      mixture.learner, mixture.params, bed.prompts(texts),
      REWIRING._replace(layer_share=rewiring_share), None, bias,
    ).bias,
    static_argnums=1,
  )  # fmt: skip
  read = jax.jit(lambda texts, bias: bed.measure(mixture, texts, bias))
  under = lambda c, delta: read(texts[c], bias + delta)._asdict()
  none = jnp.zeros((num, *bias.shape))
  learned = [learn(x, 1.0) for x in texts]
  rare, other = bed.RARE, COMMON[0]
  return {
    'rare': under(rare, none),
    'rare rewired': under(rare, learned[rare]),
    'rare unbiased': read(texts[rare], none)._asdict(),
    'rare, half the layers': under(rare, learn(texts[rare], 0.5)),
    'rare, prompt of another chain': under(rare, learned[other]),
    'rare, another prompt of its chain': under(
      rare, jnp.roll(learned[rare], 1, axis=0)
    ),
    'common': _joined([under(c, none) for c in COMMON]),
    'common rewired': _joined([under(c, learned[c]) for c in COMMON]),
    'common, prompt of the rare chain': under(other, learned[rare]),
    'common alone': under(other, none),
  }


def _joined(parts):
  """Of several chains, the mean of texts of the same number."""
  return jax.tree.map(lambda *x: jnp.mean(jnp.stack(x), axis=0), *parts)


def relative(data, name, to):
  """Change of the loss relative to the mean loss, by text."""
  before = at(data, f'{to}/nll')
  return (at(data, f'{name}/nll') - before) / before.mean()


def changes(label, name, to, asks=lambda change: True):
  """A relative change of the loss and its interval."""

  def say(data):
    change = estimate(relative(data, name, to))
    return (
      f'{label} {100 * change.mean:+.1f}% '
      f'[{100 * low(change):+.1f}, {100 * high(change):+.1f}]'
    )

  return text(say, lambda data: bool(asks(estimate(relative(data, name, to)))))


def accuracies(data):
  """Of the next token, in percent."""
  names = ('rare', 'rare rewired', 'rare unbiased', 'common', 'common rewired')
  parts = [
    f'{name} {100 * np.mean(at(data, f"{name}/accuracy")):.1f}'
    for name in names
  ]
  return f'accuracy of the next token: {", ".join(parts)}'


def rises(data):
  """Whether accuracy on the rare chain is higher in every seed."""
  n = data['num_seeds']
  means = lambda name: by_seed(at(data, f'{name}/accuracy'), n)
  return np.all(means('rare rewired') > means('rare'))


CLAIM = Claim(
  'Rewiring on a small mixture whose routers do not expect one of four chains',
  '2510.14853',
  'five steps on a prompt of 32 tokens lower the loss of its continuation by '
  '5% and more where routers do not expect the chain, and accuracy rises in '
  'every seed; where they do, no more than 0.5% is lost; vectors of a prompt '
  'of another chain do not help',
  measure,
  checks=[
    changes(
      'loss on the rare chain', 'rare rewired', 'rare',
      lambda change: high(change) < -0.05,
    ),
    text(accuracies, rises),
    changes(
      'on the others', 'common rewired', 'common',
      lambda change: high(change) < 0.005,
    ),
    changes('unbiased, rare', 'rare unbiased', 'rare'),
  ],
  controls=[
    changes(
      'rare by a prompt of another chain',
      'rare, prompt of another chain', 'rare',
      lambda change: high(change) > -0.005,
    ),
    changes(
      'common by a prompt of the rare chain',
      'common, prompt of the rare chain', 'common alone',
      lambda change: high(change) > -0.005,
    ),
    changes(
      'rare by another prompt of its chain',
      'rare, another prompt of its chain', 'rare',
    ),
    changes(
      'rare, half of the layers', 'rare, half the layers', 'rare',
    ),
  ],
  seeds=tuple(range(5)),
)  # fmt: skip
