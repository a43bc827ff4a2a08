r"""Tree-of-Frames: searches over videos that are drawn unit by unit.

Video-T1, Liu et al., 2503.18942. A unit, one frame or some, is denoised given
the units before. Each live path branches; within a branch some candidates are
denoised part of the way, judged as images, and the best is finished. At some
depths the paths are judged, by a verifier of that stage, and only the better
ones live on; the end is best-of-N over whole videos. Costs, for `L` live paths,
`b` branches of each and `i` candidates that are judged after `j` steps,
:math:`\sum_d L_d b_d ((i_d - 1) j + T)` calls, against `N F T` of linear search
over `N` videos of `F` units.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import Found, at_least, comparable, judge, settle
from ttc.diffusion.samplers import Particles, Sampler

Videos: TypeAlias = Float[Array, 'N F *shape']  # units to come are 0
# `(videos, depth) -> Sampler` of the next unit of each; depth is static.
UnitSampler: TypeAlias = Callable[[Videos, int], Sampler]
# `(predicted units, videos, depth) -> rewards`.
ImageVerifier: TypeAlias = Callable[
  [Particles, Videos, int], Float[Array, ' N']
]
# `(videos, number of units) -> rewards`.
VideoVerifier: TypeAlias = Callable[[Videos, int], Float[Array, ' N']]


class Plan(NamedTuple):
  """How a tree grows; everything is static, with an entry for each depth.

  Attributes:
    image_branches: candidates of a unit.
    video_branches: branches of a path.
    keep: paths that live on; None for all, unjudged.
    judge_after: steps after which candidates are judged.
  """

  image_branches: tuple[int, ...]
  video_branches: tuple[int, ...]
  keep: tuple[int | None, ...]
  judge_after: int

  @property
  def depth(self) -> int:
    """Units of a video."""
    return len(self.video_branches)


class Branches(NamedTuple):
  """The paths at one depth, as they were before the worse were cut."""

  parents: Int[Array, ' N']  # places among those that lived on, in order
  rewards: Float[Array, ' N']  # 0 where the depth does not judge
  lives: Bool[Array, ' N']
  units: Particles  # what each drew


def video_t1_plan(
  num_units: int,
  judge_after: int,
  *,
  image_branches: Sequence[int] = (5, 2, 2, 2, 2),
  video_branches: Sequence[int] = (5,),
  reward_stages: Sequence[int] = (4, 9, 13),
) -> Plan:
  """The plan of the paper, whose defaults are for 16 units.

  Args:
    num_units: `F`.
    judge_after: steps after which candidates are judged.
    image_branches: of the first depths; then 1.
    video_branches: of the first depths; then 1.
    reward_stages: depths behind which the better half lives on.

  Returns:
    A plan.
  """
  pad = lambda x: (*x, *(1,) * num_units)[:num_units]
  images, videos = pad(image_branches), pad(video_branches)
  keep, live = [], 1
  for depth, branches in enumerate(videos):
    live *= branches
    judges = depth in reward_stages and depth < num_units - 1
    live = -(-live // 2) if judges else live
    keep.append(live if judges else None)
  return Plan(images, videos, tuple(keep), judge_after)


def linear_plan(num_units: int, num_videos: int) -> Plan:
  """Linear search: `N` whole videos, nothing judged on the way."""
  ones = (1,) * num_units
  return Plan(ones, (num_videos, *ones[1:]), (None,) * num_units, 0)


def plan_nfe(plan: Plan, num_steps: int) -> int:
  """Calls of the network that a tree costs."""
  total, live = 0, 1
  for images, branches, keep in zip(*plan[:3], strict=True):
    again = (images - 1) * plan.judge_after
    total += live * branches * (num_steps + again)
    live = keep or live * branches
  return total


def tree_of_frames(
  key: PRNGKeyArray,
  unit_sampler: UnitSampler,
  image_verifier: ImageVerifier,
  video_verifier: VideoVerifier,
  shape: tuple[int, ...],
  plan: Plan,
) -> Found:
  """Grows a tree of videos and keeps the best.

  Args:
    key: random key, consumed.
    unit_sampler: of the next unit.
    image_verifier: of candidates for it, also half denoised ones.
    video_verifier: of paths, whole ones at last; sees how many units they have,
      which is static, so that each stage may ask for something else.
    shape: of a unit; static.
    plan: how the tree grows.

  Returns:
    What was found; the population is the videos that were completed.
  """
  return grow_tree(
    key, unit_sampler, image_verifier, video_verifier, shape, plan
  )[0]


def grow_tree(
  key: PRNGKeyArray,
  unit_sampler: UnitSampler,
  image_verifier: ImageVerifier,
  video_verifier: VideoVerifier,
  shape: tuple[int, ...],
  plan: Plan,
) -> tuple[Found, tuple[Branches, ...]]:
  """As `tree_of_frames`, and the tree itself, depth by depth."""
  _check(plan)
  videos = jnp.zeros((1, plan.depth, *shape), jnp.float32)
  levels, nfe, calls, rewards = [], 0, 0, jnp.zeros(1, jnp.float32)
  for depth in range(plan.depth):
    images, branches = plan.image_branches[depth], plan.video_branches[depth]
    live = videos.shape[0]
    width = live * branches
    parents = jnp.repeat(jnp.arange(live, dtype=jnp.int32), branches)
    videos = videos[parents]
    unit_key = jax.random.fold_in(key, depth)
    units, cost = _draw_units(
      unit_key, unit_sampler, image_verifier, videos, depth, images, plan
    )
    videos = videos.at[:, depth].set(units)
    nfe += cost
    calls += width * images if images > 1 else 0
    keep = plan.keep[depth]
    rewards = jnp.zeros(width, jnp.float32)
    kept = jnp.arange(width, dtype=jnp.int32)
    if depth == plan.depth - 1 or keep is not None:
      number = depth + 1
      rewards = judge(lambda x, n=number: video_verifier(x, n), videos)
      calls += width
    if keep is not None:
      kept = jnp.sort(jax.lax.top_k(comparable(rewards), keep)[1])
    lives = jnp.zeros(width, bool).at[kept].set(True)
    levels.append(Branches(parents, rewards, lives, units))
    videos, rewards = videos[kept], rewards[kept]
  return settle(videos, rewards, nfe, calls), tuple(levels)


def _check(plan):
  """Raises ValueError for a plan that is none."""
  if not plan.depth or len({len(part) for part in plan[:3]}) > 1:
    raise ValueError('a plan has an entry for each depth, and at least one')
  live = 1
  for depth, (images, branches, keep) in enumerate(zip(*plan[:3], strict=True)):
    at_least(
      image_branches=(images, 1),
      video_branches=(branches, 1),
      judge_after=(plan.judge_after, 1 if images > 1 else 0),
    )
    live *= branches
    if keep is not None and not 1 <= keep <= live:
      raise ValueError(
        f'keep={keep} at depth {depth} must be at least 1 and at most the '
        f'{live} paths'
      )
    live = keep or live


def _draw_units(key, unit_sampler, image_verifier, videos, depth, images, plan):
  """A unit for each path, the best of some candidates, and the calls."""
  width = videos.shape[0]
  keys = samplers.particle_keys(key, width * images)
  context = jnp.repeat(videos, images, axis=0)
  sampler = unit_sampler(context, depth)
  x, start = samplers.initial(sampler, keys), 0
  if plan.judge_after > sampler.num_steps:
    raise ValueError(
      f'judge_after={plan.judge_after} is more than the {sampler.num_steps} '
      'steps of a unit'
    )
  if images > 1:
    start = plan.judge_after
    x, x0 = samplers.denoise(sampler, keys, x, 0, start)
    look = lambda x0: image_verifier(x0, context, depth)
    rewards = comparable(judge(look, x0)).reshape(width, images)
    best = jnp.argmax(rewards, axis=1) + images * jnp.arange(width)
    x, keys = x[best], keys[best]
    sampler = unit_sampler(videos, depth)
  x, _ = samplers.denoise(sampler, keys, x, start, sampler.num_steps - start)
  return x, width * (images * start + sampler.num_steps - start)
