"""Bybit v5 ``publicTrade``, spot and linear (FEEDS.md section 4).

A message carries 1 to 1024 rows, oldest first. The ids are text (digits on spot, UUIDs on linear)
and are not contiguous; ``seq`` came in 2025. The key order differs between the two markets.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

from pumpwatch._fast.cursor cimport (
    Cursor, pass_digits, take_char, take_decimal, take_side, take_string, take_true_or_false, take_unsigned,
)
from pumpwatch._fast.members cimport (
    Value, is_absent, is_array, read_decimal, read_is_sell, read_symbol, read_text, read_unsigned,
    take_members, take_text,
)
from pumpwatch._fast.parser cimport make_parser
from pumpwatch._fast.text_ids cimport read_id, read_sequence, take_id, take_sequence
from pumpwatch._fast.times cimport ns_of
from pumpwatch._fast.trade cimport (
    KIND_BLOCK, KIND_RPI, PARSE_FULL, PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, ParseStatus,
    Trade, batch_next,
)

cdef enum:
    TOPIC, DATA, TOP_MEMBERS

cdef enum:
    SYMBOL, ID, PRICE, QUANTITY, SIDE, TIME, BLOCK, RPI, SEQUENCE, ROW_MEMBERS

cdef const char* TOP_NAMES[TOP_MEMBERS]
TOP_NAMES[:] = [b"topic", b"data"]
cdef const char* ROW_NAMES[ROW_MEMBERS]
ROW_NAMES[:] = [b"s", b"i", b"p", b"v", b"S", b"T", b"BT", b"RPI", b"seq"]

ctypedef bint (*row_fn)(Cursor* cur, Batch* out, Trade* trade) noexcept nogil


cdef bint is_trade_topic(const char* text, Py_ssize_t size) noexcept nogil:
    return size >= 12 and memcmp(text, "publicTrade.", 12) == 0


cdef void set_kind(Trade* trade, bint is_block, bint is_rpi) noexcept nogil:
    if is_block:
        trade.kind = KIND_BLOCK
    elif is_rpi:
        trade.kind = KIND_RPI


cdef bint take_known_time(Cursor* cur, Trade* trade) noexcept nogil:
    cdef uint64_t number = 0
    return take_unsigned(cur, &number) and ns_of(number, 1000, &trade.exchange_ns)


cdef bint take_known_symbol(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef Py_ssize_t size = 0
    if not take_string(cur, out, &trade.symbol, &size) or size == 0:
        return 0
    trade.symbol_bytes = <uint32_t>size
    return 1


cdef bint take_known_kind(Cursor* cur, Trade* trade) noexcept nogil:
    """``BT``, and ``RPI`` since 2025."""
    cdef bint is_block = 0, is_rpi = 0
    if not (take_text(cur, ',"BT":') and take_true_or_false(cur, &is_block)):
        return 0
    if take_text(cur, ',"RPI":') and not take_true_or_false(cur, &is_rpi):
        return 0
    set_kind(trade, is_block, is_rpi)
    return 1


cdef bint take_known_spot(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """A row as spot spelled it in 2023 to 2026."""
    if not (take_text(cur, '{"i":') and take_id(cur, out, trade)):
        return 0
    if not (take_text(cur, ',"T":') and take_known_time(cur, trade)):
        return 0
    if not (take_text(cur, ',"p":') and take_decimal(cur, &trade.price)):
        return 0
    if not (take_text(cur, ',"v":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"S":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if take_text(cur, ',"seq":') and not take_sequence(cur, trade):
        return 0
    if not (take_text(cur, ',"s":') and take_known_symbol(cur, out, trade)):
        return 0
    return take_known_kind(cur, trade) and take_text(cur, "}")


cdef bint take_known_futures(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    """A row as linear spelled it in 2022 to 2026; ``L`` is the tick direction."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    if not (take_text(cur, '{"T":') and take_known_time(cur, trade)):
        return 0
    if not (take_text(cur, ',"s":') and take_known_symbol(cur, out, trade)):
        return 0
    if not (take_text(cur, ',"S":') and take_side(cur, out, &trade.is_sell)):
        return 0
    if not (take_text(cur, ',"v":') and take_decimal(cur, &trade.quantity)):
        return 0
    if not (take_text(cur, ',"p":') and take_decimal(cur, &trade.price)):
        return 0
    if take_text(cur, ',"L":') and not take_string(cur, out, &text, &size):
        return 0
    if not (take_text(cur, ',"i":') and take_id(cur, out, trade)):
        return 0
    if not take_known_kind(cur, trade):
        return 0
    if take_text(cur, ',"seq":') and not take_sequence(cur, trade):
        return 0
    return take_text(cur, "}")


