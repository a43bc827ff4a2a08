"""Language models as pure functions, and where their parameters come from."""

from ttc.models.adapters import from_nnx, without_cache
from ttc.models.base import (
  Cache,
  LanguageModel,
  embed,
  encode_prompt,
  forward,
  read,
)
from ttc.models.chat import CHAT_LAYOUTS, ChatLayout
from ttc.models.checkpoints import load_checkpoint, save_checkpoint
from ttc.models.gguf import load_gguf
from ttc.models.layer_cache import summarise_prefix
from ttc.models.load import Loaded, load
from ttc.models.low_rank import LowRankSum
from ttc.models.rope import Llama3Scaling
from ttc.models.safetensors import load_safetensors
from ttc.models.save_safetensors import save_safetensors
from ttc.models.sharding import (
  cache_shardings,
  param_shardings,
  shard,
  shard_batch,
)
from ttc.models.sparse_attention import SparseAttention, block_topk
from ttc.models.table import Sequences, enumerate_sequences, table_model
from ttc.models.tokenizer import Tokenizer
from ttc.models.transformer import TransformerConfig, num_params, transformer

__all__ = [
  'CHAT_LAYOUTS',
  'Cache',
  'ChatLayout',
  'LanguageModel',
  'Llama3Scaling',
  'Loaded',
  'LowRankSum',
  'Sequences',
  'SparseAttention',
  'Tokenizer',
  'TransformerConfig',
  'block_topk',
  'cache_shardings',
  'embed',
  'encode_prompt',
  'enumerate_sequences',
  'forward',
  'from_nnx',
  'load',
  'load_checkpoint',
  'load_gguf',
  'load_safetensors',
  'num_params',
  'param_shardings',
  'read',
  'save_checkpoint',
  'save_safetensors',
  'shard',
  'shard_batch',
  'summarise_prefix',
  'table_model',
  'transformer',
  'without_cache',
]
