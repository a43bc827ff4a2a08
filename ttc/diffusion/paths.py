r"""Search over paths: steps back and forth, keeping the paths that look best.

Ma et al., 2501.09732. `N` noises are denoised to a first place. Then, round by
round, each path is noised `M` times over some steps and denoised over more, the
samples predicted are judged, and the best `N` go on; the end is best of `N M`.
Costs `N s + R N M b` calls for `R = (T - s) / (b - f)` rounds that go `f` steps
back and `b` on, `s` being the first place.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import (
  Found,
  Verifier,
  at_least,
  comparable,
  judge,
  settle,
)
from ttc.diffusion.samplers import Sampler


def search_over_paths(
  key: PRNGKeyArray,
  sampler: Sampler,
  verifier: Verifier,
  num_paths: int,
  num_branches: int,
  *,
  start: int,
  back: int,
  forth: int,
) -> Found:
  """Keeps the best paths while they are denoised.

  Args:
    key: random key, consumed.
    sampler: that steps.
    verifier: of samples, also predicted ones.
    num_paths: `N`; static.
    num_branches: `M` of each path in a round; static.
    start: place of the first round; static.
    back: steps that a round begins with, towards noise; static.
    forth: steps that it then takes; static.

  Returns:
    What was found; the population is that of the last round. Each round judges
    by the prediction of its last step, which costs no call of its own.

  Raises:
    ValueError: if rounds do not end at `T`, or begin before 0.
  """
  at_least(num_paths=(num_paths, 1), num_branches=(num_branches, 1))
  num_steps, gain = sampler.num_steps, forth - back
  if not 0 <= back < forth or not back <= start < num_steps:
    raise ValueError(
      f'start={start}, back={back}, forth={forth}: expected 0 <= back < forth '
      f'and back <= start < {num_steps}'
    )
  if (num_steps - start) % gain:
    raise ValueError(
      f'rounds of {gain} steps do not lead from start={start} to {num_steps}'
    )
  num_rounds, width = (num_steps - start) // gain, num_paths * num_branches

  def advance(paths, number):
    """A round of all branches: states, and the samples predicted."""
    keys = samplers.particle_keys(key, width, num_paths + number * width)
    place = start + number * gain
    x = jnp.repeat(paths, num_branches, axis=0)
    noise_key = samplers.purpose(keys, 0)
    x = samplers.renoise(sampler, noise_key, x, place, place - back)
    return samplers.denoise(sampler, keys, x, place - back, forth)

  def select(paths, number):
    x, x0 = advance(paths, number)
    _, top = jax.lax.top_k(comparable(judge(verifier, x0)), num_paths)
    return x[top], None

  keys = samplers.particle_keys(key, num_paths)
  noise = samplers.initial(sampler, keys)
  paths, _ = samplers.denoise(sampler, keys, noise, 0, start)
  rounds = jnp.arange(num_rounds - 1, dtype=jnp.int32)
  paths, _ = jax.lax.scan(select, paths, rounds)
  x, _ = advance(paths, jnp.int32(num_rounds - 1))
  nfe = num_paths * start + num_rounds * width * forth
  return settle(x, judge(verifier, x), nfe, num_rounds * width)
