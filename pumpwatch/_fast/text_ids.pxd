"""Trade ids that are text, and order numbers that are no trade ids: Bybit, KuCoin, Phemex."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pumpwatch._fast.cursor cimport Cursor, is_plain_id, take_string, take_unsigned
from pumpwatch._fast.members cimport Value, read_text, read_unsigned
from pumpwatch._fast.trade cimport Batch, Trade

cdef enum:
    LONG_MAX = 9223372036854775807


cdef inline bint set_id(Trade* trade, const char* text, Py_ssize_t size) noexcept nogil:
    if not is_plain_id(text, size):
        return 0
    trade.id = text
    trade.id_bytes = <uint32_t>size
    return 1


cdef inline bint take_id(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    return take_string(cur, out, &text, &size) and set_id(trade, text, size)


cdef inline bint read_id(Value value, Batch* out, Trade* trade) noexcept nogil:
    """An id that came without quotes must be digits: ``1e5`` and ``-1`` would look plain too."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if value.at == NULL:
        return 0
    if value.at[0] == c'"':
        return read_text(value, out, &text, &size) and set_id(trade, text, size)
    text = value.at
    while text < value.end:
        if not c'0' <= text[0] <= c'9':
            return 0
        text += 1
    return set_id(trade, value.at, value.end - value.at)


cdef inline bint set_sequence(Trade* trade, uint64_t number) noexcept nogil:
    """The venue's order number, refused where the column (LONG) cannot hold it."""
    if number > <uint64_t>LONG_MAX:
        return 0
    trade.sequence_number = <int64_t>number
    return 1


cdef inline bint take_sequence(Cursor* cur, Trade* trade) noexcept nogil:
    cdef uint64_t number = 0
    return take_unsigned(cur, &number) and set_sequence(trade, number)


cdef inline bint read_sequence(Value value, Batch* out, Trade* trade) noexcept nogil:
    cdef uint64_t number = 0
    return read_unsigned(value, out, &number) and set_sequence(trade, number)
