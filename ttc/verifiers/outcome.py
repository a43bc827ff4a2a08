"""Outcome reward model: the chance that a whole response is right.

Cobbe et al., "Training verifiers to solve math word problems", 2110.14168.
Trained on samples whose answers were checked, by cross-entropy at the last
token only. Costs one forward pass per response; `last_score` asks it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc.models.base import LanguageModel
from ttc.types import Generation, Params, Prompt
from ttc.verifiers.reward_model import cross_entropy, last_logits


def outcome_loss(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  samples: Generation,
  rewards: Float[Array, 'B N'],
  mask: Bool[Array, 'B N'] | None = None,
) -> Float[Array, '']:
  """Cross-entropy of the outcomes, read at the last token of each response.

  Args:
    model: static.
    params: of the reward model, see `init_reward_model`.
    prompt: the prompts.
    samples: responses to them.
    rewards: 1 for a right response, 0 for a wrong one.
    mask: samples that count; those that are not empty if None.

  Returns:
    The mean over samples, in nats.
  """
  mask = samples.lengths > 0 if mask is None else mask
  logits = last_logits(model, params, prompt, samples)
  return cross_entropy(logits, jnp.asarray(rewards, jnp.float32), mask)
