"""A bounds-checked JSON cursor: the only parser code that dereferences wire bytes.

Every ``take_*`` skips white space first, returns 1 and moves on when it read what it promises,
else returns 0 and leaves the position undefined: the caller gives the message up or starts again
from a copy of the cursor. Numbers follow JSON's grammar (RFC 8259) also inside strings, so that
a leading zero, an empty string, ``NaN`` or ``.5`` is malformed.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from pumpwatch._fast.trade cimport Batch, Decimal, Trade, uint128

cdef enum:
    DEPTH_MAX = 32             # deeper nesting is no venue message
    DIGITS_MAX = 38            # 10**38 - 1 fits 128 bits (R15)
    EXPONENT_MAX = 9999

cdef struct Cursor:
    const char* at
    const char* end


cdef inline void skip_space(Cursor* cur) noexcept nogil:
    cdef char c
    while cur.at < cur.end:
        c = cur.at[0]
        if c != c' ' and c != c'\n' and c != c'\t' and c != c'\r':
            return
        cur.at += 1


cdef inline bint take_char(Cursor* cur, char wanted) noexcept nogil:
    skip_space(cur)
    if cur.at < cur.end and cur.at[0] == wanted:
        cur.at += 1
        return 1
    return 0


cdef inline bint peek_char(Cursor* cur, char wanted) noexcept nogil:
    skip_space(cur)
    return cur.at < cur.end and cur.at[0] == wanted


cdef inline bint take_exact(Cursor* cur, const char* wanted, Py_ssize_t size) noexcept nogil:
    """The bytes ``wanted`` without any white space: for the known spelling that is tried first."""
    if cur.end - cur.at >= size and memcmp(cur.at, wanted, size) == 0:
        cur.at += size
        return 1
    return 0


cdef inline bint same(const char* text, Py_ssize_t size, const char* wanted, Py_ssize_t wanted_size) noexcept nogil:
    return size == wanted_size and memcmp(text, wanted, size) == 0


cdef bint take_escaped_string(Cursor* cur, Batch* batch, const char** text, Py_ssize_t* size) noexcept nogil

cdef bint skip_value_at_depth(Cursor* cur, int depth) noexcept nogil

cdef bint take_long_decimal(Cursor* cur, Decimal* value, bint* negative) noexcept nogil


cdef inline bint take_string(Cursor* cur, Batch* batch, const char** text, Py_ssize_t* size) noexcept nogil:
    """A JSON string; ``text`` points into the message, or into ``batch.scratch`` when it had escapes."""
    cdef const char* start
    cdef unsigned char c
    if not take_char(cur, c'"'):
        return 0
    start = cur.at
    while cur.at < cur.end:
        c = <unsigned char>cur.at[0]
        if c == c'"':
            text[0] = start
            size[0] = cur.at - start
            cur.at += 1
            return 1
        if c == c'\\':
            cur.at = start
            return take_escaped_string(cur, batch, text, size)
        if c < 0x20:
            return 0
        cur.at += 1
    return 0


cdef inline bint take_digits(Cursor* cur, uint64_t* value) noexcept nogil:
    """Digits without sign, at most 19 so that the value fits; no leading zero."""
    cdef const char* start = cur.at
    cdef uint64_t total = 0
    cdef unsigned char digit
    while cur.at < cur.end:
        digit = <unsigned char>(cur.at[0] - c'0')
        if digit > 9:
            break
        total = total * 10 + digit
        cur.at += 1
    if cur.at == start or cur.at - start > 19 or (start[0] == c'0' and cur.at - start > 1):
        return 0
    value[0] = total
    return 1


cdef inline bint at_number_end(Cursor* cur) noexcept nogil:
    cdef char c
    if cur.at >= cur.end:
        return 1
    c = cur.at[0]
    return c != c'.' and c != c'e' and c != c'E'


cdef inline bint take_unsigned(Cursor* cur, uint64_t* value) noexcept nogil:
    """An integer >= 0 of at most 19 digits, bare or in quotes."""
    cdef bint quoted = take_char(cur, c'"')
    if not take_digits(cur, value) or not at_number_end(cur):
        return 0
    if quoted:
        if cur.at >= cur.end or cur.at[0] != c'"':
            return 0
        cur.at += 1
    return 1


cdef inline bint take_decimal_signed(Cursor* cur, Decimal* value, bint* negative) noexcept nogil:
    """A number, bare or in quotes, exactly: mantissa and exponent, sign apart."""
    cdef Cursor start
    cdef bint quoted
    cdef uint64_t total = 0
    cdef unsigned char digit
    cdef const char* first
    cdef const char* point = NULL
    cdef Py_ssize_t digits
    quoted = take_char(cur, c'"')
    start = cur[0]
    negative[0] = 0
    if cur.at < cur.end and cur.at[0] == c'-':
        negative[0] = 1
        cur.at += 1
    first = cur.at
    while cur.at < cur.end:
        digit = <unsigned char>(cur.at[0] - c'0')
        if digit <= 9:
            total = total * 10 + digit
        elif cur.at[0] == c'.' and point == NULL:
            point = cur.at
        else:
            break
        cur.at += 1
    digits = cur.at - first - (point != NULL)
    if digits == 0 or point == first or point == cur.at - 1:
        return 0
    if first[0] == c'0' and digits > 1 and point != first + 1:
        return 0
    if digits > 19 or (cur.at < cur.end and (cur.at[0] == c'e' or cur.at[0] == c'E')):
        cur[0] = start
        if not take_long_decimal(cur, value, negative):
            return 0
    else:
        value.mantissa = total
        value.exponent = 0 if point == NULL else -<int32_t>(cur.at - point - 1)
    if quoted:
        if cur.at >= cur.end or cur.at[0] != c'"':
            return 0
        cur.at += 1
    return 1


cdef inline bint take_decimal(Cursor* cur, Decimal* value) noexcept nogil:
    """A number >= 0 (``-0`` and negatives are refused), bare or in quotes."""
    cdef bint negative
    return take_decimal_signed(cur, value, &negative) and not negative


cdef inline bint skip_value(Cursor* cur) noexcept nogil:
    """Any one JSON value, checked for form."""
    return skip_value_at_depth(cur, 0)


cdef inline bint take_key(Cursor* cur, Batch* batch, const char** key, Py_ssize_t* size) noexcept nogil:
    """A key and its colon."""
    return take_string(cur, batch, key, size) and take_char(cur, c':')


cdef inline bint take_true_or_false(Cursor* cur, bint* value) noexcept nogil:
    skip_space(cur)
    if take_exact(cur, "true", 4):
        value[0] = 1
        return 1
    if take_exact(cur, "false", 5):
        value[0] = 0
        return 1
    return 0


cdef inline bint take_side(Cursor* cur, Batch* batch, uint8_t* is_sell) noexcept nogil:
    """``buy``/``sell`` or ``Buy``/``Sell``: what Bybit, OKX, KuCoin, Gate spot and Phemex call the taker side."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if not take_string(cur, batch, &text, &size):
        return 0
    if size == 3 and (text[0] == c'b' or text[0] == c'B') and text[1] == c'u' and text[2] == c'y':
        is_sell[0] = 0
        return 1
    if size == 4 and (text[0] == c's' or text[0] == c'S') and memcmp(text + 1, "ell", 3) == 0:
        is_sell[0] = 1
        return 1
    return 0


cdef inline bint is_plain_id(const char* text, Py_ssize_t size) noexcept nogil:
    """Trade ids go into ILP unescaped: letters, digits, ``-`` and ``_`` only, 1 to 64 of them."""
    cdef Py_ssize_t i
    cdef char c
    if size < 1 or size > 64:
        return 0
    for i in range(size):
        c = text[i]
        if not (c'0' <= c <= c'9' or c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c == c'-' or c == c'_'):
            return 0
    return 1


cdef inline bint take_id_number(Cursor* cur, Trade* trade) noexcept nogil:
    """A trade id that is a number, bare or quoted: ``order_id`` and the id's own digits."""
    cdef const char* start
    skip_space(cur)
    start = cur.at + (cur.at < cur.end and cur.at[0] == c'"')
    if not take_unsigned(cur, &trade.order_id):
        return 0
    trade.id = start
    trade.id_bytes = <uint32_t>(cur.at - start - ((cur.at - 1)[0] == c'"'))
    return 1
