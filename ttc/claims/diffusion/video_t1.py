"""Tree-of-Frames beside linear search at equal cost (2503.18942)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ttc import diffusion
from ttc.claims.claim import Claim, estimate, text
from ttc.claims.claim import difference as paired
from ttc.testbeds import trained_denoisers, video_search

FRAMES, BRANCHES = 16, 8  # of the exact law
NUM_STEPS, MODEL = 12, 'bouncing_unet'


def measure(seed, size, cache):
  """Rewards of trees and of linear search: exact frames, then videos."""
  key = jax.random.key(6000 + seed)
  return {
    'exact': _exact(key, size.problems(2000)),
    'videos': _videos(key, seed, size, cache),
  }


def _exact(key, num_seeds):
  """Frames are normal numbers, the reward is their sum."""
  frame = diffusion.flow(
    lambda x, level: x, diffusion.flow_times(1), (1,), churn=0.0
  )
  ones, all_ = (1,) * FRAMES, (BRANCHES,) * FRAMES
  plans = {
    'tree': diffusion.Plan(ones, all_, ones, 0),
    'linear': diffusion.linear_plan(FRAMES, BRANCHES),
  }

  def run(plan, key):
    found = diffusion.tree_of_frames(
      key,
      lambda videos, depth: frame,
      lambda x0, videos, depth: x0[:, 0],
      lambda videos, num_units: videos.sum(axis=(1, 2)),
      (1,),
      plan,
    )
    return {'reward': found.rewards.max(), 'nfe': found.nfe}

  keys = jax.random.split(key, num_seeds)
  return {
    name: jax.jit(jax.vmap(lambda key, plan=plan: run(plan, key)))(keys)
    for name, plan in plans.items()
  }


def _videos(key, seed, size, cache):
  """Of a digit each, wanted in turn; judged by another network too."""
  bed = video_search.video_bed(
    trained_denoisers.load_model(MODEL), seed, cache, size.steps(1500)
  )
  plans = {
    'tree': video_search.tree_plan(NUM_STEPS),
    'linear': video_search.linear_plan(NUM_STEPS),
  }
  labels = jnp.arange(size.problems(40), dtype=jnp.int32) % 10
  keys = jax.random.split(key, len(labels))

  def run(name, knows):
    @jax.jit
    def one(key, label):
      return video_search.searched(
        bed, key, label, plans[name], NUM_STEPS, knows
      )

    found = [one(*both) for both in zip(keys, labels, strict=True)]
    stack = lambda *x: np.array(x, np.float64)
    return jax.tree.map(stack, *jax.device_get(found))._asdict()

  found = {name: run(name, True) for name in plans}
  return found | {'misled': run('tree', False)}


def expected_max(num):
  """Of standard normal numbers, by quadrature."""
  x = np.linspace(-9, 9, 20_001)
  below = np.array([0.5 * (1 + math.erf(t / math.sqrt(2))) for t in x])
  density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
  return np.trapezoid(num * x * density * below ** (num - 1), x)


EXACT = {
  'tree': FRAMES * expected_max(BRANCHES),
  'linear': math.sqrt(FRAMES) * expected_max(BRANCHES),
}


def law(name):
  """The mean reward against its exact value."""

  def apart(data):
    mean = estimate(data['exact'][name]['reward'])
    return abs(mean.mean - EXACT[name]) / mean.standard_error

  return text(
    lambda d: (
      f'{name} {d["exact"][name]["reward"].mean():.2f} for {EXACT[name]:.2f}'
    ),
    lambda d: apart(d) < 3.5,
  )


def gain(data, what, against='linear'):
  """Of the tree on videos, paired."""
  videos = data['videos']
  return paired(videos['tree'][what], videos[against][what])


def calls(data, bed):
  """Of the tree over those of linear search."""
  at = data[bed]
  return float(at['tree']['nfe'].mean() / at['linear']['nfe'].mean())


def told(label, what, against='linear', asks=None):
  """A gain and its standard error."""
  asks = asks or (lambda x: x.mean > 2 * x.standard_error)
  return text(
    lambda d: (
      f'{label} {gain(d, what, against).mean:+.2f} ± '
      f'{gain(d, what, against).standard_error:.2f}'
    ),
    lambda d: asks(gain(d, what, against)),
  )


CLAIM = Claim(
  'Tree-of-Frames on normal frames, and on videos of bouncing digits',
  '2503.18942',
  'for as many calls a tree reaches the square root of the number of frames '
  'more than linear search on independent frames, exactly; on videos of a '
  'trained model it reaches more, also for another network, by two standard '
  'errors',
  measure,
  checks=[
    law('tree'),
    law('linear'),
    told('videos: reward of the tree over linear search', 'reward'),
    told('by another network', 'judged'),
  ],
  controls=[
    text(
      lambda d: (
        f'its calls are {calls(d, "exact"):.2f} and {calls(d, "videos"):.2f} '
        'of those of linear search'
      ),
      lambda d: calls(d, 'exact') == 1 and 0.9 < calls(d, 'videos') <= 1,
    ),
    told('the tree over one that wants another digit', 'reward', 'misled'),
  ],
)
