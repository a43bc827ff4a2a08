"""Prompts in, responses out, by a pair of models."""

from jaxtyping import Array, Bool, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.logits import SamplingParams
from ttc.sampling.speculative import speculative_sample
from ttc.sampling.state import prefill
from ttc.sampling.stopping import StopRules
from ttc.types import Generation, Params, Prompt


def speculative_generate(
  params: tuple[Params, Params],
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
  *,
  target: LanguageModel,
  draft: LanguageModel,
  capacity: int,
  stop: StopRules,
  num_drafted: int,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
) -> Generation:
  """Prefills both models and samples: the `SampleFn` of a pair of models.

  Args:
    params: of the target and of the draft.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_samples: `N`; static.
    target: this and what follows, see `speculative_sample`.
    draft: static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    num_drafted: `g`; static.
    sampling: the law of a draw.
    max_new_tokens: limit of each response.
    active: responses to draw.
    sample_ids: what identifies each response.

  Returns:
    The responses.
  """
  return speculative_sample(
    target,
    draft,
    *params,
    keys,
    prefill(target, params[0], prompt, num_samples, capacity),
    prefill(draft, params[1], prompt, num_samples, capacity),
    stop,
    num_drafted,
    sampling=sampling,
    max_new_tokens=max_new_tokens,
    active=active,
    sample_ids=sample_ids,
  ).generation
