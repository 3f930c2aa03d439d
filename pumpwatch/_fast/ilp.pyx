"""Building ILP lines without allocation per row (DESIGN section 3 step 5, section 4 for the columns)."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from pumpwatch._fast.instruments cimport NO_INSTRUMENT, InstrumentTable, prefix_of
from pumpwatch._fast.parser cimport Parser, batch_free, batch_init, parse_message
from pumpwatch._fast.trade cimport KIND_ORDINARY, PARSE_TRADES, Batch, uint128
from pumpwatch._fast.words cimport POWERS, put_digits

cdef enum:
    EXACT_EXPONENT_MAX = 22             # 10**22 is the largest power of ten a double holds exactly
    BINARY_DOUBLE = 0x10                # QuestDB's marker of a binary double behind "=="
    FIRST_BYTES = 65536

cdef uint64_t EXACT_MANTISSA_MAX = 1ULL << 53
cdef uint64_t FIFTEEN_DIGITS = 1000000000000000ULL

cdef double POWERS_OF_TEN[23]
cdef const char* KIND_TAGS[7]
cdef Py_ssize_t KIND_TAG_BYTES[7]


def _fill_tables():
    for i in range(23):
        POWERS_OF_TEN[i] = 10.0 ** i
    KIND_TAGS[0] = b""
    KIND_TAGS[1] = b",kind=block"
    KIND_TAGS[2] = b",kind=rpi"
    KIND_TAGS[3] = b",kind=adl"
    KIND_TAGS[4] = b",kind=insurance"
    KIND_TAGS[5] = b",kind=na"
    KIND_TAGS[6] = b",kind=internal"
    for i in range(7):
        KIND_TAG_BYTES[i] = len(KIND_TAGS[i])


_fill_tables()


cdef Py_ssize_t render_uint128(char* out, uint128 value) noexcept nogil:
    """The digits, at most 39, into ``out``; up to 7 bytes behind them are overwritten."""
    cdef Py_ssize_t head, i
    cdef uint64_t tail
    if value >> 64 == 0:
        return put_digits(out, <uint64_t>value)
    head = render_uint128(out, value // POWERS[19])
    tail = <uint64_t>(value % POWERS[19])
    for i in range(19):
        out[head + 18 - i] = <char>(48 + tail % 10)
        tail //= 10
    return head + 19


cdef void strip_zeros(Decimal* value) noexcept nogil:
    cdef uint64_t rest
    if value.mantissa == 0:
        value.exponent = 0
        return
    while value.mantissa >> 64 and value.mantissa % 10 == 0:
        value.mantissa //= 10
        value.exponent += 1
    if value.mantissa >> 64:
        return
    rest = <uint64_t>value.mantissa
    if rest % 10:
        return
    # Constant divisors, of which the compiler makes multiplications.
    while rest % 100000000 == 0:
        rest //= 100000000
        value.exponent += 8
    if rest % 10000 == 0:
        rest //= 10000
        value.exponent += 4
    if rest % 100 == 0:
        rest //= 100
        value.exponent += 2
    if rest % 10 == 0:
        rest //= 10
        value.exponent += 1
    value.mantissa = rest


cdef Py_ssize_t render_plain(char* out, const Decimal* given) noexcept nogil:
    cdef Decimal value = given[0]
    cdef char digits[2 * PLAIN_SLACK]
    cdef Py_ssize_t count, zeros, whole
    strip_zeros(&value)
    count = render_uint128(digits, value.mantissa)
    # Whole blocks are copied instead of as many bytes as needed: a number is short.
    if value.exponent >= 0:
        if count + value.exponent > DECIMAL_TEXT_MAX:
            return 0
        memcpy(out, digits, PLAIN_SLACK)
        if value.exponent:
            memset(out + count, c'0', value.exponent)
        return count + value.exponent
    whole = count + value.exponent
    if whole > 0:
        memcpy(out, digits, PLAIN_SLACK)
        out[whole] = c'.'
        memcpy(out + whole + 1, digits + whole, PLAIN_SLACK)
        return count + 1
    zeros = -whole
    if count + 2 + zeros > DECIMAL_TEXT_MAX:
        return 0
    out[0] = c'0'
    out[1] = c'.'
    if zeros:
        memset(out + 2, c'0', zeros)
    memcpy(out + 2 + zeros, digits, PLAIN_SLACK)
    return count + 2 + zeros


cdef Py_ssize_t render_composed_id(char* out, const Trade* trade, int32_t ordinal) noexcept nogil:
    """``side-price-size-ordinal``, numbers as normalised text (DESIGN section 4); 0: too long."""
    cdef Py_ssize_t size = 4, part
    if trade.is_sell:
        memcpy(out, "sell-", 5)
        size = 5
    else:
        memcpy(out, "buy-", 4)
    part = render_plain(out + size, &trade.price)
    if part == 0:
        return 0
    size += part
    out[size] = c'-'
    size += 1
    part = render_plain(out + size, &trade.quantity)
    if part == 0:
        return 0
    size += part
    out[size] = c'-'
    return size + 1 + put_digits(out + size + 1, <uint64_t>ordinal)


cdef Py_ssize_t put_number(Lines* lines, char* out, const Decimal* given) noexcept nogil:
    """``=`` and the value: a binary double where that is exact, else text that the server rounds."""
    cdef Decimal value = given[0]
    cdef double number
    cdef Py_ssize_t size
    if value.mantissa > FIFTEEN_DIGITS or value.exponent > EXACT_EXPONENT_MAX or value.exponent < -EXACT_EXPONENT_MAX:
        strip_zeros(&value)
        if value.mantissa >= FIFTEEN_DIGITS:
            lines.inexact += 1
    if value.mantissa <= EXACT_MANTISSA_MAX and -EXACT_EXPONENT_MAX <= value.exponent <= EXACT_EXPONENT_MAX:
        number = <double><int64_t>value.mantissa  # signed: one instruction
        if value.exponent < 0:
            number = number / POWERS_OF_TEN[-value.exponent]
        else:
            number = number * POWERS_OF_TEN[value.exponent]
        out[0] = c'='
        out[1] = c'='
        out[2] = BINARY_DOUBLE
        memcpy(out + 3, &number, 8)
        return 11
    out[0] = c'='
    size = render_plain(out + 1, &value)
    if size:
        return size + 1
    size = 1 + render_uint128(out + 1, value.mantissa)
    out[size] = c'E'
    size += 1
    if value.exponent < 0:
        out[size] = c'-'
        size += 1
    return size + put_digits(out + size, <uint64_t>(-value.exponent if value.exponent < 0 else value.exponent))


cdef bint multiply(Decimal* value, uint128 factor, int32_t exponent) noexcept nogil:
    cdef uint128 product
    if factor == 1 or value.mantissa == 0:
        pass
    elif (value.mantissa | factor) >> 64 == 0:
        value.mantissa *= factor
    else:
        strip_zeros(value)
        product = value.mantissa * factor
        if product // factor != value.mantissa:
            return 0
        value.mantissa = product
    value.exponent += exponent
    return 1


cdef bint scale_trade(const Instrument* instrument, Trade* trade) noexcept nogil:
    if not instrument.is_scaled:
        return 1
    trade.price.exponent += instrument.price_exponent
    return multiply(&trade.quantity, instrument.contract_mantissa, instrument.contract_exponent)


cdef bint lines_reserve(Lines* lines, Py_ssize_t size_bytes) noexcept nogil:
    cdef Py_ssize_t wanted
    cdef char* data
    if lines.capacity - lines.size >= size_bytes:
        return 1
    wanted = lines.capacity * 2 if lines.capacity else FIRST_BYTES
    while wanted - lines.size < size_bytes:
        wanted *= 2
    data = <char*>realloc(lines.data, wanted)
    if data == NULL:
        return 0
    lines.data = data
    lines.capacity = wanted
    return 1


cdef Py_ssize_t render_received(char* out, int64_t receive_ns) noexcept nogil:
    cdef Py_ssize_t size = 13
    memcpy(out, ",received_at=", 13)
    size += put_digits(out + size, <uint64_t>receive_ns)
    out[size] = c'n'
    out[size + 1] = c' '
    return size + 2


cdef bint put_trade(Lines* lines, const Instrument* instrument, const Trade* trade,
                    const char* received, Py_ssize_t received_bytes) noexcept nogil:
    cdef char* start
    cdef char* out
    cdef int prefix = prefix_of(trade)
    if not lines_reserve(lines, LINE_BYTES_MAX):
        return 0
    start = lines.data + lines.size
    out = start
    memcpy(out, instrument.prefixes[prefix], instrument.prefix_bytes[prefix])
    out += instrument.prefix_bytes[prefix]
    if trade.kind != KIND_ORDINARY:
        memcpy(out, KIND_TAGS[trade.kind], KIND_TAG_BYTES[trade.kind])
        out += KIND_TAG_BYTES[trade.kind]
    memcpy(out, " price=", 7)
    out += 6
    out += put_number(lines, out, &trade.price)
    memcpy(out, ",quantity", 9)
    out += 9
    out += put_number(lines, out, &trade.quantity)
    memcpy(out, ",trade_id=\"", 11)
    out += 11
    memcpy(out, trade.id, trade.id_bytes)
    out += trade.id_bytes
    memcpy(out, "\",sequence_number=", 18)
    out += 18
    out += put_digits(out, <uint64_t>trade.sequence_number)
    out[0] = c'i'
    out += 1
    memcpy(out, received, RECEIVED_BYTES_MAX)
    out += received_bytes
    out += put_digits(out, <uint64_t>trade.exchange_ns)
    out[0] = c'\n'
    out += 1
    lines.size += out - start
    lines.rows += 1
    return 1


cdef Py_ssize_t line_bytes(const char* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef bint quoted = 0, in_fields = 0
    while at < size:
        if text[at] == c'\\':
            at += 1
        elif quoted:
            quoted = text[at] != c'"'
        elif text[at] == c'\n':
            return at + 1
        elif text[at] == c' ':
            in_fields = 1
        elif in_fields and text[at] == c'"':
            quoted = 1
        elif in_fields and text[at] == c'=' and at + 2 < size and text[at + 1] == c'=' and text[at + 2] == BINARY_DOUBLE:
            at += 10
        at += 1
    return 0


cdef class RowBuffer:
    """Lines of one feed between two flushes."""

    def __dealloc__(self):
        free(self.lines.data)

    @property
    def rows(self):
        """Rows waiting."""
        return self.lines.rows

    @property
    def size_bytes(self):
        """Bytes waiting."""
        return self.lines.size

    @property
    def inexact_values(self):
        """Values with more than 15 significant digits since the start: stored rounded to nearest."""
        return self.lines.inexact

    def take(self):
        """``(payload, rows, received_ns of the oldest)`` of all that waits; then the buffer is empty."""
        payload = PyBytes_FromStringAndSize(self.lines.data, self.lines.size)
        rows = self.lines.rows
        self.lines.size = 0
        self.lines.rows = 0
        return payload, rows, self.lines.first_received_ns


def write_lines(RowBuffer rows, Parser parser, InstrumentTable table, bytes message, int64_t receive_ns, int times):
    """The lines of one message ``times`` over into ``rows``, for benchmarks; returns how many."""
    cdef char received[RECEIVED_BYTES_MAX]
    cdef Py_ssize_t received_bytes = render_received(received, receive_ns), i
    cdef int turn
    cdef uint32_t number
    cdef Batch batch
    cdef Trade trade
    batch_init(&batch, len(message) // 8 + 4, len(message) + 16)
    try:
        if parse_message(parser.run, message, len(message), &batch) != PARSE_TRADES:
            raise ValueError(f"{parser.feed}: no trades in {message[:200]!r}")
        with nogil:
            for turn in range(times):
                for i in range(batch.count):
                    trade = batch.trades[i]
                    number = table.find(trade.symbol, trade.symbol_bytes)
                    if number == NO_INSTRUMENT or trade.id == NULL:
                        break
                    if not scale_trade(&table.instruments[number], &trade):
                        break
                    if not put_trade(&rows.lines, &table.instruments[number], &trade, received, received_bytes):
                        break
        return batch.count * times
    finally:
        batch_free(&batch)


def split_lines(bytes payload):
    """Where each ILP line of ``payload`` ends (offset behind its newline).

    Knows that a binary double may contain a newline byte, and that a quoted string may contain
    anything. Both occur only among the fields: in a symbol, behind the first blank is not yet.
    """
    cdef const char* text = payload
    cdef Py_ssize_t left = len(payload), size, at = 0
    ends = []
    while True:
        size = line_bytes(text + at, left)
        if size == 0:
            return ends
        at += size
        left -= size
        ends.append(at)
