r"""Public verifiers as data: what each is shown, where it is read, its head.

Sequence classification, token classification, Qwen2.5-Math-PRM (2501.07301),
Skywork-o1-Open-PRM, Math-Shepherd (2312.08935), RLHFlow, the implicit process
reward (2412.01981) and GenRM (2408.15240) differ in nothing but a `Kind`. One
more is one more value in `KINDS`; a directory may also bring its own, as JSON,
in `verifier.json`: `{"kind": "token_classification", "split": "\n\n"}`. Costs a
forward pass over each response, and one over each problem.
"""

import os
import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from ttc.models import fields

Aggregate = Literal['last', 'min', 'mean', 'prod', 'max']
Link = Literal['raw', 'sigmoid']
Front = Literal['tokenizer', 'named']
KIND_FILE = 'verifier.json'
_CHAT = (('user', '{problem}'), ('assistant', '{steps}'))
_BOXED = (
  'system',
  'Please reason step by step, and put your final answer within \\boxed{{}}.',
)
_TWO_LAYERS = {
  'hidden.kernel': 'score.0.weight',
  'hidden.bias': 'score.0.bias',
  'kernel': 'score.2.weight',
  'bias': 'score.2.bias',
}


class Kind(NamedTuple):
  """How a verifier is built, what it is shown, and where it is read.

  Texts are templates as of `str.format`. `{problem}`, `{step}` and `{number}`
  (from 1) stand for these, `{steps}` for all steps; `{mark}` is the mark's
  token, `{cut}` splits what is tokenised apart, and at `{read}` the token
  before is read. Without a `{read}` anywhere it is the last token of all.

  Attributes:
    architecture: in `config.json`, `*` for any family of decoders; None for a
      language model with its head over tokens, which must be asked for by name.
    messages: with their roles; the role `text` is no chat.
    again: messages of the second and each later step, where a step has some of
      its own, and `{step}` in `messages` is the first.
    split: what separates the steps of a response; nothing if it is one step.
    strip: whether steps are stripped, and empty ones dropped.
    step: how a step is written.
    join: between steps.
    mark: a text that must be one token of the tokenizer, if there is one.
    reply: whether a chat ends with the beginning of a reply, which a generative
      verifier goes on with.
    front: in front of `text`, what the tokenizer puts there, or the token that
      its settings name as `bos_token`.
    shift: from the tokens above to those that are read; 0 or -1.
    tensors: of the file, for each array of the head.
    width: outputs of the head. The second of two is for right.
    words: for right and for wrong, of a head over tokens; each must be a token.
    beta: of the log-ratio of two language models, `implicit.py`.
    link: from a logit to a score.
    aggregate: from the scores of steps to one, as the authors do.
  """

  architecture: str | None
  messages: Sequence[Sequence[str]] = _CHAT
  again: Sequence[Sequence[str]] = ()
  split: str = ''
  strip: bool = True
  step: str = '{step}'
  join: str = ''
  mark: str = ''
  reply: bool = False
  front: Front = 'tokenizer'
  shift: int = 0
  tensors: Mapping[str, str] | None = None
  width: int = 1
  words: Sequence[str] = ()
  beta: float | None = None
  link: Link = 'sigmoid'
  aggregate: Aggregate = 'last'


KINDS: dict[str, Kind] = {
  'sequence_classification': Kind(
    '*ForSequenceClassification',
    tensors={'kernel': 'score.weight'},
    link='raw',
  ),
  # As TRL trains it: every piece is tokenised alone.
  'token_classification': Kind(
    '*ForTokenClassification',
    messages=[('text', '{problem}{cut}{steps}')],
    split='\n',
    step='{step}{cut}\n{read}{cut}',
    front='named',
    tensors={'kernel': 'score.weight', 'bias': 'score.bias'},
    width=2,
  ),
  'qwen_process': Kind(
    '*ForProcessRewardModel',
    messages=[_BOXED, *_CHAT],
    split='\n\n',
    step='{step}{mark}{read}',
    mark='<extra_0>',
    tensors=_TWO_LAYERS,
    width=2,
    aggregate='prod',
  ),
  'qwen_outcome': Kind(
    '*ForRewardModel',
    messages=[_BOXED, *_CHAT],
    tensors=_TWO_LAYERS,
    link='raw',
  ),
  'skywork_process': Kind(
    'Qwen2ForPrmModel',
    messages=[('text', '{problem}\n{cut}{steps}')],
    split='\n',
    strip=False,
    step='{step}{cut}\n{read}{cut}',
    front='named',
    tensors={
      'kernel': 'v_head.summary.weight',
      'bias': 'v_head.summary.bias',
    },
    aggregate='mean',
  ),
  'math_shepherd': Kind(
    None,
    messages=[('text', '{problem} {steps}')],
    split='\n',
    step='Step {number}: {step} ки{read}',
    join='\n',
    mark='ки',
    words=('+', '-'),
    aggregate='min',
  ),
  # A reply says '+' to every step; what is read is the token before it.
  'rlhflow': Kind(
    None,
    messages=[('user', '{problem} {step}'), ('assistant', '+{read}')],
    again=[('user', '{step}'), ('assistant', '+{read}')],
    split='\n\n',
    shift=-1,
    words=('+', '-'),
    aggregate='mean',
  ),
  'implicit': Kind(
    None,
    messages=[('user', '{problem}'), ('assistant', '{steps}{read}')],
    split='\n\n',
    step='Step {number}: {step}',
    join='\n\n{read}',
    beta=0.001,
    link='raw',
    aggregate='min',
  ),
  'genrm': Kind(
    None,
    messages=[
      (
        'text',
        'Problem: {problem}\nSolution: {steps}\n'
        'Verification: Is the answer correct (Yes/No)?',
      )
    ],
    words=(' Yes', ' No'),
  ),
  # What it writes from here on ends with a verdict: `verdicts_of_texts`.
  'genrm_cot': Kind(
    None,
    messages=[
      (
        'text',
        'Problem: {problem}\nSolution: {steps}\n'
        "Verification: Let's verify step by step.",
      )
    ],
    words=(' Yes', ' No'),
  ),
}


