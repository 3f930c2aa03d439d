"""Trade ids in 8 or 16 bytes: numbers and UUIDs, read so that their text comes back letter for letter."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from pumpwatch._fast.words cimport POWERS, digit_run, digits_value, in_range, load_word

cdef enum:
    DIGITS_MAX = 20

cdef uint64_t HEAD_MAX = 1844674407370955    # the 20 digits of 2**64 - 1: the first sixteen,
cdef uint64_t TAIL_MAX = 1615                # and the last four


cdef bint read_number(const char* text, Py_ssize_t size, uint64_t* value) noexcept nogil:
    """Digits without leading zeros that fit 64 bits."""
    cdef uint64_t total = 0, word
    cdef Py_ssize_t at = 0
    cdef int left
    if size < 1 or size > DIGITS_MAX or (text[0] == c'0' and size > 1):
        return 0
    while size - at >= 8:
        word = load_word(text + at)
        if digit_run(word) != 8:
            return 0
        total = total * 100000000 + digits_value(word, 8)
        at += 8
    left = <int>(size - at)
    if left and at:
        # The last eight bytes, of which the first ones are read already.
        word = load_word(text + size - 8) >> 8 * (8 - left)
        if digit_run(word) < left:
            return 0
        if size == DIGITS_MAX and (total > HEAD_MAX or (total == HEAD_MAX and digits_value(word, left) > TAIL_MAX)):
            return 0
        total = total * POWERS[left] + digits_value(word, left)
    elif left:
        for at in range(size):
            word = <uint8_t>(text[at] - c'0')
            if word > 9:
                return 0
            total = total * 10 + word
    value[0] = total
    return 1


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
