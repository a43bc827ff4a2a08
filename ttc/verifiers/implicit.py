r"""Implicit process rewards: two language models are one verifier.

Yuan et al., "Free process rewards without process labels", 2412.01981
(EurusPRM). A model :math:`\phi` that was trained on outcomes alone, as a
log-ratio to a reference, has learned the value of every prefix:

.. math:: q_t = \beta \sum_{i \le t}
    \log \frac{\phi(y_i | y_{<i})}{\mathrm{ref}(y_i | y_{<i})}
    = \beta \log E_\mathrm{ref}[e^{r(y) / \beta} | y_{\le t}],
    \qquad r_k = q_{end(k)} - q_{end(k - 1)}.

Both models have one tokenizer. Costs one forward pass of each.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.models.base import LanguageModel
from ttc.sampling.state import prefill, score
from ttc.types import Params, Prompt


def log_ratios(
  model: LanguageModel,
  params: Params,
  reference: LanguageModel,
  reference_params: Params,
  prompt: Prompt,
  tokens: Int[Array, 'B N T'],
  lengths: Int[Array, 'B N'],
) -> Float[Array, 'B N T']:
  """How much likelier each token of a response is to one model than another.

  Args:
    model: that was trained; static.
    params: its parameters.
    reference: static.
    reference_params: its parameters.
    prompt: the prompts.
    tokens: of the responses.
    lengths: of the responses.

  Returns:
    Differences of log-probabilities, 0 beyond the lengths.
  """
  N, T = tokens.shape[1:]

  def log_probs(model, params):
    state = prefill(model, params, prompt, N, T)
    return score(model, params, state, tokens, lengths)

  return log_probs(model, params) - log_probs(reference, reference_params)


def step_rewards(
  ratios: Float[Array, 'B N T'],
  starts: Int[Array, 'B N'],
  ends: Int[Array, 'B N S'],
  beta: float,
) -> Float[Array, 'B N S']:
  """What each step adds to the value.

  Args:
    ratios: of `log_ratios`.
    starts: the first token of each response that counts.
    ends: the last token of each step, ascending where it is one.
    beta: how much a nat is worth.

  Returns:
    `r_k`; their sum up to a step is its value `q`.
  """
  counts = jnp.arange(ratios.shape[-1]) >= starts[..., None]
  values = beta * jnp.cumsum(jnp.where(counts, ratios, 0.0), axis=-1)
  q = jnp.take_along_axis(values, ends, axis=-1)
  return jnp.diff(q, axis=-1, prepend=0.0)
