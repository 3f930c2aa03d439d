"""The rare turns of the JSON cursor: escapes, long numbers, values that are skipped."""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy

from pumpwatch._fast.trade cimport Batch, Decimal, uint128


cdef bint take_hex4(Cursor* cur, uint32_t* value) noexcept nogil:
    cdef int i
    cdef char c
    cdef uint32_t total = 0
    if cur.end - cur.at < 4:
        return 0
    for i in range(4):
        c = cur.at[i]
        if c'0' <= c <= c'9':
            total = total * 16 + <uint32_t>(c - c'0')
        elif c'a' <= c <= c'f':
            total = total * 16 + <uint32_t>(c - c'a' + 10)
        elif c'A' <= c <= c'F':
            total = total * 16 + <uint32_t>(c - c'A' + 10)
        else:
            return 0
    cur.at += 4
    value[0] = total
    return 1


cdef Py_ssize_t put_utf8(char* out, uint32_t code) noexcept nogil:
    if code < 0x80:
        out[0] = <char>code
        return 1
    if code < 0x800:
        out[0] = <char>(0xC0 | (code >> 6))
        out[1] = <char>(0x80 | (code & 0x3F))
        return 2
    if code < 0x10000:
        out[0] = <char>(0xE0 | (code >> 12))
        out[1] = <char>(0x80 | ((code >> 6) & 0x3F))
        out[2] = <char>(0x80 | (code & 0x3F))
        return 3
    out[0] = <char>(0xF0 | (code >> 18))
    out[1] = <char>(0x80 | ((code >> 12) & 0x3F))
    out[2] = <char>(0x80 | ((code >> 6) & 0x3F))
    out[3] = <char>(0x80 | (code & 0x3F))
    return 4


cdef bint take_code_point(Cursor* cur, uint32_t* code) noexcept nogil:
    """What follows ``\\u``: one unit, or a surrogate pair. A lone surrogate is no text: malformed."""
    cdef uint32_t low = 0
    if not take_hex4(cur, code):
        return 0
    if 0xDC00 <= code[0] <= 0xDFFF:
        return 0
    if 0xD800 <= code[0] <= 0xDBFF:
        if not take_exact(cur, "\\u", 2) or not take_hex4(cur, &low):
            return 0
        if not 0xDC00 <= low <= 0xDFFF:
            return 0
        code[0] = 0x10000 + ((code[0] - 0xD800) << 10) + (low - 0xDC00)
    return 1


cdef bint take_escaped_string(Cursor* cur, Batch* batch, const char** text, Py_ssize_t* size) noexcept nogil:
    """The rest of a string from behind its opening quote, escapes undone into ``batch.scratch``."""
    cdef char* out = batch.scratch + batch.scratch_used
    cdef char* start = out
    cdef char* limit = batch.scratch + batch.scratch_capacity - 4
    cdef unsigned char c
    cdef uint32_t code = 0
    while cur.at < cur.end and out < limit:
        c = <unsigned char>cur.at[0]
        cur.at += 1
        if c == c'"':
            text[0] = start
            size[0] = out - start
            batch.scratch_used = out - batch.scratch
            return 1
        if c < 0x20:
            return 0
        if c != c'\\':
            out[0] = <char>c
            out += 1
            continue
        if cur.at >= cur.end:
            return 0
        c = <unsigned char>cur.at[0]
        cur.at += 1
        if c == c'u':
            if not take_code_point(cur, &code):
                return 0
            out += put_utf8(out, code)
            continue
        if c == c'n':
            c = 10
        elif c == c't':
            c = 9
        elif c == c'r':
            c = 13
        elif c == c'b':
            c = 8
        elif c == c'f':
            c = 12
        elif c != c'"' and c != c'\\' and c != c'/':
            return 0
        out[0] = <char>c
        out += 1
    return 0


