"""Searches over a trained model's images for one of a class, at equal cost.

A convolutional network rewards, the log-probability of the class; a perceptron
of another seed judges. The model is not told the class: it is the search that
has to find it.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import diffusion
from ttc.diffusion import Found, Model, model
from ttc.testbeds import image_diffusion, mixture_diffusion
from ttc.testbeds.small_classifiers import SmallClassifier, small_classifier
from ttc.testbeds.train import Directory

STRENGTH = 2.0  # lambda of FK steering, for log-probabilities


class ImageBed(NamedTuple):
  """A model of images and what looks at them."""

  model: Model
  reader: SmallClassifier  # rewards
  judge: SmallClassifier  # another network, of another seed


def image_bed(
  denoiser: Model, seed: int, cache: Directory, num_steps: int = 2000
) -> ImageBed:
  """Classifiers of the model's data, trained unless the cache has them."""
  data = str(denoiser.about.get('data', 'fashion_mnist'))
  read = functools.partial(image_diffusion.read_examples, data)
  make = lambda kind, seed: small_classifier(
    kind, data, read, seed, num_steps, cache
  )
  return ImageBed(denoiser, make('convnet', seed), make('perceptron', seed + 1))


class ImageOutcome(NamedTuple):
  """What a search reached."""

  reward: Float[Array, '']
  judged: Float[Array, '']  # by the other network
  diversity: Float[Array, '']  # mean distance of a pair of its population
  nfe: Int[Array, '']
  image: Float[Array, 'H W']


def search_images(
  bed: ImageBed,
  key: PRNGKeyArray,
  label: Int[Array, ''],
  name: str,
  num_samples: int,
  num_steps: int,
) -> ImageOutcome:
  """Searches for an image of a class; pure.

  Args:
    bed: model and networks.
    key: random key, consumed.
    label: the class.
    name: of the search, see `mixture_diffusion.searches`.
    num_samples: of best-of-N; the budget is so many times `num_steps`.
    num_steps: `T`, a multiple of 4; static.

  Returns:
    The outcome.
  """
  search = mixture_diffusion.searches(num_samples, num_steps, STRENGTH)[name]
  make = lambda noise: diffusion.model_sampler(
    bed.model,
    jnp.int32(model.NUM_CLASSES),
    num_steps,
    guidance=1.0,
    noise=noise,
  )
  noise = 1.0 if bed.model.target == 'noise' else 0.7
  of = lambda look, x: look.log_probs(x[..., 0])[:, label]
  reward = lambda x: jnp.maximum(of(bed.reader, x), -20.0)
  found: Found = search(key, make(noise), make(0.0), reward)
  apart = jnp.sqrt(
    jnp.mean(
      (found.population[:, None] - found.population[None]) ** 2,
      axis=(2, 3, 4),
    )
  )
  num = found.population.shape[0]
  return ImageOutcome(
    jnp.max(jnp.nan_to_num(found.rewards, nan=-20.0)),
    of(bed.judge, found.best[None])[0],
    jnp.sum(apart) / max(1, num * (num - 1)),
    found.nfe,
    found.best[..., 0],
  )