def kind_of(
  path: str | os.PathLike, architecture: Any, name: str | None = None
) -> Kind:
  """The kind of verifier that a directory holds.

  Args:
    path: of the directory, whose `verifier.json` may say so.
    architecture: in its `config.json`.
    name: of `KINDS`; None for what the directory says.

  Returns:
    The kind.

  Raises:
    ValueError: naming what is asked for and what is known.
  """
  file = os.path.join(path, KIND_FILE)
  values = fields.read_json_if_there(file)
  in_file = values.pop('kind', None)
  asked = in_file if name is None else name
  named = f'{os.fspath(path)}: architecture {architecture!r}'
  if asked is None:
    found = [k for k in KINDS.values() if _fits(k.architecture, architecture)]
    if not found:
      known = [k.architecture for k in KINDS.values() if k.architecture]
      by_name = [n for n, k in KINDS.items() if k.architecture is None]
      raise ValueError(
        f'{named} is no verifier: not one of {", ".join(known)}; a language '
        f'model is one by its kind, {", ".join(by_name)}'
      )
    kind = found[0]
  elif not isinstance(asked, str) or asked not in KINDS:
    raise ValueError(f'verifier {asked!r} is not one of {", ".join(KINDS)}')
  else:
    kind = KINDS[asked]
    wanted = kind.architecture
    if wanted and not _fits(wanted, architecture):
      raise ValueError(f'{named} is not {wanted}, as a {asked} verifier has')
  if in_file in (None, asked):  # else it speaks of another kind
    kind = _with(kind, values, file)
  _check_templates(kind, file)
  return kind


def decoder_of(architecture: str) -> str:
  """What `config.json` would call the decoder with a head over tokens."""
  return architecture.split('For')[0] + 'ForCausalLM'


def to_values(name: str, kind: Kind) -> dict[str, Any]:
  """What `verifier.json` says of a kind: its name, and where it differs."""
  ours, theirs = kind._asdict(), KINDS[name]._asdict()
  return {'kind': name} | {n: x for n, x in ours.items() if x != theirs[n]}


def _fits(pattern: str | None, architecture: Any) -> bool:
  if pattern is None or not isinstance(architecture, str):
    return False
  if pattern.startswith('*'):
    return architecture.endswith(pattern[1:])
  return architecture == pattern


# Fields that a file may set, and what is accepted; heads are the library's.
_TEXTS = ('split', 'step', 'join', 'mark')
_CHOICES = {
  'front': get_args(Front),
  'link': get_args(Link),
  'aggregate': get_args(Aggregate),
  'strip': (True, False),
  'reply': (True, False),
  'shift': (0, -1),
}
_ROWS = ('messages', 'again')


def _with(kind: Kind, values: Mapping[str, Any], file: str) -> Kind:
  """A kind with what a file sets; refused where it means nothing."""
  for name, value in values.items():
    if name in _TEXTS:
      right, wanted = isinstance(value, str), 'a text'
    elif name in _CHOICES:
      right = any(value is x or value == x for x in _CHOICES[name])
      wanted = f'one of {", ".join(map(str, _CHOICES[name]))}'
    elif name in _ROWS:
      right = isinstance(value, list) and all(
        isinstance(row, list) and [*map(type, row)] == [str, str]
        for row in value
      )
      wanted = 'a list of pairs of role and text'
    else:
      known = ('kind', *_ROWS, *_TEXTS, *_CHOICES)
      raise ValueError(f'{file}: {name!r} is not one of {", ".join(known)}')
    if not right:
      raise ValueError(f'{file}: {name}={value!r} is not {wanted}')
  return kind._replace(**values)


_ROLES = ('text', 'system', 'user', 'assistant')
_PLACES = ('problem', 'step', 'steps', 'number', 'mark', 'cut', 'read')


def _check_templates(kind: Kind, file: str) -> None:
  """Refuses a role or a place that means nothing."""
  rows = [*kind.messages, *kind.again]
  for role, _ in rows:
    if role not in _ROLES:
      raise ValueError(
        f'{file}: role {role!r} is not one of {", ".join(_ROLES)}'
      )
  for template in (*(text for _, text in rows), kind.step, kind.join):
    try:
      places = [place for _, place, *_ in string.Formatter().parse(template)]
    except ValueError as error:
      raise ValueError(f'{file}: {template!r}: {error}') from None
    for place in places:
      if place is not None and place not in _PLACES:
        raise ValueError(
          f'{file}: {{{place}}} in {template!r} is not one of '
          f'{", ".join(_PLACES)}'
        )
      if place == 'mark' and not kind.mark:
        raise ValueError(f"{file}: {template!r} has a {{mark}}, and mark is ''")
  wanted = '{step}' if kind.again else '{steps}'
  if not any(wanted in text for _, text in kind.messages):
    raise ValueError(f'{file}: messages={kind.messages!r} lack {wanted}')
