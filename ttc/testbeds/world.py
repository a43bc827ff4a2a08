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

  def has(self, method: search.Method) -> bool:
    """Whether a method finds what it cannot do without."""
    return self.setting_fn(self.params, self.problems).serves(method)


class Size(NamedTuple):
  """How much of a bed is built.

  Attributes:
    name: of the size.
    num_problems: of a seed; None for as many as the bed or claim has.
    num_steps: most steps of a training; None for as many as it has.
  """

  name: str
  num_problems: int | None = None
  num_steps: int | None = None

  def problems(self, num: int) -> int:
    """Problems, where there are `num` of them in the full size."""
    return num if self.num_problems is None else self.num_problems

  def fewer(self, num: int) -> int:
    """The same, where there must not be more than `num`."""
    return min(num, self.problems(num))

  def steps(self, num: int) -> int:
    """Steps of a training that has `num` of them in the full size."""
    return num if self.num_steps is None else min(num, self.num_steps)


FULL = Size('full')
TINY = Size('tiny', num_problems=8, num_steps=3)  # to see that it runs
SIZES = {size.name: size for size in (FULL, TINY)}


def flops_per_token(
  config: models.TransformerConfig,
  params: Params,
  prompt_length: int,
  response_length: int,
) -> float:
  """Of a response of full length, on average over its tokens."""
  shape = costs.model_shape(config, models.num_params(params))
  flops = costs.decode_flops(
    shape, np.array([prompt_length]), np.array([[response_length]])
  )
  return float(flops[0, 0]) / response_length


def of_problems(
  title: str,
  problems: tasks.Problem,
  params: Params,
  setting_fn: Callable[[Params, Any], search.Setting],
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
