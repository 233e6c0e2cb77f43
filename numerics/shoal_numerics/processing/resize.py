"""How an image comes to the model's size: pure geometry, and Pillow's filters for the pixels.

Scaling to a shorter side and cutting out the middle round as torchvision's Resize and CenterCrop do.
"""

from typing import TYPE_CHECKING, NamedTuple

from shoal_contract.processing import Resize
from shoal_numerics.processing.errors import SampleError
from shoal_numerics.processing.made import Placement

if TYPE_CHECKING:
    from PIL import Image


class Plan(NamedTuple):
    """Scale to (width, height), then put it so that its corner is at (left, top) of the result; all in pixels."""

    width: int
    height: int
    left: int
    top: int


def plan(width: int, height: int, resize: Resize) -> Plan:
    """Return how an image of a size, in pixels, comes to the declared one."""
    if resize.fit == "stretch":
        return Plan(resize.width, resize.height, 0, 0)
    across, down = resize.width / width, resize.height / height
    if resize.fit == "letterbox":
        scale = min(across, down)
        scaled_width = min(resize.width, max(1, round(width * scale)))
        scaled_height = min(resize.height, max(1, round(height * scale)))
        return Plan(
            scaled_width, scaled_height, (resize.width - scaled_width) // 2, (resize.height - scaled_height) // 2
        )
    if resize.shorter_side is not None:
        scaled_width, scaled_height = _with_shorter_side(width, height, resize.shorter_side)
    else:
        scale = max(across, down)
        scaled_width = max(resize.width, round(width * scale))
        scaled_height = max(resize.height, round(height * scale))
    left, top = round((scaled_width - resize.width) / 2), round((scaled_height - resize.height) / 2)
    return Plan(scaled_width, scaled_height, -left, -top)


def resized(image: "Image.Image", resize: Resize | None, max_pixels: int) -> tuple["Image.Image", Placement]:
    """Return an upright image at the model's size, and where it lies in it.

    Args:
        image: In mode L or RGB.
        resize: What to do; None: nothing.
        max_pixels: Bound of what is made on the way: a sliver of an image would be scaled to an endless one.

    Raises:
        SampleError: It would be larger than that.
    """
    width, height = image.size
    if resize is None:
        return image, Placement(width, height, 1.0, 1.0, 0, 0)
    to = plan(width, height, resize)
    placement = Placement(width, height, to.width / width, to.height / height, to.left, to.top)
    if to.width * to.height > max(max_pixels, resize.width * resize.height):
        message = f"an image of {width} x {height} pixels would be scaled to {to.width} x {to.height}"
        raise SampleError(f"{message}, at most {max_pixels} pixels allowed", "send images of common proportions")
    scaled = image if image.size == (to.width, to.height) else image.resize((to.width, to.height), _filter(resize))
    if scaled.size == (resize.width, resize.height):
        return scaled, placement
    if resize.fit == "crop":
        return scaled.crop((-to.left, -to.top, resize.width - to.left, resize.height - to.top)), placement
    return _on_ground(scaled, resize, to), placement


def _on_ground(scaled: "Image.Image", resize: Resize, to: Plan) -> "Image.Image":
    from PIL import Image

    fill = resize.fill if scaled.mode == "L" else (resize.fill,) * 3
    ground = Image.new(scaled.mode, (resize.width, resize.height), fill)
    ground.paste(scaled, (to.left, to.top))
    return ground


def _with_shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _filter(resize: Resize) -> "Image.Resampling":
    from PIL import Image

    found: Image.Resampling = Image.Resampling[resize.filter.upper()]
    return found
