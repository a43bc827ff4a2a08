"""Scores of public verifiers against torch, on checkpoints written by it.

Heads that transformers has are its own; others are torch around `Qwen2Model`,
under the tensor names of their authors. What each verifier is shown is written
here once more, with transformers' tokenizer, as its authors describe it. Needs
torch and transformers, which nothing in the library does.
"""

import json

import numpy as np
import pytest
from byte_writers import byte_level

from ttc import models, verifiers

pytestmark = pytest.mark.oracle
torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
tokenizers = pytest.importorskip('tokenizers')
safetensors_torch = pytest.importorskip('safetensors.torch')

MERGED = ['ки', ' Yes', ' No', 'ab', '\n\n', '. ']
PROBLEM = 'What is ab + 2?\nSay it.'
RESPONSES = [
  'First ab.\n\nThen 4. abab\n\nSo 4.',
  'It is 5.',
  'ab ab\n\n\n\nab\n',
]
CHATML = (
  "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\\n' + m.content"
  " + '<|im_end|>\\n' }}{%- endfor -%}"
  "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}"
  '{%- endif -%}'
)
BOXED = (
  'Please reason step by step, and put your final answer within \\boxed{}.'
)


def codec(path):
  """The tokenizer of transformers, saved into a directory."""
  theirs = transformers.PreTrainedTokenizerFast(
    tokenizer_object=byte_level(MERGED),
    bos_token='<s>',
    eos_token='<|im_end|>',
    pad_token='<|im_end|>',
    chat_template=CHATML,
  )
  theirs.save_pretrained(path)
  return theirs


def config_of(family, **changes):
  values = {
    'vocab_size': byte_level(MERGED).get_vocab_size(),
    'hidden_size': 32,
    'intermediate_size': 48,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'max_position_embeddings': 1024,
    'pad_token_id': None,
  }
  return getattr(transformers, f'{family}Config')(**values | changes)


def randomised(module, scale=0.3):
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in module.parameters():  # norms and biases too
      noise = torch.randn(parameter.shape, generator=generator)
      parameter.copy_(scale * noise + (parameter.ndim == 1))
  return module.float().eval()


def run(module, ids, **more):
  with torch.no_grad():
    return module(torch.tensor([ids]), **more)


def chat(theirs, *messages):
  rows = [{'role': role, 'content': text} for role, text in messages]
  text = theirs.apply_chat_template(rows, tokenize=False)
  return plain(theirs, text)


def plain(theirs, text):
  return theirs(text, add_special_tokens=False)['input_ids']


def agree(verifier, expected):
  """Each step's score, up to float32."""
  got = verifiers.step_scores_of_texts(verifier, [PROBLEM], [RESPONSES])[0]
  spread = np.concatenate([np.ravel(x) for x in expected])
  assert spread.std() > 1e-3, 'scores that say nothing'
  for ours, other in zip(got, expected, strict=True):
    np.testing.assert_allclose(ours, np.ravel(other), atol=1e-4)


@pytest.mark.parametrize('family', ['Llama', 'Qwen2', 'Qwen3', 'Mistral'])
def test_sequence_classification(family, tmp_path):
  theirs = codec(tmp_path)
  config = config_of(family, num_labels=1)
  name = f'{family}ForSequenceClassification'
  module = randomised(getattr(transformers, name)(config))
  module.save_pretrained(tmp_path)
  verifier = verifiers.load_verifier(tmp_path)
  expected = []
  for response in RESPONSES:
    ids = chat(theirs, ('user', PROBLEM), ('assistant', response))
    expected.append(run(module, ids).logits.numpy())
  agree(verifier, expected)
  raw = verifiers.score_texts(verifier, [PROBLEM], [RESPONSES])[0]
  np.testing.assert_allclose(raw, np.ravel(expected), atol=1e-4)


@pytest.mark.parametrize('family', ['Llama', 'Qwen2', 'Qwen3'])
def test_token_classification_as_trl_trains_it(family, tmp_path):
  theirs = codec(tmp_path)
  config = config_of(family, num_labels=2)
  name = f'{family}ForTokenClassification'
  module = randomised(getattr(transformers, name)(config))
  module.save_pretrained(tmp_path)
  expected = []
  for response in RESPONSES:
    ids, ends = [theirs.bos_token_id, *plain(theirs, PROBLEM)], []
    for step in response.split('\n'):
      if step.strip():
        ids += plain(theirs, step.strip()) + plain(theirs, '\n')
        ends.append(len(ids) - 1)
    chances = torch.softmax(run(module, ids).logits[0], dim=-1)
    expected.append(chances[ends, 1].numpy())
  agree(verifiers.load_verifier(tmp_path), expected)


