"""Phemex ``trades`` (spot) and ``trades_p`` (USDT perpetuals), on one socket (FEEDS.md section 8).

Rows are [ns, taker side, price, size], newest first on the wire, and carry no id. Spot's numbers
are integers scaled by 10**8 and are kept so: the instrument knows the scales. A text with a point
in their place would be a new format, not a price, and is refused.
"""
from libc.stdint cimport uint32_t, uint64_t

from pumpwatch._fast.cursor cimport (
    Cursor, pass_digits, same, skip_space, skip_value, take_char, take_decimal, take_side, take_string, take_unsigned,
)
from pumpwatch._fast.members cimport (
    Value, is_absent, is_array, read_decimal, read_is_sell, read_symbol, read_text, read_unsigned,
    take_members, take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.text_ids cimport read_sequence, take_sequence
from pumpwatch._fast.times cimport ns_of
from pumpwatch._fast.trade cimport (
    PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, Decimal, ParseStatus, Trade, batch_next,
)

cdef enum:
    SEQUENCE, SYMBOL, TYPE, ROWS, TOP_MEMBERS

cdef enum:
    TIME, SIDE, PRICE, SIZE, ROW_ITEMS

cdef const char* SPOT_NAMES[TOP_MEMBERS]
SPOT_NAMES[:] = [b"sequence", b"symbol", b"type", b"trades"]
cdef const char* FUTURES_NAMES[TOP_MEMBERS]
FUTURES_NAMES[:] = [b"sequence", b"symbol", b"type", b"trades_p"]

cdef struct Market:
    const char** names
    const char* known_rows      # the rows' key, as spelled on the wire
    bint (*take_amount)(Cursor* cur, Decimal* amount) noexcept nogil
    bint (*read_amount)(Value value, Batch* out, Decimal* amount) noexcept nogil


cdef bint take_scaled(Cursor* cur, Decimal* amount) noexcept nogil:
    cdef uint64_t number = 0
    if not take_unsigned(cur, &number):
        return 0
    amount.mantissa = number
    amount.exponent = 0
    return 1


cdef bint read_scaled(Value value, Batch* out, Decimal* amount) noexcept nogil:
    cdef uint64_t number = 0
    if not read_unsigned(value, out, &number):
        return 0
    amount.mantissa = number
    amount.exponent = 0
    return 1


cdef bint take_plain(Cursor* cur, Decimal* amount) noexcept nogil:
    return take_decimal(cur, amount)


cdef bint take_known_row(Cursor* cur, Batch* out, Trade* trade, const Market* market) noexcept nogil:
    cdef uint64_t number = 0
    if not (take_text(cur, "[") and take_unsigned(cur, &number)
            and ns_of(number, 1000000000, &trade.exchange_ns)):
        return 0
    if not (take_text(cur, ",") and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ",") and market.take_amount(cur, &trade.price)):
        return 0
    return take_text(cur, ",") and market.take_amount(cur, &trade.quantity) and take_text(cur, "]")


cdef bint take_known_type(Cursor* cur, bint* is_snapshot) noexcept nogil:
    """What follows the rows; a message without type is incremental."""
    is_snapshot[0] = 0
    if take_text(cur, "}") or take_text(cur, ',"type":"incremental"}'):
        return 1
    is_snapshot[0] = 1
    return take_text(cur, ',"type":"snapshot"}')


cdef bint take_known(Cursor* cur, Batch* out, Trade* head, const Market* market, bint* is_snapshot) noexcept nogil:
    """A message as spelled in 2020 to 2026; dts and mts came in 2025. ``head`` gets symbol and sequence."""
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef Trade* trade
    if take_text(cur, '{"dts":'):
        if not (pass_digits(cur) and take_text(cur, ',"mts":') and pass_digits(cur) and take_text(cur, ",")):
            return 0
    elif not take_text(cur, "{"):
        return 0
    if not (take_text(cur, '"sequence":') and take_sequence(cur, head)):
        return 0
    if not (take_text(cur, ',"symbol":') and take_string(cur, out, &head.symbol, &size) and size > 0):
        return 0
    head.symbol_bytes = <uint32_t>size
    if not take_text(cur, market.known_rows):
        return 0
    while True:
        trade = batch_next(out)
        if trade == NULL or not take_known_row(cur, out, trade, market):
            return 0
        out.count += 1
        if not take_text(cur, ","):
            return take_text(cur, "]") and take_known_type(cur, is_snapshot)


