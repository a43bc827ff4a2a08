"""A reward model: a language model whose features a linear head reads.

Cobbe et al., 2110.14168, for whole responses; Lightman et al., 2305.20050, for
steps. Parameters are `{'model': ..., 'head': {'kernel' [D], 'bias' []}}`, so
the model may start from the policy's; a head of two layers has a `hidden` with
`kernel` [D, D] and `bias` [D] more. The logit at a token is read from the
feature that has seen this token and none behind it. Costs one forward pass over
the prompt and one over each response.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.models.base import Cache, LanguageModel, encode_prompt
from ttc.types import Generation, Params, Prompt


def init_reward_model(
  model: LanguageModel, key: PRNGKeyArray, params: Params | None = None
) -> Params:
  """Parameters of a reward model whose head says 0 to everything.

  Args:
    model: static.
    key: random key, consumed.
    params: of the model, such as the policy's; None to initialise them.

  Returns:
    The parameters; a head of zeros scores 1/2.
  """
  params = model.init(key) if params is None else params
  one = jnp.ones((1, 1), jnp.int32)
  nothing = Cache(None, one[0], None, 0 * one)
  features, _ = jax.eval_shape(
    lambda params: model.features(params, one[None], one, nothing), params
  )
  kernel = jnp.zeros(features.shape[-1:], jnp.float32)
  return {
    'model': params,
    'head': {'kernel': kernel, 'bias': jnp.zeros((), jnp.float32)},
  }


def token_logits(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  tokens: Int[Array, 'B N T'],
  lengths: Int[Array, 'B N'],
) -> Float[Array, 'B N T']:
  """The logit of being right, read at each token of the responses.

  Args:
    model: static.
    params: of the reward model.
    prompt: the prompts; each is run once for all its responses.
    tokens: of the responses.
    lengths: of the responses; logits at and beyond them mean nothing.

  Returns:
    The logit after the response's tokens up to and including each.
  """
  features = token_features(model, params['model'], prompt, tokens, lengths)
  return head_logits(params['head'], features)


def token_features(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  tokens: Int[Array, 'B N T'],
  lengths: Int[Array, 'B N'],
) -> Float[Array, 'B N T D']:
  """What a head reads at each token of the responses.

  Args:
    model: static.
    params: of the model, without a head.
    prompt: the prompts; each is run once for all its responses.
    tokens: of the responses.
    lengths: of the responses; features at and beyond them mean nothing.

  Returns:
    The features.
  """
  prefix, _ = encode_prompt(model, params, prompt)
  cache = Cache(prefix, prompt.lengths, None, jnp.zeros_like(lengths))
  features, _ = model.features(params, tokens, lengths, cache)
  return features


def head_logits(
  head: Params, features: Float[Array, '*A D']
) -> Float[Array, '*A']:
  """The logit that a head of one layer or of two makes of features."""
  x = features.astype(jnp.float32)
  if 'hidden' in head:
    hidden = head['hidden']
    x = jax.nn.relu(x @ hidden['kernel'].T + hidden['bias'])
  return x @ head['kernel'] + head['bias']


def last_logits(
  model: LanguageModel, params: Params, prompt: Prompt, responses: Generation
) -> Float[Array, 'B N']:
  """The logit at the last token of each response."""
  tokens, lengths = responses.tokens, responses.lengths
  logits = token_logits(model, params, prompt, tokens, lengths)
  last = jnp.maximum(lengths - 1, 0)[..., None]
  return jnp.take_along_axis(logits, last, axis=-1)[..., 0]


def last_score(
  model: LanguageModel, params: Params, prompt: Prompt, responses: Generation
) -> Float[Array, 'B N']:
  """The chance of being right, at the last token of each response.

  With `model` and `params` given by `functools.partial` this is a `ScoreFn`: of
  whole responses for an outcome reward model, of the last step for a process
  reward model that is asked after each step.
  """
  return jax.nn.sigmoid(last_logits(model, params, prompt, responses))


def cross_entropy(
  logits: Float[Array, '*A'],
  targets: Float[Array, '*A'],
  mask: Bool[Array, '*A'],
) -> Float[Array, '']:
  r"""Mean binary cross-entropy over `mask`, in nats; targets may be soft.

  .. math:: -q \log \sigma(z) - (1 - q) \log(1 - \sigma(z))

  Least at :math:`\sigma(z) = q`; 0 if nothing counts.
  """
  losses = optax.sigmoid_binary_cross_entropy(logits, targets)
  total = jnp.sum(jnp.where(mask, losses, 0.0))
  return total / jnp.maximum(jnp.sum(mask), 1)