class Qwen(torch.nn.Module):
  """`Qwen2Model` under a head of one's own."""

  def __init__(self, path, architecture, head):
    super().__init__()
    self.model = transformers.Qwen2Model(config_of('Qwen2'))
    for name, module in head.items():
      setattr(self, name, module)
    randomised(self)
    safetensors_torch.save_file(self.state_dict(), path / 'model.safetensors')
    values = self.model.config.to_dict() | {'architectures': [architecture]}
    (path / 'config.json').write_text(json.dumps(values))

  def forward(self, ids):
    return self.model(ids).last_hidden_state[0]


def two_layers(width):
  linear = torch.nn.Linear
  return {
    'score': torch.nn.Sequential(
      linear(32, 32), torch.nn.ReLU(), linear(32, width)
    ),
    'lm_head': linear(32, 7, bias=False),  # comes along, and is not read
  }


def test_qwens_process_reward_model(tmp_path):
  theirs = codec(tmp_path)
  name = 'Qwen2ForProcessRewardModel'
  module = Qwen(tmp_path, name, two_layers(2))
  mark = theirs.convert_tokens_to_ids('<extra_0>')
  expected = []
  for response in RESPONSES:
    steps = [s.strip() for s in response.split('\n\n') if s.strip()]
    text = '<extra_0>'.join(steps) + '<extra_0>'
    rows = ('system', BOXED), ('user', PROBLEM), ('assistant', text)
    ids = chat(theirs, *rows)
    with torch.no_grad():
      chances = torch.softmax(module.score(run(module, ids)), dim=-1)
    expected.append(chances[np.array(ids) == mark, 1].numpy())
  agree(verifiers.load_verifier(tmp_path), expected)


def test_qwens_outcome_reward_model(tmp_path):
  theirs = codec(tmp_path)
  module = Qwen(tmp_path, 'Qwen2ForRewardModel', two_layers(1))
  expected = []
  for response in RESPONSES:
    rows = ('system', BOXED), ('user', PROBLEM), ('assistant', response)
    with torch.no_grad():
      scores = module.score(run(module, chat(theirs, *rows)))
    expected.append(scores[-1].numpy())
  agree(verifiers.load_verifier(tmp_path), expected)


def test_skyworks_value_head(tmp_path):
  theirs = codec(tmp_path)
  head = torch.nn.ModuleDict({'summary': torch.nn.Linear(32, 1)})
  module = Qwen(tmp_path, 'Qwen2ForPrmModel', {'v_head': head})
  (newline,) = plain(theirs, '\n')
  expected = []
  for response in RESPONSES:
    ids, flags = plain(theirs, theirs.bos_token + PROBLEM + '\n'), []
    flags = [0] * len(ids)
    for piece in response.split('\n'):
      new = [*(plain(theirs, piece) if piece else []), newline]
      ids, flags = ids + new, flags + [0] * (len(new) - 1) + [1]
    with torch.no_grad():
      values = torch.sigmoid(module.v_head['summary'](run(module, ids)))[:, 0]
    expected.append(values[np.array(flags) == 1].numpy())
  agree(verifiers.load_verifier(tmp_path), expected)


def language_model(path, family='Llama', scale=0.3, **changes):
  module = getattr(transformers, f'{family}ForCausalLM')
  module = randomised(module(config_of(family, **changes)), scale)
  module.save_pretrained(path)
  return module


@pytest.mark.parametrize('tied', [False, True])
def test_math_shepherd(tied, tmp_path):
  theirs = codec(tmp_path)
  module = language_model(tmp_path, 'Mistral', tie_word_embeddings=tied)
  (mark,), (good,), (bad,) = (plain(theirs, x) for x in ('ки', '+', '-'))
  expected = []
  for response in RESPONSES:
    steps = [s for s in response.split('\n') if s.strip()]
    rows = [f'Step {i}: {s.strip()} ки' for i, s in enumerate(steps, 1)]
    ids = plain(theirs, f'{PROBLEM} ' + '\n'.join(rows))
    logits = run(module, ids).logits[0][:, [good, bad]]
    scores = torch.softmax(logits, dim=-1)[:, 0]
    expected.append(scores[np.array(ids) == mark].numpy())
  agree(verifiers.load_verifier(tmp_path, 'math_shepherd'), expected)


