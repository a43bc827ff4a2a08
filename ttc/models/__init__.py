"""Language models as pure functions, and where their parameters come from."""

from ttc.models.adapters import from_nnx, without_cache
from ttc.models.base import (
  Cache,
  Front,
  LanguageModel,
  Router,
  embed,
  encode_prompt,
  forward,
  read,
  read_front,
)
from ttc.models.chat import CHAT_LAYOUTS, ChatLayout
from ttc.models.checkpoints import load_checkpoint, save_checkpoint
from ttc.models.experts import (
  Experts,
  RouteOverride,
  Routing,
  check_override,
  expert_mask,
  layer_mask,
  no_override,
)
from ttc.models.gguf import load_gguf
from ttc.models.int8 import (
  QUANTIZATIONS,
  Int8Kernel,
  W8A8Kernel,
  dequantize,
  is_quantized,
  quantize,
)
from ttc.models.layer_cache import summarise_prefix
from ttc.models.load import Loaded, load
from ttc.models.low_rank import LowRankSum
from ttc.models.rope import (
  DynamicScaling,
  LinearScaling,
  Llama3Scaling,
  LongRopeScaling,
  YarnScaling,
)
from ttc.models.routing import read_routed, routing
from ttc.models.safetensors import load_safetensors
from ttc.models.save_safetensors import save_safetensors
from ttc.models.sharding import (
  ZERO,
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
  'QUANTIZATIONS',
  'ZERO',
  'Cache',
  'ChatLayout',
  'DynamicScaling',
  'Experts',
  'Front',
  'Int8Kernel',
  'LanguageModel',
  'LinearScaling',
  'Llama3Scaling',
  'Loaded',
  'LongRopeScaling',
  'LowRankSum',
  'RouteOverride',
  'Router',
  'Routing',
  'Sequences',
  'SparseAttention',
  'Tokenizer',
  'TransformerConfig',
  'W8A8Kernel',
  'YarnScaling',
  'block_topk',
  'cache_shardings',
  'check_override',
  'dequantize',
  'embed',
  'encode_prompt',
  'enumerate_sequences',
  'expert_mask',
  'forward',
  'from_nnx',
  'is_quantized',
  'layer_mask',
  'load',
  'load_checkpoint',
  'load_gguf',
  'load_safetensors',
  'no_override',
  'num_params',
  'param_shardings',
  'quantize',
  'read',
  'read_front',
  'read_routed',
  'routing',
  'save_checkpoint',
  'save_safetensors',
  'shard',
  'shard_batch',
  'summarise_prefix',
  'table_model',
  'transformer',
  'without_cache',
]
