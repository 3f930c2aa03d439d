"""KuCoin classic ``/market/match`` (spot) and ``/contractMarket/execution`` (futures) (FEEDS.md section 6).

One fill a message. The trade id is text (hex until 2022); ``sequence`` counts the events of the
symbol's book, so that a jump proves nothing. Times are ns. The unified API (2026) is not read here.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, strlen

from pumpwatch._fast.cursor cimport Cursor, pass_digits, same, take_decimal, take_side, take_string, take_unsigned
from pumpwatch._fast.members cimport (
    Value, is_absent, read_decimal, read_is_sell, read_symbol, read_text, read_unsigned, take_members,
    take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.text_ids cimport read_id, read_sequence, take_id, take_sequence
from pumpwatch._fast.times cimport ns_of
from pumpwatch._fast.trade cimport (
    PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, ParseStatus, Trade, batch_next,
)

cdef enum:
    TOPIC, SUBJECT, DATA, TOP_MEMBERS

cdef enum:
    SYMBOL, ID, PRICE, QUANTITY, SIDE, TIME, SEQUENCE, ROW_MEMBERS

cdef const char* TOP_NAMES[TOP_MEMBERS]
TOP_NAMES[:] = [b"topic", b"subject", b"data"]
cdef const char* SPOT_NAMES[ROW_MEMBERS]
SPOT_NAMES[:] = [b"symbol", b"tradeId", b"price", b"size", b"side", b"time", b"sequence"]
cdef const char* FUTURES_NAMES[ROW_MEMBERS]
FUTURES_NAMES[:] = [b"symbol", b"tradeId", b"price", b"size", b"side", b"ts", b"sequence"]

cdef struct Market:
    const char* topic           # what the topic begins with
    const char* subject
    const char* known_subject   # subject to data, as spelled on the wire
    const char** names
    bint (*take_row)(Cursor* cur, Batch* out, Trade* trade) noexcept nogil


cdef bint starts_with(const char* text, Py_ssize_t size, const char* wanted) noexcept nogil:
    cdef Py_ssize_t wanted_size = <Py_ssize_t>strlen(wanted)
    return size >= wanted_size and memcmp(text, wanted, wanted_size) == 0


cdef bint take_any_text(Cursor* cur, Batch* out) noexcept nogil:
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    return take_string(cur, out, &text, &size)


cdef bint take_known_symbol(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef Py_ssize_t size = 0
    if not take_string(cur, out, &trade.symbol, &size) or size == 0:
        return 0
    trade.symbol_bytes = <uint32_t>size
    return 1


cdef bint take_known_time(Cursor* cur, Trade* trade) noexcept nogil:
    cdef uint64_t number = 0
    return take_unsigned(cur, &number) and ns_of(number, 1000000000, &trade.exchange_ns)


cdef bint take_known_spot(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """``data`` as spelled in 2022 to 2026."""
    if not (take_text(cur, '{"makerOrderId":') and take_any_text(cur, out)):
        return 0
    if not (take_text(cur, ',"price":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"sequence":') and take_sequence(cur, trade)):
        return 0
    if not (take_text(cur, ',"side":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ',"size":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"symbol":') and take_known_symbol(cur, out, trade)):
        return 0
    if not (take_text(cur, ',"takerOrderId":') and take_any_text(cur, out)):
        return 0
    if not (take_text(cur, ',"time":') and take_known_time(cur, trade)):
        return 0
    if not (take_text(cur, ',"tradeId":') and take_id(cur, out, trade)):
        return 0
    return take_text(cur, ',"type":"match"}')


cdef bint take_known_futures(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """``data`` as spelled in 2024 to 2026; the user ids are gone since."""
    if not (take_text(cur, '{"symbol":') and take_known_symbol(cur, out, trade)):
        return 0
    if not (take_text(cur, ',"sequence":') and take_sequence(cur, trade)):
        return 0
    if take_text(cur, ',"makerUserId":') and not take_any_text(cur, out):
        return 0
    if not (take_text(cur, ',"side":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ',"size":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"price":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"takerOrderId":') and take_any_text(cur, out)):
        return 0
    if take_text(cur, ',"takerUserId":') and not take_any_text(cur, out):
        return 0
    if not (take_text(cur, ',"makerOrderId":') and take_any_text(cur, out)):
        return 0
    if not (take_text(cur, ',"tradeId":') and take_id(cur, out, trade)):
        return 0
    return take_text(cur, ',"ts":') and take_known_time(cur, trade) and take_text(cur, "}")


cdef bint take_known(Cursor* cur, Batch* out, Trade* trade, const Market* market) noexcept nogil:
    """Topic and type stand in either order; ``sn`` is of futures since 2024."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef bint type_first = take_text(cur, '{"type":"message",')
    if not (type_first or take_text(cur, "{")):
        return 0
    if not (take_text(cur, '"topic":') and take_string(cur, out, &text, &size)
            and starts_with(text, size, market.topic)):
        return 0
    if not (type_first or take_text(cur, ',"type":"message"')):
        return 0
    if not take_text(cur, market.known_subject):
        return 0
    if take_text(cur, ',"sn":') and not pass_digits(cur):
        return 0
    return take_text(cur, ',"data":') and market.take_row(cur, out, trade) and take_text(cur, "}")


