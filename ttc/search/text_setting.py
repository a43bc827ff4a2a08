"""Settings of text tasks: what any method needs, from a model and a task.

Steps and responses end at texts; answers are read on the host (`TextAnswers`);
thinking, revision and verification are written as the model's chat layout
writes turns. What layout or task do not provide is None in the setting, and a
method that needs it cannot be run there.
"""

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Array, Int

from ttc.models.base import LanguageModel
from ttc.models.load import Loaded
from ttc.models.tokenizer import Tokenizer
from ttc.sampling.logits import SamplingParams
from ttc.sampling.stop_texts import stop_at_texts
from ttc.search.setting import Setting, TextEnds, Thinking
from ttc.search.text_answers import TextAnswers, TextTask
from ttc.types import Params, ScoreFn
from ttc.verifiers.confidence import confidence
from ttc.verifiers.generative import Question

REVISE = 'Check your answer, and write it again with all mistakes corrected.'
ASK = 'Is this answer correct? Reply with Yes or No.'
_CLOSE, _WAIT = '</think>', '\nWait'
_SHARE_OF_ANSWER = 4  # of a thinking model's response, one in so many tokens


def text_setting_fn(
  loaded: Loaded,
  task: TextTask,
  answers: TextAnswers,
  *,
  model: LanguageModel | None = None,
  score_of: Callable[[Int[Array, ' B'], Params], ScoreFn] = (
    lambda *_: confidence
  ),
  capacity: int | None = None,
  delimiters: Sequence[str] = ('\n\n',),
  max_steps: int = 16,
  max_step_tokens: int | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> Callable[..., Setting]:
  """What makes the setting of a batch of items.

  Args:
    loaded: the model with its tokenizer.
    task: the items, their grader, and the texts that end a response.
    answers: reads what responses answer.
    model: instead of `loaded.model`, such as one with sparse attention.
    score_of: the verifier of a batch, given the item of each prompt, and its
      own parameters.
    capacity: most tokens in a response; what the task asks for if None.
    delimiters: texts that end a step.
    max_steps: most steps in a response.
    max_step_tokens: where a step without delimiter is cut; None for nowhere.
    sampling: the law of a draw.

  Returns:
    `(parameters of the model, item of each prompt, parameters of the verifier)
    -> Setting`, pure; the last are `()` for a verifier without. What is closed
    over would be written into each program.

  Raises:
    ValueError: if the model has no tokenizer, or a delimiter is empty.
  """
  tokenizer = loaded.tokenizer
  if tokenizer is None:
    raise ValueError(f'{loaded.name} has no tokenizer')
  model = model or loaded.model
  capacity = capacity or task.max_new_tokens
  stop = tuple(task.stop)
  rules = lambda *texts: stop_at_texts(tokenizer, model.vocab_size, texts)
  text_ends = TextEnds(rules(*stop), rules(*stop, *delimiters))
  has_turns = task.is_chat and tokenizer.layout is not None
  thinking = thinking_of(tokenizer, capacity) if has_turns else None
  revise = turn(tokenizer, REVISE) if has_turns else None
  question = question_of(tokenizer) if has_turns else None

  def setting_fn(params, index, verifier_params=()):
    return Setting(
      model=model,
      params=params,
      answer_fn=answers.answer_fn(index),
      score_fn=score_of(index, verifier_params),
      eos_ids=tuple(tokenizer.eos_ids),
      capacity=capacity,
      max_steps=max_steps,
      max_step_tokens=max_step_tokens,
      sampling=sampling,
      thinking=thinking,
      revise=revise,
      question=question,
      text_ends=text_ends,
    )

  return setting_fn


def prompt_tokens(tokenizer: Tokenizer, task: TextTask, item: Any) -> list[int]:
  """How an item is asked: a user's turn, or a text to go on with."""
  text = task.prompt(item)
  if task.is_chat:
    messages = [{'role': 'user', 'content': text}]
    if task.system:
      messages.insert(0, {'role': 'system', 'content': task.system})
    # Not as a message of the template: of a thinking model's that closes a
    # thought before what the message says.
    asked = tokenizer.chat(messages, tools=task.tools or None)
    return asked + tokenizer.encode(task.prefill)
  return tokenizer.prompt(text)


def turn(tokenizer: Tokenizer, content: str) -> tuple[int, ...] | None:
  """A user's turn behind a reply that has ended, and the call for another.

  Args:
    tokenizer: with the layout of its chats.
    content: what the user says.

  Returns:
    Tokens; None if there is no layout, or its replies do not end in a token
    that ends a response.
  """
  layout, behind = tokenizer.layout, _behind_reply(tokenizer)
  if layout is None or behind is None:
    return None
  bare = layout._replace(start=behind[1:], default_system=None)
  message = {'role': 'user', 'content': content}
  return tuple(tokenizer.chat([message], bare))


def thinking_of(tokenizer: Tokenizer, capacity: int) -> Thinking | None:
  """How replies of a chat think.

  A model with `</think>` ends its thinking so. Any other is taken to think up
  to its reply's end, as in s1: what is forced or dropped is that end.

  Args:
    tokenizer: with the layout of its chats.
    capacity: most tokens in a response.

  Returns:
    The delimiters; None if the reply ends in no token of its own.
  """
  wait = tokenizer.encode(_WAIT)
  close = tokenizer.encode(_CLOSE, allow_special=True)
  if len(close) == 1:
    return Thinking(close[0], close, wait, capacity // _SHARE_OF_ANSWER)
  behind = _behind_reply(tokenizer)
  if behind is None:
    return None
  end = tokenizer.encode(behind[0], allow_special=True)
  return Thinking(end[0], end, wait)


def question_of(tokenizer: Tokenizer) -> Question | None:
  """How the model is asked about its reply; None without yes or no tokens."""
  asked = turn(tokenizer, ASK)
  yes, no = (tokenizer.encode(word) for word in ('Yes', 'No'))
  if asked is None or len(yes) != 1 or len(no) != 1 or yes == no:
    return None
  return Question(asked, yes[0], no[0], tuple(tokenizer.eos_ids))


def _behind_reply(tokenizer: Tokenizer) -> tuple[str, ...] | None:
  """The layout's parts behind what a reply says, from its end token on."""
  if tokenizer.layout is None:
    return None
  message = tokenizer.layout.message
  place = next(i for i, part in enumerate(message) if '{content}' in part)
  behind = message[place + 1 :]
  if not message[place].endswith('{content}') or not behind:
    return None
  end = tokenizer.encode(behind[0], allow_special=True)
  return behind if len(end) == 1 and end[0] in tokenizer.eos_ids else None
