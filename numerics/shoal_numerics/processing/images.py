"""From JPEG and PNG files to a model's input: decode, upright, colours, size, numbers.

Pillow decodes; a file that is damaged, too large or of another form costs its own sample alone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from shoal_contract.manifest import TensorSpec
from shoal_contract.processing import CHANNELS, ImageInput
from shoal_numerics.processing.cast import cast
from shoal_numerics.processing.errors import ProcessingError, SampleError
from shoal_numerics.processing.made import Made, Placement
from shoal_numerics.processing.resize import resized
from shoal_numerics.tensors import NUMPY_TYPES, Array

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

FORMATS: Final = ("JPEG", "PNG")
_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_MAX_DETAIL_CHARS: Final = 200
_REMEDY: Final = "send a whole JPEG or PNG of 8 bits a channel"


def make_images(made: ImageInput, spec: TensorSpec, files: Sequence[object], max_pixels: int) -> Made:
    """Make an input of images.

    Args:
        made: How.
        spec: The input; its datatype is what pixels become.
        files: One encoded image a sample, as bytes.
        max_pixels: The device's own bound of one image, beside the manifest's.

    Returns:
        (samples, channels, height, width) or (samples, height, width, channels), by the declared layout.

    Raises:
        ProcessingError: Pillow is not installed.
    """
    need_pillow()
    bound = min(max_pixels, made.max_pixels)
    pixels: list[NDArray[np.uint8] | None] = []
    placements: list[Placement | None] = []
    refused: dict[int, str] = {}
    size = _size(made, spec)
    for place, file in enumerate(files):
        try:
            one, placement = _pixels(file, made, bound)
            size = _same_size(size, one.shape)
        except SampleError as error:
            refused[place] = str(error)
            one, placement = None, None
        pixels.append(one)
        placements.append(placement)
    table = pixel_table(made, NUMPY_TYPES[spec.datatype])
    return Made(_gathered(pixels, table, made, size), refused, placements)


def pixel_table(made: ImageInput, dtype: np.dtype[Any]) -> Array:
    """Return what each pixel value becomes, (channels, 256) of `dtype`: `(value * scale - mean) / std`.

    It is computed in float64 once, so an input differs from this definition by the last rounding alone.
    """
    channels = CHANNELS[made.colour]
    mean = np.broadcast_to(np.array(made.mean or (0.0,)), channels)[:, None]
    std = np.broadcast_to(np.array(made.std or (1.0,)), channels)[:, None]
    return cast((np.arange(256) * made.scale - mean) / std, dtype)


def open_image(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a file, after its size has been looked at, and turn it upright.

    Raises:
        SampleError: It is no JPEG or PNG, damaged, larger than `max_pixels`, or not of 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check(image, max_pixels)
            upright: Image.Image = ImageOps.exif_transpose(image)
            return upright
    except SampleError:
        raise
    except Image.UnidentifiedImageError as error:
        raise SampleError(f"decoding an image: {len(data)} bytes are neither JPEG nor PNG", _REMEDY) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(str(error), max_pixels) from error
    except Exception as error:  # what Pillow raises on damaged files shares no base class
        detail = str(error)[:_MAX_DETAIL_CHARS] or type(error).__name__
        raise SampleError(f"decoding an image of {len(data)} bytes: it is damaged ({detail})", _REMEDY) from error


def need_pillow() -> None:
    """See that Pillow is there.

    Raises:
        ProcessingError: It is not.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ProcessingError("decoding images: Pillow is not installed", "pip install 'shoal[image]'") from error


def _pixels(file: object, made: ImageInput, max_pixels: int) -> tuple[NDArray[np.uint8], Placement]:
    """Return one image as (height, width, channels) uint8, and where it lies."""
    if not isinstance(file, bytes):
        found = "nothing" if file is None else type(file).__name__
        raise SampleError(f"decoding an image: {found} found, the bytes of a JPEG or PNG expected")
    image, placement = resized(_in_colour(open_image(file, max_pixels), made), made.resize, max_pixels)
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 2:  # noqa: PLR2004 - grey images have no axis of channels
        return pixels[:, :, None], placement
    return pixels[:, :, ::-1] if made.colour == "BGR" else pixels, placement


def _in_colour(image: Image.Image, made: ImageInput) -> Image.Image:
    """Convert as Pillow does; what is transparent shows the colour that lies below."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # else Pillow warns of what it drops
    mode = "L" if made.colour == "GREY" else "RGB"
    converted: Image.Image = image if image.mode == mode else image.convert(mode)
    return converted


def _gathered(pixels: list[NDArray[np.uint8] | None], table: Array, made: ImageInput, size: tuple[int, int]) -> Array:
    """Look each pixel up in the table, into the layout; nothing where an image was refused."""
    channels, (height, width) = len(table), (max(0, side) for side in size)
    is_first = made.layout == "NCHW"
    shape = (channels, height, width) if is_first else (height, width, channels)
    result = np.zeros((len(pixels), *shape), dtype=table.dtype)
    for place, one in enumerate(pixels):
        if one is None:
            continue
        target = result[place] if is_first else np.moveaxis(result[place], 2, 0)
        for channel in range(channels):
            target[channel] = table[channel][one[:, :, channel]]
    return result


def _size(made: ImageInput, spec: TensorSpec) -> tuple[int, int]:
    """Return the input's (height, width); -1 where any will do."""
    if made.resize is not None:
        return made.resize.height, made.resize.width
    height, width = spec.shape[2:] if made.layout == "NCHW" else spec.shape[1:3]
    return height, width


def _same_size(size: tuple[int, int], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size that all images of one input have; the first one decides where any will do."""
    if any(side not in {-1, found} for side, found in zip(size, shape, strict=False)):
        message = f"an image of {shape[1]} x {shape[0]} pixels found, {size[1]} x {size[0]} expected"
        raise SampleError(message, "declare a resize in the manifest, or send images of one size")
    return shape[0], shape[1]


def _check(image: Image.Image, max_pixels: int) -> None:
    """Look at what the header says, before anything is decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width} x {height} pixels found", max_pixels)
    if image.mode not in _MODES:
        raise SampleError(f"decoding an image: its pixels are {image.mode}, expected 8 bits a channel", _REMEDY)


def _too_large(found: str, max_pixels: int) -> SampleError:
    return SampleError(f"decoding an image: {found}, at most {max_pixels} allowed", "send a smaller image")
