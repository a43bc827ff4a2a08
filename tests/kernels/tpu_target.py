"""Programs for TPUs, made where there is none; libtpu holds the compiler."""

import functools
import math
import os
import re

import jax
from gpu_target import print_temporaries
from jax.experimental import topologies

TOPOLOGIES = {'v5e': 'v5e:2x2', 'v5p': 'v5p:2x2x1', 'v6e': 'v6e:2x2'}


@functools.cache
def topology(chip):
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  return topologies.get_topology_desc(
    platform='tpu', topology_name=TOPOLOGIES[chip]
  )


def compiled(chip, function, arguments):
  """The optimised program of a function for one chip, as text.

  Arguments that say where they lie stay there.
  """
  sharding = jax.sharding.SingleDeviceSharding(topology(chip).devices[0])
  arguments = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=x.sharding or sharding
    ),
    arguments,
  )
  compiled = jax.jit(function).trace(*arguments).lower().compile()
  print_temporaries(compiled)
  return compiled.as_text()


def vector_memory(text):
  """Bytes of vector memory of each kernel."""
  used = (
    r'"used_scoped_memory_configs":\[\{"memory_space":"1",[^}]*"size":"(\d+)"'
  )
  return [
    int(size)
    for line in text.splitlines()
    if 'tpu_custom_call' in line
    for size in re.findall(used, line)
  ]


def copies(text, size, operations=('copy', 'copy-start', 'transpose')):
  """Lines that copy or transpose an array of at least so many elements."""
  names = '|'.join(map(re.escape, operations))
  found = re.compile(rf'= \(?\w+\[([\d,]+)\]\S* (?:{names})\(')
  return [
    line
    for line in text.splitlines()
    for shape in found.findall(line)
    if math.prod(map(int, shape.split(','))) >= size
  ]


def results(text, operations=(r'[\w-]+',)):
  """The axes of results of such operations, those of one element left out."""
  found = re.compile(rf'= \(?\w+\[([\d,]+)\]\S* (?:{"|".join(operations)})\(')
  return [
    [int(x) for x in shape.split(',') if x != '1']
    for shape in found.findall(text)
  ]
