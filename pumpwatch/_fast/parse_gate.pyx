"""Gate v4 ``spot.trades`` and ``futures.trades``, event "update" (FEEDS.md section 7).

Spot pushes one object, futures an array; both forms are taken on both. A spot row whose ``range``
is wider than one id merges several trades: it stands for these ids and is no row of the table (R7).
Sizes of futures carry the taker's side as their sign.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport strlen

from pumpwatch._fast.cursor cimport (
    Cursor, pass_digits, same, take_char, take_decimal, take_decimal_signed, take_digits, take_id_number, take_side,
    take_string, take_true_or_false, take_unsigned,
)
from pumpwatch._fast.members cimport (
    Value, is_absent, is_array, is_null, is_object, read_decimal, read_decimal_signed, read_id_number,
    read_is_sell, read_symbol, read_text, read_unsigned, set_number, take_members, take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.times cimport ns_of_decimal
from pumpwatch._fast.trade cimport (
    KIND_INTERNAL, PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, Decimal, ParseStatus,
    Trade, batch_next,
)

cdef enum:
    MILLISECONDS = -3
    SECONDS = 0

cdef enum:
    CHANNEL, EVENT, ERROR, RESULT, TOP_MEMBERS

cdef enum:
    SYMBOL, ID, PRICE, QUANTITY, TIME_MS, TIME, SIDE, ID_MARKET, RANGE, SPOT_MEMBERS
    IS_INTERNAL = SIDE
    FUTURES_MEMBERS = ID_MARKET

cdef const char* TOP_NAMES[TOP_MEMBERS]
TOP_NAMES[:] = [b"channel", b"event", b"error", b"result"]
cdef const char* SPOT_NAMES[SPOT_MEMBERS]
SPOT_NAMES[:] = [b"currency_pair", b"id", b"price", b"amount", b"create_time_ms", b"create_time", b"side",
                 b"id_market", b"range"]
cdef const char* FUTURES_NAMES[FUTURES_MEMBERS]
FUTURES_NAMES[:] = [b"contract", b"id", b"price", b"size", b"create_time_ms", b"create_time", b"is_internal"]

ctypedef bint (*row_fn)(Cursor* cur, Batch* out, Trade* trade) noexcept nogil


cdef bint set_range(Trade* trade, const char* text, Py_ssize_t size) noexcept nogil:
    """``range``: "first-last" in id_market. One id says no more than id_market, which may be absent."""
    cdef Cursor cur
    cdef uint64_t first = 0, last = 0
    cur.at = text
    cur.end = text + size
    if not (take_digits(&cur, &first) and take_text(&cur, "-") and take_digits(&cur, &last)):
        return 0
    if cur.at != cur.end or first > last:
        return 0
    if first == last:
        return trade.order_id != 0 or set_number(trade, last)
    trade.range_first = first
    return first > 0 and set_number(trade, last)


cdef bint set_size(Trade* trade, bint negative) noexcept nogil:
    """The sign of a size is the side; ``-0`` is refused (R15).

    A plain 0 is a small trade cut by a missing X-Gate-Size-Decimal header: kept for its id.
    """
    trade.is_sell = negative
    return trade.quantity.mantissa != 0 or not negative


cdef bint take_known_spot(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """A row as spelled in 2021 to 2026; id_market, range and trade_mode came in 2025 and 2026."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef Decimal time
    if not (take_text(cur, '{"id":') and take_id_number(cur, trade)):
        return 0
    trade.order_id = 0  # id is not what counts without jumps
    if take_text(cur, ',"id_market":') and not (take_unsigned(cur, &number) and set_number(trade, number)):
        return 0
    if not (take_text(cur, ',"create_time":') and pass_digits(cur)):
        return 0
    if not (take_text(cur, ',"create_time_ms":') and take_decimal(cur, &time)
            and ns_of_decimal(&time, MILLISECONDS, &trade.exchange_ns)):
        return 0
    if not (take_text(cur, ',"side":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ',"currency_pair":') and take_string(cur, out, &trade.symbol, &size) and size > 0):
        return 0
    trade.symbol_bytes = <uint32_t>size
    if not (take_text(cur, ',"amount":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"price":') and take_decimal(cur, &trade.price)):
        return 0
    if take_text(cur, ',"range":') and not (take_string(cur, out, &text, &size) and set_range(trade, text, size)):
        return 0
    if take_text(cur, ',"trade_mode":') and not pass_digits(cur):
        return 0
    return take_text(cur, "}")


cdef bint take_known_size(Cursor* cur, Trade* trade) noexcept nogil:
    cdef bint negative = 0
    return take_decimal_signed(cur, &trade.quantity, &negative) and set_size(trade, negative)


cdef bint take_known_futures(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """A row as spelled in 2021 to 2026: id and size stand in either order."""
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef Decimal time
    cdef bint flag = 0, size_first = take_text(cur, '{"size":')
    if size_first and not (take_known_size(cur, trade) and take_text(cur, ',"id":')):
        return 0
    if not (size_first or take_text(cur, '{"id":')):
        return 0
    if not (take_id_number(cur, trade) and set_number(trade, trade.order_id)):
        return 0
    if not (size_first or take_text(cur, ',"size":') and take_known_size(cur, trade)):
        return 0
    if not (take_text(cur, ',"create_time":') and pass_digits(cur)):
        return 0
    if not (take_text(cur, ',"create_time_ms":') and take_decimal(cur, &time)
            and ns_of_decimal(&time, MILLISECONDS, &trade.exchange_ns)):
        return 0
    if not (take_text(cur, ',"price":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"contract":') and take_string(cur, out, &trade.symbol, &size) and size > 0):
        return 0
    trade.symbol_bytes = <uint32_t>size
    if take_text(cur, ',"is_internal":'):
        if not take_true_or_false(cur, &flag):
            return 0
        if flag:
            trade.kind = KIND_INTERNAL
    return take_text(cur, "}")


cdef bint take_known_head(Cursor* cur, const char* channel) noexcept nogil:
    """From the opening brace to ``"result":``."""
    cdef uint64_t number = 0
    if not (take_text(cur, '{"time":') and pass_digits(cur)):
        return 0
    if take_text(cur, ',"time_ms":') and not pass_digits(cur):
        return 0
    if not (take_text(cur, ',"channel":"') and take_text(cur, channel) and take_text(cur, '","event":"update"')):
        return 0
    take_text(cur, ',"error":null')
    return take_text(cur, ',"result":')


cdef bint take_known(Cursor* cur, Batch* out, const char* channel, row_fn take_row) noexcept nogil:
    cdef Trade* trade
    cdef bint in_array
    if not take_known_head(cur, channel):
        return 0
    in_array = take_text(cur, "[")
    while True:
        trade = batch_next(out)
        if trade == NULL or not take_row(cur, out, trade):
            return 0
        out.count += 1
        if not in_array:
            return take_text(cur, "}")
        if not take_text(cur, ","):
            return take_text(cur, "]}")


cdef bint read_time(const Value* values, Batch* out, Trade* trade) noexcept nogil:
    """Milliseconds with what fraction there is; futures of 2020 had seconds only."""
    cdef Decimal time
    if is_absent(values[TIME_MS]):
        return read_decimal(values[TIME], out, &time) and ns_of_decimal(&time, SECONDS, &trade.exchange_ns)
    return (read_decimal(values[TIME_MS], out, &time)
            and ns_of_decimal(&time, MILLISECONDS, &trade.exchange_ns))


cdef bint read_spot(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef Value values[SPOT_MEMBERS]
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    if not take_members(cur, out, SPOT_NAMES, SPOT_MEMBERS, values):
        return 0
    if not (read_id_number(values[ID], out, trade, &number)
            and read_symbol(values[SYMBOL], out, trade)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal(values[QUANTITY], out, &trade.quantity)
            and read_is_sell(values[SIDE], out, &trade.is_sell)
            and read_time(values, out, trade)):
        return 0
    if not is_absent(values[ID_MARKET]):
        if not (read_unsigned(values[ID_MARKET], out, &number) and set_number(trade, number)):
            return 0
    return is_absent(values[RANGE]) or (
        read_text(values[RANGE], out, &text, &size) and set_range(trade, text, size))


cdef bint read_futures(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef Value values[FUTURES_MEMBERS]
    cdef uint64_t number = 0
    cdef bint negative = 0
    if not take_members(cur, out, FUTURES_NAMES, FUTURES_MEMBERS, values):
        return 0
    if not is_absent(values[IS_INTERNAL]) and values[IS_INTERNAL].at[0] == c't':
        trade.kind = KIND_INTERNAL
    return (read_id_number(values[ID], out, trade, &number) and set_number(trade, number)
            and read_symbol(values[SYMBOL], out, trade)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal_signed(values[QUANTITY], out, &trade.quantity, &negative)
            and set_size(trade, negative)
            and read_time(values, out, trade))


cdef ParseStatus read_rows(Value result, Batch* out, row_fn read_row) noexcept nogil:
    cdef Trade* trade
    cdef bint in_array = is_array(result)
    if not (in_array or is_object(result)):
        return PARSE_MALFORMED
    if in_array:
        result.at += 1
        if take_char(&result, c']'):
            return PARSE_OTHER
    while True:
        trade = batch_next(out)
        if trade == NULL:
            return PARSE_FULL
        if not read_row(&result, out, trade):
            return PARSE_MALFORMED
        out.count += 1
        if not in_array or not take_char(&result, c','):
            return PARSE_TRADES


cdef ParseStatus parse_any(Cursor* cur, Batch* out, const char* channel, row_fn read_row) noexcept nogil:
    """The general walk. Acks and failures are of the same channel, with another event or an error."""
    cdef Value top[TOP_MEMBERS]
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if not take_members(cur, out, TOP_NAMES, TOP_MEMBERS, top):
        return PARSE_MALFORMED
    if is_absent(top[CHANNEL]):
        return PARSE_OTHER
    if not read_text(top[CHANNEL], out, &text, &size):
        return PARSE_MALFORMED
    if not same(text, size, channel, <Py_ssize_t>strlen(channel)):
        return PARSE_OTHER
    if is_absent(top[EVENT]):
        return PARSE_OTHER
    if not read_text(top[EVENT], out, &text, &size):
        return PARSE_MALFORMED
    if not same(text, size, "update", 6) or not (is_absent(top[ERROR]) or is_null(top[ERROR])):
        return PARSE_OTHER
    return read_rows(top[RESULT], out, read_row)


cdef ParseStatus parse_rows(
    Cursor* cur, Batch* out, const char* channel, row_fn take_row, row_fn read_row
) noexcept nogil:
    cdef Cursor start = cur[0]
    cdef Py_ssize_t scratch_used = out.scratch_used, count = out.count
    if take_known(cur, out, channel, take_row):
        return PARSE_TRADES
    cur[0] = start
    out.count = count
    out.scratch_used = scratch_used
    return parse_any(cur, out, channel, read_row)


cdef ParseStatus parse_spot(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, "spot.trades", take_known_spot, read_spot)


cdef ParseStatus parse_futures(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, "futures.trades", take_known_futures, read_futures)


SPOT = make_parser("gate_spot", parse_spot)
FUTURES = make_parser("gate_futures", parse_futures)
