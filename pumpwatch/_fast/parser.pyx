"""Parser handles, and a slow way in for tests and tools."""
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from pumpwatch._fast.cursor cimport Cursor, skip_space
from pumpwatch._fast.trade cimport (
    PARSE_MALFORMED, PARSE_OTHER, PARSE_TRADES, Batch, Decimal, ParseStatus, Trade, uint128,
)

STATUS_NAMES = ("trades", "other", "malformed", "full")
KIND_NAMES = (None, "block", "rpi", "adl", "insurance", "na", "internal")


cdef int batch_init(Batch* batch, Py_ssize_t capacity, Py_ssize_t scratch_bytes) except -1:
    # calloc: pages that no message needs are never touched.
    batch.trades = <Trade*>calloc(capacity, sizeof(Trade))
    batch.scratch = <char*>malloc(scratch_bytes)
    if batch.trades == NULL or batch.scratch == NULL:
        raise MemoryError("no room for a batch of trades")
    batch.capacity = capacity
    batch.count = 0
    batch.scratch_capacity = scratch_bytes
    batch.scratch_used = 0
    batch.is_snapshot = 0
    return 0


cdef void batch_free(Batch* batch) noexcept:
    free(batch.trades)
    free(batch.scratch)
    batch.trades = NULL
    batch.scratch = NULL


cdef ParseStatus parse_message(parse_fn run, const char* text, Py_ssize_t size_bytes, Batch* out) noexcept nogil:
    cdef Cursor cur
    cdef ParseStatus status, whole = PARSE_OTHER
    cur.at = text
    cur.end = text + size_bytes
    out.count = 0
    out.scratch_used = 0
    out.is_snapshot = 0
    while True:
        status = run(&cur, out)
        if status == PARSE_TRADES:
            whole = PARSE_TRADES
        elif status != PARSE_OTHER:
            out.count = 0
            out.is_snapshot = 0
            return status
        skip_space(&cur)
        if cur.at >= cur.end:
            return whole


cdef object decimal_text(Decimal* value):
    """Plain digits without exponent and trailing zeros: ``0.0001234``."""
    cdef uint128 mantissa = value.mantissa
    number = (int(<uint64_t>(mantissa >> 64)) << 64) | int(<uint64_t>mantissa)
    digits = str(number)
    exponent = value.exponent
    if exponent >= 0:
        return digits + "0" * exponent if number else "0"
    digits = digits.rjust(1 - exponent, "0")
    whole, fraction = digits[:exponent], digits[exponent:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


cdef class Parser:
    """One feed's C parser as a Python object; made by the parser modules only."""

    def parse(self, bytes message):
        """Read one message slowly, for tests and tools.

        Returns ``(status, is_snapshot, rows)``: status "trades", "other", "malformed" or "full";
        rows are dicts with symbol, side, price, quantity (plain text, the venue's unit),
        exchange_ns, trade_id (None where the venue has none), order_id, range_first,
        sequence_number, kind.
        """
        cdef Batch batch
        cdef Trade* trade
        cdef ParseStatus status
        cdef const char* text = message
        batch_init(&batch, len(message) // 8 + 4, len(message) + 16)
        try:
            status = parse_message(self.run, text, len(message), &batch)
            rows = []
            for i in range(batch.count if status == PARSE_TRADES else 0):
                trade = &batch.trades[i]
                rows.append({
                    "symbol": trade.symbol[:trade.symbol_bytes].decode(errors="surrogateescape"),
                    "side": "sell" if trade.is_sell else "buy",
                    "price": decimal_text(&trade.price),
                    "quantity": decimal_text(&trade.quantity),
                    "exchange_ns": trade.exchange_ns,
                    "trade_id": None if trade.id == NULL else trade.id[:trade.id_bytes].decode(),
                    "order_id": trade.order_id,
                    "range_first": trade.range_first,
                    "sequence_number": trade.sequence_number,
                    "kind": KIND_NAMES[trade.kind],
                })
            return STATUS_NAMES[status], bool(batch.is_snapshot), rows
        finally:
            batch_free(&batch)


cdef Parser make_parser(str feed, parse_fn run):
    cdef Parser parser = Parser.__new__(Parser)
    parser.run = run
    parser.feed = feed
    return parser
