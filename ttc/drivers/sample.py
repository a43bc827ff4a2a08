"""Answers a question by any method; shows the search, the answer, the cost."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks, verifiers
from ttc.drivers import tool_files
from ttc.drivers.draw_searches import check_served, read_leaves
from ttc.drivers.evaluate_options import METHODS
from ttc.drivers.outcomes import compiled
from ttc.drivers.score_functions import Asked, load_verifier
from ttc.drivers.show_search import search_lines
from ttc.io.paths import fetched
from ttc.scaling import costs
from ttc.types import Prompt, Selection


class Question(NamedTuple):
  """What to ask, and how."""

  prompt: str
  raw: bool = False  # continue the prompt; no chat layout
  system: str = ''  # system message of the chat; empty for the model's own
  prefill: str = ''  # how the reply begins
  tools: str = ''  # JSON file of functions that the model may call
  model: str = 'smollm2-135m'  # see `models.load`
  quantization: str | None = None
  method: str = 'self_consistency'
  num_samples: int = 8
  max_new_tokens: int = 64
  law: sampling.SamplingParams = sampling.SamplingParams(0.7)
  stop: tuple[str, ...] = ()  # texts that end a sample
  answer_pattern: str | None = None  # its last match is the answer
  verifier: str = 'log_prob'  # or the directory of a reward model
  step_ends: tuple[str, ...] = ('\n\n',)  # texts that end a step
  max_steps: int = 16
  max_step_tokens: int | None = None  # where a step without end is cut
  seed: int = 0


def ask(question: Question) -> None:
  """Runs the method and prints what was written, the answer and the cost.

  Raises:
    ValueError: for a value that means nothing, before the model is loaded, or a
      method that the model cannot serve.
    OSError: if the model is not there.
  """
  method, pattern = check(question)
  task = as_task(question, pattern)
  loaded = models.load(
    fetched(question.model), quantization=question.quantization
  )
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'{question.model} has no tokenizer')
  prompt = encode(question, loaded.model, tokenizer, task)
  answers = search.TextAnswers(tokenizer, task)
  make_score_fn: Callable = lambda _: verifiers.confidence
  verifier_params, flops_per_call = (), 0.0
  if question.verifier != 'log_prob':
    verifier = load_verifier(question.verifier)
    given = prompt.tokens[0, : int(prompt.lengths[0])].tolist()
    asked = Asked(
      tokenizer,
      [given],
      [question.prompt],
      question.stop,
      question.max_new_tokens,
      question.max_steps,
    )
    make_score_fn = verifier.score_fn_of(asked)
    verifier_params = verifier.params
    flops_per_call = verifier.flops_per_call(question.max_new_tokens)
  make_setting = search.text_setting_fn(
    loaded,
    task,
    answers,
    score_of=lambda _, params: make_score_fn(params),
    delimiters=question.step_ends,
    max_steps=question.max_steps,
    max_step_tokens=question.max_step_tokens,
    sampling=question.law,
  )
  index = jnp.zeros((1,), jnp.int32)
  setting_fn = lambda both, index: make_setting(both[0], index, both[1])
  both = loaded.params, verifier_params
  check_served([method], setting_fn(both, index), '--method', task)
  run = compiled(method, setting_fn, question.num_samples, with_leaves=True)
  keys = jax.random.key(question.seed)[None]
  began = time.perf_counter()
  chosen = jax.device_get(run(both, index, keys, prompt))
  seconds = time.perf_counter() - began
  full = lambda x: np.broadcast_to(x, (1, *np.shape(x)[1:]))[0]
  chosen = jax.tree.map(full, chosen)
  leaves = read_leaves(answers, 0, chosen.leaves)
  print('\n'.join(search_lines(leaves, tokenizer.decode)))
  answer = answers[0, chosen.answer].text
  same = sum(
    leaf['finish_reason'] == 'stop'
    and answers.read(0, leaf['text']) == chosen.answer
    for leaf in leaves
  )
  print(f'\n{question.method}: {answer!r} ({same} of {len(leaves)} responses)')
  if not any(leaf['finish_reason'] == 'stop' for leaf in leaves):
    print(
      'no response ended by itself, so none has an answer; more room is given '
      f'by --max_new_tokens={question.max_new_tokens} or --max_steps='
      f'{question.max_steps}'
    )
  show_cost(loaded, prompt, leaves, chosen, flops_per_call, seconds)


def check(
  question: Question,
) -> tuple[search.Method, re.Pattern[str] | None]:
  """The method and the compiled pattern; ValueError for what means nothing."""
  known = {name: m for name, m in METHODS.items() if m.select or m.decode}
  pattern = question.answer_pattern
  if question.method not in known:
    raise ValueError(
      f'--method={question.method} is not one of {sorted(known)}'
    )
  if not question.prompt.strip():
    raise ValueError('--prompt must not be empty')
  if not all(question.stop):
    raise ValueError('--stop holds an empty text, at which every sample ends')
  if not all(question.step_ends):
    raise ValueError(
      '--step_ends holds an empty text, at which every step ends'
    )
  sampling.check_sampling_params(question.law)
  try:
    return known[question.method], re.compile(pattern) if pattern else None
  except re.error as error:
    raise ValueError(f'--answer_pattern={pattern}: {error}') from None


def as_task(
  question: Question, pattern: re.Pattern[str] | None
) -> tasks.TextTask:
  """The question as a task of one item, whose right answer nobody knows."""
  return tasks.TextTask(
    name='this prompt',
    items=[tasks.Item('question', question.prompt, '', {})],
    prompt=lambda item: item.question,
    stop=question.stop,
    max_new_tokens=question.max_new_tokens,
    grade=lambda item, text: tasks.Grade(0.0, find_answer(pattern, text), ''),
    is_chat=not question.raw,
  ).asked(
    question.system,
    question.prefill,
    tool_files.read(question.tools) if question.tools else (),
  )


def encode(
  question: Question,
  model: models.LanguageModel,
  tokenizer: models.Tokenizer,
  task: tasks.TextTask,
) -> Prompt:
  """The prompt as tokens, padded to a power of two."""
  tokens = search.prompt_tokens(tokenizer, task, task.items[0])
  room = model.max_length - question.max_new_tokens
  if not 0 < len(tokens) <= room:
    raise ValueError(
      f'the prompt has {len(tokens)} tokens; 1 to {max(room, 0)} fit beside '
      f'--max_new_tokens={question.max_new_tokens}'
    )
  width = max(32, 1 << (len(tokens) - 1).bit_length())
  padded = np.zeros((1, width), np.int32)
  padded[0, : len(tokens)] = tokens
  return Prompt(jnp.asarray(padded), jnp.array([len(tokens)]))


def find_answer(pattern: re.Pattern[str] | None, text: str) -> str | None:
  """What the pattern captures last; without one the whole text."""
  if pattern is None:
    return text.strip() or None
  matches = list(pattern.finditer(text))
  if not matches:
    return None
  found = matches[-1].group(1 if pattern.groups else 0)
  return (found or '').strip() or None


def show_cost(
  loaded: models.Loaded,
  prompt: Prompt,
  leaves: Sequence[Mapping[str, Any]],
  chosen: Selection,
  flops_per_call: float,
  seconds: float,
) -> None:
  """Prints what the method cost, what it discarded included."""
  shape = costs.model_shape(loaded.config, models.num_params(loaded.params))
  lengths = np.array([[max(leaf['tokens'], 1) for leaf in leaves] or [1]])
  per_token = costs.decode_flops(shape, prompt.lengths, lengths).sum()
  per_token /= lengths.sum()
  flops = costs.prefill_flops(shape, prompt.lengths).sum()
  flops += per_token * chosen.tokens + flops_per_call * chosen.verifier_calls
  print(
    f'cost: {int(prompt.lengths[0])} prompt tokens read once, '
    f'{chosen.tokens} tokens generated ({chosen.depth} in sequence), '
    f'{chosen.verifier_calls} verifier calls, {flops / 1e9:.1f} GFLOPs, '
    f'{seconds:.1f} s with compilation'
  )