cdef bint take_known_head(Cursor* cur, Batch* out) noexcept nogil:
    """From the opening brace to the first row; ``type`` is always snapshot and means nothing."""
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef uint64_t number = 0
    cdef bint type_first
    if not (take_text(cur, '{"topic":') and take_string(cur, out, &text, &size) and is_trade_topic(text, size)):
        return 0
    type_first = take_text(cur, ',"type":"snapshot"')
    if not (take_text(cur, ',"ts":') and pass_digits(cur)):
        return 0
    return (type_first or take_text(cur, ',"type":"snapshot"')) and take_text(cur, ',"data":[')


cdef bint take_known(Cursor* cur, Batch* out, row_fn take_row) noexcept nogil:
    cdef Trade* trade
    if not take_known_head(cur, out):
        return 0
    while True:
        trade = batch_next(out)
        if trade == NULL or not take_row(cur, out, trade):
            return 0
        out.count += 1
        if not take_text(cur, ","):
            return take_text(cur, "]}")


cdef bint read_flag(Value value, bint* flag) noexcept nogil:
    """True or false; absent is false, anything else is refused."""
    flag[0] = value.at != NULL and value.at[0] == c't'
    return flag[0] or value.at == NULL or value.at[0] == c'f'


cdef bint read_row(Cursor* cur, Batch* out, Trade* trade) noexcept nogil:
    cdef Value values[ROW_MEMBERS]
    cdef uint64_t number = 0
    cdef bint is_block = 0, is_rpi = 0
    if not take_members(cur, out, ROW_NAMES, ROW_MEMBERS, values):
        return 0
    if not (read_symbol(values[SYMBOL], out, trade)
            and read_id(values[ID], out, trade)
            and read_decimal(values[PRICE], out, &trade.price)
            and read_decimal(values[QUANTITY], out, &trade.quantity)
            and read_is_sell(values[SIDE], out, &trade.is_sell)
            and read_unsigned(values[TIME], out, &number) and ns_of(number, 1000, &trade.exchange_ns)
            and read_flag(values[BLOCK], &is_block) and read_flag(values[RPI], &is_rpi)):
        return 0
    set_kind(trade, is_block, is_rpi)
    return is_absent(values[SEQUENCE]) or read_sequence(values[SEQUENCE], out, trade)


cdef ParseStatus parse_any(Cursor* cur, Batch* out) noexcept nogil:
    """The general walk. Acks and pongs have no topic; their ``data``, if any, is no array."""
    cdef Value top[TOP_MEMBERS]
    cdef Value data
    cdef const char* text = NULL
    cdef Py_ssize_t size = 0
    cdef Trade* trade
    if not take_members(cur, out, TOP_NAMES, TOP_MEMBERS, top):
        return PARSE_MALFORMED
    data = top[DATA]
    if is_absent(top[TOPIC]):
        return PARSE_MALFORMED if is_array(data) else PARSE_OTHER
    if not read_text(top[TOPIC], out, &text, &size):
        return PARSE_MALFORMED
    if not is_trade_topic(text, size):
        return PARSE_OTHER
    if not is_array(data):
        return PARSE_MALFORMED
    data.at += 1
    if take_char(&data, c']'):
        return PARSE_OTHER
    while True:
        trade = batch_next(out)
        if trade == NULL:
            return PARSE_FULL
        if not read_row(&data, out, trade):
            return PARSE_MALFORMED
        out.count += 1
        if not take_char(&data, c','):
            return PARSE_TRADES


cdef ParseStatus parse_rows(Cursor* cur, Batch* out, row_fn take_row) noexcept nogil:
    cdef Cursor start = cur[0]
    cdef Py_ssize_t scratch_used = out.scratch_used, count = out.count
    if take_known(cur, out, take_row):
        return PARSE_TRADES
    cur[0] = start
    out.count = count
    out.scratch_used = scratch_used
    return parse_any(cur, out)


cdef ParseStatus parse_spot(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, take_known_spot)


cdef ParseStatus parse_futures(Cursor* cur, Batch* out) noexcept nogil:
    return parse_rows(cur, out, take_known_futures)


SPOT = make_parser("bybit_spot", parse_spot)
FUTURES = make_parser("bybit_futures", parse_futures)
