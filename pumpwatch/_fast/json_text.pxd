"""Pieces of JSON text that C writes: moments, and what needs no escape."""
from libc.stdint cimport int64_t, uint32_t


cdef inline char* put_two(char* at, int value) noexcept nogil:
    at[0] = <char>(c'0' + value // 10)
    at[1] = <char>(c'0' + value % 10)
    return at + 2


cdef inline char* put_moment(char* at, int64_t moment_ns) noexcept nogil:
    """``2026-01-31T13:00:00.123456789Z`` in quotes; for times of 1970 to 9999."""
    cdef int64_t seconds = moment_ns // 1000000000, fraction = moment_ns % 1000000000
    cdef int64_t days = seconds // 86400, second = seconds % 86400
    cdef int64_t era, day_of_era, year_of_era, day_of_year, month, year
    cdef int i
    # Civil from days (Howard Hinnant): a year begins in March.
    days += 719468
    era = days // 146097
    day_of_era = days - era * 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    year = year_of_era + era * 400 + (month >= 10)
    at[0] = c'"'
    at = put_two(at + 1, <int>(year // 100))
    at = put_two(at, <int>(year % 100))
    at[0] = c'-'
    at = put_two(at + 1, <int>(month + 3 if month < 10 else month - 9))
    at[0] = c'-'
    at = put_two(at + 1, <int>(day_of_year - (153 * month + 2) // 5 + 1))
    at[0] = c'T'
    at = put_two(at + 1, <int>(second // 3600))
    at[0] = c':'
    at = put_two(at + 1, <int>(second // 60 % 60))
    at[0] = c':'
    at = put_two(at + 1, <int>(second % 60))
    at[0] = c'.'
    for i in range(9, 0, -1):
        at[i] = <char>(c'0' + fraction % 10)
        fraction //= 10
    at[10] = c'Z'
    at[11] = c'"'
    return at + 12


cdef inline bint is_plain(const char* text, uint32_t size) noexcept nogil:
    """Needs no escape in JSON."""
    cdef uint32_t i
    for i in range(size):
        if <unsigned char>text[i] < 0x20 or text[i] == c'"' or text[i] == c'\\':
            return 0
    return 1
