"""Files that are damaged or say what cannot be: one line each, nothing read."""

import json
import pathlib
import struct

import numpy as np
import pytest

from ttc import models
from ttc.models import checkpoints, gguf_file
from ttc.models.gguf import gguf_config
from ttc.models.safetensors import huggingface_config
from ttc.models.tokenizer_files import tokenizer_from_directory

st = pytest.importorskip('safetensors.numpy')
pytest.importorskip('gguf')

CONFIG = {
  'architectures': ['LlamaForCausalLM'],
  'vocab_size': 5,
  'num_hidden_layers': 1,
  'hidden_size': 4,
  'intermediate_size': 4,
  'num_attention_heads': 2,
  'num_key_value_heads': 1,
  'max_position_embeddings': 8,
  'rms_norm_eps': 1e-5,
}
MISTRAL = {'architectures': ['MistralForCausalLM']}
QWEN = {'architectures': ['Qwen2ForCausalLM'], 'use_sliding_window': True}
LLAMA3 = {
  'rope_type': 'llama3',
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 8192,
}
BAD_CONFIGS = [
  ({'vocab_size': 0}, 'vocab_size=0 is not a whole number of at least 1'),
  ({'vocab_size': -5}, 'vocab_size=-5 is not a whole number'),
  ({'vocab_size': '5'}, "vocab_size='5' is not a whole number"),
  ({'vocab_size': 5.0}, 'vocab_size=5.0 is not a whole number'),
  ({'vocab_size': [5]}, r'vocab_size=\[5\] is not a whole number'),
  ({'vocab_size': True}, 'vocab_size=True is not a whole number'),
  ({'vocab_size': None}, 'vocab_size is missing'),
  ({'num_hidden_layers': 0}, 'num_hidden_layers=0 is not'),
  ({'hidden_size': -4}, 'hidden_size=-4 is not'),
  ({'intermediate_size': 0}, 'intermediate_size=0 is not'),
  ({'num_attention_heads': 0}, 'num_attention_heads=0 is not'),
  ({'num_attention_heads': 3}, 'hidden_size=4 is not a multiple of num_att'),
  ({'num_key_value_heads': 0}, 'num_key_value_heads=0 is not'),
  ({'num_key_value_heads': 4}, 'num_heads=2 is not a multiple of num_kv'),
  ({'head_dim': 3}, 'head_dim=3 is odd'),
  ({'head_dim': 0}, 'head_dim=0 is not'),
  ({'max_position_embeddings': -1}, 'max_position_embeddings=-1 is not'),
  ({'rms_norm_eps': 0}, 'rms_norm_eps=0 is not a positive number'),
  ({'rms_norm_eps': None}, 'rms_norm_eps=None is not a positive number'),
  ({'rms_norm_eps': 'tiny'}, "rms_norm_eps='tiny' is not a positive number"),
  ({'tie_word_embeddings': None}, 'tie_word_embeddings=None is neither true'),
  ({'tie_word_embeddings': 'no'}, "tie_word_embeddings='no' is neither true"),
  ({'rope_theta': -1.0}, 'rope_theta=-1.0 is not a positive number'),
  ({'rope_theta': None}, 'rope_theta=None is not a positive number'),
  ({'rope_scaling': 'llama3'}, "rope_scaling='llama3' is not an object"),
  ({'rope_parameters': [1]}, r'rope_parameters=\[1\] is not an object'),
  ({'rope_scaling': LLAMA3 | {'factor': 0}}, 'factor=0 is not a positive'),
  (
    {'rope_scaling': LLAMA3 | {'high_freq_factor': 1.0}},
    'high_freq_factor=1.0 must be above low_freq_factor=1.0',
  ),
  ({'architectures': 'Llama'}, "architecture 'Llama' is not one of"),
  ({'architectures': [{}]}, 'architecture {} is not one of'),
  (MISTRAL | {'sliding_window': 0}, 'sliding_window=0 is not'),
  (MISTRAL | {'sliding_window': '9'}, "sliding_window='9' is not"),
  (QWEN | {'use_sliding_window': 1}, 'use_sliding_window=1 is neither'),
  (QWEN | {'max_window_layers': -1}, 'max_window_layers=-1 is not'),
  (QWEN | {'layer_types': []}, 'layer_types is not a list of num_hidden_lay'),
  (QWEN | {'layer_types': [{}]}, 'layer_types {} is not one of'),
  (b'', 'not JSON'),
  (b'{"vocab', 'not JSON'),
  (b'[1]', r'\[1\] is not a JSON object'),
  (b'null', 'None is not a JSON object'),
  (b'{"\xff": 1}', 'not UTF-8'),
  (b'[' * 100_000, 'not JSON: nested too deep'),
]


