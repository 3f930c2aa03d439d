"""Eight bytes of text at a time: runs of digits read and written, ends of strings, plain ids.

Words are little-endian: the first byte of the text is the lowest. Each test is exact up to the first
byte that it finds; carries reach only the bytes behind that one. The caller sees to the bounds.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the words of PumpWatch's parsers are little-endian"
    #endif
    static const uint64_t pw_powers_of_ten[20] = {
        1ULL, 10ULL, 100ULL, 1000ULL, 10000ULL, 100000ULL, 1000000ULL, 10000000ULL, 100000000ULL,
        1000000000ULL, 10000000000ULL, 100000000000ULL, 1000000000000ULL, 10000000000000ULL,
        100000000000000ULL, 1000000000000000ULL, 10000000000000000ULL, 100000000000000000ULL,
        1000000000000000000ULL, 10000000000000000000ULL,
    };
    """
    const uint64_t* POWERS "pw_powers_of_ten"               # 10**0 to 10**19
    int low_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil     # word is not 0
    int high_zeros "__builtin_clzll"(uint64_t word) noexcept nogil    # word is not 0


cdef inline uint64_t load_word(const char* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline bint same_bytes(const char* one, const char* other, Py_ssize_t size) noexcept nogil:
    """Equal in the first ``size`` bytes; for short texts, where a call of memcmp costs more."""
    while size >= 8:
        if load_word(one) != load_word(other):
            return 0
        one += 8
        other += 8
        size -= 8
    while size > 0:
        size -= 1
        if one[size] != other[size]:
            return 0
    return 1


cdef inline uint64_t load_digits(const char* at) noexcept nogil:
    """Eight bytes of which each digit has become its value, 0 to 9, and nothing else has."""
    return load_word(at) ^ 0x3030303030303030ULL


cdef inline int digit_run(uint64_t digits) noexcept nogil:
    """How many of the first bytes of ``load_digits`` are digits, 0 to 8."""
    cdef uint64_t others = ((digits + 0x7676767676767676ULL) | digits) & 0x8080808080808080ULL
    return 8 if others == 0 else low_zeros(others) >> 3


cdef inline uint64_t digits_value(uint64_t digits, int count) noexcept nogil:
    """The number that the first ``count`` of them are, 1 to 8 digits."""
    digits <<= 64 - 8 * count
    digits = (digits * 2561) >> 8
    digits = ((digits & 0x00FF00FF00FF00FFULL) * 6553601) >> 16
    return ((digits & 0x0000FFFF0000FFFFULL) * 42949672960001ULL) >> 32


cdef inline uint64_t eight_digits(uint64_t value) noexcept nogil:
    """``value`` < 10**8 as eight digits with leading zeros."""
    cdef uint64_t word = value // 10000, high
    word |= (value - word * 10000) << 32
    high = ((word * 10486) >> 20) & 0x0000007F0000007FULL
    word = high | ((word - high * 100) << 16)
    high = ((word * 103) >> 10) & 0x000F000F000F000FULL
    return (high | ((word - high * 10) << 8)) | 0x3030303030303030ULL


cdef inline uint64_t string_stops(uint64_t word) noexcept nogil:
    """Not 0 where a quote, a backslash or a control character is; its lowest bit is in the first one."""
    cdef uint64_t quotes = word ^ 0x2222222222222222ULL
    cdef uint64_t slashes = word ^ 0x5C5C5C5C5C5C5C5CULL
    return (((quotes - 0x0101010101010101ULL) & ~quotes)
            | ((slashes - 0x0101010101010101ULL) & ~slashes)
            | ((word - 0x2020202020202020ULL) & ~word)) & 0x8080808080808080ULL


cdef inline uint64_t in_range(uint64_t word, uint64_t first, uint64_t last) noexcept nogil:
    """High bits of the bytes in ``first`` .. ``last``; no byte of ``word`` is above 0x7F."""
    return ((word + (0x80 - first) * 0x0101010101010101ULL)
            & ~(word + (0x7F - last) * 0x0101010101010101ULL))


cdef inline bint are_plain(uint64_t word) noexcept nogil:
    """All eight bytes are letters, digits, ``-`` or ``_``."""
    cdef uint64_t good
    if word & 0x8080808080808080ULL:
        return 0
    good = in_range(word, 0x30, 0x39) | in_range(word | 0x2020202020202020ULL, 0x61, 0x7A)
    good |= in_range(word, 0x2D, 0x2D) | in_range(word, 0x5F, 0x5F)
    return (good & 0x8080808080808080ULL) == 0x8080808080808080ULL


cdef inline int digit_count(uint64_t value) noexcept nogil:
    """Decimal digits of ``value``; 1 for 0."""
    cdef int about
    value |= 1  # never turns a number into one with more digits
    about = ((64 - high_zeros(value)) * 1233) >> 12
    return about + (value >= POWERS[about])


cdef inline Py_ssize_t put_digits(char* out, uint64_t value) noexcept nogil:
    """The digits of ``value`` into ``out``; how many. Up to 7 bytes behind them are overwritten."""
    cdef int count = digit_count(value), head
    cdef uint64_t low, word
    # The head first: what it writes too much is overwritten by the groups behind it.
    if value >= 10000000000000000ULL:
        head = count - 16
        word = eight_digits(value // 10000000000000000ULL) >> (64 - 8 * head)
        memcpy(out, &word, 8)
        low = value % 10000000000000000ULL
        word = eight_digits(low // 100000000)
        memcpy(out + head, &word, 8)
        word = eight_digits(low % 100000000)
        memcpy(out + head + 8, &word, 8)
    elif value >= 100000000:
        head = count - 8
        word = eight_digits(value // 100000000) >> (64 - 8 * head)
        memcpy(out, &word, 8)
        word = eight_digits(value % 100000000)
        memcpy(out + head, &word, 8)
    else:
        word = eight_digits(value) >> (64 - 8 * count)
        memcpy(out, &word, 8)
    return count
