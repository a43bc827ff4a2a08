r"""In-context regression by a network that writes regressors (2505.15813).

BraInCoRL: a transformer reads the examples of a task, a set of pairs
[e_i; beta_i], and what it says at its first register is a linear regressor
(w, b) in R^{d+1} for this task,

.. math:: \hat \beta(e) = \langle w, e \rangle + b

No position is told and no example is hidden from another, so the order of the
examples does not matter; queries are scaled by the logarithm of the number of
tokens, so that more examples do not blur attention. One pass costs
`2 P (n + R)` FLOPs for `P` parameters and `R` registers; no gradient is taken
at test time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import models
from ttc.incontext.linear_estimators import squared_error
from ttc.incontext.linear_tasks import Contexts
from ttc.types import Params


class Regression(NamedTuple):
  """A regressor for each task."""

  weights: Float[Array, '*B d']
  bias: Float[Array, '*B']


class Regressor(NamedTuple):
  """A network that writes regressors; hashable, static for jit.

  Attributes:
    init: `key -> params`.
    fit: `(params, x [B, S, d], y [B, S], lengths [B]) -> Regression`, from the
      first examples of each context.
    max_length: most examples of a context.
  """

  init: Callable[[PRNGKeyArray], Params]
  fit: Callable[
    [Params, Float[Array, 'B S d'], Float[Array, 'B S'], Int[Array, ' B']],
    Regression,
  ]
  max_length: int


def in_context_regressor(
  num_features: int = 16,
  *,
  width: int = 64,
  num_layers: int = 3,
  num_heads: int = 4,
  num_registers: int = 4,
  max_length: int = 256,
) -> Regressor:
  """The transformer that writes regressors.

  Its table of embeddings is that of the registers, which stand in front.

  Args:
    num_features: `d`.
    width: of the residual stream; the MLPs have twice that.
    num_layers: of it.
    num_heads: of a layer.
    num_registers: learned tokens; the first one is read.
    max_length: most examples.

  Raises:
    ValueError: if heads do not divide the width.
  """
  if width % num_heads:
    raise ValueError(f'width={width} is not a multiple of heads={num_heads}')
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=num_registers,
      num_layers=num_layers,
      embed_dim=width,
      mlp_dim=2 * width,
      num_heads=num_heads,
      num_kv_heads=num_heads,
      head_dim=width // num_heads,
      max_length=max_length + num_registers,
      rotary=False,
      causal=False,
      log_length_scale=True,
      many_rows=True,
    )
  )
  write, read = _Write(width), _Read(width, num_features)
  write_pairs: Callable[..., Any] = write.apply
  read_register: Callable[..., Any] = read.apply

  def init(key):
    model_key, write_key, read_key = jax.random.split(key, 3)
    return {
      'model': model.init(model_key),
      'write': write.init(
        write_key, jnp.zeros((1, num_features + 1), jnp.float32)
      ),
      'read': read.init(read_key, jnp.zeros((1, width), jnp.float32)),
    }

  def fit(params, x, y, lengths):
    if x.shape[1] > max_length:
      raise ValueError(
        f'contexts of {x.shape[1]} examples are longer than max_length='
        f'{max_length}'
      )
    pairs = jnp.concatenate([x, y[..., None]], axis=-1)
    tokens = write_pairs(params['write'], pairs)
    registers = models.embed(model, params['model'], jnp.arange(num_registers))
    registers = jnp.broadcast_to(registers, (x.shape[0], *registers.shape))
    tokens = jnp.concatenate([registers, tokens], axis=1)
    features = models.read(
      model, params['model'], tokens, lengths + num_registers
    )
    weights, bias = read_register(params['read'], features[:, 0])
    return Regression(weights, bias)

  return Regressor(init, fit, max_length)


def regression_loss(
  regressor: Regressor, params: Params, contexts: Contexts
) -> Float[Array, '']:
  """Mean squared error on the queries of tasks."""
  return jnp.mean(regression_errors(regressor, params, contexts))


def regression_errors(
  regressor: Regressor, params: Params, contexts: Contexts
) -> Float[Array, ' B']:
  """Mean squared error on the queries, of each task."""
  found = regressor.fit(params, contexts.x, contexts.y, contexts.lengths)
  return squared_error(
    found.weights, contexts.query_x, contexts.query_y, found.bias
  )


class _ResidualMLP(nn.Module):
  width: int

  @nn.compact
  def __call__(self, x):
    hidden = nn.Dense(2 * self.width)(x)
    return x + nn.Dense(self.width)(nn.silu(hidden))


class _Write(nn.Module):
  """An example and its response to a token."""

  width: int

  @nn.compact
  def __call__(self, pairs):
    return _ResidualMLP(self.width)(nn.Dense(self.width)(pairs))


class _Read(nn.Module):
  """A register to a regressor."""

  width: int
  num_features: int

  @nn.compact
  def __call__(self, register):
    written = nn.Dense(self.num_features + 1)(
      _ResidualMLP(self.width)(register)
    )
    return written[..., :-1], written[..., -1]
