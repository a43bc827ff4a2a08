"""Public verifiers: heads, scores in a policy's vocabulary, what is refused.

A byte is a token; a model whose feature at a token is the one-hot of that token
says where it was read.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from byte_writers import WORDS, byte_level, tokenizer, writer

from ttc import models, verifiers
from ttc.types import FinishReason, Generation, Prompt
from ttc.verifiers import kinds, public

TEXT_KIND = {'messages': [['text', '{problem}{steps}']]}


def test_two_outputs_are_one_and_two_layers_fold_into_none():
  """Logits .3 and 1.7: the softmax of the second is sigmoid(1.4)."""
  kind = kinds.KINDS['token_classification']
  tensors = {
    'score.weight': np.array([[0.1, 0.0], [0.5, 0.0]], np.float32),
    'score.bias': np.array([0.1, 0.7], np.float32),
  }
  head = public._head(kind, tensors, 2, 'here')
  logit = verifiers.head_logits(head, jnp.array([2.0, 1.0]))
  np.testing.assert_allclose(jax.nn.sigmoid(logit), 0.8021839, rtol=1e-6)
  hidden = {
    'kernel': jnp.array([[1.0, 0], [-1, 0]]),
    'bias': jnp.array([0, 1.0]),
  }
  two = {'hidden': hidden, 'kernel': jnp.array([3.0, 5.0]), 'bias': 7.0}
  # relu(2), relu(1 - 2): the second unit is off.
  assert verifiers.head_logits(two, jnp.array([2.0, 9.0])) == 3 * 2 + 7


def test_implicit_rewards_are_sums_of_log_ratios():
  model = jnp.array([[[0.5, 0.25, 0.5, 0.8, 0.4]]])
  reference = jnp.array([[[0.25, 0.5, 0.5, 0.4, 0.8]]])
  ratios = jnp.log(model) - jnp.log(reference)
  ends, starts = jnp.array([[[1, 3, 4]]]), jnp.array([[0]])
  steps = verifiers.step_rewards(ratios, starts, ends, 0.05)[0, 0]
  np.testing.assert_allclose(steps, [0, 0.0346574, -0.0346574], atol=1e-7)
  q = jnp.cumsum(steps)
  np.testing.assert_allclose(q, [0, 0.03465736, 0], atol=1e-7)
  assert jax.nn.sigmoid(q[-1]) == 0.5
  late = verifiers.step_rewards(ratios, starts + 1, ends, 0.05)[0, 0]
  np.testing.assert_allclose(late[0], 0.05 * np.log(0.5), rtol=1e-6)


def one_hot_verifier(name, merged=WORDS, **changes):
  """Scores a token by its id over the number of tokens."""
  write = writer(name, merged, **changes)
  size = write.tokenizer.vocab_size
  head = {'kernel': jnp.arange(size) / size, 'bias': jnp.zeros(())}
  params = {'model': jnp.eye(size), 'head': head}
  return public.Verifier(models.table_model(size), params, write, name)


def generation(codec, texts, capacity, reasons):
  rows = [codec.encode(text) for text in texts]
  tokens = np.zeros((1, len(rows), capacity), np.int32)
  for row, ids in zip(tokens[0], rows, strict=True):
    row[: len(ids)] = ids
  zeros = jnp.zeros(tokens.shape)
  lengths = jnp.array([[len(ids) for ids in rows]])
  tokens = jnp.asarray(tokens)
  return Generation(tokens, lengths, zeros, zeros, jnp.array([reasons]))


def test_responses_of_a_policy_are_scored_in_its_own_vocabulary():
  """Inside of a compiled loop, and as the texts would be."""
  verifier = one_hot_verifier('qwen_process', aggregate='min')
  verifier = verifier._replace(
    write=verifier.write._replace(
      kind=verifier.kind._replace(step='{step}{read}{mark}')
    )
  )
  policy = tokenizer(merged=['ab', '\n\n', 'ba'], control=['<end>'])
  ids = policy.encode('Q: ab?')
  prompt = Prompt(jnp.array([[*ids, 0, 0]]), jnp.array([len(ids)]))
  texts = ['ba\n\nab', 'ba\n\nab\n\n', 'ba\nSTOP', '']
  whole, running = FinishReason.STOP, FinishReason.RUNNING
  reasons = [whole, running, whole, running]
  responses = generation(policy, texts, 12, reasons)
  score_fn = verifiers.text_score_fn(
    verifier,
    policy,
    verifiers.questions([ids], ['ab']),
    room=(256, 64, 4),
    stop=['\nSTOP'],
  )
  direct = score_fn(prompt, responses)

  @jax.jit
  def loop(params, prompt, responses):
    inner = verifiers.text_score_fn(
      verifier._replace(params=params),
      policy,
      verifiers.questions([ids], ['ab']),
      room=(256, 64, 4),
      stop=['\nSTOP'],
    )
    step = lambda total, _: (total + inner(prompt, responses), None)
    total, _ = jax.lax.scan(step, jnp.zeros((1, 4)), length=5)
    return total / 5

  looped = loop(verifier.params, prompt, responses)
  np.testing.assert_allclose(looped, direct, rtol=1e-6)
  texts = [['ba\n\nab', 'ba\n\nab', 'ba']]
  steps = verifiers.step_scores_of_texts(verifier, ['ab'], texts)[0]
  expected = [steps[0].min(), steps[1][-1], steps[2][0], 0.0]
  np.testing.assert_allclose(direct[0], expected, rtol=1e-6)
  assert direct[0, 0] != direct[0, 1]  # all steps of one, the last of the other
  other = Prompt(prompt.tokens + 1, prompt.lengths)
  with pytest.raises(Exception, match='whose problems the verifier knows'):
    jax.block_until_ready(score_fn(other, responses))


@pytest.mark.slow
def test_verdicts_are_drawn_by_the_law_of_the_verifier():
  """Yes with odds of 3 to 1, or another token that ends nothing."""
  write = writer('genrm_cot', merged=WORDS)
  yes, no = (write.tokenizer.encode(word)[0] for word in write.kind.words)
  size = write.tokenizer.vocab_size
  row = np.full(size, -np.inf, np.float32)
  row[[yes, no, 7]] = np.log([3, 1, 4])
  table = jnp.broadcast_to(jnp.asarray(row), (size, size))
  params = {'model': table, 'head': None}
  model = models.table_model(size)
  verifier = public.Verifier(model, params, write, 'table')
  keys = jax.random.split(jax.random.key(0), 2)
  problems, texts = ['p', 'q'], [['a', 'b', 'a'], ['c', 'd']]
  scores = verifiers.verdicts_of_texts(verifier, keys, problems, texts, 128, 12)
  assert [len(x) for x in scores] == [3, 2]
  assert len({*np.concatenate(scores).tolist()}) > 1
  for x in np.concatenate(scores):  # four standard errors of 128 verdicts
    assert abs(x - 0.75) < 4 * (0.75 * 0.25 / 128) ** 0.5
  outcome = one_hot_verifier('sequence_classification')
  with pytest.raises(ValueError, match='has no words for a verdict'):
    verifiers.verdicts_of_texts(outcome, keys, problems, texts, 1, 1)


def test_raw_rewards_keep_their_order_as_scores():
  verifier = one_hot_verifier(
    'sequence_classification',
    messages=[('text', '{problem}{steps}')],
  )
  verifier.params['head']['kernel'] *= 20
  policy = tokenizer()
  prompt = Prompt(jnp.array([[1, 2]]), jnp.array([2]))
  responses = generation(policy, ['a', 'z', 'Z'], 2, [FinishReason.STOP] * 3)
  score_fn = verifiers.text_score_fn(
    verifier, policy, lambda ids: 'p', room=(8, 8, 1)
  )
  scores = score_fn(prompt, responses)[0]
  (raw,) = verifiers.score_texts(verifier, ['p'], [['a', 'z', 'Z']])
  assert raw.max() > 1
  np.testing.assert_allclose(scores, jax.nn.sigmoid(raw), rtol=1e-6)


def write_directory(path, architecture, tensors, merged=(), **values):
  """A one-layer decoder of zeros with a head, as a directory."""
  safetensors_numpy = pytest.importorskip('safetensors.numpy')
  backend = byte_level(merged)
  D, V = 4, backend.get_vocab_size()
  layer, attention = 'model.layers.0', 'model.layers.0.self_attn'
  shapes = {
    'model.embed_tokens.weight': (V, D),
    'model.norm.weight': (D,),
    f'{layer}.input_layernorm.weight': (D,),
    f'{layer}.post_attention_layernorm.weight': (D,),
    **{f'{attention}.{x}_proj.weight': (D, D) for x in 'qkvo'},
    f'{layer}.mlp.gate_proj.weight': (6, D),
    f'{layer}.mlp.up_proj.weight': (6, D),
    f'{layer}.mlp.down_proj.weight': (D, 6),
    **tensors,
  }
  if 'Qwen2' in architecture:
    shapes |= {f'{attention}.{x}_proj.bias': (D,) for x in 'qkv'}
  arrays = {name: np.zeros(s, np.float32) for name, s in shapes.items()}
  safetensors_numpy.save_file(arrays, path / 'model.safetensors')
  config = {
    'architectures': [architecture],
    'vocab_size': V,
    'hidden_size': D,
    'intermediate_size': 6,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'max_position_embeddings': 64,
    'tie_word_embeddings': False,
    **values,
  }
  (path / 'config.json').write_text(json.dumps(config))
  backend.save(str(path / 'tokenizer.json'))


def test_a_directory_may_say_itself_how_it_is_read(tmp_path):
  write_directory(
    tmp_path, 'LlamaForSequenceClassification', {'score.weight': (1, 4)}
  )
  with pytest.raises(ValueError, match='reads a chat, and its tokenizer'):
    verifiers.load_verifier(tmp_path)
  file = tmp_path / 'verifier.json'
  kind = kinds.KINDS['sequence_classification']._replace(**TEXT_KIND)
  file.write_text(json.dumps(kinds.to_values('sequence_classification', kind)))
  loaded = verifiers.load_verifier(tmp_path)
  assert loaded.kind == kind
  (scores,) = verifiers.score_texts(loaded, ['p'], [['a', 'b']])
  np.testing.assert_array_equal(scores, [0, 0])
  for values, message in (
    ({'kind': ['x']}, r"verifier \['x'\] is not one of sequence_class"),
    ({'kind': 'x'}, "verifier 'x' is not one of sequence_class"),
    ({'aggregate': 'sum'}, "aggregate='sum' is not one of last, min"),
    ({'tensors': {}}, "'tensors' is not one of kind, messages"),
    ({'split': 1}, 'split=1 is not a text'),
    ({'messages': [['user']]}, 'is not a list of pairs of role and text'),
    ({'messages': [['me', '']]}, "role 'me' is not one of text, system"),
    ({'step': '{mark}'}, "has a {mark}, and mark is ''"),
    ({'messages': [['text', '{step}']]}, 'lack {steps}'),
    ({'step': '{x}'}, r"{x} in '{x}' is not one of problem, step"),
    ({'step': '{'}, "'{': "),
  ):
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
      verifiers.load_verifier(tmp_path)


@pytest.mark.parametrize(
  'architecture,tensors,kind,message',
  [
    ('T5Model', {}, None, "'T5Model' is no verifier: not one of .*ForSequ"),
    ('LlamaForCausalLM', {}, None, 'a language model is one by its kind, math'),
    ('LlamaForCausalLM', {}, 'prm', "verifier 'prm' is not one of sequence_"),
    ('LlamaForCausalLM', {}, 'qwen_process', r'is not \*ForProcessRewardModel'),
    (
      'GPT2ForSequenceClassification',
      {'score.weight': (1, 4)},
      None,
      "'GPT2ForCausalLM' is not one of LlamaForCausalLM",
    ),
    (
      'LlamaForTokenClassification',
      {'score.weight': (3, 4), 'score.bias': (3,)},
      None,
      r"head 'score.weight' has shape \(3, 4\); such a verifier has \(2, 4\)",
    ),
    (
      'LlamaForTokenClassification',
      {'score.weight': (2, 4)},
      None,
      "there is no tensor 'score.bias' of a head",
    ),
    (
      'LlamaForCausalLM',
      {'lm_head.weight': (260, 4)},
      'genrm',
      "' Yes' is 4 tokens of its tokenizer; the verifier needs it to be one",
    ),
    (
      'LlamaForCausalLM',
      {'lm_head.weight': (260, 4)},
      'math_shepherd',
      "'ки' is 4 tokens",
    ),
    (
      'LlamaForCausalLM',
      {'lm_head.weight': (260, 4)},
      'implicit',
      'an implicit process reward has a reference',
    ),
  ],
)
def test_what_does_not_fit_is_named(
  tmp_path, architecture, tensors, kind, message
):
  write_directory(tmp_path, architecture, tensors)
  with pytest.raises(ValueError, match=message):
    verifiers.load_verifier(tmp_path, kind)


def test_what_is_not_there_is_told(tmp_path):
  with pytest.raises(FileNotFoundError, match='nothing: no such directory'):
    verifiers.load_verifier(tmp_path / 'nothing')
  without = r"'a model without config\.json' is no"
  with pytest.raises(ValueError, match=without):
    verifiers.load_verifier(tmp_path)
  with pytest.raises(ValueError, match=without):
    verifiers.load_verifier(tmp_path, 'qwen_process')
  with pytest.raises(ValueError, match=r'needs config\.json'):
    verifiers.load_verifier(tmp_path, 'genrm')
