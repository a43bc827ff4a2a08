"""Every method of adaptation as the family's tests want it.

A method joins by a line in `METHODS`: a name and `network -> Adapter`. What it
does without learning is named too, so that a rate of zero can be checked.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttc import adaptation
from ttc.adaptation import Batch, Source
from ttc.adaptation.adapter import choose
from ttc.adaptation.ecotta import start_meta
from ttc.adaptation.itta import identity_layers
from ttc.adaptation.meta_dmoe import start_aggregator
from ttc.adaptation.views import unchanged
from ttc.models.vision import convnet

K, SIDE, ROWS, STEPS = 3, 8, 6, 4
KEY = jax.random.key(0)
RATE = 0.05  # far above the papers', so that four steps show


def mirror(key, images):
  """A view that is the same for every row, whatever its place."""
  return jnp.where(jax.random.bernoulli(key), images[:, :, ::-1], images * 0.9)


class Method(NamedTuple):
  """A method as the tests want it: small, and learning from every sample."""

  make: Callable  # `(network, optimizer) -> Adapter`
  baseline: str | None = 'batch'  # what it says if it does not learn
  select: object = 'norm'  # parameters that may change
  # Whether rows are drawn for by their place, so that order matters.
  is_ordered: bool = False
  # Whether whole networks in its state change.
  trains_networks: bool = False


def darker(key, images):
  return images**2


SHIFTED_PRIOR = jnp.array([0.6, 0.3, 0.1], jnp.float32)


def shift_params(network):
  """Of an adapter that was trained for a moment."""
  source, _ = drawn()
  seen = network.apply(source.variables, source.images)
  head = source.variables['params']['head']
  return adaptation.train_label_shift_adapter(
    KEY, seen.features, source.labels, head, SHIFTED_PRIOR, num_steps=3
  )


@functools.cache
def meta_networks(network):
  """Of EcoTTA, not at their start; first asked for outside of a program."""
  source, _ = drawn()

  @jax.jit
  def make(variables, images):
    meta = start_meta(network, variables, KEY, images)
    return jax.tree.map(lambda x: x + 0.1, meta)

  return make(source.variables, source.images)


@functools.cache
def experts(network):
  """Two, and who makes one of them; first asked for outside of a program."""
  source, _ = drawn()

  @jax.jit
  def make(keys, images):
    several = jax.vmap(lambda key: network.init(key, images))(keys)
    return several, start_aggregator(KEY, 2, 8, 2)

  return make(jax.random.split(KEY, 2), source.images)


TEACHER = {'view': mirror, 'num_views': 2, 'momentum': 0.9}
METHODS = {
  'source': Method(lambda net, opt: adaptation.source(net), 'source'),
  'batch_norm': Method(lambda net, opt: adaptation.batch_norm(net)),
  'tent': Method(adaptation.tent),
  'eta': Method(
    functools.partial(adaptation.eata, fisher=None, margin=0.99, redundancy=2.0)
  ),
  'eata': Method(
    functools.partial(adaptation.eata, margin=0.99, fisher_batch=4)
  ),
  'sar': Method(
    functools.partial(adaptation.sar, margin=0.99, collapse=0.5),
    select=lambda path: path.startswith('norm0/'),
  ),
  'cotta': Method(
    functools.partial(adaptation.cotta, threshold=0.0, **TEACHER), select='all'
  ),
  'cotta_views': Method(
    functools.partial(adaptation.cotta, threshold=2.0, **TEACHER),
    baseline=None,
    select='all',
  ),
  'roid': Method(functools.partial(adaptation.roid, view=mirror, prior=None)),
  'roid_prior': Method(
    functools.partial(adaptation.roid, view=mirror), baseline=None
  ),
  'rotta': Method(
    functools.partial(
      adaptation.rotta, view=mirror, num_places=4, update_every=4, alpha=0.2
    ),
    baseline=None,
    is_ordered=True,
  ),
  'memo': Method(
    functools.partial(
      adaptation.memo, view=unchanged, num_views=2, moments='source'
    ),
    'source',
    select='all',
  ),
  'rmt': Method(
    functools.partial(
      adaptation.rmt,
      view=mirror,
      momentum=0.9,
      projector_size=4,
      source_batch=4,
    ),
    'batch_twice',
    select='all',
  ),
  'rmt_source_free': Method(
    functools.partial(
      adaptation.rmt,
      view=mirror,
      momentum=0.9,
      contrast_weight=None,
      source_weight=None,
      warm_up=2,
      source_batch=4,
    ),
    None,
    select='all',
  ),
  'petal': Method(
    lambda net, opt: adaptation.petal(
      net, posterior(), opt, threshold=0.0, strength=1e-3, **TEACHER
    ),
    select='all',
  ),
  'petal_at_random': Method(
    lambda net, opt: adaptation.petal(
      net, posterior(), opt, threshold=0.0, share=None, restore=0.1, **TEACHER
    ),
    select='all',
  ),
  'psmt': Method(
    functools.partial(
      adaptation.psmt, threshold=0.0, fisher_batch=4, share=0.3, **TEACHER
    ),
    'batch_twice',
    select='all',
  ),
  'lame': Method(lambda net, opt: adaptation.lame(net), None),
  't3a': Method(lambda net, opt: adaptation.t3a(net, 4), None),
  'adanpc': Method(
    lambda net, opt: adaptation.adanpc(net, 3, 16, threshold=0.5), None
  ),
  'label_shift': Method(
    lambda net, opt: adaptation.label_shift_adapter(
      adaptation.tent(net, opt), shift_params(net), SHIFTED_PRIOR
    ),
    None,
  ),
  'ecotta': Method(
    lambda net, opt: adaptation.ecotta(
      net, meta_networks(net), opt, threshold=0.99
    ),
    None,
    trains_networks=True,
  ),
  'itta': Method(
    lambda net, opt: adaptation.itta(
      net, identity_layers((8,)), opt, loss_scale=1.0
    ),
    'source',
    is_ordered=True,
  ),
  'meta_dmoe': Method(
    lambda net, opt: adaptation.meta_dmoe(
      net, *experts(net), rate=0.05, num_heads=2
    ),
    None,
    trains_networks=True,
  ),
  'sda': Method(lambda net, opt: adaptation.sda(net, darker), None),
  'episodic_tent': Method(
    lambda net, opt: adaptation.episodic(
      adaptation.multi_step(adaptation.tent(net, opt), 2)
    )
  ),
  'rdumb': Method(
    functools.partial(
      adaptation.rdumb, num_updates=2, margin=0.99, redundancy=2.0
    )
  ),
}


def posterior():
  """Of the source that all methods here start from."""
  source, _ = drawn()
  params = choose(source.variables, 'all')
  return adaptation.Posterior(
    source.variables, jax.tree.map(lambda p: 0.1 + p**2, params)
  )


NETWORK = convnet(K, (4, 8), (1, 2))


@functools.cache
def drawn():
  """A source, and two streams of four batches; the last has four rows."""
  keys = jax.random.split(KEY, 4)
  images = jax.random.uniform(keys[0], (2, STEPS, ROWS, SIDE, SIDE, 1))
  variables = jax.jit(NETWORK.init)(keys[1], images[0, 0])
  # Untrained, it would say the same of every image.
  head = variables['params']['head']
  head['kernel'] = 8 * head['kernel']
  source = Source(variables, images[0, 0], jnp.arange(ROWS) % K)
  mask = jnp.ones((2, STEPS, ROWS), bool).at[:, -1, 4:].set(False)
  return source, Batch(images, mask)
