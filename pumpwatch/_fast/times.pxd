"""Venue times to nanoseconds since 1970 UTC, in integers."""
from libc.stdint cimport int32_t, int64_t, uint64_t

from pumpwatch._fast.trade cimport Decimal, uint128

cdef enum:
    YEAR_2010_S = 1262304000
    YEAR_2100_S = 4102444800


cdef inline bint ns_of(uint64_t count, uint64_t per_second, int64_t* ns) noexcept nogil:
    """``count`` units of ``1 / per_second`` seconds; 0 outside 2010 to 2100: no venue is there."""
    if not per_second * YEAR_2010_S <= count < per_second * YEAR_2100_S:
        return 0
    ns[0] = <int64_t>(count * (1000000000ULL // per_second))
    return 1


cdef inline bint ns_of_decimal(const Decimal* value, int32_t unit_exponent, int64_t* ns) noexcept nogil:
    """A time with a fraction in units of ``10**unit_exponent`` seconds, cut below the nanosecond."""
    cdef uint128 total = value.mantissa
    cdef int32_t exponent = value.exponent + unit_exponent + 9
    while exponent > 0:
        if total > <uint128>922337203685477580ULL:
            return 0
        total *= 10
        exponent -= 1
    while exponent < 0 and total != 0:
        total //= 10
        exponent += 1
    if total > <uint128>9223372036854775807ULL:
        return 0
    return ns_of(<uint64_t>total, 1000000000ULL, ns)
