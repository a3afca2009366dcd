"""Reading one value of a bbolt database, the one that libpod keeps its containers in.

The format (go.etcd.io/bbolt: internal/common): pages, each with a header of id u64, flags u16, count u16 and overflow
u32. Pages 0 and 1 are meta pages: magic, version, page size, flags u32 each, the root bucket's page u64, sequence,
freelist, high-water mark, transaction u64 each. A branch page has elements of pos u32, key size u32, page u64; a leaf
page of flags u32, pos u32, key size u32, value size u32; keys lie `pos` behind their element. A bucket's value is its
root page u64 and sequence u64; root 0 is a page that follows in place.
"""

from __future__ import annotations

from hookrun.runtime.linux.files import read_bytes

_MAGIC = 0xED0CDAED
_BRANCH, _LEAF = 0x01, 0x02
_BUCKET = 0x01
_HEADER, _ELEMENT = 16, 16
_DEEPEST = 64


def value(path: str, *keys: bytes) -> bytes:
    """The value at the end of a path of keys, all but the last of them buckets'; b"" if there is none.

    Raises OSError, and ValueError for a damaged file.
    """
    data = read_bytes(path)
    size, root = _newest(data)
    page = _page(data, size, root)
    for key in keys[:-1]:
        flags, found = _lookup(data, size, page, key)
        if not flags & _BUCKET:
            return b""
        child = _number(found, 0, 8)
        page = _page(data, size, child) if child else found[_HEADER:]
    return _lookup(data, size, page, keys[-1])[1]


def _newest(data: bytes) -> tuple[int, int]:
    """Page size and root page of the meta page with the higher transaction."""
    found = []
    size = _number(data, _HEADER + 8, 4)
    for start in (0, size):
        meta = data[start + _HEADER : start + _HEADER + 64]
        if _number(meta, 0, 4) == _MAGIC:
            found.append((_number(meta, 48, 8), _number(meta, 16, 8)))
    if not found or not size:
        raise ValueError("no meta page")
    return size, max(found)[1]


def _page(data: bytes, size: int, number: int) -> bytes:
    start = number * size
    pages = 1 + _number(data, start + 12, 4)
    return data[start : start + pages * size]


def _lookup(data: bytes, size: int, page: bytes, key: bytes) -> tuple[int, bytes]:
    """The flags and the value of a key; (0, b"") if it is not there."""
    for _ in range(_DEEPEST):
        flags, count = _number(page, 8, 2), _number(page, 10, 2)
        places = [_HEADER + number * _ELEMENT for number in range(count)]
        if flags & _LEAF:
            return next((_leaf(page, place) for place in places if _key(page, place, 4) == key), (0, b""))
        below = [place for place in places if _key(page, place, 0) <= key]
        if not flags & _BRANCH or not below:
            return 0, b""
        page = _page(data, size, _number(page, below[-1] + 8, 8))
    raise ValueError("pages in a circle")


def _key(page: bytes, place: int, fields: int) -> bytes:
    start = place + _number(page, place + fields, 4)
    return page[start : start + _number(page, place + fields + 4, 4)]


def _leaf(page: bytes, place: int) -> tuple[int, bytes]:
    start = place + _number(page, place + 4, 4) + _number(page, place + 8, 4)
    return _number(page, place, 4), page[start : start + _number(page, place + 12, 4)]


def _number(data: bytes, start: int, size: int) -> int:
    if start + size > len(data):
        raise ValueError("cut short")
    return int.from_bytes(data[start : start + size], "little")
