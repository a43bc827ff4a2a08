r"""Sequence models that learn a task while they read it, by what they remember.

Three kinds of memory behind one interface (Kirsch et al., 2212.04458, section
4.2): a transformer, whose memory grows with the sequence, an LSTM, whose memory
is its width, and fast weights, a matrix to which outer products are added. How
well they learn goes by the numbers that reach the next prediction, not by the
number of parameters.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import models
from ttc.types import Params


class Memory(NamedTuple):
  """A sequence model that predicts labels; hashable, static for jit.

  Attributes:
    init: `key -> params`.
    logits: `(params, x [B, T, F], previous [B, T]) -> [B, T, C]`: of each label
      from the examples so far and the labels before, -1 where there is none.
    state_size: `T -> numbers` that carry what was read to prediction `T + 1`.
    num_classes: `C`.
    max_length: longest sequence; None for any.
  """

  init: Callable[[PRNGKeyArray], Params]
  logits: Callable[
    [Params, Float[Array, 'B T F'], Int[Array, 'B T']], Float[Array, 'B T C']
  ]
  state_size: Callable[[int], int]
  num_classes: int
  max_length: int | None = None


def transformer_memory(
  num_features: int = 16,
  num_classes: int = 10,
  *,
  width: int = 64,
  num_layers: int = 2,
  num_heads: int = 4,
  max_length: int = 100,
) -> Memory:
  """A causal transformer that keeps all it has read.

  Its table of embeddings is that of the labels; an example is a linear map of
  the features plus the embedding of the label before.

  Args:
    num_features: `F`.
    num_classes: `C`.
    width: of the residual stream; the MLPs have twice that.
    num_layers: of it.
    num_heads: of a layer.
    max_length: longest sequence.

  Raises:
    ValueError: if heads do not divide the width.
  """
  if width % num_heads:
    raise ValueError(f'width={width} is not a multiple of heads={num_heads}')
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=num_classes,
      num_layers=num_layers,
      embed_dim=width,
      mlp_dim=2 * width,
      num_heads=num_heads,
      num_kv_heads=num_heads,
      head_dim=width // num_heads,
      max_length=max_length,
      tie_embeddings=False,
      many_rows=True,
    )
  )
  project = nn.Dense(width)

  def init(key):
    model_key, key = jax.random.split(key)
    x = jnp.zeros((1, num_features), jnp.float32)
    return {'model': model.init(model_key), 'features': project.init(key, x)}

  def logits(params, x, previous):
    labels = jax.nn.one_hot(previous, num_classes, dtype=jnp.float32)
    inputs = project.apply(params['features'], x)
    inputs += width**0.5 * labels @ params['model']['embed']
    features = models.read(model, params['model'], inputs)
    return model.logits(params['model'], features)

  def state_size(length):
    return 2 * num_layers * width * length

  return Memory(init, logits, state_size, num_classes, max_length)


def lstm_memory(
  num_features: int = 16, num_classes: int = 10, *, width: int = 64
) -> Memory:
  """A long short-term memory: cell and output, `2 width` numbers."""
  net = _Recurrent(_LSTM(width), width, num_classes)
  return _recurrent_memory(net, num_features, num_classes, 2 * width)


def fast_weights_memory(
  num_features: int = 16, num_classes: int = 10, *, width: int = 64
) -> Memory:
  r"""A matrix of `width^2` numbers that outer products are added to.

  .. math:: W_t = W_{t-1} + \beta_t (v_t - W_{t-1} k_t) k_t^\top, \qquad
     h_t = W_t q_t

  the delta rule of Schlag et al. (2102.11174), with keys, values, queries and
  rates of two neighbouring tokens: an example and, behind it, its label. The
  token before, `width` numbers, is not counted in the size of the state.
  """
  net = _Recurrent(_FastWeights(width), width, num_classes)
  return _recurrent_memory(net, num_features, num_classes, width**2)


def _recurrent_memory(net, num_features, num_classes, size) -> Memory:
  def init(key):
    x = jnp.zeros((1, 2, num_features), jnp.float32)
    return net.init(key, x, jnp.zeros((1, 2), jnp.int32))

  return Memory(init, net.apply, lambda length: size, num_classes)


class _Recurrent(nn.Module):
  """Tokens in, a recurrent cell, logits out."""

  cell: nn.Module
  width: int
  num_classes: int

  @nn.compact
  def __call__(self, x, previous):
    labels = jax.nn.one_hot(previous, self.num_classes, dtype=x.dtype)
    tokens = jnp.concatenate([x, labels], axis=-1)
    hidden = self.cell(nn.Dense(self.width)(tokens))
    return nn.Dense(self.num_classes)(hidden)


class _LSTM(nn.Module):
  """Hochreiter and Schmidhuber, 1997, with forget gates that begin open."""

  width: int

  @nn.compact
  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    gates_x = nn.Dense(4 * self.width)(x)
    init = nn.initializers.lecun_normal()
    shape = (self.width, 4 * self.width)
    kernel = self.param('memory_kernel', init, shape, x.dtype)

    def step(state, gates):
      h, c = state
      i, f, g, o = jnp.split(gates + h @ kernel, 4, axis=-1)
      c = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * nn.tanh(g)
      h = nn.sigmoid(o) * nn.tanh(c)
      return (h, c), h

    zeros = jnp.zeros_like(x[:, 0])
    _, outputs = jax.lax.scan(step, (zeros, zeros), gates_x.swapaxes(0, 1))
    return outputs.swapaxes(0, 1)


class _FastWeights(nn.Module):
  """See `fast_weights_memory`."""

  width: int

  @nn.compact
  def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
    before = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    pair = jnp.concatenate([x, before], axis=-1)
    unit = lambda y: y / (jnp.linalg.norm(y, axis=-1, keepdims=True) + 1e-6)
    key = unit(nn.silu(nn.Dense(self.width, name='key')(pair)))
    query = unit(nn.silu(nn.Dense(self.width, name='query')(pair)))
    value = nn.Dense(self.width, name='value')(pair)
    rate = nn.sigmoid(nn.Dense(1, name='rate')(pair))

    def step(weights, inputs):
      k, q, v, rate = inputs
      error = v - jnp.einsum('bij,bj->bi', weights, k)
      weights += jnp.einsum('bi,bj->bij', rate * error, k)
      return weights, jnp.einsum('bij,bj->bi', weights, q)

    start = jnp.zeros((x.shape[0], self.width, self.width), x.dtype)
    steps = (y.swapaxes(0, 1) for y in (key, query, value, rate))
    _, read = jax.lax.scan(step, start, tuple(steps))
    return nn.RMSNorm()(x + read.swapaxes(0, 1))
