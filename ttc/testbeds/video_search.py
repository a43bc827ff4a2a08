"""Trees over videos of bouncing digits, drawn four frames at a time.

The model draws a unit given the one before, without being told which digit. A
video verifier wants a digit of a class, shown well in all frames, that flies
straight; an image verifier sees the digit alone.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import diffusion
from ttc.diffusion import Found, Model, Plan, model
from ttc.testbeds import bouncing_digits, image_diffusion
from ttc.testbeds.bouncing_digits import NUM_UNITS
from ttc.testbeds.small_classifiers import SmallClassifier, small_classifier
from ttc.testbeds.train import Directory

CROOKED = 2.0  # weight of pixels squared in the reward


class VideoBed(NamedTuple):
  """A model of videos and what looks at them."""

  model: Model
  reader: SmallClassifier  # rewards
  judge: SmallClassifier  # another network


def video_bed(
  denoiser: Model, seed: int, cache: Directory, num_steps: int = 1500
) -> VideoBed:
  """Classifiers of digits, trained unless the cache has them."""
  read = functools.partial(image_diffusion.read_examples, 'bouncing')
  make = lambda kind, seed: small_classifier(
    kind, 'digits', read, seed, num_steps, cache
  )
  return VideoBed(denoiser, make('convnet', seed), make('perceptron', seed + 1))


def frame_rewards(
  reader: SmallClassifier,
  of_frames: Float[Array, 'N 28 28'],
  label: Int[Array, ''],
) -> Float[Array, ' N']:
  """Log-probability of the digit in each frame, at least -10."""
  shown = bouncing_digits.crop(of_frames)
  return jnp.maximum(reader.log_probs(shown)[:, label], -10.0)


def video_reward(
  reader: SmallClassifier,
  videos: Float[Array, 'N U 28 28 4'],
  num_units: int,
  label: Int[Array, ''],
) -> Float[Array, ' N']:
  """Mean reward of the frames so far less how crooked their flight is."""
  shown = bouncing_digits.frames(videos[:, :num_units])
  num = shown.shape[0]
  flat = shown.reshape(-1, *shown.shape[2:])
  seen = frame_rewards(reader, flat, label).reshape(num, -1).mean(axis=1)
  return seen - CROOKED * jax.vmap(bouncing_digits.crooked)(shown)


def search_videos(
  bed: VideoBed,
  key: PRNGKeyArray,
  label: Int[Array, ''],
  plan: Plan,
  num_steps: int,
) -> tuple[Found, tuple[diffusion.Branches, ...]]:
  """A tree over videos of one digit; pure.

  Args:
    bed: model and verifiers.
    key: random key, consumed.
    label: the digit that is wanted.
    plan: of the tree, four units deep.
    num_steps: of the denoising of a unit; static.

  Returns:
    What was found, and the tree.
  """

  def unit_sampler(videos, depth):
    before = videos[:, max(depth - 1, 0)]  # zeros at first
    return diffusion.model_sampler(
      bed.model,
      jnp.int32(model.NUM_CLASSES),
      num_steps,
      guidance=1.0,
      noise=0.0,
      context=before,
    )

  def image_verifier(x0, videos, depth):
    del videos, depth
    return frame_rewards(bed.reader, x0[..., -1], label)

  return diffusion.grow_tree(
    key,
    unit_sampler,
    image_verifier,
    lambda videos, num_units: video_reward(
      bed.reader, videos, num_units, label
    ),
    bed.model.shape,
    plan,
  )


def tree_plan(num_steps: int) -> Plan:
  """Branches in the first two units, as many videos judged as go on."""
  return Plan((4, 2, 2, 1), (3, 2, 1, 1), (2, 2, 2, None), num_steps // 2)


def linear_plan(num_steps: int) -> Plan:
  """Whole videos, for as many calls as the tree makes, or a little more."""
  calls = diffusion.plan_nfe(tree_plan(num_steps), num_steps)
  num_videos = -(-calls // (NUM_UNITS * num_steps))
  return diffusion.linear_plan(NUM_UNITS, num_videos)


class Searched(NamedTuple):
  """What a search over videos reached."""

  reward: Float[Array, '']  # by the true verifier, whatever the search used
  judged: Float[Array, '']  # by another network
  nfe: Int[Array, '']


def searched(
  bed: VideoBed,
  key: PRNGKeyArray,
  label: Int[Array, ''],
  plan: Plan,
  num_steps: int,
  knows: bool = True,
) -> Searched:
  """A search, and what is said of the best; pure.

  Args:
    bed: model and verifiers.
    key: random key, consumed.
    label: the digit that is wanted.
    plan: of the tree.
    num_steps: of the denoising of a unit; static.
    knows: whether the verifier is the true one, or wants another digit that is
      drawn anew for each key; static.
  """
  wanted = label
  if not knows:
    other = jax.random.randint(jax.random.fold_in(key, 1), (), 1, 10)
    wanted = (label + other) % 10
  found, _ = search_videos(bed, key, wanted, plan, num_steps)
  said = lambda reader: video_reward(
    reader, found.best[None], NUM_UNITS, label
  )[0]
  return Searched(said(bed.reader), said(bed.judge), found.nfe)
