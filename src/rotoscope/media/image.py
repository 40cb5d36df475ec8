"""Read a first-frame image: upright, in sRGB, covering the size that is wanted."""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from rotoscope.errors import UnsupportedImageError
from rotoscope.media.clip import Size

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP")
MAX_PIXELS = 64_000_000


def load_image(path: Path, *, size: Size, field: str = "image_url") -> npt.NDArray[np.uint8]:
    """The image at `path` as H x W x 3, resized to cover `size` and cut to its centre.

    Raises:
        UnsupportedImageError: It is no image, of a format not read here, damaged, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _read(image, size, field)
    except UnidentifiedImageError:
        raise _refused(field, f"it is none of {', '.join(FORMATS)}") from None
    # Each format's reader has its own way to say it; AVIF's is a RuntimeError.
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError):
        raise _refused(field, "it is damaged") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _refused(field, f"it has more than {MAX_PIXELS // 10**6} million pixels") from None


def _read(image: Image.Image, size: Size, field: str) -> npt.NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise _refused(field, f"it has more than {MAX_PIXELS // 10**6} million pixels")
    profile = image.info.get("icc_profile")
    upright = _eight_bits(ImageOps.exif_transpose(image))
    rgb = _to_srgb(_without_alpha(upright), profile)
    fitted = ImageOps.fit(rgb, (size.width, size.height), Image.Resampling.LANCZOS)
    return np.asarray(fitted, dtype=np.uint8).copy()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled down: Pillow's own conversion would turn most of it white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def _without_alpha(image: Image.Image) -> Image.Image:
    """What is transparent becomes black."""
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode == "P":
        image = image.convert("RGB")
    if profile and image.mode in ("RGB", "L", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):  # a damaged profile is as good as none
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _refused(field: str, reason: str) -> UnsupportedImageError:
    return UnsupportedImageError(f"The image cannot be used: {reason}.", field=field)