def check_line(error, path):
  """One line that begins with a file of the path."""
  text = str(error.value)
  assert '\n' not in text and text.startswith(str(path)), text


@pytest.mark.parametrize(('changes', 'message'), BAD_CONFIGS)
def test_configs(tmp_path, changes, message):
  if isinstance(changes, dict):
    changes = json.dumps(CONFIG | changes).encode()
  file = tmp_path / 'config.json'
  file.write_bytes(changes)
  with pytest.raises(ValueError, match=message) as error:
    huggingface_config(tmp_path)
  check_line(error, file)


BAD_INDEXES = [
  ({}, 'weight_map is missing or empty'),
  ({'weight_map': {}}, 'weight_map is missing or empty'),
  ({'weight_map': ['x']}, r"weight_map=\['x'\] is not an object"),
  ({'weight_map': {'a': '../x.safetensors'}}, "'a' into '../x.safetensors'"),
  ({'weight_map': {'a': '/etc/x.safetensors'}}, "'a' into '/etc/x.safe"),
  ({'weight_map': {'a': 'b/x.safetensors'}}, "'a' into 'b/x.safetensors'"),
  ({'weight_map': {'a': 7}}, "'a' into 7, which is not the name"),
  ({'weight_map': {'a': None}}, "'a' into None, which"),
  ({'weight_map': {'a': 'x.bin'}}, "'a' into 'x.bin', which"),
  ({'weight_map': {'a': 'gone.safetensors'}}, 'no such file, but the index'),
  ({'weight_map': {'a': 'x.safetensors'}}, "no tensor 'a', but the index"),
  ({'weight_map': {'b': 'x.safetensors'}}, "tensor 'c' is not in the index"),
  (b'{"weight', 'not JSON'),
]


@pytest.mark.parametrize(('index', 'message'), BAD_INDEXES)
def test_indexes(tmp_path, index, message):
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  tensors = {'b': np.zeros(2), 'c': np.zeros(2)}
  st.save_file(tensors, tmp_path / 'x.safetensors')
  data = index if isinstance(index, bytes) else json.dumps(index).encode()
  (tmp_path / 'model.safetensors.index.json').write_bytes(data)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
    models.load_safetensors(tmp_path)
  check_line(error, tmp_path)


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'', 'truncated or damaged'),
    (b'\xff' * 64, 'truncated or damaged'),
    (struct.pack('<Q', 1 << 50) + b'{}', 'truncated or damaged'),
    (struct.pack('<Q', 2) + b'{}', "no tensor 'model.embed_tokens.weight'"),
    (struct.pack('<Q', 4) + b'nope', 'truncated or damaged'),
  ],
)
def test_weights(tmp_path, data, message):
  # A billion layers are refused at the first that is missing.
  config = CONFIG | {'num_hidden_layers': 10**9}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  (tmp_path / 'model.safetensors').write_bytes(data)
  with pytest.raises(ValueError, match=message) as error:
    models.load_safetensors(tmp_path)
  check_line(error, tmp_path)


