"""The general walk: any key order, white space, escapes, unknown and repeated members."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport strlen

from pumpwatch._fast.cursor cimport (
    Cursor, peek_char, same, skip_space, skip_value, take_char, take_decimal_signed, take_digits,
    take_key, take_side, take_string,
)
from pumpwatch._fast.trade cimport Batch, Decimal, Trade


cdef bint take_any_key(Cursor* cur, Batch* out, const char** key, Py_ssize_t* size) noexcept nogil:
    """A key; one that is no text (a lone surrogate) is read as an empty one, which nobody asks for."""
    cdef Cursor start = cur[0]
    if take_key(cur, out, key, size):
        return 1
    cur[0] = start
    size[0] = 0
    return peek_char(cur, c'"') and skip_value(cur) and take_char(cur, c':')


cdef bint take_members(Cursor* cur, Batch* out, const char** names, int count, Value* values) noexcept nogil:
    cdef const char* key = NULL
    cdef Py_ssize_t size = 0
    cdef Value value
    cdef int i
    for i in range(count):
        values[i].at = NULL
        values[i].end = NULL
    if not take_char(cur, c'{'):
        return 0
    if take_char(cur, c'}'):
        return 1
    while True:
        if not take_any_key(cur, out, &key, &size):
            return 0
        skip_space(cur)
        value.at = cur.at
        if not skip_value(cur):
            return 0
        value.end = cur.at
        for i in range(count):
            if same(key, size, names[i], <Py_ssize_t>strlen(names[i])):
                values[i] = value
        if take_char(cur, c','):
            continue
        return take_char(cur, c'}')


cdef bint read_text(Value value, Batch* out, const char** text, Py_ssize_t* size) noexcept nogil:
    return value.at != NULL and take_string(&value, out, text, size)


cdef bint read_is_sell(Value value, Batch* out, uint8_t* is_sell) noexcept nogil:
    return value.at != NULL and take_side(&value, out, is_sell)


cdef bint read_symbol(Value value, Batch* out, Trade* trade) noexcept nogil:
    cdef Py_ssize_t size = 0
    if not read_text(value, out, &trade.symbol, &size) or size == 0:
        return 0
    trade.symbol_bytes = <uint32_t>size
    return 1


cdef bint bare_number(Value* value, Batch* out) noexcept nogil:
    """Quotes and escapes undone: ``value`` becomes the text of the number."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if value.at == NULL:
        return 0
    if value.at[0] == c'"':
        if not take_string(value, out, &text, &size):
            return 0
        value.at = text
        value.end = text + size
    # A quote or white space inside the quotes would be skipped below.
    return value.at < value.end and (value.at[0] == c'-' or c'0' <= value.at[0] <= c'9')


cdef bint read_decimal_signed(Value value, Batch* out, Decimal* number, bint* negative) noexcept nogil:
    return bare_number(&value, out) and take_decimal_signed(&value, number, negative) and value.at == value.end


cdef bint read_decimal(Value value, Batch* out, Decimal* number) noexcept nogil:
    cdef bint negative = 0
    return read_decimal_signed(value, out, number, &negative) and not negative


cdef bint read_unsigned(Value value, Batch* out, uint64_t* number) noexcept nogil:
    return bare_number(&value, out) and take_digits(&value, number) and value.at == value.end


cdef bint read_id_number(Value value, Batch* out, Trade* trade, uint64_t* number) noexcept nogil:
    cdef const char* start
    if not bare_number(&value, out):
        return 0
    start = value.at
    if not take_digits(&value, number) or value.at != value.end:
        return 0
    trade.id = start
    trade.id_bytes = <uint32_t>(value.end - start)
    return 1