cdef bint take_long_decimal(Cursor* cur, Decimal* value, bint* negative) noexcept nogil:
    """A number with an exponent or more than 19 digits. Up to 38 significant digits, else refused (R15)."""
    cdef uint128 total = 0
    cdef int64_t exponent = 0, written = 0
    cdef int significant = 0, zeros = 0
    cdef bint fraction = 0, exponent_negative = 0
    cdef const char* first
    cdef Py_ssize_t digits = 0
    cdef unsigned char digit
    negative[0] = 0
    if cur.at < cur.end and cur.at[0] == c'-':
        negative[0] = 1
        cur.at += 1
    first = cur.at
    while cur.at < cur.end:
        digit = <unsigned char>(cur.at[0] - c'0')
        if digit > 9:
            if cur.at[0] != c'.' or fraction or cur.at == first:
                break
            fraction = 1
            cur.at += 1
            if cur.at >= cur.end or <unsigned char>(cur.at[0] - c'0') > 9:
                return 0
            continue
        digits += 1
        if fraction:
            exponent -= 1
        # Zeros are held back until a digit follows: trailing ones are stripped before digits are counted.
        if digit == 0:
            if significant:
                zeros += 1
        else:
            if significant + zeros + 1 > DIGITS_MAX:
                return 0
            while zeros > 0:
                total = total * 10
                significant += 1
                zeros -= 1
            total = total * 10 + digit
            significant += 1
        cur.at += 1
    if digits == 0 or (first[0] == c'0' and digits > 1 and first[1] != c'.'):
        return 0
    exponent += zeros
    if cur.at < cur.end and (cur.at[0] == c'e' or cur.at[0] == c'E'):
        cur.at += 1
        if cur.at < cur.end and (cur.at[0] == c'+' or cur.at[0] == c'-'):
            exponent_negative = cur.at[0] == c'-'
            cur.at += 1
        first = cur.at
        while cur.at < cur.end and <unsigned char>(cur.at[0] - c'0') <= 9:
            if written < 1000000000:  # more than any number of zeros in a message could take back
                written = written * 10 + (cur.at[0] - c'0')
            cur.at += 1
        if cur.at == first:
            return 0
        exponent += -written if exponent_negative else written
    if total == 0:
        exponent = 0
    if exponent > EXPONENT_MAX or exponent < -EXPONENT_MAX:
        return 0
    value.mantissa = total
    value.exponent = <int32_t>exponent
    return 1


cdef bint skip_string(Cursor* cur) noexcept nogil:
    """A string from behind its opening quote; escapes are checked for form."""
    cdef unsigned char c
    cdef uint32_t unit = 0
    while cur.at < cur.end:
        c = <unsigned char>cur.at[0]
        cur.at += 1
        if c == c'"':
            return 1
        if c < 0x20:
            return 0
        if c == c'\\':
            if cur.at >= cur.end:
                return 0
            c = <unsigned char>cur.at[0]
            cur.at += 1
            if c == c'u':
                if not take_hex4(cur, &unit):
                    return 0
            elif not (c == c'"' or c == c'\\' or c == c'/' or c == c'n' or c == c't' or c == c'r'
                      or c == c'b' or c == c'f'):
                return 0
    return 0


cdef bint skip_number(Cursor* cur) noexcept nogil:
    cdef const char* start
    if cur.at < cur.end and cur.at[0] == c'-':
        cur.at += 1
    start = cur.at
    while cur.at < cur.end and <unsigned char>(cur.at[0] - c'0') <= 9:
        cur.at += 1
    if cur.at == start or (start[0] == c'0' and cur.at - start > 1):
        return 0
    if cur.at < cur.end and cur.at[0] == c'.':
        cur.at += 1
        start = cur.at
        while cur.at < cur.end and <unsigned char>(cur.at[0] - c'0') <= 9:
            cur.at += 1
        if cur.at == start:
            return 0
    if cur.at < cur.end and (cur.at[0] == c'e' or cur.at[0] == c'E'):
        cur.at += 1
        if cur.at < cur.end and (cur.at[0] == c'+' or cur.at[0] == c'-'):
            cur.at += 1
        start = cur.at
        while cur.at < cur.end and <unsigned char>(cur.at[0] - c'0') <= 9:
            cur.at += 1
        if cur.at == start:
            return 0
    return 1


cdef bint skip_members(Cursor* cur, int depth, char closing) noexcept nogil:
    """The inside of an object (closing ``}``) or array (closing ``]``)."""
    if take_char(cur, closing):
        return 1
    while True:
        if closing == c'}':
            if not take_char(cur, c'"') or not skip_string(cur) or not take_char(cur, c':'):
                return 0
        if not skip_value_at_depth(cur, depth + 1):
            return 0
        if take_char(cur, c','):
            continue
        return take_char(cur, closing)


cdef bint skip_value_at_depth(Cursor* cur, int depth) noexcept nogil:
    cdef char c
    if depth > DEPTH_MAX:
        return 0
    skip_space(cur)
    if cur.at >= cur.end:
        return 0
    c = cur.at[0]
    if c == c'"':
        cur.at += 1
        return skip_string(cur)
    if c == c'{':
        cur.at += 1
        return skip_members(cur, depth, c'}')
    if c == c'[':
        cur.at += 1
        return skip_members(cur, depth, c']')
    if c == c't':
        return take_exact(cur, "true", 4)
    if c == c'f':
        return take_exact(cur, "false", 5)
    if c == c'n':
        return take_exact(cur, "null", 4)
    return skip_number(cur)
