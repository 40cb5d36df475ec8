"""First-frame images: upright, in sRGB, of the size wanted; and what is none."""

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

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


def two_primaries() -> bytes:
    """A profile whose red and green are exchanged; as plain as a check can be."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_profile_changes_colours_as_it_says(file: Path, kind: str) -> None:
    """In each format that carries one: what is red by number is green by this profile."""
    Image.new("RGB", (64, 48), (200, 30, 30)).save(
        file, kind, icc_profile=two_primaries(), quality=95
    )

    red, green, blue = load_image(file, size=SIZE).reshape(-1, 3).mean(0)

    assert green > 180
    assert max(red, blue) < 60


@pytest.mark.parametrize(
    ("orientation", "red_at"),
    [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (4, (1, 0)), (5, (0, 0)), (6, (0, 1)), (7, (1, 1)),
     (8, (1, 0))],
)  # fmt: skip
def test_all_eight_orientations(file: Path, orientation: int, red_at: tuple[int, int]) -> None:
    """Turned and mirrored, as cameras held in any way write it; in the size that is shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner(0, 96, 64)).save(file, "JPEG", exif=exif, quality=95)
    width, height = (64, 96) if orientation > 4 else (96, 64)

    pixels = load_image(file, size=Size(width, height)).astype(int)

    redness = pixels[..., 0] - pixels[..., 1]
    quarters = redness.reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == red_at
    assert quarters.max() > 150


@pytest.mark.parametrize(
    ("mode", "colour", "wanted"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("L", 90, (90, 90, 90)),
        ("1", 255, (255, 255, 255)),
        ("LA", (200, 255), (200, 200, 200)),
        ("LA", (200, 0), (0, 0, 0)),
        ("RGBA", (200, 100, 50, 255), (200, 100, 50)),
        ("RGBA", (200, 100, 50, 128), (100, 50, 25)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
    ],
)
def test_each_kind_of_pixel(
    file: Path, mode: str, colour: int | tuple[int, ...], wanted: tuple[int, int, int]
) -> None:
    """As browsers show it, and on black where it is transparent."""
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    more = {"quality": 95} if kind == "JPEG" else {}
    Image.new(mode, (64, 48), colour).save(file, kind, **more)

    assert np.abs(load_image(file, size=SIZE).astype(int) - wanted).max() <= 3


def test_palettes_and_their_transparent_colour(file: Path) -> None:
    """The palette is applied before anything is resized."""
    picture = Image.new("P", (64, 48), 1)
    picture.putpalette([0, 0, 0, 200, 100, 50, 9, 9, 9])
    picture.paste(2, (32, 0, 64, 48))
    picture.save(file, "PNG", transparency=2)

    pixels = load_image(file, size=SIZE).astype(int)

    assert np.abs(pixels[:, :30] - (200, 100, 50)).max() <= 2
    assert (pixels[:, 34:] == 0).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_of_an_animation_the_first_picture(file: Path, kind: str) -> None:
    """A first frame is one picture."""
    shown = [Image.new("RGB", (64, 48), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    shown[0].save(file, kind, save_all=True, append_images=shown[1:], duration=100)
    with Image.open(file) as saved:
        assert getattr(saved, "n_frames", 1) == 2

    assert np.abs(load_image(file, size=SIZE).astype(int) - (200, 0, 0)).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP"])
def test_claimed_sizes_are_refused_unread(file: Path, kind: str) -> None:
    """A header of a few bytes can claim billions of pixels."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48)).save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = bytearray(out.getvalue())
    match kind:
        case "GIF":
            data[6:10] = struct.pack("<HH", 65535, 65535)
        case "BMP":
            data[18:26] = struct.pack("<ii", 60000, 60000)
        case _:
            side = 16383
            data[21:25] = struct.pack("<I", side - 1 | side - 1 << 14)
    file.write_bytes(data)

    with pytest.raises(UnsupportedImageError, match="64 million pixels"):
        load_image(file, size=SIZE)


def test_endless_text_in_a_png_is_refused(file: Path) -> None:
    """Its text unpacks to a hundred times what Pillow reads."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "a" * 100_000_000, zip=True)
    Image.new("RGB", (64, 48)).save(file, "PNG", pnginfo=notes)
    assert file.stat().st_size < 200_000

    with pytest.raises(UnsupportedImageError):
        load_image(file, size=SIZE)


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
