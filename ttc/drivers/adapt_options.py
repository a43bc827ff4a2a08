"""What an adaptation to streams may choose, and what is made of it."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from ttc.adaptation import Batch, Source, protocols
from ttc.adaptation.corruptions import TABLES, parameters
from ttc.adaptation.protocols import Schedule
from ttc.drivers import adapt_methods, options
from ttc.drivers.adapt_methods import Method
from ttc.drivers.options import option
from ttc.io.paths import fetched
from ttc.models.vision import Classifier
from ttc.tasks import corrupted_images
from ttc.testbeds import image_classifiers
from ttc.testbeds.image_classifiers import ClassifierRecipe

_whole, _real = options.whole, options.real
PROTOCOLS = (
  'reset_each_shift',
  'continual',
  'gradual',
  'mixed',
  'recurring',
  'with_clean_visits',
)
ORDERS = (
  'shuffled',
  'sorted_by_class',
  'blocks',
  'dirichlet',
  'label_shift',
  'moving_label_shift',
)
NUM_CLASSES = 10
# Of `order_value`, where an order has one.
_LEAST_VALUES = {
  'blocks': 1,
  'dirichlet': 1e-6,
  'label_shift': 1,
  'moving_label_shift': 1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptOptions:
  """Of methods on one kind of stream, with several seeds.

  Attributes:
    methods: see `ttc.drivers.adapt_methods`.
    sweep: 'name=value,value,...': a hyper-parameter that all methods take; ''
      for none.
    dataset: 'fashion_mnist', 'mnist' or 'painted', a stand-in without files.
    directory: of .npy files to test on, as those of CIFAR-10-C; '' to corrupt
      the test images of the data set.
    corruptions: names, in their order.
    severity: 1 to 5.
    table: 'small', 'cifar', 'imagenet' or 'mnist_ours'.
    frost: directory of photographs; '' for those of the package.
    protocol: of domains over time.
    order: of images within a visit.
    order_value: length of blocks, delta of Dirichlet, or ratio of the most to
      the least frequent class.
    num_rounds: of 'continual', 'recurring' and 'with_clean_visits'.
    batch_size: of the stream.
    num_items: test images of each domain.
    num_clean: clean test images that show what was forgotten, after each visit.
    num_source: training images that methods may see before.
    seed: of the first source network and stream; the others follow.
    num_seeds: side by side.
    num_epochs: of the training of source networks that are not there yet.
    cache: directory of networks and corrupted images; '' for the user's.
  """

  methods: tuple[str, ...] = option(options.several(options.text()))
  sweep: str = option(options.text(empty=True), '')
  dataset: str = option(
    options.one_of(image_classifiers.DATASETS), 'fashion_mnist'
  )
  directory: str = option(options.text(empty=True), '')
  corruptions: tuple[str, ...] = option(options.several(options.text()))
  severity: int = option(_whole(1, 5), 5)
  table: str = option(options.one_of(tuple(TABLES)), 'small')
  frost: str = option(options.text(empty=True), '')
  protocol: str = option(options.one_of(PROTOCOLS), 'reset_each_shift')
  order: str = option(options.one_of(ORDERS), 'shuffled')
  order_value: float = option(_real(0.0, 1e9), 0.0)
  num_rounds: int = option(_whole(1, 1000), 1)
  batch_size: int = option(_whole(1, 10_000), 100)
  num_items: int = option(_whole(1, 60_000), 10_000)
  num_clean: int = option(_whole(0, 60_000), 1000)
  num_source: int = option(_whole(1, 60_000), 2000)
  seed: int = option(options.seed(), 0)
  num_seeds: int = option(_whole(1, 100), 3)
  num_epochs: float = option(_real(0.0, 1000.0, above=True), 4.0)
  cache: str = option(options.text(empty=True), '')


class Sweep(NamedTuple):
  """Values of a hyper-parameter."""

  name: str
  values: tuple[float, ...]


class Study(NamedTuple):
  """Networks and streams; `S` seeds, `D` domains.

  Attributes:
    network: of all seeds.
    sources: their variables, leaves `[S, ...]`, with images of the source.
    domains: names.
    images: of each domain, as bytes.
    labels: of the images.
    schedules: of each seed; equal in shape.
    clean: batches without corruption, and
    clean_labels: theirs; None if there are none.
  """

  network: Classifier
  sources: Source
  domains: tuple[str, ...]
  images: UInt8[np.ndarray, 'D n H W C']
  labels: Int[np.ndarray, ' n']
  schedules: tuple[Schedule, ...]
  clean: Batch | None
  clean_labels: Int[np.ndarray, 'T B'] | None


def check(
  chosen: AdaptOptions,
) -> tuple[tuple[Method, ...], Sweep | None]:
  """Methods and sweep; before any work.

  Raises:
    ValueError: for what is not known, or does not go together.
  """
  if not chosen.directory:
    for name in chosen.corruptions:
      parameters(name, chosen.severity, chosen.table)
  elif chosen.num_clean or chosen.protocol == 'with_clean_visits':
    raise ValueError(
      f'config.directory={chosen.directory!r} holds no clean images, expected '
      'config.num_clean=0 and another protocol than with_clean_visits'
    )
  least = _LEAST_VALUES.get(chosen.order)
  if least is not None and chosen.order_value < least:
    raise ValueError(
      f'config.order_value={chosen.order_value} of config.order='
      f'{chosen.order!r}, expected at least {least}'
    )
  methods = tuple(map(adapt_methods.parse_method, chosen.methods))
  if not chosen.sweep:
    return methods, None
  sweep = _parse_sweep(chosen.sweep)
  for method in methods:
    adapt_methods.check_argument(method.label, method.factory, sweep.name)
  return methods, sweep


def make_study(chosen: AdaptOptions) -> Study:
  """Source networks, trained if need be, and streams.

  Raises:
    ValueError: for bad images, and images that the network cannot take.
    FileNotFoundError: for images that are not on this machine.
    ImportError: for frost without its photographs.
  """
  cache = chosen.cache or image_classifiers.default_cache()
  recipe = ClassifierRecipe(
    dataset=chosen.dataset, num_epochs=chosen.num_epochs
  )
  shifts = _shifts(chosen)
  pixels, labels, clean, clean_labels = _test_images(chosen, shifts, cache)
  if pixels.shape[-1] != 1:
    raise ValueError(
      f'images of {pixels.shape[-1]} channels, expected 1: the network was '
      f'trained on {chosen.dataset}'
    )
  seeds = range(chosen.seed, chosen.seed + chosen.num_seeds)
  trained = [
    image_classifiers.trained_classifier(recipe, seed, cache) for seed in seeds
  ]
  train = image_classifiers.read(chosen.dataset, 'train')
  return Study(
    recipe.network,
    Source(
      jax.tree.map(lambda *leaves: jnp.stack(leaves), *trained),
      protocols.to_unit(image_classifiers.grey(train)[-chosen.num_source :]),
      jnp.asarray(train.labels[-chosen.num_source :]),
    ),
    tuple(f'{name} {severity}' if chosen.protocol == 'gradual' else name
          for name, severity in shifts),
    pixels,
    labels,
    tuple(_schedule(chosen, labels, seed) for seed in seeds),
    clean,
    clean_labels,
  )  # fmt: skip


def _shifts(chosen):
  """Name and severity of each domain."""
  if chosen.protocol == 'gradual':
    return [(x, s) for x in chosen.corruptions for s in (1, 2, 3, 4, 5)]
  shifts = [(x, chosen.severity) for x in chosen.corruptions]
  if chosen.protocol == 'with_clean_visits':
    shifts.append(('clean', 0))
  return shifts


def _test_images(chosen, shifts, cache):
  """Images of each domain and labels; clean batches and labels."""
  if chosen.directory:
    directory = fetched(chosen.directory)
    read = [
      corrupted_images.read_directory(directory, name, severity, NUM_CLASSES)
      for name, severity in shifts
    ]
    kept = slice(chosen.num_items)
    pixels = np.stack([x.images[kept] for x in read])
    return pixels, read[0].labels[kept], None, None
  test = image_classifiers.read(chosen.dataset, 'test')
  order = protocols.shuffled(jax.random.key(chosen.seed), len(test.labels))
  grey = image_classifiers.grey(test)
  kept = np.sort(order[: chosen.num_items])
  pixels = image_classifiers.corrupted(
    grey[kept], shifts, chosen.table, chosen.seed, cache, chosen.frost or None
  )
  if not chosen.num_clean:
    return pixels, test.labels[kept], None, None
  rest = order[-chosen.num_clean :]
  schedule = protocols.visit(
    jax.random.key(0), lambda key: np.arange(len(rest)), [0], chosen.batch_size
  )
  clean, labels = protocols.gather(
    grey[rest][None], test.labels[rest], schedule
  )
  return pixels, test.labels[kept], clean, labels


def _schedule(chosen: AdaptOptions, labels: np.ndarray, seed: int) -> Schedule:
  """The stream of a seed."""
  key = jax.random.key(seed)
  order = _order_fn(chosen, labels)
  size = len(chosen.corruptions), chosen.batch_size
  if chosen.protocol in ('continual', 'recurring', 'with_clean_visits'):
    protocol = getattr(protocols, chosen.protocol)
    return protocol(key, order, *size, chosen.num_rounds)
  return getattr(protocols, chosen.protocol)(key, order, *size)


def _order_fn(chosen, labels):
  """`key -> numbers of images`."""
  value = chosen.order_value
  prior = functools.partial(protocols.exponential_prior, NUM_CLASSES, value)
  return {
    'shuffled': lambda key: protocols.shuffled(key, len(labels)),
    'sorted_by_class': lambda key: protocols.sorted_by_class(key, labels),
    'blocks': lambda key: protocols.blocks(key, labels, int(value)),
    'dirichlet': lambda key: protocols.dirichlet(key, labels, value),
    'label_shift': lambda key: protocols.label_shift(key, labels, prior()),
    'moving_label_shift': lambda key: protocols.moving_label_shift(
      key, labels, prior(), prior(backward=True), 10 * chosen.batch_size
    ),
  }[chosen.order]


def _parse_sweep(text):
  """A hyper-parameter and its values."""
  name, _, values = text.partition('=')
  try:
    found = tuple(float(x) for x in values.split(','))
  except ValueError:
    raise ValueError(
      f'config.sweep={text!r}, expected NAME=VALUE,VALUE,...'
    ) from None
  return Sweep(name.strip(), found)
