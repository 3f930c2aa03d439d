"""Binance @trade, spot and USDⓈ-M futures (FEEDS.md sections 2 and 3).

A trade is an object with ``e`` = "trade", bare (/ws) or as ``data`` of a combined stream. aggTrade
and blockTrade have id spaces of their own, serverShutdown and acks carry none: all PARSE_OTHER.
"""
from libc.stdint cimport uint32_t, uint64_t

from pumpwatch._fast.cursor cimport (
    Cursor, pass_digits, same, take_decimal, take_string, take_true_or_false, take_unsigned, take_id_number,
)
from pumpwatch._fast.members cimport (
    Value, is_absent, is_object, read_decimal, read_id_number, read_symbol, read_text, read_unsigned,
    set_number, take_members, take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.times cimport ns_of
from pumpwatch._fast.trade cimport (
    KIND_ADL, KIND_INSURANCE, KIND_NOT_AVAILABLE, PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER,
    PARSE_TRADES, Batch, ParseStatus, Trade, batch_next,
)

cdef enum:
    EVENT, SYMBOL, ID, PRICE, QUANTITY, TIME, BUYER_IS_MAKER, EXECUTION, EVENT_MEMBERS
    DATA = EVENT_MEMBERS
    TOP_MEMBERS

cdef const char* NAMES[TOP_MEMBERS]
NAMES[:] = [b"e", b"s", b"t", b"p", b"q", b"T", b"m", b"X", b"data"]


cdef bint set_time(Trade* trade, uint64_t count) noexcept nogil:
    """``T`` is in ms, or in µs where the URL asks for it: 2010 to 2100 in the one is never in the other."""
    return ns_of(count, 1000, &trade.exchange_ns) or ns_of(count, 1000000, &trade.exchange_ns)


cdef void set_kind(Trade* trade, const char* text, Py_ssize_t size) noexcept nogil:
    """``X``: whatever Binance may add is kept as an ordinary row."""
    if same(text, size, "INSURANCE_FUND", 14):
        trade.kind = KIND_INSURANCE
    elif same(text, size, "ADL", 3):
        trade.kind = KIND_ADL
    elif same(text, size, "NA", 2):
        trade.kind = KIND_NOT_AVAILABLE


cdef bint take_known_event(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """The event from behind ``"E":``, as spelled in 2024 to 2026. Spot has T behind q, futures in front."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef bint flag = 0, is_futures
    if not pass_digits(cur):
        return 0
    is_futures = take_text(cur, ',"T":')
    if is_futures and not (take_unsigned(cur, &number) and set_time(trade, number)):
        return 0
    if not (take_text(cur, ',"s":') and take_string(cur, out, &trade.symbol, &size) and size > 0):
        return 0
    trade.symbol_bytes = <uint32_t>size
    if not (take_text(cur, ',"t":') and take_id_number(cur, trade) and set_number(trade, trade.order_id)):
        return 0
    if not (take_text(cur, ',"p":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"q":') and take_decimal(cur, &trade.quantity)):
        return 0
    if is_futures:
        if take_text(cur, ',"X":"MARKET"'):
            pass
        elif take_text(cur, ',"X":'):
            if not take_string(cur, out, &text, &size):
                return 0
            set_kind(trade, text, size)
    elif not (take_text(cur, ',"T":') and take_unsigned(cur, &number) and set_time(trade, number)):
        return 0
    if not (take_text(cur, ',"m":') and take_true_or_false(cur, &flag)):
        return 0
    trade.is_sell = flag  # the buyer is the maker: the taker sold
    if take_text(cur, ',"M":') and not take_true_or_false(cur, &flag):
        return 0
    if take_text(cur, ',"st":') and not pass_digits(cur):
        return 0
    return take_text(cur, "}")


cdef bint take_known(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if take_text(cur, '{"e":"trade","E":'):
        return take_known_event(cur, out, trade)
    return (take_text(cur, '{"stream":') and take_string(cur, out, &text, &size)
            and take_text(cur, ',"data":{"e":"trade","E":')
            and take_known_event(cur, out, trade) and take_text(cur, "}"))


cdef bint read_event(Value* values, Batch* out, Trade* trade) noexcept nogil:
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    if not (read_symbol(values[SYMBOL], out, trade)
            and read_id_number(values[ID], out, trade, &number) and set_number(trade, number)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal(values[QUANTITY], out, &trade.quantity)
            and read_unsigned(values[TIME], out, &number) and set_time(trade, number)):
        return 0
    if is_absent(values[BUYER_IS_MAKER]):
        return 0
    trade.is_sell = values[BUYER_IS_MAKER].at[0] == c't'
    if not (trade.is_sell or values[BUYER_IS_MAKER].at[0] == c'f'):
        return 0
    if read_text(values[EXECUTION], out, &text, &size):
        set_kind(trade, text, size)
    return 1


cdef ParseStatus parse_any(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """The general walk; ``e`` of the outer object decides whether that is the event."""
    cdef Value values[TOP_MEMBERS]
    cdef Value data
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if not take_members(cur, out, NAMES, TOP_MEMBERS, values):
        return PARSE_MALFORMED
    if is_absent(values[EVENT]) and is_object(values[DATA]):
        data = values[DATA]
        if not take_members(&data, out, NAMES, EVENT_MEMBERS, values):
            return PARSE_MALFORMED
    if is_absent(values[EVENT]):
        return PARSE_OTHER
    if not read_text(values[EVENT], out, &text, &size):
        return PARSE_MALFORMED
    if not same(text, size, "trade", 5):
        return PARSE_OTHER
    if not read_event(values, out, trade):
        return PARSE_MALFORMED
    return PARSE_TRADES


cdef ParseStatus parse_trade(Cursor* cur, Batch* out) noexcept nogil:
    cdef Cursor start = cur[0]
    cdef Py_ssize_t scratch_used = out.scratch_used
    cdef Trade* trade = batch_next(out)
    cdef ParseStatus status = PARSE_TRADES
    if trade == NULL:
        return PARSE_FULL
    if not take_known(cur, out, trade):
        cur[0] = start
        out.scratch_used = scratch_used
        trade = batch_next(out)  # zeroed again
        status = parse_any(cur, out, trade)
    if status == PARSE_TRADES:
        out.count += 1
    return status


SPOT = make_parser("binance_spot", parse_trade)
FUTURES = make_parser("binance_futures", parse_trade)
