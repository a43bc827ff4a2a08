r"""Sequential verifier refinement of samples: redraw what is found faulty.

OmniVerifier-TTS, 2510.13804, for images. A verifier accepts a sample or marks
the entries that are wrong; these are noised to a place and denoised again given
the others, which follow the forward law of what they are (RePaint, 2201.09865);
and so on, up to a number of edits. Costs `T` calls and `T - s` for each edit,
`s` being that place; a sample that is accepted costs nothing more. Best-of-N
needs all to be right at once, this one thing after the other.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.base import Found, at_least, judge, settle
from ttc.diffusion.samplers import Particles, Sampler
from ttc.sampling.refinement_loop import Verdict, verifier_refinement

# Of samples: accepted, scores, and as advice a mask of what is wrong.
VerifyFn: TypeAlias = Callable[[Key[Array, ' N'], Particles], Verdict]


def sequential_refinement(
  key: PRNGKeyArray,
  sampler: Sampler,
  verify_fn: VerifyFn,
  num_samples: int,
  max_edits: int | Int[Array, ''] = 9,
  *,
  start: int = 0,
) -> Found:
  """Refines `N` samples, each by itself.

  Args:
    key: random key, consumed.
    sampler: that draws.
    verify_fn: `(keys, samples) -> Verdict`, its advice a mask of the entries to
      redraw, of the samples' shape. It is asked for scores once more at last.
    num_samples: `N`; static.
    max_edits: of each sample; traced.
    start: place that faulty entries are noised to; static. At 0 nothing of them
      is left.

  Returns:
    What was found; the population is the `N` samples, rewards are scores.
  """
  at_least(num_samples=(num_samples, 1), start=(start, 0))
  if start >= sampler.num_steps:
    raise ValueError(
      f'start={start} must be below the {sampler.num_steps} steps'
    )

  def verify(keys, x):
    verdict = verify_fn(keys, x)
    scores = judge(lambda x: verdict.scores, x)
    judge(lambda x: verdict.accepted, x)
    if verdict.advice.shape != x.shape:
      raise ValueError(
        f'the verifier marks shape {verdict.advice.shape}, expected {x.shape}'
      )
    return verdict._replace(scores=scores)

  refined = verifier_refinement(
    samplers.particle_keys(key, num_samples),
    lambda keys: samplers.draw(sampler, keys),
    verify,
    lambda keys, x, mask: inpaint(sampler, keys, x, mask, start),
    max_edits,
  )
  last_keys = samplers.particle_keys(key, num_samples, num_samples)
  scores = verify(last_keys, refined.content).scores
  drawn = num_samples * sampler.num_steps
  redrawn = jnp.sum(refined.num_edits) * (sampler.num_steps - start)
  calls = jnp.sum(refined.num_verifications) + num_samples
  return settle(refined.content, scores, drawn + redrawn, calls)


def inpaint(
  sampler: Sampler,
  keys: Key[Array, ' N'],
  x: Particles,
  mask: Bool[Array, 'N *shape'],
  start: int = 0,
) -> Particles:
  """Draws some entries of samples anew, given the others.

  Args:
    sampler: that steps.
    keys: of the particles; consumed.
    x: samples.
    mask: entries to draw anew.
    start: place that they are noised to; static.

  Returns:
    Samples, unchanged where the mask is not.
  """
  forward_keys = samplers.purpose(keys, 0)
  end = sampler.num_steps
  noised = lambda place: samplers.renoise(sampler, forward_keys, x, end, place)

  def body(state, place):
    state = jnp.where(mask, state, noised(place))
    return samplers.step(sampler, keys, state, place).x, None

  places = jnp.arange(start, end, dtype=jnp.int32)
  state, _ = jax.lax.scan(body, noised(start), places)
  return jnp.where(mask, state, x)
