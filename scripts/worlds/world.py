"""A policy, problems and a verifier: what methods are compared on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ttc import models, search, tasks
from ttc.scaling import costs
from ttc.types import Params, Prompt


class World(NamedTuple):
  """`B` problems and all that it takes to answer and to grade them.

  Attributes:
    title: as a plot's heading says it.
    params: of the policy and the verifier, traced.
    problems: what verifier and reader need of the problems, traced.
    prompt: the prompts.
    gold: id of the right answer of each problem.
    item_ids: names of the problems; those of two seeds with the same name are
      the same problem, and its randomness is keyed by it.
    setting_fn: `(params, problems) -> search.Setting`; pure.
    flops_per_token: of the policy.
    flops_per_call: of the verifier, for one response; 0 if it is free.
  """

  title: str
  params: Params
  problems: Any
  prompt: Prompt
  gold: np.ndarray
  item_ids: list[str]
  setting_fn: Callable[[Params, Any], search.Setting]
  flops_per_token: float
  flops_per_call: float = 0.0


def flops_per_token(
  config: models.TransformerConfig,
  params: Params,
  prompt_length: int,
  response_length: int,
) -> float:
  """Of a response of full length, on average over its tokens."""
  shape = costs.model_shape(config, models.num_params(params))
  flops = costs.decode_flops(shape, [prompt_length], [[response_length]])
  return float(flops[0, 0]) / response_length


def of_problems(
  title: str,
  problems: tasks.Problem,
  params: Params,
  setting_fn,
  seed: int,
  flops_per_token: float,
  flops_per_call: float = 0.0,
) -> World:
  """The world of token problems, which are new for every seed."""
  num_problems = problems.answer.shape[0]
  return World(
    title,
    params,
    problems,
    tasks.to_prompt(problems),
    np.asarray(problems.answer),
    [f'{title}/{seed}/{i}' for i in range(num_problems)],
    setting_fn,
    flops_per_token,
    flops_per_call,
  )
