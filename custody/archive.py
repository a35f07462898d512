"""The packing of a bundle: a plain ``.zip``, written always alike and read strictly.

Written without compression and with fixed times, so the same files give the same bytes. Read are archives
that others packed again (stored or deflated), as long as the directory is the archive's whole end, no file is
there twice, none is encrypted or lies over another, and every size and CRC-32 is as stated. The format is
PKWARE's APPNOTE 6.3; its 64-bit and split forms are refused.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PACKED_AT: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can say, and always the same
_END: Final = struct.Struct("<4s4H2LH")
_LISTED: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_HARMLESS: Final = 0x080E  # level of deflation, sizes after the file, UTF-8 name
STORED, DEFLATED = 0, 8


class NotAnArchive(ValueError):
    """These bytes are not such an archive; the message says why, in plain words."""


@dataclass(frozen=True, slots=True)
class _Place:
    method: int
    crc: int
    packed: int
    size: int
    at: int  # of the content in the archive


class Archive:
    """The files of an archive by name. Nothing is unpacked before it is asked for."""

    def __init__(self, data: bytes, most_files: int, most_total: int) -> None:
        """Read the directory. Raises NotAnArchive."""
        self._data = data
        self._places: dict[str, _Place] = {}
        end = 0
        for at, name, place in sorted(self._listed(most_files)):
            if at < end:
                raise NotAnArchive("two files lie over each other")
            end = place.at + place.packed
            self._places[name] = place
        if sum(place.size for place in self._places.values()) > most_total:
            raise NotAnArchive(
                f"unpacked it is larger than the {most_total >> 20} MiB that a bundle can have"
            )

    @property
    def names(self) -> set[str]:
        return set(self._places)

    def content(self, name: str, most: int) -> bytes:
        """The bytes of a file that is there. Raises NotAnArchive: larger than `most`, or damaged."""
        place = self._places[name]
        if place.size > most:
            raise NotAnArchive(f"{name} is larger than the {most} bytes that it can have")
        data = self._data[place.at : place.at + place.packed]
        if place.method == DEFLATED:
            data = _inflated(data, place.size)
        if len(data) != place.size or zlib.crc32(data) != place.crc:
            raise NotAnArchive(f"the archive is damaged: {name} is not what its directory says")
        return data

    def _listed(self, most_files: int) -> list[tuple[int, str, _Place]]:
        data = self._data
        if len(data) < _END.size or data[-_END.size : -_END.size + 4] != b"PK\x05\x06":
            raise NotAnArchive("it is not a .zip file, or something was added to its end")
        _, disk, start_disk, here, files, size, start, comment = _END.unpack(data[-_END.size :])
        if disk or start_disk or comment or here != files or data[-42:-38] == b"PK\x06\x07":
            raise NotAnArchive("the archive is in several parts, has a comment or is of the large kind")
        if start + size + _END.size != len(data):
            raise NotAnArchive("something was added to the archive's beginning or middle")
        if not 1 <= files <= most_files:
            raise NotAnArchive(f"it has {files} files, which a bundle cannot have")
        found: dict[str, tuple[int, str, _Place]] = {}
        at = start
        for _ in range(files):
            at, offset, name, place = self._entry(at, start)
            if name in found:
                raise NotAnArchive(f"{name[:60]!r} is there twice")
            found[name] = (offset, name, place)
        if at != start + size:
            raise NotAnArchive("the archive is damaged: its directory has another length than it says")
        return list(found.values())

    def _entry(self, at: int, start: int) -> tuple[int, int, str, _Place]:
        """One line of the directory, compared with the header before the file itself."""
        data = self._data
        try:
            mark, _, _, flags, method, _, _, crc, packed, size, length, extra, told, _, _, _, offset = (
                _LISTED.unpack_from(data, at)
            )
            first, _, flags_, method_, _, _, _, _, _, length_, extra_ = _LOCAL.unpack_from(data, offset)
        except struct.error as wrong:
            raise NotAnArchive("the archive is damaged: its directory leads nowhere") from wrong
        raw = data[at + _LISTED.size : at + _LISTED.size + length]
        name = raw.decode("ascii", "replace")
        if flags & ~_HARMLESS or "\0" in name or "\ufffd" in name or "\\" in name or name.endswith("/"):
            raise NotAnArchive(f"{name[:60]!r} is no plain file of a bundle")
        if method not in (STORED, DEFLATED):
            raise NotAnArchive(f"{name[:60]!r} is packed in a way that a bundle is not")
        named = offset + _LOCAL.size
        begin = named + length_ + extra_
        if (
            (mark, first) != (b"PK\x01\x02", b"PK\x03\x04")
            or (flags, method, raw) != (flags_, method_, data[named : named + length_])
            or begin + packed > start
        ):
            raise NotAnArchive(f"the archive is damaged: {name[:60]!r} is not where its directory says")
        return (
            at + _LISTED.size + length + extra + told,
            offset,
            name,
            _Place(method, crc, packed, size, begin),
        )


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files, in their order; the same files give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _PACKED_AT)
            info.create_system = 3  # Unix wherever it is written, or the bytes would differ
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    return packed.getvalue()


def _inflated(data: bytes, size: int) -> bytes:
    """At most one byte more than `size`, however much is packed into `data`."""
    unpacking = zlib.decompressobj(-15)
    try:
        found = unpacking.decompress(data, size + 1)
    except zlib.error as wrong:
        raise NotAnArchive(f"the archive is damaged: {wrong}") from wrong
    if not unpacking.eof or unpacking.unused_data:
        raise NotAnArchive("the archive is damaged: a file has another length than its directory says")
    return found
