"""A bounds-checked JSON cursor: the only parser code that dereferences wire bytes.

Every ``take_*`` skips white space first, returns 1 and moves on when it read what it promises,
else returns 0 and leaves the position undefined: the caller gives the message up or starts again
from a copy of the cursor. Numbers follow JSON's grammar (RFC 8259) also inside strings, so that
a leading zero, an empty string, ``NaN`` or ``.5`` is malformed.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from pumpwatch._fast.trade cimport Batch, Decimal, Trade, uint128
from pumpwatch._fast.words cimport (
    POWERS, are_plain, digit_run, digits_value, load_digits, load_word, low_zeros, string_stops,
)

cdef enum:
    DEPTH_MAX = 32             # deeper nesting is no venue message
    DIGITS_MAX = 38            # 10**38 - 1 fits 128 bits (R15)
    EXPONENT_MAX = 9999

# The texts as words (words.pxd): "true", "false", and the sides in their quotes and lower case.
cdef extern from *:
    """
    #define PW_TRUE_WORD 0x65757274ULL
    #define PW_FALSE_WORD 0x65736C6166ULL
    #define PW_BUY_WORD 0x2279756222ULL
    #define PW_SELL_WORD 0x226C6C657322ULL
    """
    const uint64_t TRUE_WORD "PW_TRUE_WORD"
    const uint64_t FALSE_WORD "PW_FALSE_WORD"
    const uint64_t BUY_WORD "PW_BUY_WORD"
    const uint64_t SELL_WORD "PW_SELL_WORD"

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


cdef inline const char* string_end(const char* at, const char* end) noexcept nogil:
    """The first quote, backslash or control character; ``end`` where there is none."""
    cdef uint64_t stops
    cdef unsigned char c
    while end - at >= 8:
        stops = string_stops(load_word(at))
        if stops:
            return at + (low_zeros(stops) >> 3)
        at += 8
    while at < end:
        c = <unsigned char>at[0]
        if c == c'"' or c == c'\\' or c < 0x20:
            return at
        at += 1
    return end


cdef inline bint take_string(Cursor* cur, Batch* batch, const char** text, Py_ssize_t* size) noexcept nogil:
    """A JSON string; ``text`` points into the message, or into ``batch.scratch`` when it had escapes."""
    cdef const char* start
    cdef const char* at
    if not take_char(cur, c'"'):
        return 0
    start = cur.at
    at = string_end(start, cur.end)
    if at >= cur.end:
        return 0
    if at[0] == c'"':
        text[0] = start
        size[0] = at - start
        cur.at = at + 1
        return 1
    return at[0] == c'\\' and take_escaped_string(cur, batch, text, size)


cdef inline const char* digits_end(const char* at, const char* end, uint64_t* value) noexcept nogil:
    """Behind the digits at ``at``, which are appended to ``value``; it wraps behind the 19th."""
    cdef uint64_t total = value[0], word
    cdef unsigned char digit
    cdef int count
    while end - at >= 8:
        word = load_digits(at)
        count = digit_run(word)
        if count < 8:
            if count:
                total = total * POWERS[count] + digits_value(word, count)
            value[0] = total
            return at + count
        total = total * 100000000 + digits_value(word, 8)
        at += 8
    while at < end:
        digit = <unsigned char>(at[0] - c'0')
        if digit > 9:
            break
        total = total * 10 + digit
        at += 1
    value[0] = total
    return at


cdef inline bint take_digits(Cursor* cur, uint64_t* value) noexcept nogil:
    """Digits without sign, at most 19 so that the value fits; no leading zero."""
    cdef const char* start = cur.at
    cdef uint64_t total = 0
    cdef const char* at = digits_end(start, cur.end, &total)
    cdef Py_ssize_t count = at - start
    if count == 0 or count > 19 or (start[0] == c'0' and count > 1):
        return 0
    value[0] = total
    cur.at = at
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


cdef inline bint pass_digits(Cursor* cur) noexcept nogil:
    """A bare integer whose value nobody needs; for the known spelling."""
    cdef const char* start = cur.at
    cdef const char* at = start
    cdef int count = 8
    while count == 8 and cur.end - at >= 8:
        count = digit_run(load_digits(at))
        at += count
    while at < cur.end and c'0' <= at[0] <= c'9':
        at += 1
    cur.at = at
    return at != start and (start[0] != c'0' or at - start == 1)


cdef inline bint take_decimal_signed(Cursor* cur, Decimal* value, bint* negative) noexcept nogil:
    """A number, bare or in quotes, exactly: mantissa and exponent, sign apart."""
    cdef bint quoted = take_char(cur, c'"')
    cdef const char* at = cur.at
    cdef const char* end = cur.end
    cdef const char* first
    cdef const char* point
    cdef uint64_t total = 0
    cdef bint minus = at < end and at[0] == c'-'
    at += minus
    first = at
    at = point = digits_end(first, end, &total)
    if at == first or (first[0] == c'0' and at - first > 1):
        return 0
    if at < end and at[0] == c'.':
        at = digits_end(point + 1, end, &total)
        if at == point + 1:
            return 0
    if at - first > 19 + (at != point) or (at < end and (at[0] == c'e' or at[0] == c'E')):
        if not take_long_decimal(cur, value, negative):
            return 0
        at = cur.at
    else:
        negative[0] = minus
        value.mantissa = total
        value.exponent = <int32_t>(point + (at != point) - at)
    if quoted:
        if at >= end or at[0] != c'"':
            return 0
        at += 1
    cur.at = at
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
    cdef uint64_t word
    cdef bint is_true
    skip_space(cur)
    if cur.end - cur.at >= 8:
        # No branch: which of the two comes next cannot be predicted.
        word = load_word(cur.at)
        is_true = (word & 0xFF) == c't'
        word &= 0xFFFFFFFFULL if is_true else 0xFFFFFFFFFFULL
        value[0] = is_true
        cur.at += 4 if is_true else 5
        return word == (TRUE_WORD if is_true else FALSE_WORD)
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
    cdef uint64_t word
    cdef bint sells
    if cur.end - cur.at >= 8:
        # The usual spelling without a branch on the side, which cannot be predicted.
        word = load_word(cur.at) | 0x2000
        sells = (word >> 8 & 0xFF) == c's'
        if (word & (0xFFFFFFFFFFFFULL if sells else 0xFFFFFFFFFFULL)) == (SELL_WORD if sells else BUY_WORD):
            is_sell[0] = sells
            cur.at += 6 if sells else 5
            return 1
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
    if size >= 8:
        for i in range(0, size - 7, 8):
            if not are_plain(load_word(text + i)):
                return 0
        return are_plain(load_word(text + size - 8))
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
