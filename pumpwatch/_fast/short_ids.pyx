"""Trade ids in 8 or 16 bytes: numbers and UUIDs, read so that their text comes back letter for letter."""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from pumpwatch._fast.cursor cimport Cursor, take_digits
from pumpwatch._fast.words cimport in_range, load_word


cdef bint read_number(const char* text, Py_ssize_t size, uint64_t* value) noexcept nogil:
    cdef Cursor cur
    cur.at = text
    cur.end = text + size
    return take_digits(&cur, value) and cur.at == cur.end


cdef bint read_hex(uint64_t word, uint64_t* value) noexcept nogil:
    """Eight lower case hex digits as 32 bits."""
    cdef uint64_t good
    if word & 0x8080808080808080ULL:
        return 0
    good = in_range(word, 0x30, 0x39) | in_range(word, 0x61, 0x66)
    if (good & 0x8080808080808080ULL) != 0x8080808080808080ULL:
        return 0
    word = (word & 0x0F0F0F0F0F0F0F0FULL) + 9 * (word >> 6 & 0x0101010101010101ULL)
    word = (word << 4 | word >> 8) & 0x00FF00FF00FF00FFULL
    word = (word | word >> 8) & 0x0000FFFF0000FFFFULL
    value[0] = (word | word >> 16) & 0xFFFFFFFFULL
    return 1


cdef uint64_t hex_of(uint64_t value) noexcept nogil:
    """What ``read_hex`` read."""
    cdef uint64_t word = (value | value << 16) & 0x0000FFFF0000FFFFULL
    word = (word | word << 8) & 0x00FF00FF00FF00FFULL
    word = (word >> 4 & 0x000F000F000F000FULL) | (word & 0x000F000F000F000FULL) << 8
    return word + 0x3030303030303030ULL + 39 * ((word + 0x0606060606060606ULL) >> 4 & 0x0101010101010101ULL)


cdef bint read_uuid(const char* text, Py_ssize_t size, uint64_t* low, uint64_t* high) noexcept nogil:
    cdef uint64_t parts[4]
    cdef char middle[16]
    if size != 36 or text[8] != c'-' or text[13] != c'-' or text[18] != c'-' or text[23] != c'-':
        return 0
    memcpy(middle, text + 9, 4)
    memcpy(middle + 4, text + 14, 4)
    memcpy(middle + 8, text + 19, 4)
    memcpy(middle + 12, text + 24, 4)
    if not (read_hex(load_word(text), &parts[0]) and read_hex(load_word(middle), &parts[1])
            and read_hex(load_word(middle + 8), &parts[2]) and read_hex(load_word(text + 28), &parts[3])):
        return 0
    low[0] = parts[0] | parts[1] << 32
    high[0] = parts[2] | parts[3] << 32
    return 1


cdef Py_ssize_t put_uuid(char* out, uint64_t low, uint64_t high) noexcept nogil:
    cdef uint64_t words[4]
    cdef const char* middle = <const char*>&words[1]
    words[0] = hex_of(low & 0xFFFFFFFFULL)
    words[1] = hex_of(low >> 32)
    words[2] = hex_of(high & 0xFFFFFFFFULL)
    words[3] = hex_of(high >> 32)
    memcpy(out, &words[0], 8)
    memcpy(out + 9, middle, 4)
    memcpy(out + 14, middle + 4, 4)
    memcpy(out + 19, middle + 8, 4)
    memcpy(out + 24, middle + 12, 4)
    memcpy(out + 28, &words[3], 8)
    out[8] = out[13] = out[18] = out[23] = c'-'
    return 36