def test_rlhflow(tmp_path):
  """The dialogue grows: each verdict is the third token from its end."""
  theirs = codec(tmp_path)
  module = language_model(tmp_path)
  good, bad = plain(theirs, '+')[-1], plain(theirs, '-')[-1]
  expected = []
  for response in RESPONSES:
    rows, scores = [], []
    steps = [s.strip() for s in response.split('\n\n') if s.strip()]
    for i, step in enumerate(steps):
      step = step if i else f'{PROBLEM} {step}'
      rows += [('user', step), ('assistant', '+')]
      ids = chat(theirs, *rows)
      at = len(ids) - 4  # '\n' <- here, '+', '<|im_end|>', '\n'
      logits = run(module, ids).logits[0, at, [good, bad]]
      scores.append(torch.softmax(logits, dim=-1)[0].numpy())
    expected.append(scores)
  agree(verifiers.load_verifier(tmp_path, 'rlhflow'), expected)


def test_generative_verdict(tmp_path):
  theirs = codec(tmp_path)
  module = language_model(tmp_path, 'Qwen3')
  (yes,), (no,) = plain(theirs, ' Yes'), plain(theirs, ' No')
  expected = []
  for response in RESPONSES:
    text = (
      f'Problem: {PROBLEM}\nSolution: {response}\n'
      'Verification: Is the answer correct (Yes/No)?'
    )
    logits = run(module, plain(theirs, text)).logits[0, -1, [yes, no]]
    expected.append(torch.softmax(logits, dim=-1)[0].numpy())
  agree(verifiers.load_verifier(tmp_path, 'genrm'), expected)


def test_implicit_process_rewards(tmp_path):
  paths = tmp_path / 'model', tmp_path / 'reference'
  theirs, _ = map(codec, paths)
  pair = [
    language_model(path, 'Qwen2', scale)
    for path, scale in zip(paths, (0.3, 0.2), strict=True)
  ]
  verifier = verifiers.load_verifier(paths[0], 'implicit', reference=paths[1])
  kind = verifier.kind._replace(beta=0.05)
  verifier = verifier._replace(write=verifier.write._replace(kind=kind))
  expected = []
  for response in RESPONSES:
    steps = [s.strip() for s in response.split('\n\n') if s.strip()]
    text = '\n\n'.join(f'Step {i}: {s}' for i, s in enumerate(steps, 1))
    ids = chat(theirs, ('user', PROBLEM), ('assistant', text))
    rest = len(plain(theirs, '<|im_end|>\n'))
    first = len(ids) - rest - len(plain(theirs, text))
    ratio = 0.0
    for sign, module in zip((1, -1), pair, strict=True):
      logits = torch.log_softmax(run(module, ids).logits[0, :-1], dim=-1)
      ratio += sign * logits[range(len(ids) - 1), ids[1:]].numpy()
    ratio = np.concatenate([[0], ratio])  # of the token, not of the one before
    values, done = [], ''
    for i, step in enumerate(steps, 1):
      done += f'Step {i}: {step}' + ('\n\n' if i < len(steps) else '')
      end = first + len(plain(theirs, done))
      values.append(0.05 * ratio[first:end].sum())
    expected.append(np.diff(values, prepend=0))
  agree(verifier, expected)


def test_what_we_save_is_read_by_transformers(tmp_path):
  path = tmp_path / 'first'
  theirs = codec(path)
  config = config_of('Llama', num_labels=2)
  module = randomised(transformers.LlamaForTokenClassification(config))
  module.save_pretrained(path)
  ours = verifiers.load_verifier(path)
  config, _ = models.load_safetensors(write_decoder(tmp_path / 'decoder'))
  again = tmp_path / 'again'
  verifiers.save_verifier(
    again,
    'token_classification',
    ours.kind,
    config,
    ours.params,
    ours.write.tokenizer,
  )
  read = transformers.LlamaForTokenClassification.from_pretrained(again).eval()
  ids = plain(theirs, PROBLEM)
  chances = [torch.softmax(run(x, ids).logits, -1) for x in (module, read)]
  torch.testing.assert_close(*chances, atol=1e-5, rtol=0)
  loaded = verifiers.load_verifier(again)
  assert loaded.kind == ours.kind._replace(messages=loaded.kind.messages) and [
    *map(list, loaded.kind.messages)
  ] == [*map(list, ours.kind.messages)]


def write_decoder(path):
  language_model(path, tie_word_embeddings=True)
  return path
