"""Process reward model: the chance of a right answer after each step.

Lightman et al., "Let's verify step by step", 2305.20050; without human labels
Wang et al., "Math-Shepherd", 2312.08935: the target of a step is the share of
Monte-Carlo continuations that end right, see `rollouts`. Soft targets as in
Snell et al., 2408.03314. The score of a step is read at its last token: one
token earlier the delimiter is unseen, one later the next step shows. Costs one
forward pass per response for all its steps.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.models.base import LanguageModel
from ttc.types import Generation, Params, Prompt
from ttc.verifiers.reward_model import cross_entropy, token_logits


def step_ends(
  tokens: Int[Array, '*B T'],
  lengths: Int[Array, '*B'],
  is_delimiter: Bool[Array, ' V'],
) -> Bool[Array, '*B T']:
  """Marks the last token of each step of a response.

  Args:
    tokens: of the responses.
    lengths: of the responses.
    is_delimiter: tokens that end a step, and belong to it.

  Returns:
    True at delimiters and at the last token, which ends a step unless it is the
    last of one already.
  """
  position = jnp.arange(tokens.shape[-1])
  is_last = position == lengths[..., None] - 1
  inside = position < lengths[..., None]
  return inside & (is_delimiter[tokens] | is_last)


def step_scores(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  samples: Generation,
  ends: Bool[Array, 'B N T'],
) -> Float[Array, 'B N T']:
  """The chance of a right answer at each step's last token, else 0.

  Args:
    model: static.
    params: of the reward model.
    prompt: the prompts.
    samples: responses to them.
    ends: the last tokens of steps.

  Returns:
    Scores that `aggregate_steps` takes with `ends` for mask.
  """
  logits = token_logits(model, params, prompt, samples.tokens, samples.lengths)
  return jnp.where(ends, jax.nn.sigmoid(logits), 0.0)


def process_loss(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  samples: Generation,
  targets: Float[Array, 'B N T'],
  ends: Bool[Array, 'B N T'],
) -> Float[Array, '']:
  """Cross-entropy of the values of steps, each read at its last token.

  Args:
    model: static.
    params: of the reward model, see `init_reward_model`.
    prompt: the prompts.
    samples: responses to them.
    targets: value of each step at its last token, in [0, 1]; elsewhere unused.
    ends: the last tokens of steps.

  Returns:
    The mean over steps, in nats.
  """
  logits = token_logits(model, params, prompt, samples.tokens, samples.lengths)
  return cross_entropy(logits, targets, ends)
