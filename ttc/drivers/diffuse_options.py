"""What a comparison of searches over noise may choose."""

import dataclasses

from ttc.drivers import options
from ttc.drivers.options import option
from ttc.testbeds import mixture_diffusion

BEDS = ('linear', 'rare', 'images', 'video')
SEARCHES = tuple(mixture_diffusion.searches(8))
_whole = options.whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffuseOptions:
  """Of a comparison.

  Attributes:
    bed: 'linear' or 'rare', mixtures of which everything is known; 'images' or
      'video', a trained model.
    model: of images or videos: one that comes with the package, or a file.
    searches: which; on videos there are two, a tree and linear search.
    budgets: samples of best-of-N; each costs as many times the steps.
    num_seeds: of each budget; on images and videos classes go round.
    num_steps: of a sampler.
    seed: of everything.
    classifier_steps: of the training of what rewards and judges.
  """

  bed: str = option(options.one_of(BEDS))
  model: str = option(options.text(empty=True), '')
  searches: tuple[str, ...] = option(
    options.several(options.one_of(SEARCHES)), SEARCHES
  )
  budgets: tuple[int, ...] = option(
    options.several(_whole(8, 100_000)), mixture_diffusion.BUDGETS
  )
  num_seeds: int = option(_whole(2, 100_000), 64)
  num_steps: int = option(_whole(4, 1000), 32)
  seed: int = option(options.seed(), 0)
  classifier_steps: int = option(_whole(1, 1_000_000), 2000)


def check(chosen: DiffuseOptions) -> None:
  """Raises ValueError for options that do not go together."""
  if chosen.num_steps % 4:
    raise ValueError(
      f'config.num_steps={chosen.num_steps} is not a multiple of 4'
    )
  if chosen.bed in ('linear', 'rare'):
    if chosen.num_steps != mixture_diffusion.NUM_STEPS:
      raise ValueError(
        f'config.num_steps={chosen.num_steps}: on mixtures it is '
        f'{mixture_diffusion.NUM_STEPS}'
      )
    if chosen.model:
      raise ValueError(f'config.model is no option of bed {chosen.bed}')
  elif not chosen.model:
    raise ValueError(f'config.model is missing; bed {chosen.bed} needs it')