cdef bint read_row(Cursor* cur, Batch* out, Trade* trade, const Market* market) noexcept nogil:
    """Items behind the fourth would be new ones and are skipped."""
    cdef Value values[ROW_ITEMS]
    cdef int count = 0
    cdef uint64_t number = 0
    cdef Value value
    if not take_char(cur, c'['):
        return 0
    while True:
        skip_space(cur)
        value.at = cur.at
        if not skip_value(cur):
            return 0
        value.end = cur.at
        if count < ROW_ITEMS:
            values[count] = value
            count += 1
        if not take_char(cur, c','):
            break
    return (take_char(cur, c']') and count == ROW_ITEMS
            and read_unsigned(values[TIME], out, &number) and ns_of(number, 1000000000, &trade.exchange_ns)
            and read_is_sell(values[SIDE], out, &trade.is_sell)
            and market.read_amount(values[PRICE], out, &trade.price)
            and market.read_amount(values[SIZE], out, &trade.quantity))


cdef bint read_type(Value value, Batch* out, bint* is_snapshot) noexcept nogil:
    """A type that is neither of the two would leave open what the rows repeat: refused."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    is_snapshot[0] = 0
    if is_absent(value):
        return 1
    if not read_text(value, out, &text, &size):
        return 0
    is_snapshot[0] = same(text, size, "snapshot", 8)
    return is_snapshot[0] or same(text, size, "incremental", 11)


cdef ParseStatus parse_any(
    Cursor* cur, Batch* out, Trade* head, const Market* market, bint* is_snapshot
) noexcept nogil:
    """The general walk. The other market's rows have another key and are none of ours."""
    cdef Value top[TOP_MEMBERS]
    cdef Value rows
    cdef Trade* trade
    if not take_members(cur, out, market.names, TOP_MEMBERS, top):
        return PARSE_MALFORMED
    rows = top[ROWS]
    if is_absent(rows):
        return PARSE_OTHER
    if not is_array(rows):
        return PARSE_MALFORMED
    rows.at += 1
    if take_char(&rows, c']'):
        return PARSE_OTHER
    if not (read_sequence(top[SEQUENCE], out, head) and read_symbol(top[SYMBOL], out, head)
            and read_type(top[TYPE], out, is_snapshot)):
        return PARSE_MALFORMED
    while True:
        trade = batch_next(out)
        if trade == NULL:
            return PARSE_FULL
        if not read_row(&rows, out, trade, market):
            return PARSE_MALFORMED
        out.count += 1
        if not take_char(&rows, c','):
            return PARSE_TRADES


cdef void finish_rows(Batch* out, Py_ssize_t first, const Trade* head) noexcept nogil:
    """Oldest first, each with its message's symbol and sequence."""
    cdef Py_ssize_t low = first, high = out.count - 1
    cdef Trade swap
    while low < high:
        swap = out.trades[low]
        out.trades[low] = out.trades[high]
        out.trades[high] = swap
        low += 1
        high -= 1
    for low in range(first, out.count):
        out.trades[low].symbol = head.symbol
        out.trades[low].symbol_bytes = head.symbol_bytes
        out.trades[low].sequence_number = head.sequence_number


cdef ParseStatus parse_rows(Cursor* cur, Batch* out, const Market* market) noexcept nogil:
    cdef Cursor start = cur[0]
    cdef Py_ssize_t scratch_used = out.scratch_used, first = out.count
    cdef ParseStatus status = PARSE_TRADES
    cdef Trade head
    cdef bint is_snapshot = 0
    if not take_known(cur, out, &head, market, &is_snapshot):
        cur[0] = start
        out.count = first
        out.scratch_used = scratch_used
        status = parse_any(cur, out, &head, market, &is_snapshot)
    if status != PARSE_TRADES:
        return status
    # A batch is a snapshot or is none: joined documents, never seen here, cannot be told apart in it.
    if first > 0 and (is_snapshot or out.is_snapshot):
        return PARSE_MALFORMED
    out.is_snapshot = is_snapshot
    finish_rows(out, first, &head)
    return PARSE_TRADES


cdef Market SPOT_MARKET
SPOT_MARKET.names = SPOT_NAMES
SPOT_MARKET.known_rows = b',"trades":['
SPOT_MARKET.take_amount = take_scaled
SPOT_MARKET.read_amount = read_scaled
cdef Market FUTURES_MARKET
FUTURES_MARKET.names = FUTURES_NAMES
FUTURES_MARKET.known_rows = b',"trades_p":['
FUTURES_MARKET.take_amount = take_plain
FUTURES_MARKET.read_amount = read_decimal


cdef ParseStatus parse_spot(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, &SPOT_MARKET)


cdef ParseStatus parse_futures(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, &FUTURES_MARKET)


SPOT = make_parser("phemex_spot", parse_spot)
FUTURES = make_parser("phemex_futures", parse_futures)
