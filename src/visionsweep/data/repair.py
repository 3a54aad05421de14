"""Rebuild image files whose pixels are complete but whose metadata or end marker is broken.

A rebuilt file holds the compressed pixels, what is needed to decode them, and a valid EXIF
orientation. Nothing is rebuilt if pixels are missing.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_EOI = b"\xff\xd9"
_FILLINGS = (b"", b"\0" * 512, b"\x55" * 512, b"\xaa" * 512)
_KEPT_WEBP_CHUNKS = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # ICC, EXIF, XMP


# Second bytes of markers in a JPEG file.
SCAN = 0xDA
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Segment(NamedTuple):
    """A marker segment of a JPEG file."""

    marker: int  # second byte
    payload: bytes  # after the length
    start: int  # offset of the marker
    end: int  # offset of the end of the payload or compressed data


def jpeg_segments(content: bytes) -> Iterator[Segment]:
    """Yield the marker segments of a JPEG file until one is cut off."""
    position = 2
    while (position := content.find(b"\xff", position)) >= 0:
        while content[position + 1 : position + 2] == b"\xff":
            position += 1
        if position + 4 > len(content):
            return
        marker = content[position + 1]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # these have no payload
            position += 2
            continue
        if marker == 0xD9:
            return
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if end > len(content) or end < position + 4:
            return
        payload = content[position + 4 : end]
        if marker == SCAN:
            end = _end_of_scan(content, end)
        yield Segment(marker, payload, position, end)
        position = end


def _end_of_scan(content: bytes, position: int) -> int:
    while (position := content.find(b"\xff", position)) >= 0:
        following = content[position + 1 : position + 2]
        if following and following[0] != 0 and not 0xD0 <= following[0] <= 0xD7:
            return position
        position += 2
    return len(content)


def rebuild(content: bytes, kind: str, pixels_of: Callable[[bytes], bytes]) -> bytes | None:
    """Return a decodable file with the same pixels, or None if pixels are missing.

    Args:
        content: content of a file that cannot be decoded.
        kind: format of the file.
        pixels_of: function that decodes a file, and raises an error if it cannot.
    """
    if kind == "JPEG":
        return _rebuild_jpeg(content, pixels_of)
    rebuilders = {"PNG": _rebuild_png, "WebP": _rebuild_webp, "JPEG 2000": _rebuild_jpeg_2000}
    return rebuilders[kind](content) if kind in rebuilders else None


def _rebuild_jpeg(content: bytes, pixels_of: Callable[[bytes], bytes]) -> bytes | None:
    """Drop APPn and comment segments except JFIF and Adobe's, and add the end marker.

    A decoder fills in pixels that are missing after the last scan. They are missing if the decoded
    image depends on the bytes that are appended there.
    """
    segments = list(jpeg_segments(content))
    if not _sends_every_coefficient(segments):
        return None
    parts = [
        content[segment.start : segment.end]
        for segment in segments
        if not (0xE1 <= segment.marker <= 0xED or segment.marker in (0xEF, 0xFE))
    ]
    body = (content[:2] + b"".join(parts)).removesuffix(b"\xff")
    if content[segments[-1].end : segments[-1].end + 2] == _EOI:
        return body + _EOI
    decoded = {pixels_of(body + filling + _EOI) for filling in _FILLINGS}
    return body + _EOI if len(decoded) == 1 else None


def _sends_every_coefficient(segments: list[Segment]) -> bool:
    """Return whether the scans hold all bits of all 64 coefficients of each component."""
    frames = [segment for segment in segments if segment.marker in FRAMES]
    if not frames or len(frames[0].payload) < 6:
        return False
    frame = frames[0].payload
    missing = {(frame[i], k) for i in range(6, len(frame) - 2, 3) for k in range(64)}
    for scan in (s.payload for s in segments if s.marker == SCAN):
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            return False
        first, last, precision = scan[1 + 2 * count : 4 + 2 * count]
        if frames[0].marker not in PROGRESSIVE:
            first, last, precision = 0, 63, 0
        if precision & 15 == 0:
            sent = {scan[1 + 2 * i] for i in range(count)}
            missing -= {(c, k) for c in sent for k in range(first, last + 1)}
    return not missing


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name, body, and validity of each chunk of a PNG file; the last may be cut off."""
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        body = content[position + 8 : position + 8 + length]
        position += 8 + length
        checksum = content[position : position + 4]
        yield name, body, checksum == zlib.crc32(name + body).to_bytes(4, "big")
        position += 4


def _rebuild_png(content: bytes) -> bytes | None:
    """Drop ancillary chunks except transparency and a valid EXIF, and complete the last ones."""
    chunks: list[tuple[bytes, bytes]] = []
    data = bytearray()
    for name, body, valid in png_chunks(content):
        if name == b"IDAT":
            data += body
        elif name in (b"IHDR", b"PLTE"):
            if not valid:
                return None
            chunks.append((name, body))
        elif name == b"tRNS" or (name == b"eXIf" and valid):
            chunks.append((name, body))
        elif name == b"IEND":
            break
        elif not name[:1].islower():
            return None
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) < 13:
        return None
    expected = _png_bytes(chunks[0][1])
    try:
        rows = zlib.decompressobj().decompress(data, expected)
    except zlib.error:
        return None
    if len(rows) < expected:
        return None
    chunks += [(b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _png_bytes(header: bytes) -> int:
    """Return the uncompressed size of the rows of a PNG image in bytes."""
    width, height, depth, colors, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    bits = depth * _PNG_CHANNELS.get(colors, 4)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns = (width - left + step_x - 1) // step_x
        rows = (height - top + step_y - 1) // step_y
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _rebuild_webp(content: bytes) -> bytes | None:
    """Drop ICC, EXIF, and XMP, and correct the length of the file."""
    chunks = []
    position = 12
    while position + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, position)
        body = content[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        if name not in _KEPT_WEBP_CHUNKS:
            continue
        if len(body) < length:
            return None
        if name == b"VP8X" and body:
            body = bytes([body[0] & ~_WEBP_METADATA_FLAGS]) + body[1:]
        chunks.append(name + struct.pack("<I", length) + body + b"\0" * (length % 2))
    rebuilt = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(rebuilt)) + rebuilt if chunks else None


def _rebuild_jpeg_2000(content: bytes) -> bytes | None:
    """Add the end marker to a code stream whose tile parts are complete."""
    position = content.find(b"\xff\x4f\xff\x51") + 2
    if position < 2:
        return None
    while position <= len(content) - 12:
        marker, length = struct.unpack_from(">HH", content, position)
        if marker != 0xFF90:  # a tile part
            position += 2 + length
            continue
        length = int.from_bytes(content[position + 6 : position + 10], "big")
        if length == 0:  # extends to the end marker, which is missing
            return None
        position += length
    whole = content[position:] in (b"", b"\xff") and position <= len(content)
    return content[:position] + _EOI if whole else None
