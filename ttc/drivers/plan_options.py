"""What `plan.py` asks, as flags."""

from absl import flags

from ttc.drivers import command
from ttc.drivers.plan import PROGRAMS, Plan, Training
from ttc.models.published import PUBLISHED
from ttc.scaling.slices import Work


def define_flags() -> None:
  """Defines all but --check."""
  models = f'One of {", ".join(PUBLISHED)}, or a Hugging Face directory.'
  whole, text = flags.DEFINE_integer, flags.DEFINE_string
  text('model', 'Qwen3-8B', models)
  text('slice', 'v5e-8', 'KIND-COUNT.')
  whole('context', 2048, 'Tokens of a prompt.', 1)
  whole('samples', 16, 'Responses to each prompt.', 1)
  whole('new_tokens', 1024, 'Of a response.', 1)
  whole('problems', 8, 'Decoded, or learned from, together.', 1)
  whole('kv_budget', None, 'Tokens that a head attends to; None for all.', 1)
  whole('block_size', 16, 'Of a budget.', 1)
  flags.DEFINE_float('bytes_per_param', 2.0, 'Of the weights.', 0.1, 8)
  flags.DEFINE_enum(
    'combine',
    'sum',
    ['sum', 'max'],
    'Reading and computing add up, or overlap.',
  )
  flags.DEFINE_float('price', None, 'USD for an hour of a device.', 0)
  text('out', None, 'PNG: slices of other sizes beside it.')
  flags.DEFINE_bool('compile', False, 'Compile it too; extra kernels-aot.')
  text('layout', None, 'COPIESxDEVICES to compile; the best if not given.')
  flags.DEFINE_enum('program', 'sample', PROGRAMS, 'Which to compile.')
  whole('lora_rank', 0, 'Train an adapter, not all (train).', 0)
  whole('group_parts', 1, 'That a group is computed in (train).', 1)
  whole('population', None, 'Pairs (es), environments (ippo); 512.', 1)
  own = flags.FLAGS.flags_by_module_dict()[__name__]
  command.show_in_help(*(flag.name for flag in own))


def asked() -> Plan:
  """What the flags say."""
  f = flags.FLAGS
  return Plan(
    f.model,
    f.slice,
    Work(
      f.context,
      f.new_tokens,
      f.samples,
      f.problems,
      f.kv_budget,
      f.block_size,
    ),
    f.bytes_per_param,
    f.combine,
    f.price,
    f.out,
    f.compile,
    f.layout,
    f.program,
    Training(f.lora_rank, f.group_parts),
    f.population,
  )
