"""The packing of a bundle: a plain ``.zip``, written always alike and read strictly.

Written without compression and with fixed times, so the same files give the same bytes. Read are archives
that others packed again (stored or deflated), as long as every byte of them is accounted for, so that no
other program finds other files in them than this one:

1. The files fill the archive from its first byte up to the directory, without a gap, and the directory is its
   whole end. There is no comment.
2. The header before a file says what its line in the directory says: name, CRC-32, sizes. Sizes may follow
   the file instead, where both say so.
3. Further fields are times and owners of the packers that are in use, no others: not another name.
4. Every file is a plain file, is there once, and is not encrypted.

The format is PKWARE's APPNOTE 6.3; its 64-bit and split forms are refused.
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
_SIZES_FOLLOW: Final = 0x0008
_SIZES: Final = struct.Struct("<3L")  # CRC-32, packed and unpacked size, after a file
_MARKED: Final = b"PK\x07\x08"  # may stand before them
_FURTHER: Final = {0x000A, 0x5455, 0x5855, 0x7875}  # times of NTFS and Unix, owners: nothing that is read
_MOST_FURTHER: Final = 64  # bytes of such a field
_TYPE, _REGULAR, _NOT_FILES = 0o170000, 0o100000, 0x18  # Unix: type; DOS: volume and directory
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
    sizes_follow: bool


class Archive:
    """The files of an archive by name. Nothing is unpacked before it is asked for."""

    def __init__(self, data: bytes, most_files: int, most_total: int) -> None:
        """Read the directory. Raises NotAnArchive."""
        self._data = data
        self._places: dict[str, _Place] = {}
        listed = sorted(self._listed(most_files), key=lambda each: each[0])
        begins = [at for at, _, _ in listed]
        if begins[0]:
            raise NotAnArchive("something was added to the archive's beginning")
        for (_, name, place), next_ in zip(listed, [*begins[1:], self._directory], strict=True):
            self._demand_end(name, place, next_)
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

    def _demand_end(self, name: str, place: _Place, next_: int) -> None:
        """A file ends where the next one, or the directory, begins; between them are at most its sizes."""
        end = place.at + place.packed
        if next_ < end:
            raise NotAnArchive("two files lie over each other")
        between = self._data[end:next_]
        if not between and not place.sizes_follow:
            return
        sizes = _SIZES.pack(place.crc, place.packed, place.size)
        if not place.sizes_follow or between not in (sizes, _MARKED + sizes):
            raise NotAnArchive(f"something was added to the archive's middle, after {name[:60]!r}")

    def _listed(self, most_files: int) -> list[tuple[int, str, _Place]]:
        data = self._data
        if len(data) < _END.size or data[-_END.size : -_END.size + 4] != b"PK\x05\x06":
            raise NotAnArchive("it is not a .zip file, or something was added to its end")
        _, disk, start_disk, here, files, size, start, comment = _END.unpack(data[-_END.size :])
        if disk or start_disk or comment or here != files or data[-42:-38] == b"PK\x06\x07":
            raise NotAnArchive("the archive is in several parts, has a comment or is of the large kind")
        if start + size + _END.size != len(data):
            raise NotAnArchive("something was added to the archive's beginning or middle")
        self._directory = start
        if not 1 <= files <= most_files:
            raise NotAnArchive(f"it has {files} files, which a bundle cannot have")
        found: dict[str, tuple[int, str, _Place]] = {}
        at = start
        for _ in range(files):
            at, offset, name, place = self._entry(at)
            if name in found:
                raise NotAnArchive(f"{name[:60]!r} is there twice")
            found[name] = (offset, name, place)
        if at != start + size:
            raise NotAnArchive("the archive is damaged: its directory has another length than it says")
        return list(found.values())

    def _entry(self, at: int) -> tuple[int, int, str, _Place]:
        """One line of the directory, compared with the header before the file itself."""
        data = self._data
        try:
            listed, local = (
                _LISTED.unpack_from(data, at),
                _LOCAL.unpack_from(data, offset := _offset(data, at)),
            )
        except struct.error as wrong:
            raise NotAnArchive("the archive is damaged: its directory leads nowhere") from wrong
        mark, _, _, flags, method, _, _, crc, packed, size, length, extra, told, disk, _, kind, _ = listed
        first, _, flags_, method_, _, _, crc_, packed_, size_, length_, extra_ = local
        ends = at + _LISTED.size + length
        raw = data[at + _LISTED.size : ends]
        name = raw.decode("ascii", "replace")
        if flags & ~_HARMLESS or "\0" in name or "\ufffd" in name or "\\" in name or name.endswith("/"):
            raise NotAnArchive(f"{name[:60]!r} is no plain file of a bundle")
        if (kind >> 16) & _TYPE not in (0, _REGULAR) or kind & _NOT_FILES:
            raise NotAnArchive(f"{name[:60]!r} is a link or a folder, no plain file of a bundle")
        if method not in (STORED, DEFLATED):
            raise NotAnArchive(f"{name[:60]!r} is packed in a way that a bundle is not")
        named = offset + _LOCAL.size + length_
        begin = named + extra_
        stated, follow = (crc_, packed_, size_), bool(flags & _SIZES_FOLLOW)
        if (
            (mark, first) != (b"PK\x01\x02", b"PK\x03\x04")
            or (flags, method, raw) != (flags_, method_, data[named - length_ : named])
            or not (stated == (crc, packed, size) or (follow and stated == (0, 0, 0)))
            or begin + packed > self._directory
        ):
            raise NotAnArchive(f"the archive is damaged: {name[:60]!r} is not where its directory says")
        if told or disk or not (_is_further(data[ends : ends + extra]) and _is_further(data[named:begin])):
            raise NotAnArchive(
                f"{name[:60]!r} carries something that a bundle does not: a comment, another name"
            )
        return ends + extra, offset, name, _Place(method, crc, packed, size, begin, follow)


def _offset(data: bytes, at: int) -> int:
    """Where the file of the line at ``at`` begins."""
    return int(_LISTED.unpack_from(data, at)[-1])


def _is_further(fields: bytes) -> bool:
    """Whether these are whole further fields, of the kinds that are harmless."""
    while len(fields) >= 4:
        kind, length = struct.unpack_from("<2H", fields)
        if kind not in _FURTHER or length > min(_MOST_FURTHER, len(fields) - 4):
            return False
        fields = fields[4 + length :]
    return not fields


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
