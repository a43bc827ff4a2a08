"""What a re-routing chooses, and what goes together."""

import dataclasses

import optax

from ttc import experts
from ttc.drivers import options
from ttc.drivers.options import option
from ttc.testbeds import disturbed_routers

SMALL = 'small'  # the model that is trained first
METHODS = {'c3po': 'tables', 'rewiring': 'chains'}  # and the bed of each
SURROGATES = ('mode finding', 'kernel regression', 'gradient descent')
_whole, _real = options.whole, options.real


@dataclasses.dataclass(frozen=True, kw_only=True)
class RerouteOptions:
  """What a run chooses; configs/reroute.py explains each."""

  seed: int = option(options.seed())
  method: str = option(options.one_of(tuple(METHODS)))
  model: str = option(options.text())
  train_steps: int = option(_whole(1, 1_000_000))
  task: str = option(options.text())
  reference_task: str = option(options.text(empty=True))
  num_items: int = option(_whole(2, 1_000_000))
  num_references: int = option(_whole(2, 1_000_000))
  batch_size: int = option(_whole(1, 100_000))
  max_new_tokens: int = option(_whole(0, 100_000))
  num_steps: int = option(_whole(1, 10_000))
  learning_rate: float = option(_real(0.0, 1e4, above=True))
  max_votes: int = option(_whole(0, 1_000_000))
  surrogates: tuple[str, ...] = option(
    options.several(options.one_of(SURROGATES))
  )
  num_neighbours: int = option(_whole(1, 1000))
  num_layers: int = option(_whole(1, 1000))
  num_core: int = option(_whole(2, 10_000))
  layer_share: float = option(_real(0.0, 1.0, above=True))
  l2: float = option(_real(0.0, 1e6))
  interval: int = option(_whole(1, 1_000_000))
  continues: bool = option(options.truth())
  cache: str = option(options.one_of(('keep', 'recompute')))

  @property
  def is_small(self) -> bool:
    """Whether the model is trained first, and everything about it known."""
    return self.model == SMALL

  @property
  def surrogate(self) -> dict[str, experts.Surrogate]:
    """The surrogates by name."""
    rate = optax.cosine_decay_schedule(self.learning_rate, self.num_steps)
    return {
      'mode finding': experts.by_mode_finding(),
      'kernel regression': experts.by_kernel_regression(),
      'gradient descent': experts.by_gradient_descent(
        optax.sgd(rate), self.num_steps, experts.simplex_space
      ),
    }

  @property
  def rewiring(self) -> experts.Rewiring:
    """How routers learn."""
    return experts.Rewiring(
      optax.sgd(self.learning_rate),
      self.num_steps,
      self.layer_share,
      self.l2,
      self.interval,
      self.continues,
      'keep' if self.cache == 'keep' else 'recompute',
    )


def check(chosen: RerouteOptions) -> None:
  """Raises ValueError for values that do not go together."""
  bed = METHODS[chosen.method]
  if chosen.is_small and chosen.task != bed:
    raise ValueError(
      f'config.task={chosen.task!r}: config.model={SMALL!r} with '
      f'config.method={chosen.method!r} has the task {bed!r}'
    )
  if not chosen.is_small and chosen.task in METHODS.values():
    raise ValueError(
      f'config.task={chosen.task!r} is of config.model={SMALL!r} only'
    )
  if chosen.method == 'rewiring':
    if chosen.reference_task:
      raise ValueError(
        f'config.reference_task={chosen.reference_task!r}: rewiring has no '
        'references'
      )
    return
  total = chosen.num_items + chosen.num_references
  if chosen.is_small and chosen.reference_task:
    raise ValueError(
      f'config.reference_task={chosen.reference_task!r}: references of '
      f'{bed!r} are of {bed!r}'
    )
  if chosen.is_small and total > disturbed_routers.NUM_QUESTIONS:
    raise ValueError(
      f'config.num_items={chosen.num_items} and '
      f'config.num_references={chosen.num_references} are more than the '
      f'{disturbed_routers.NUM_QUESTIONS} questions of {bed!r}'
    )
  if chosen.num_neighbours >= chosen.num_references:
    raise ValueError(
      f'config.num_neighbours={chosen.num_neighbours} must be fewer than '
      f'config.num_references={chosen.num_references}'
    )