def test_two_places_of_weights(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  for name in ('model.safetensors', 'model.safetensors.index.json'):
    (tmp_path / name).write_text('{}')
  with pytest.raises(ValueError, match='has both model'):
    models.load_safetensors(tmp_path)


SCALARS = {int: (4, '<I'), float: (6, '<f'), bool: (7, '<?')}


def text(value):
  return struct.pack('<Q', len(value)) + value.encode()


def metadata_value(value):
  if isinstance(value, bytes):  # as it lies in the file
    return value
  if isinstance(value, str):
    return struct.pack('<I', 8) + text(value)
  if type(value) is int and value < 0:
    return struct.pack('<Ii', 5, value)
  kind, form = SCALARS[type(value)]
  return struct.pack('<I', kind) + struct.pack(form, value)


METADATA = [
  ('general.architecture', 'llama'),
  ('llama.block_count', 1),
  ('llama.attention.head_count', 2),
  ('llama.embedding_length', 4),
  ('llama.feed_forward_length', 4),
  ('llama.context_length', 8),
  ('llama.attention.layer_norm_rms_epsilon', 1e-5),
]
# Name, shape as the file has it, type, offset, as its header says.
TENSORS = [('token_embd.weight', (4, 5), 0, 0), ('a', (4,), 0, 96)]


def write_gguf(path, metadata=(), tensors=TENSORS, size=128, tail=b''):
  values = [x for x in METADATA if x[0] not in dict(metadata)] + [*metadata]
  head = b'GGUF' + struct.pack('<IQQ', 3, len(tensors), len(values))
  for name, value in values:
    head += text(name) + metadata_value(value)
  for name, shape, kind, offset in tensors:
    head += text(name) + struct.pack(f'<I{len(shape)}Q', len(shape), *shape)
    head += struct.pack('<IQ', kind, offset)
  head += b'\0' * (-len(head) % 32)
  path.write_bytes(head + b'\0' * size + tail)


def nested(depth):
  return struct.pack('<I', 9) + struct.pack('<IQ', 9, 1) * depth


EMBED = TENSORS[0]
BAD_GGUF = [
  ({'metadata': [('general.alignment', 0)]}, 'general.alignment=0 is not a po'),
  ({'metadata': [('general.alignment', 24)]}, 'general.alignment=24 is not'),
  ({'metadata': [('general.alignment', '32')]}, "general.alignment='32' is"),
  ({'metadata': [('general.architecture', 7)]}, 'architecture 7 is not one'),
  ({'metadata': [('llama.block_count', 0)]}, 'block_count=0 is not a whole'),
  ({'metadata': [('llama.block_count', -1)]}, 'block_count=-1 is not a whole'),
  ({'metadata': [('llama.block_count', '1')]}, "block_count='1' is not"),
  ({'metadata': [('llama.block_count', 1.5)]}, 'block_count=1.5 is not'),
  ({'metadata': [('llama.block_count', True)]}, 'block_count=True is not'),
  ({'metadata': [('llama.attention.head_count', 0)]}, 'head_count=0 is not'),
  ({'metadata': [('llama.attention.head_count', 3)]}, 'embedding_length=4 is'),
  ({'metadata': [('llama.attention.head_count_kv', 0)]}, 'head_count_kv=0 is'),
  ({'metadata': [('llama.attention.key_length', 3)]}, 'head_dim=3 is odd'),
  ({'metadata': [('llama.context_length', '8')]}, "context_length='8' is not"),
  ({'metadata': [('llama.rope.freq_base', 0.0)]}, 'freq_base=0.0 is not a pos'),
  (
    {'metadata': [('llama.attention.layer_norm_rms_epsilon', -1.0)]},
    'epsilon=-1.0 is not a positive number',
  ),
  ({'metadata': [('x', 1), ('x', 2)]}, "the metadata has 'x' twice"),
  ({'metadata': [('x', struct.pack('<I', 99))]}, 'metadata of unknown type 99'),
  ({'metadata': [('x', nested(5))]}, 'metadata nested more than 4 deep'),
  ({'metadata': [('x', nested(50_000))]}, 'metadata nested more than 4 deep'),
  (
    {'metadata': [('x', struct.pack('<IQ', 8, 1 << 60))]},
    'truncated or damaged',
  ),
  (
    {'metadata': [('x', struct.pack('<IIQ', 9, 8, 1 << 60))]},
    'truncated or damaged',
  ),
  (
    {'metadata': [('x', struct.pack('<IQ', 8, 2) + b'\xff\xfe')]},
    'truncated or damaged',
  ),
  ({'tensors': [EMBED, EMBED]}, "tensor 'token_embd.weight' is there twice"),
  ({'tensors': [EMBED, ('a', (), 0, 96)]}, "tensor 'a' has 0 axes, not 1 to 4"),
  ({'tensors': [EMBED, ('a', (1,) * 9, 0, 96)]}, "tensor 'a' has 9 axes"),
  ({'tensors': [EMBED, ('a', (0, 4), 0, 96)]}, r"'a' has shape \(4, 0\)"),
  ({'tensors': [EMBED, ('a', (4,), 99, 96)]}, "'a' has the unknown type 99"),
  ({'tensors': [EMBED, ('a', (4,), 0, 97)]}, "'a' has offset 97, which is no"),
  (
    {'tensors': [EMBED, ('a', (1 << 40, 1 << 20), 0, 96)]},
    "truncated: tensor 'a' needs bytes up to",
  ),
  ({'tensors': [EMBED, ('a', (4,), 0, 64)]}, "tensor 'a' begins at byte"),
  ({'tensors': [EMBED, ('a', (4,), 0, 160)]}, "tensor 'a' begins at byte"),
  # Half as wide as it was written, and of blocks that do not divide the rows.
  ({'tensors': [('token_embd.weight', (4, 5), 1, 0), TENSORS[1]]}, 'begins at'),
  ({'tensors': [('token_embd.weight', (4, 5), 2, 0)]}, 'is Q4_0, whose blocks'),
  ({'tail': b'x'}, 'the tensors end at byte'),
  ({'size': 100}, "truncated: tensor 'a' needs bytes"),
  ({'tensors': []}, "there is no tensor 'token_embd.weight'"),
  ({'metadata': [('llama.rope.scaling.factor', -4.0)]}, 'factor=-4.0 is not a'),
  (
    {'metadata': [('llama.rope.scaling.type', 'yarn')]},
    'lacks .llama.rope',
  ),
  ({'metadata': [('llama.rope.scaling.type', 7)]}, 'rope scaling 7 by'),
]


@pytest.mark.parametrize(('changes', 'message'), BAD_GGUF)
def test_gguf(tmp_path, changes, message):
  path = tmp_path / 'x.gguf'
  write_gguf(path, **changes)
  with pytest.raises(ValueError, match=message) as error:
    models.load_gguf(path)
  check_line(error, path)


def test_the_tables_change_files_that_are_good(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  assert huggingface_config(tmp_path).vocab_size == 5
  path = tmp_path / 'x.gguf'
  write_gguf(path)
  file = gguf_file.read(path)
  gguf_file.check_tensors(file)
  assert gguf_config(file).vocab_size == 5
  plain = ('none', 4.0), ('linear', 1.0), ('linear', 0.0)
  for kind, factor in plain:
    scaling = [
      ('llama.rope.scaling.type', kind),
      ('llama.rope.scaling.factor', factor),
    ]
    write_gguf(path, scaling)
    assert gguf_config(gguf_file.read(path)).rope_scaling is None


BAD_TOKENIZERS = [
  ({'tokenizer.json': '{"model"'}, 'not a tokenizer'),
  ({'tokenizer.json': ''}, 'not a tokenizer'),
  ({'tokenizer.json': '[]'}, 'not a tokenizer'),
  ({'tokenizer_config.json': '{"chat'}, 'not JSON'),
  ({'tokenizer_config.json': '[1]'}, 'is not a JSON object'),
  ({'tokenizer_config.json': b'{"\xff": 1}'}, 'not UTF-8'),
  ({'tokenizer_config.json': '{"chat_template": 7}'}, 'chat_template=7 is nei'),
  ({'tokenizer_config.json': '{"chat_template": [7]}'}, 'a list of other'),
  ({'tokenizer_config.json': '{"chat_template": [{}]}'}, 'a list of other'),
  ({'generation_config.json': '{"eos'}, 'not JSON'),
  ({'generation_config.json': '{"eos_token_id": "2"}'}, "eos_token_id='2' is"),
  ({'generation_config.json': '{"eos_token_id": [-1]}'}, 'is neither a token'),
  ({'config.json': '{"eos_token_id": [[2]]}'}, 'is neither a token id nor'),
  ({'config.json': '{"eos_token_id": true}'}, 'eos_token_id=True is neither'),
  ({'chat_template.jinja': b'\xff'}, 'not UTF-8'),
]


@pytest.mark.parametrize(('files', 'message'), BAD_TOKENIZERS)
def test_tokenizers(tmp_path, files, message):
  tokenizers = pytest.importorskip('tokenizers')
  model = tokenizers.models.WordLevel({'a': 0, '?': 1}, unk_token='?')
  tokenizers.Tokenizer(model).save(str(tmp_path / 'tokenizer.json'))
  assert tokenizer_from_directory(tmp_path).vocab_size == 2
  for name, data in files.items():
    data = data if isinstance(data, bytes) else data.encode()
    (tmp_path / name).write_bytes(data)
  with pytest.raises(ValueError, match=message) as error:
    tokenizer_from_directory(tmp_path)
  check_line(error, tmp_path / next(iter(files)))


OURS = {
  'vocab_size': 5,
  'num_layers': 1,
  'embed_dim': 4,
  'mlp_dim': 4,
  'num_heads': 2,
  'num_kv_heads': 1,
  'head_dim': 2,
  'rope_scaling': None,
  'windowed_layers': None,
}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'num_layers': 0}, 'num_layers=0 is not'),
    ({'num_layers': '1'}, "num_layers='1' is not"),
    ({'embed_dim': -4}, 'embed_dim=-4 is not'),
    ({'head_dim': 3}, 'head_dim=3 is odd'),
    ({'norm_eps': None}, 'norm_eps is missing'),
    ({'tie_embeddings': 'no'}, "tie_embeddings='no' is neither"),
    ({'sliding_window': 0}, 'sliding_window=0 is not'),
    ({'dtype': 'float31'}, "dtype='float31' is not the name"),
    ({'rope_scaling': {'speed': 2}}, 'not a config'),
    ({'rope_scaling': {'kind': 'warp'}}, 'not a config'),
    ({'attention_softcap': 0}, 'attention_softcap=0 is not a positive number'),
    ({'rotary_dim': 1}, 'rotary_dim=1 is not an even number of the 2'),
    ({'activation': 'relu'}, "activation='relu' is not 'silu'"),
    ({'windowed_layers': 3}, 'not a config'),
    ({'unknown': 1}, 'not a config'),
    (b'[]', 'not a config'),
    (b'{"vocab', 'not a config'),
    (b'\xff', 'not a config'),
  ],
)
def test_our_configs(tmp_path, changes, message):
  data = changes
  if isinstance(changes, dict):
    data = json.dumps(OURS | changes).encode()
  file = pathlib.Path(tmp_path.resolve(), checkpoints.CONFIG_NAME)
  file.write_bytes(data)
  with pytest.raises(ValueError, match=message) as error:
    checkpoints.checkpoint_config(tmp_path)
  check_line(error, file)
