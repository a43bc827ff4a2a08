"""What a training of in-context learners may choose, and what is made of it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray

from ttc import agents, incontext
from ttc.drivers import options
from ttc.drivers.options import option
from ttc.incontext import Labelled
from ttc.tasks import images
from ttc.testbeds import in_context_classification as classification
from ttc.testbeds import in_context_regression as regression
from ttc.types import Params

_whole, _real = options.whole, options.real
_share = options.real(0.0, 1.0)

LABELLED = ('templates', 'painted', *images.NAMES)
LINEAR = regression.KINDS
MEMORIES = ('transformer', 'lstm', 'fast_weights')


@dataclasses.dataclass(frozen=True, kw_only=True)
class InContextOptions:
  """Of a training with several seeds.

  Attributes:
    tasks: 'templates', 'painted', 'mnist' or 'fashion_mnist', projected and
      with permuted labels, or 'isotropic' or 'subspace', linear responses.
    memory: 'transformer', 'lstm' or 'fast_weights', which predict labels, or
      'regressor', which writes linear responses.
    num_tasks: K, of the labelled data.
    length: examples of a sequence; most of a context.
    min_length: least of a context (regressor).
    max_length: longest that the transformer or regressor is made for; 0 for
      `length`, or four times that for a regressor.
    noise: of templates and responses.
    width: of the memory.
    num_layers: of a transformer or regressor.
    num_heads: of these.
    num_steps: of training.
    batch_size: tasks of a step.
    easy_steps: of these, first.
    unpermuted: share of sequences that keep their labels in easy steps.
    easy_tasks: data of the easy steps; '' for that of the others.
    learning_rate: of AdamW, at its peak; falls to 0.
    warmup_steps: to there.
    weight_decay: of AdamW.
    b2: decay of the second moment.
    eps: added to its root.
    clip: largest norm of a gradient.
    seed: of the first one; the others follow.
    num_seeds: side by side.
    checkpoint_every: steps.
    num_eval: sequences or contexts of an evaluation.
  """

  tasks: str = option(options.one_of((*LABELLED, *LINEAR)))
  memory: str = option(options.one_of((*MEMORIES, 'regressor')))
  num_tasks: int | None = option(_whole(1, 2**24), None)
  length: int = option(_whole(2, 10_000))
  min_length: int | None = option(_whole(1, 10_000), None)
  max_length: int = option(_whole(0, 100_000), 0)
  noise: float = option(_real(0.0, 100.0), 0.5)
  width: int = option(_whole(1, 10_000), 64)
  num_layers: int = option(_whole(1, 100), 2)
  num_heads: int = option(_whole(1, 1000), 2)
  num_steps: int = option(_whole(1))
  batch_size: int = option(_whole(1, 1_000_000), 32)
  easy_steps: int = option(_whole(0), 0)
  unpermuted: float = option(_share, 0.0)
  easy_tasks: str = option(options.one_of(('', *LABELLED)), '')
  learning_rate: float = option(_real(0.0, 10.0, above=True), 3e-3)
  warmup_steps: int = option(_whole(0), 100)
  weight_decay: float = option(_real(0.0, 10.0), 1e-4)
  b2: float = option(_real(0.0, 1.0, below=True), 0.98)
  eps: float = option(_real(0.0, 1.0), 1e-8)
  clip: float = option(_real(0.0, 1e9, above=True), 1.0)
  seed: int = option(options.seed(), 0)
  num_seeds: int = option(_whole(1, 1000), 3)
  checkpoint_every: int = option(_whole(1), 250)
  num_eval: int = option(_whole(1, 1_000_000), 256)


class Stage(NamedTuple):
  """A part of a training.

  Attributes:
    tasks: `world -> tasks` that it learns from.
    end: the step that it ends at.
  """

  tasks: Callable[[Any], Any]
  end: int


class Study(NamedTuple):
  """A learner and what it learns from, as pure functions.

  Attributes:
    init: `key -> params`.
    loss: `(params, batch) -> loss`.
    stages: one after the other.
    draw: `(tasks, key) -> batch`.
    worlds: what the seeds learn from, leaves with a leading axis.
    evaluate: `(params, world, key) -> {name: [positions]}`, of one seed.
    curves: the names, in the order to be drawn.
    positions: what they are.
    axis: what positions count.
    label: what is measured there.
    log_positions: whether the axis is logarithmic.
  """

  init: Callable[[PRNGKeyArray], Params]
  loss: Callable[[Params, Any], Float[Array, '']]
  stages: tuple[Stage, ...]
  draw: Callable[[Any, PRNGKeyArray], Any]
  worlds: Any
  evaluate: Callable[[Params, Any, PRNGKeyArray], dict[str, Array]]
  curves: tuple[str, ...]
  positions: np.ndarray
  axis: str
  label: str
  log_positions: bool = False


def make_study(chosen: InContextOptions) -> Study:
  """What the options ask for.

  Raises:
    ValueError: for options that do not go together.
    FileNotFoundError: for images that are not on this machine.
  """
  check(chosen)
  if chosen.memory == 'regressor':
    if chosen.min_length is None:
      raise ValueError('config.min_length is missing; a regressor needs it')
    return _regression(chosen, chosen.min_length)
  if chosen.num_tasks is None:
    raise ValueError('config.num_tasks is missing; labelled data need it')
  return _classification(chosen, chosen.num_tasks)


def check(chosen: InContextOptions) -> None:
  """Raises ValueError for options that do not go together."""
  of_regressor = LINEAR if chosen.memory == 'regressor' else LABELLED
  if chosen.tasks not in of_regressor:
    raise ValueError(
      f'config.memory={chosen.memory!r} learns {", ".join(of_regressor)}, not '
      f'config.tasks={chosen.tasks!r}'
    )
  if chosen.max_length and chosen.length > chosen.max_length:
    raise ValueError(
      f'config.length={chosen.length} is longer than config.max_length='
      f'{chosen.max_length}'
    )
  if chosen.easy_steps >= chosen.num_steps:
    raise ValueError(
      f'config.easy_steps={chosen.easy_steps} leaves nothing of '
      f'config.num_steps={chosen.num_steps}'
    )
  if chosen.warmup_steps >= chosen.num_steps:
    raise ValueError(
      f'config.warmup_steps={chosen.warmup_steps} leaves nothing of '
      f'config.num_steps={chosen.num_steps}'
    )
  if chosen.width % chosen.num_heads:
    raise ValueError(
      f'config.width={chosen.width} is not a multiple of config.num_heads='
      f'{chosen.num_heads}'
    )
  others: tuple[str, ...] = ('min_length',)
  if chosen.memory == 'regressor':
    others = ('num_tasks', 'easy_steps', 'easy_tasks', 'unpermuted')
  for name in others:
    if getattr(chosen, name):
      raise ValueError(f'config.{name} is no option of {chosen.memory}')
  easy = {'unpermuted': chosen.unpermuted, 'easy_tasks': chosen.easy_tasks}
  for name, value in easy.items():
    if value and not chosen.easy_steps:
      raise ValueError(f'config.{name}={value} needs config.easy_steps above 0')
  if chosen.min_length is not None and chosen.min_length > chosen.length:
    raise ValueError(
      f'config.min_length={chosen.min_length} must be at most config.length='
      f'{chosen.length}'
    )


def make_optimizer(chosen: InContextOptions) -> optax.GradientTransformation:
  """AdamW with warm-up and cosine decay, gradients clipped."""
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, chosen.learning_rate, chosen.warmup_steps, chosen.num_steps
  )
  return optax.chain(
    optax.clip_by_global_norm(chosen.clip),
    optax.adamw(
      schedule,
      b2=chosen.b2,
      eps=chosen.eps,
      weight_decay=chosen.weight_decay,
    ),
  )


def make_memory(chosen: InContextOptions) -> incontext.Memory:
  """The memory of a classification."""
  if chosen.memory == 'transformer':
    return incontext.transformer_memory(
      width=chosen.width,
      num_layers=chosen.num_layers,
      num_heads=chosen.num_heads,
      max_length=chosen.max_length or chosen.length,
    )
  makers = {
    'lstm': incontext.lstm_memory,
    'fast_weights': incontext.fast_weights_memory,
  }
  return makers[chosen.memory](width=chosen.width)


def labelled_data(
  name: str, key: PRNGKeyArray, noise: float, num_examples: int = 4096
) -> Labelled:
  """A data set; of templates and painted images each key has its own."""
  if name == 'templates':
    return incontext.gaussian_templates(key, num_examples, noise=noise)
  if name == 'painted':
    seed = int(jax.random.bits(key) >> 1)
    return classification.of_images(images.painted_images(seed, num_examples))
  found = classification.of_images(images.read_images(name, 'train'))
  return jax.tree.map(lambda leaf: leaf[:num_examples], found)


def _classification(chosen: InContextOptions, num_tasks: int) -> Study:
  memory = make_memory(chosen)
  data = functools.partial(labelled_data, noise=chosen.noise)
  # The other one of real images, other ones of those that are drawn.
  others = {'mnist': 'fashion_mnist', 'fashion_mnist': 'mnist'}
  unseen = others.get(chosen.tasks, chosen.tasks)

  def world(key):
    keys = jax.random.split(key, 4)
    own = data(chosen.tasks, keys[0])
    tasks = incontext.projected_tasks(own, keys[1], num_tasks)
    first = data(chosen.easy_tasks, keys[2]) if chosen.easy_tasks else own
    easy = tasks._replace(data=first, unpermuted=jnp.float32(chosen.unpermuted))
    return (easy, tasks, data(unseen, keys[3]))

  def evaluate(params, world, key):
    _, tasks, other = world
    size = key, chosen.num_eval, chosen.length
    return {
      **classification.accuracies(
        memory, params, tasks, {'unseen data': other}, *size
      ),
      **classification.references(tasks, other, *size),
    }

  stages = (
    Stage(lambda world: world[0], chosen.easy_steps),
    Stage(lambda world: world[1], chosen.num_steps),
  )
  worlds = [world(key) for key in _world_keys(chosen)]
  return Study(
    memory.init,
    functools.partial(incontext.classification_loss, memory),
    stages if chosen.easy_steps else stages[1:],
    lambda tasks, key: incontext.draw_sequences(
      tasks, key, chosen.batch_size, chosen.length
    ),
    jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds),
    evaluate,
    ('seen', 'unseen', 'unseen data', 'nearest mean', 'linear', 'random'),
    np.arange(1, chosen.length + 1),
    'example of the sequence',
    'accuracy',
  )


def _regression(chosen: InContextOptions, min_length: int) -> Study:
  longest = chosen.max_length or 4 * chosen.length
  regressor = incontext.in_context_regressor(
    regression.NUM_FEATURES,
    width=chosen.width,
    num_layers=chosen.num_layers,
    num_heads=chosen.num_heads,
    max_length=longest,
  )
  kind = chosen.tasks
  assert kind in LINEAR
  world = lambda key: regression.tasks_of(kind, key, chosen.noise)
  lengths = tuple(2**k for k in range(1, 20) if 2**k <= longest)

  def evaluate(params, world, key):
    errors = regression.errors(
      regressor, params, world, lengths, key, chosen.num_eval
    )
    return jax.tree.map(lambda x: x.mean(axis=1), errors)

  return Study(
    regressor.init,
    functools.partial(incontext.regression_loss, regressor),
    (Stage(lambda world: world, chosen.num_steps),),
    functools.partial(
      regression.draw,
      num_tasks=chosen.batch_size,
      low=min_length,
      high=chosen.length,
    ),
    jax.vmap(world)(_world_keys(chosen)),
    evaluate,
    ('in context', 'Bayes', 'ridge'),
    np.array(lengths),
    'examples in the context',
    'mean squared error',
    log_positions=True,
  )


def _world_keys(chosen: InContextOptions) -> Key[Array, ' S']:
  """Of what the seeds learn from."""
  keys = agents.seed_keys(chosen.seed, chosen.num_seeds)
  return jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
