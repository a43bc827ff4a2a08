r"""Weights of DiscoRL's network: their names, shapes and file.

Released weights are an `.npz` with the names of Haiku's modules (Apache-2.0,
`disco_rl/update_rules/weights/disco_103.npz` of google-deepmind/disco_rl). They
are read from a local copy; every array is checked before any is used.
"""

import os
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc.types import Params

NUM_INPUTS = 27  # numbers that a step is described by
NUM_ACTION_INPUTS = 9  # and each action in it
NUM_FEATURES = 2  # of an action, after two layers


class Sizes(NamedTuple):
  """Of the network; the defaults are Disco103's.

  Attributes:
    num_predictions: `m`, of `y`, and of `z` for each action.
    width: of the LSTM over a rollout.
    lifetime_width: of the LSTM over a life.
    hidden: of the small layers that embed predictions and actions.
  """

  num_predictions: int = 600
  width: int = 256
  lifetime_width: int = 128
  hidden: int = 16


class Dense(NamedTuple):
  """A linear layer; of an LSTM, that of all gates from input and memory."""

  kernel: Float[Array, 'n k']
  bias: Float[Array, ' k']


class Embeddings(NamedTuple):
  """How predictions and actions become inputs; two layers each."""

  y: tuple[Params, Params]
  z: tuple[Params, Params]
  action: tuple[Params, Params]


class DiscoParams(NamedTuple):
  """A tree of the network's layers, or of something said of each.

  Attributes:
    embeddings: for the LSTM over a rollout.
    rollout: that LSTM.
    scale: from the memory of a life to the scale of its outputs.
    summary: one number of a step, for the LSTM over a life.
    y_hat: the head of `y`.
    z_hat: the head of `z` of the action taken.
    action: layer before the policy's head.
    pi_hat: the head of the policy.
    life_embeddings: for the LSTM over a life.
    life_input: what is averaged over steps.
    life: that LSTM.
  """

  embeddings: Embeddings
  rollout: Params
  scale: Params
  summary: Params
  y_hat: Params
  z_hat: Params
  action: Params
  pi_hat: Params
  life_embeddings: Embeddings
  life_input: Params
  life: Params


def _pair(prefix, first, second):
  return (f'{prefix}/{first}', f'{prefix}/{second}')


def _embedding_names(prefix):
  layers = ('~/linear_0', '~/linear_1')
  return Embeddings(
    y=_pair(f'{prefix}/mlp', *layers),
    z=_pair(f'{prefix}/mlp_1', *layers),
    action=_pair(f'{prefix}/sequential', 'conv1_d', 'conv1_d_1'),
  )


_LIFE = 'lstm/~/meta_lstm/~unroll'
_NAMES = DiscoParams(
  embeddings=_embedding_names('lstm'),
  rollout='lstm/lstm/linear',
  scale='lstm/linear',
  summary='lstm/linear_1',
  y_hat='lstm/linear_2',
  z_hat='lstm/linear_3',
  action='lstm/sequential_1/conv1_d',
  pi_hat='lstm/linear_4',
  life_embeddings=_embedding_names(_LIFE),
  life_input=f'{_LIFE}/mlp_2/~/linear_0',
  life=f'{_LIFE}/lstm/linear',
)


def _kernel_shapes(sizes: Sizes) -> DiscoParams:
  m, width, life, hidden = sizes
  of_predictions = ((m, hidden), (hidden, 1))
  embeddings = Embeddings(
    of_predictions,
    of_predictions,
    ((2 * NUM_ACTION_INPUTS, hidden), (2 * hidden, NUM_FEATURES)),
  )
  return DiscoParams(
    embeddings=embeddings,
    rollout=(NUM_INPUTS + width, 4 * width),
    scale=(life, width),
    summary=(width, 1),
    y_hat=(width, m),
    z_hat=(width, m),
    action=(2 * (width + NUM_FEATURES), hidden),
    pi_hat=(hidden, 1),
    life_embeddings=embeddings,
    life_input=(NUM_INPUTS + 2, hidden),
    life=(hidden + life, 4 * life),
  )


def shapes_in_file(sizes: Sizes) -> dict[str, tuple[int, ...]]:
  """Names and shapes of the arrays that the weights are stored as.

  Args:
    sizes: of the network.
  """
  shapes = {}

  def add(name, shape):
    # Layers on a set are stored as convolutions of width 1.
    shapes[f'{name}/w'] = (1, *shape) if 'conv1_d' in name else shape
    shapes[f'{name}/b'] = shape[-1:]

  jax.tree.map(add, _NAMES, _kernel_shapes(sizes))
  return shapes


def load(path: str | os.PathLike, sizes: Sizes) -> DiscoParams:
  """Weights from a file of the released form.

  Args:
    path: of a local `.npz`.
    sizes: that its arrays must have.

  Returns:
    The parameters, float32.

  Raises:
    ValueError: if the file holds anything else.
    FileNotFoundError: if there is none.
  """
  refuse = lambda why: ValueError(f'{path} holds no weights of DiscoRL: {why}')
  try:
    with np.load(path) as file:
      arrays = dict(file)
  except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
    raise refuse('it is not an .npz of arrays') from error
  wanted = shapes_in_file(sizes)
  for name in sorted(wanted.keys() | arrays.keys()):
    if name not in arrays:
      raise refuse(f'there is no {name!r}')
    if name not in wanted:
      raise refuse(f'it has {name!r}, which is unknown')
    if arrays[name].shape != wanted[name]:
      raise refuse(
        f'{name!r} is {arrays[name].shape} instead of {wanted[name]}'
      )

  def layer(name, shape):
    kernel = jnp.asarray(arrays[f'{name}/w'], jnp.float32).reshape(shape)
    return Dense(kernel, jnp.asarray(arrays[f'{name}/b'], jnp.float32))

  return jax.tree.map(layer, _NAMES, _kernel_shapes(sizes))
