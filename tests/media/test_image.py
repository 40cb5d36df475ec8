"""First-frame images: upright, in sRGB, of the size wanted; and what is none."""

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from rotoscope.errors import UnsupportedImageError
from rotoscope.media.clip import Size
from rotoscope.media.image import load_image
from tests.media.conftest import corner

SIZE = Size(64, 48)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF"])
def test_the_usual_formats_are_read(file: Path, kind: str) -> None:
    """By what the file is, not by what it is called."""
    Image.fromarray(corner(0, 64, 48)).save(file, kind)

    pixels = load_image(file, size=SIZE).astype(int)

    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels[12, 16] - (220, 30, 30)).max() < 30
    assert np.abs(pixels[36, 48] - 90).max() < 30


def test_it_covers_the_size_and_is_cut_to_the_centre(file: Path) -> None:
    """Nothing is squeezed."""
    wide = np.zeros((48, 192, 3), dtype=np.uint8)
    wide[:, 64:128] = 200
    Image.fromarray(wide).save(file, "PNG")

    assert (load_image(file, size=SIZE)[:, 4:-4] > 190).all()


def test_a_camera_held_upright_gives_an_upright_picture(file: Path) -> None:
    """The orientation that cameras write is applied."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    Image.fromarray(corner(0, 64, 64)).save(file, "PNG", exif=exif)

    pixels = load_image(file, size=Size(64, 64)).astype(int)

    assert np.abs(pixels[16, 48] - (220, 30, 30)).max() < 10
    assert np.abs(pixels[16, 16] - 90).max() < 10


def test_transparent_is_black(file: Path) -> None:
    """The model has no alpha."""
    Image.new("RGBA", (64, 48), (255, 255, 255, 0)).save(file, "PNG")

    assert (load_image(file, size=SIZE) == 0).all()


def test_a_colour_profile_is_applied(file: Path) -> None:
    """An image in another colour space looks as it should in sRGB."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    grey.save(
        file, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert np.abs(load_image(file, size=SIZE).astype(int) - 128).max() <= 1
    grey.save(file, "PNG", icc_profile=lab[:50])  # damaged: as good as none
    assert np.abs(load_image(file, size=SIZE).astype(int) - 128).max() <= 1


def test_sixteen_bits_of_grey_stay_grey(file: Path) -> None:
    """As scanners and depth cameras write it."""
    Image.fromarray(np.full((48, 64), 32768, dtype=np.uint16)).save(file, "PNG")

    assert np.abs(load_image(file, size=SIZE).astype(int) - 127).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF"])
def test_damage_is_refused_and_never_worse(file: Path, kind: str) -> None:
    """Whatever bytes are wrong, the image is read or refused as one."""
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(out, kind)
    for _ in range(60):
        data = bytearray(out.getvalue())
        for at in rng.integers(0, min(len(data), 300), 6):
            data[at] = rng.integers(256)
        file.write_bytes(data)
        with suppress(UnsupportedImageError):
            assert load_image(file, size=SIZE).shape == (48, 64, 3)


def bomb() -> bytes:
    out = io.BytesIO()
    Image.new("1", (16000, 16000)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "none of"),
        (b"hello", "none of"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "none of"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "none of|damaged"),
    ],
)
def test_what_is_no_image_is_refused(file: Path, content: bytes, reason: str) -> None:
    """With the field and the formats that work."""
    file.write_bytes(content)

    with pytest.raises(UnsupportedImageError, match=reason) as caught:
        load_image(file, size=SIZE)

    assert caught.value.field == "image_url"


def test_a_truncated_image_is_refused(file: Path) -> None:
    """Half a picture is not a first frame."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(file, "PNG")
    file.write_bytes(file.read_bytes()[:20_000])

    with pytest.raises(UnsupportedImageError, match="damaged"):
        load_image(file, size=SIZE)


def test_too_many_pixels_are_refused_unread(file: Path) -> None:
    """A small file may hold a picture of a gigabyte."""
    file.write_bytes(bomb())

    with pytest.raises(UnsupportedImageError, match="64 million pixels"):
        load_image(file, size=SIZE)
