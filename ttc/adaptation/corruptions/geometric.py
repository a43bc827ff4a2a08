"""What moves or overwrites one image of a digit, and other domains.

After MNIST-C (Mu and Gilmer, arXiv 1906.02337), with values of our own: table
`mnist_ours`. What comes from beyond the border is black. Those with a key
consume it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.adaptation.corruptions import resampling

Image = Float[Array, 'H W C']
Scalar = float | Float[Array, '']


def rotate(key: PRNGKeyArray, image: Image, degrees: float) -> Image:
  """Turns it one way or the other."""
  return rotated(image, degrees * _sign(key))


def shear(key: PRNGKeyArray, image: Image, amount: float) -> Image:
  """Pushes rows sideways by a share of their height, one way or the other."""
  sideways = amount * _sign(key)
  return _affine(image, jnp.array([[1.0, 0.0], [sideways, 1.0]]))


def scale(image: Image, factor: float) -> Image:
  """Shrinks or enlarges it about its middle."""
  return _affine(image, jnp.eye(2) / factor)


def translate(key: PRNGKeyArray, image: Image, pixels: float) -> Image:
  """Moves it along both axes, each one way or the other."""
  moves = pixels * _sign(key, (2,))
  return _affine(image, jnp.eye(2), moves)


def stripe(image: Image, strength: float) -> Image:
  """Inverts the middle third of the columns, or mixes with what is inverted."""
  columns = np.arange(image.shape[1])
  third = image.shape[1] / 3
  inside = ((columns >= third) & (columns < 2 * third))[:, None]
  return jnp.where(inside, image + strength * (1 - 2 * image), image)


def dotted_line(key: PRNGKeyArray, image: Image, strength: float) -> Image:
  """Dots, three pixels apart, on a line from the left to the right border."""
  height, width, _ = image.shape
  ends = jax.random.uniform(key, (2,), jnp.float32, 0.2, 0.8) * (height - 1)
  columns = jnp.arange(0.0, width, 3.0, dtype=jnp.float32)
  share = columns / (width - 1)
  dots = jnp.stack([ends[0] + share * (ends[1] - ends[0]), columns], axis=-1)
  return _painted(image, _distance(image, dots, dots) < 0.9, strength)


def zigzag(key: PRNGKeyArray, image: Image, strength: float) -> Image:
  """A line from the left to the right border, up and down eight times."""
  height, width, _ = image.shape
  ends = jax.random.uniform(key, (2,), jnp.float32, 0.3, 0.7) * (height - 1)
  share = jnp.linspace(0.0, 1.0, 9, dtype=jnp.float32)
  swing = 0.1 * height * (-1.0) ** np.arange(9)
  rows = ends[0] + share * (ends[1] - ends[0]) + swing
  points = jnp.stack([rows, share * (width - 1)], axis=-1)
  return _painted(
    image, _distance(image, points[:-1], points[1:]) < 0.8, strength
  )


def rotated(image: Image, degrees: Scalar) -> Image:
  """Turned about its middle, against the clock; a domain for each angle."""
  angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return _affine(image, jnp.array([[cos, sin], [-sin, cos]]))


def coloured(
  key: PRNGKeyArray,
  image: Float[Array, 'H W 1'],
  low: Scalar = 0.0,
  high: Scalar = 1.0,
) -> Float[Array, 'H W 3']:
  """A grey image in two random hues: white in one, black in a dark other.

  Args:
    key: random key, consumed.
    image: grey.
    low: least hue, in turns; red is 0, green 1/3, blue 2/3.
    high: most. Intervals that do not meet make domains.
  """
  hues = jax.random.uniform(key, (2, 1), jnp.float32)
  hues = low + (high - low) * hues
  sector = (6 * hues + np.array([0.0, 4.0, 2.0], np.float32)) % 6
  white, black = jnp.clip(jnp.abs(sector - 3) - 1, 0, 1)
  return image * white + (1 - image) * 0.25 * black


def _sign(key, shape=()):
  """-1 or 1."""
  return jax.random.rademacher(key, shape, jnp.float32)


def _affine(
  image: Image, matrix: Array, shift: Scalar | Float[Array, '2'] = 0.0
) -> Image:
  """Each pixel shows the one at `matrix @ place - shift` from the middle."""
  height, width, _ = image.shape
  middle = np.array([(height - 1) / 2, (width - 1) / 2], np.float32)
  places = resampling.pixels(image) - middle
  places = places @ matrix.astype(jnp.float32).T - shift + middle
  return resampling.interpolate(image, places, 'constant')


def _distance(image, starts, ends):
  """To the nearest of some segments `[n, 2]`, of each pixel."""
  places = resampling.pixels(image)[:, :, None]
  along = ends - starts
  length = jnp.maximum(jnp.sum(along**2, axis=-1), 1e-12)
  share = jnp.sum((places - starts) * along, axis=-1) / length
  nearest = starts + jnp.clip(share, 0, 1)[..., None] * along
  return jnp.sqrt(jnp.sum((places - nearest) ** 2, axis=-1)).min(axis=-1)


def _painted(image, where, strength):
  """White where it is painted, at a strength."""
  return jnp.maximum(image, strength * where[..., None])
