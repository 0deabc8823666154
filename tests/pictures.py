"""Small picture files for the tests, made by other code than the code under test.

Pillow and tifffile (both come with scikit-image) write what they can; PNG of every kind is put
together here by hand, since Pillow has no 16-bit colour.
"""

import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

WIDTH, HEIGHT = 24, 16
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def ramp(dtype="uint8", bands=3, width=WIDTH, height=HEIGHT):
    """A picture without any symmetry, using the whole range: H x W (x bands)."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    planes = [x, y, (x + 2 * y) / 3, 1 - 0.7 * x * y][:bands]
    values = np.stack(planes, -1)
    values = values[..., 0] if bands == 1 else values
    if dtype == "float32":
        return values.astype(np.float32)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def noise(dtype="uint8", shape=(HEIGHT, WIDTH, 3), seed=0):
    """Pixels that no filter can predict: H x W (x bands), every value possible."""
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(array, *, chunks=(), color_type=None, bit_depth=None, rows=None, size=None):
    """A PNG (filter 0). `rows` overrides the packed rows, `chunks` go before IDAT."""
    height, width = array.shape[:2] if size is None else size
    bands = 1 if array.ndim == 2 else array.shape[2]
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[bands] if color_type is None else color_type
    bit_depth = array.dtype.itemsize * 8 if bit_depth is None else bit_depth
    if rows is None:
        rows = [row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array]
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in chunks)
    return SIGNATURE + chunk(b"IHDR", header) + body + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def png_bomb(side=20_000):
    """A grey PNG of side x side zeros: a few hundred kilobytes."""
    squeeze = zlib.compressobj(9)
    row = b"\0" * (side + 1)
    packed = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def pillow(array, kind, *, mode=None, **options):
    """What Pillow makes of an array: `kind` is Pillow's name of the format."""
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    if mode is not None:
        image = image.convert(mode)
    if "xmp" in options and kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    """What tifffile makes of an array."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "rgb" if array.ndim == 3 else "minisblack", **options})
    return file.getvalue()


def opened(data):
    """The file as Pillow sees it, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def exif(orientation=1, *, gps=True, big_endian=False, xmp=None):
    """An EXIF block like a camera's: make, date, copyright, exposure, maker note, GPS."""
    block = Image.Exif()
    block.endian = ">" if big_endian else "<"
    block[0x010F], block[0x0110] = "Examplecam", "Model One"
    block[0x0132], block[0x8298] = "2021:02:03 04:05:06", "(c) Somebody"
    block[0x0112] = orientation
    if xmp is not None:
        block[0x02BC] = xmp
    details = block.get_ifd(0x8769)
    details[0x9003], details[0x8827] = "2021:02:03 04:05:06", 200
    details[0x927C] = b"NOTE\0\1\2\3\xff\xfe" * 3
    details[0xA434] = "Example 50 mm"
    if gps:
        place = block.get_ifd(0x8825)
        place[1], place[2] = "N", (52.0, 30.0, 17.25)
        place[3], place[4] = "E", (13.0, 24.0, 5.5)
        place[0x1D] = "2021:02:03"
    return block.tobytes()


XMP_GPS = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description exif:GPSLatitude="52,30.2875N"
 xmp:CreatorTool="Tool" tiff:Orientation="6" drone-dji:GpsLongitude='13.4'>
 <exif:GPSAltitude>35/1</exif:GPSAltitude>
 <dc:rights>Somebody</dc:rights></rdf:Description></rdf:RDF></x:xmpmeta>"""


def icc(colour=b"RGB "):
    """A real sRGB profile (header patched if another colour is asked for)."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:16] + colour + profile[20:]


def upright_to(array, orientation):
    """What a camera would store so that EXIF `orientation` shows `array` upright."""
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    return np.ascontiguousarray(stored(array))
