"""Objects read by member name: the general walk behind every parser's known spelling.

``take_members`` finds the values of the named members, whatever stands around them; of a key that
is repeated the last value counts, as in json.loads. The ``read_*`` functions then read one value:
they return 1 when it is what they promise, else 0 (also for a member that is absent).
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport strlen

from pumpwatch._fast.cursor cimport Cursor, take_exact
from pumpwatch._fast.trade cimport Batch, Decimal, Trade

# A value found: from its first byte to behind its last one; ``at`` is NULL where there is none.
ctypedef Cursor Value

# The document or value at ``cur`` must be an object, which is checked for form to its end.
cdef bint take_members(Cursor* cur, Batch* out, const char** names, int count, Value* values) noexcept nogil

cdef bint read_text(Value value, Batch* out, const char** text, Py_ssize_t* size) noexcept nogil
cdef bint read_is_sell(Value value, Batch* out, uint8_t* is_sell) noexcept nogil
cdef bint read_symbol(Value value, Batch* out, Trade* trade) noexcept nogil
# Numbers may stand in quotes, and there in escapes. ``text`` is the number's own digits.
cdef bint read_decimal(Value value, Batch* out, Decimal* number) noexcept nogil
cdef bint read_decimal_signed(Value value, Batch* out, Decimal* number, bint* negative) noexcept nogil
cdef bint read_unsigned(Value value, Batch* out, uint64_t* number) noexcept nogil
# The trade id: its digits, and the number, which must fit the column sequence_number (LONG).
cdef bint read_id_number(Value value, Batch* out, Trade* trade, uint64_t* number) noexcept nogil


cdef inline bint is_absent(Value value) noexcept nogil:
    return value.at == NULL


cdef inline bint is_null(Value value) noexcept nogil:
    return value.at != NULL and value.at[0] == c'n'


cdef inline bint is_object(Value value) noexcept nogil:
    return value.at != NULL and value.at[0] == c'{'


cdef inline bint is_array(Value value) noexcept nogil:
    return value.at != NULL and value.at[0] == c'['


cdef inline bint take_text(Cursor* cur, const char* wanted) noexcept nogil:
    """The bytes of a C literal, whose length the compiler knows."""
    return take_exact(cur, wanted, <Py_ssize_t>strlen(wanted))


cdef inline bint set_number(Trade* trade, uint64_t number) noexcept nogil:
    """The contiguous id, as the order number too; refused where LONG cannot hold it."""
    if number > 9223372036854775807ULL:
        return 0
    trade.order_id = number
    trade.sequence_number = <int64_t>number
    return 1
