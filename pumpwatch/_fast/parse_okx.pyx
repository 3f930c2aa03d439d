"""OKX ``trades-all`` and ``trades``, spot and swap (FEEDS.md section 5).

``trades-all`` carries single fills. A row of ``trades`` with ``count`` > 1 merges several: it stands
for the ids tradeId - count + 1 to tradeId and is no row of the table (R7 in spirit).
"""
from libc.stdint cimport uint32_t, uint64_t

from pumpwatch._fast.cursor cimport (
    Cursor, pass_digits, same, skip_space, take_char, take_decimal, take_id_number, take_side,
    take_string, take_unsigned,
)
from pumpwatch._fast.members cimport (
    Value, is_absent, is_array, is_object, read_decimal, read_id_number, read_is_sell, read_symbol,
    read_text, read_unsigned, set_number, take_members, take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.times cimport ns_of
from pumpwatch._fast.trade cimport (
    PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, ParseStatus, Trade, batch_next,
)

cdef enum:
    ARGUMENT, EVENT, DATA, TOP_MEMBERS

cdef enum:
    SYMBOL, ID, PRICE, QUANTITY, SIDE, TIME, COUNT, ROW_MEMBERS

cdef const char* TOP_NAMES[TOP_MEMBERS]
TOP_NAMES[:] = [b"arg", b"event", b"data"]
cdef const char* ARGUMENT_NAMES[1]
ARGUMENT_NAMES[:] = [b"channel"]
cdef const char* ROW_NAMES[ROW_MEMBERS]
ROW_NAMES[:] = [b"instId", b"tradeId", b"px", b"sz", b"side", b"ts", b"count"]


cdef bint set_count(Trade* trade, uint64_t count) noexcept nogil:
    if count < 1 or count > trade.order_id:
        return 0
    if count > 1:
        trade.range_first = trade.order_id - count + 1
    return 1


cdef bint take_known_row(Cursor* cur, Batch* out, Trade* trade, bint is_merged) noexcept nogil:
    """One row as spelled in 2021 to 2026; count, source and seqId are of ``trades``."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    if not (take_text(cur, '{"instId":') and take_string(cur, out, &trade.symbol, &size) and size > 0):
        return 0
    trade.symbol_bytes = <uint32_t>size
    if not (take_text(cur, ',"tradeId":') and take_id_number(cur, trade) and set_number(trade, trade.order_id)):
        return 0
    if not (take_text(cur, ',"px":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"sz":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"side":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ',"ts":') and take_unsigned(cur, &number)
            and ns_of(number, 1000, &trade.exchange_ns)):
        return 0
    if take_text(cur, ',"count":'):
        if not take_unsigned(cur, &number) or (is_merged and not set_count(trade, number)):
            return 0
    if take_text(cur, ',"source":') and not take_string(cur, out, &text, &size):
        return 0
    if take_text(cur, ',"seqId":') and not pass_digits(cur):
        return 0
    return take_text(cur, "}")


cdef bint take_known(Cursor* cur, Batch* out) noexcept nogil:
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef Trade* trade
    cdef bint is_merged
    if not take_text(cur, '{"arg":{"channel":"trades'):
        return 0
    is_merged = not take_text(cur, "-all")
    if not (take_text(cur, '","instId":') and take_string(cur, out, &text, &size)
            and take_text(cur, '},"data":[')):
        return 0
    while True:
        trade = batch_next(out)
        if trade == NULL or not take_known_row(cur, out, trade, is_merged):
            return 0
        out.count += 1
        if not take_text(cur, ","):
            return take_text(cur, "]}")


cdef bint read_row(Cursor* cur, Batch* out, Trade* trade, bint is_merged) noexcept nogil:
    cdef Value values[ROW_MEMBERS]
    cdef uint64_t number = 0
    if not take_members(cur, out, ROW_NAMES, ROW_MEMBERS, values):
        return 0
    if not (read_symbol(values[SYMBOL], out, trade)
            and read_id_number(values[ID], out, trade, &number) and set_number(trade, number)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal(values[QUANTITY], out, &trade.quantity)
            and read_is_sell(values[SIDE], out, &trade.is_sell)
            and read_unsigned(values[TIME], out, &number) and ns_of(number, 1000, &trade.exchange_ns)):
        return 0
    if is_merged and not is_absent(values[COUNT]):
        return read_unsigned(values[COUNT], out, &number) and set_count(trade, number)
    return 1


cdef ParseStatus read_rows(Value data, Batch* out, bint is_merged) noexcept nogil:
    cdef Trade* trade
    if not is_array(data):
        return PARSE_MALFORMED
    data.at += 1
    if take_char(&data, c']'):
        return PARSE_OTHER
    while True:
        trade = batch_next(out)
        if trade == NULL:
            return PARSE_FULL
        if not read_row(&data, out, trade, is_merged):
            return PARSE_MALFORMED
        out.count += 1
        if not take_char(&data, c','):
            return PARSE_TRADES


cdef ParseStatus parse_any(Cursor* cur, Batch* out) noexcept nogil:
    """The general walk. An ack has ``arg`` too, but no ``data``."""
    cdef Value top[TOP_MEMBERS]
    cdef Value channel
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef bint is_merged
    if not take_members(cur, out, TOP_NAMES, TOP_MEMBERS, top):
        return PARSE_MALFORMED
    if not is_object(top[ARGUMENT]):
        return PARSE_OTHER if is_absent(top[DATA]) else PARSE_MALFORMED
    if not take_members(&top[ARGUMENT], out, ARGUMENT_NAMES, 1, &channel):
        return PARSE_MALFORMED
    if not read_text(channel, out, &text, &size):
        return PARSE_OTHER if is_absent(top[DATA]) else PARSE_MALFORMED
    is_merged = same(text, size, "trades", 6)
    if not is_merged and not same(text, size, "trades-all", 10):
        return PARSE_OTHER
    if is_absent(top[DATA]):
        return PARSE_MALFORMED if is_absent(top[EVENT]) else PARSE_OTHER
    return read_rows(top[DATA], out, is_merged)


cdef ParseStatus parse_trades(Cursor* cur, Batch* out) noexcept nogil:
    cdef Cursor start
    cdef Py_ssize_t scratch_used = out.scratch_used, count = out.count
    skip_space(cur)
    if take_text(cur, "pong"):  # the answer to the text ping: the one message that is no JSON
        return PARSE_OTHER
    start = cur[0]
    if take_known(cur, out):
        return PARSE_TRADES
    cur[0] = start
    out.count = count
    out.scratch_used = scratch_used
    return parse_any(cur, out)


SPOT = make_parser("okx_spot", parse_trades)
FUTURES = make_parser("okx_futures", parse_trades)
