"""Prompts in, responses out: prefill and sample in one call."""

from jaxtyping import Array, Bool, Int, Key

from ttc.models.base import LanguageModel
from ttc.models.experts import RouteOverride
from ttc.models.sharding import on_auto_axes
from ttc.sampling.controllers import Controller
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.state import has_rows, prefill
from ttc.sampling.stopping import Policy, StopRules, wait_for_all
from ttc.types import Generation, Params, Prompt


@on_auto_axes
def generate(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
  *,
  model: LanguageModel,
  capacity: int,
  stop: StopRules,
  num_rows: int | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
  policy: Policy = wait_for_all,
  controller: Controller | None = None,
  routes: RouteOverride | None = None,
) -> Generation:
  """Prefills and samples: `N` responses to each of `B` prompts.

  With `model`, `capacity` and `stop` given by `functools.partial` this is the
  `SampleFn` that search methods take.

  Args:
    params: parameters of the model.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_samples: `N`; static.
    model: static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    num_rows: decode this many at a time; None for all `N`. Static.
    sampling: this and what follows, see `sample`.
    max_new_tokens: limit of each response.
    active: responses to draw.
    sample_ids: what identifies each response.
    policy: when to end a problem early.
    controller: forces templates into responses.
    routes: what the routers of a mixture of experts are told. Without rows or
      of each prompt, `[B, 1]`, they hold for prompts too; those of each
      response, `[B, N]`, from its first token on.

  Returns:
    The responses.

  Example:
    >>> model = models.table_model(vocab_size=4)
    >>> table = 99 * jax.nn.one_hot(jnp.array([0, 2, 3, 0]), 4)  # 1, 2, 3, end
    >>> prompt = Prompt(jnp.array([[1]]), jnp.array([1]))
    >>> draw = jax.jit(functools.partial(
    ...   sampling.generate, num_samples=2, model=model, capacity=4,
    ...   stop=sampling.stop_rules(4, [0])))
    >>> drawn = draw(table, jax.random.key(0)[None], prompt)
    >>> drawn.tokens.tolist(), drawn.lengths.tolist()
    ([[[2, 3, 0, 0], [2, 3, 0, 0]]], [[3, 3]])
  """
  rows = num_samples if num_rows is None else min(num_rows, num_samples)
  of_prompt = None if has_rows(routes) else routes
  state = prefill(model, params, prompt, rows, capacity, routes=of_prompt)
  return sample(
    model,
    params,
    keys,
    state,
    stop,
    num_samples,
    sampling=sampling,
    max_new_tokens=max_new_tokens,
    active=active,
    sample_ids=sample_ids,
    policy=policy,
    controller=controller,
    routes=routes if has_rows(routes) else None,
  ).generation