cdef bint read_row(Value data, Batch* out, Trade* trade, const char** names) noexcept nogil:
    cdef Value values[ROW_MEMBERS]
    cdef uint64_t number = 0
    if is_absent(data) or not take_members(&data, out, names, ROW_MEMBERS, values):
        return 0
    return (read_symbol(values[SYMBOL], out, trade)
            and read_id(values[ID], out, trade)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal(values[QUANTITY], out, &trade.quantity)
            and read_is_sell(values[SIDE], out, &trade.is_sell)
            and read_unsigned(values[TIME], out, &number) and ns_of(number, 1000000000, &trade.exchange_ns)
            and read_sequence(values[SEQUENCE], out, trade))


cdef ParseStatus parse_any(Cursor* cur, Batch* out, Trade* trade, const Market* market) noexcept nogil:
    """The general walk. A message that has only one of our topic and our subject is no other channel's.

    It would be a trade lost without a word if it were passed over.
    """
    cdef Value top[TOP_MEMBERS]
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef bint is_ours = 0
    if not take_members(cur, out, TOP_NAMES, TOP_MEMBERS, top):
        return PARSE_MALFORMED
    if not is_absent(top[SUBJECT]):
        if not read_text(top[SUBJECT], out, &text, &size):
            return PARSE_MALFORMED
        is_ours = same(text, size, market.subject, <Py_ssize_t>strlen(market.subject))
    if is_absent(top[TOPIC]):
        return PARSE_MALFORMED if is_ours else PARSE_OTHER
    if not read_text(top[TOPIC], out, &text, &size):
        return PARSE_MALFORMED
    if not starts_with(text, size, market.topic):
        return PARSE_OTHER
    if not is_ours or not read_row(top[DATA], out, trade, market.names):
        return PARSE_MALFORMED
    return PARSE_TRADES


cdef ParseStatus parse_match(Cursor* cur, Batch* out, const Market* market) noexcept nogil:
    cdef Cursor start = cur[0]
    cdef Py_ssize_t scratch_used = out.scratch_used
    cdef ParseStatus status = PARSE_TRADES
    cdef Trade* trade = batch_next(out)
    if trade == NULL:
        return PARSE_FULL
    if not take_known(cur, out, trade, market):
        cur[0] = start
        out.scratch_used = scratch_used
        batch_next(out)
        status = parse_any(cur, out, trade, market)
    out.count += status == PARSE_TRADES
    return status


cdef Market SPOT_MARKET
SPOT_MARKET.topic = b"/market/match:"
SPOT_MARKET.subject = b"trade.l3match"
SPOT_MARKET.known_subject = b',"subject":"trade.l3match"'
SPOT_MARKET.names = SPOT_NAMES
SPOT_MARKET.take_row = take_known_spot
cdef Market FUTURES_MARKET
FUTURES_MARKET.topic = b"/contractMarket/execution:"
FUTURES_MARKET.subject = b"match"
FUTURES_MARKET.known_subject = b',"subject":"match"'
FUTURES_MARKET.names = FUTURES_NAMES
FUTURES_MARKET.take_row = take_known_futures


cdef ParseStatus parse_spot(Cursor* cur, Batch* out) noexcept nogil:
    return parse_match(cur, out, &SPOT_MARKET)


cdef ParseStatus parse_futures(Cursor* cur, Batch* out) noexcept nogil:
    return parse_match(cur, out, &FUTURES_MARKET)


SPOT = make_parser("kucoin_spot", parse_spot)
FUTURES = make_parser("kucoin_futures", parse_futures)
