"""UTF-8 checked: nearly every message is ASCII, which costs one look at eight bytes."""
from libc.stdint cimport uint8_t, uint64_t

from pumpwatch._fast.words cimport load_word

cdef uint64_t HIGH_BITS = 0x8080808080808080ULL


cdef Py_ssize_t rune_size(const uint8_t* at, Py_ssize_t left) noexcept nogil:
    """Bytes of the character at ``at``; 0 where there is none: cut, overlong, a surrogate, beyond U+10FFFF."""
    cdef uint8_t first = at[0], low = 0x80, high = 0xBF
    cdef Py_ssize_t size, i
    if first < 0x80:
        return 1
    if first < 0xC2 or first > 0xF4:
        return 0
    size = 2 + (first >= 0xE0) + (first >= 0xF0)
    if left < size:
        return 0
    # The first byte narrows the second.
    if first == 0xE0:
        low = 0xA0
    elif first == 0xED:
        high = 0x9F
    elif first == 0xF0:
        low = 0x90
    elif first == 0xF4:
        high = 0x8F
    if not low <= at[1] <= high:
        return 0
    for i in range(2, size):
        if at[i] & 0xC0 != 0x80:
            return 0
    return size


cdef bint is_utf8(const char* text, Py_ssize_t size) noexcept nogil:
    cdef uint64_t seen = 0
    cdef Py_ssize_t at = 0, step
    while size - at >= 8:
        seen |= load_word(text + at)
        at += 8
    if seen & HIGH_BITS:
        at = 0
    while at < size:
        step = rune_size(<const uint8_t*>text + at, size - at)
        if step == 0:
            return 0
        at += step
    return 1


def is_text(bytes data) -> bool:
    """True when ``data`` is UTF-8; for tests."""
    return bool(is_utf8(data, len(data)))
