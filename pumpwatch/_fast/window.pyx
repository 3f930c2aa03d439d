"""A window: rows found in the rings, put in order, folded, copied out into columns."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memmove

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from pumpwatch._fast.instruments cimport hash_bytes
from pumpwatch._fast.ring cimport (
    ROW_ID_BYTES, Found, FoundRows, Row, row_decimals, row_id, row_is_sell, row_kind, row_origin,
)
from pumpwatch._fast.trade cimport Decimal
from pumpwatch._fast.words cimport POWERS

from pumpwatch._fast.parser import KIND_NAMES

cdef enum:
    EXACT_POWER_MAX = 19                # of POWERS; a double holds 10**22 exactly

cdef uint64_t EXACT_MANTISSA_MAX = 1ULL << 53
cdef uint64_t HASH_SPREAD = 0x9E3779B97F4A7C15ULL

ORIGIN_NAMES = ("stream", "backfill", "import", "archive")
SIDES = ("buy", "sell")


cdef int by_time(const void* left, const void* right) noexcept nogil:
    cdef const Found* a = <const Found*>left
    cdef const Found* b = <const Found*>right
    if a.exchange_ns != b.exchange_ns:
        return -1 if a.exchange_ns < b.exchange_ns else 1
    return -1 if a.order < b.order else 1


cdef void sort_rows(FoundRows* found) noexcept nogil:
    """By exchange time, then arrival. A chain was walked backwards, and mostly that is all there is to undo."""
    cdef Py_ssize_t low = 0, high = found.count - 1
    cdef Found swap
    while low < high:
        swap = found.rows[low]
        found.rows[low] = found.rows[high]
        found.rows[high] = swap
        low += 1
        high -= 1
    for low in range(1, found.count):
        if by_time(&found.rows[low - 1], &found.rows[low]) > 0:
            qsort(found.rows, found.count, sizeof(Found), by_time)
            return


cdef char* render_ids(const FoundRows* found, int64_t* ends) noexcept nogil:
    """The ids' texts, one behind the other; NULL: no memory. The caller frees them."""
    cdef Py_ssize_t i, size = 0, capacity = found.count * 24 + ROW_ID_BYTES
    cdef char* texts = <char*>malloc(capacity)
    cdef char* grown
    if texts == NULL:
        return NULL
    for i in range(found.count):
        if capacity - size < ROW_ID_BYTES:
            capacity *= 2
            grown = <char*>realloc(texts, capacity)
            if grown == NULL:
                free(texts)
                return NULL
            texts = grown
        size += row_id(&found.rows[i].row, found.rows[i].data, texts + size)
        ends[i] = size
    return texts


cdef bint fold(FoundRows* found, char* texts, int64_t* ends) noexcept nogil:
    """Of rows with one exchange time and id the last one stays; 0: no memory."""
    cdef Py_ssize_t i, slot, slots = 16, kept = 0
    cdef int64_t start, size, at = 0, equal_times = 0
    cdef uint32_t* table
    cdef uint8_t* folded
    cdef Found* row
    for i in range(1, found.count):
        equal_times += found.rows[i].exchange_ns == found.rows[i - 1].exchange_ns
    if equal_times == 0:
        return 1
    while slots < found.count * 2:
        slots *= 2
    table = <uint32_t*>calloc(slots, sizeof(uint32_t))
    folded = <uint8_t*>calloc(found.count, 1)
    if table == NULL or folded == NULL:
        free(table)
        free(folded)
        return 0
    for i in range(found.count - 1, -1, -1):
        row = &found.rows[i]
        start = ends[i - 1] if i else 0
        size = ends[i] - start
        slot = <Py_ssize_t>(hash_bytes(texts + start, size, <uint64_t>row.exchange_ns * HASH_SPREAD)
                            & <uint64_t>(slots - 1))
        while table[slot]:
            if is_same(found, texts, ends, i, <Py_ssize_t>table[slot] - 1):
                folded[i] = 1
                break
            slot = (slot + 1) & (slots - 1)
        if not folded[i]:
            table[slot] = <uint32_t>(i + 1)
    start = 0
    for i in range(found.count):
        size = ends[i] - start
        if not folded[i]:
            memmove(texts + at, texts + start, size)
            at += size
            found.rows[kept] = found.rows[i]
            start = ends[i]
            ends[kept] = at
            kept += 1
        else:
            start = ends[i]
    found.count = kept
    free(table)
    free(folded)
    return 1


cdef bint is_same(const FoundRows* found, const char* texts, const int64_t* ends, Py_ssize_t a,
                  Py_ssize_t b) noexcept nogil:
    """One exchange time, one id."""
    cdef int64_t a_at = ends[a - 1] if a else 0, b_at = ends[b - 1] if b else 0
    return (found.rows[a].exchange_ns == found.rows[b].exchange_ns and ends[a] - a_at == ends[b] - b_at
            and memcmp(texts + a_at, texts + b_at, ends[a] - a_at) == 0)


cdef double as_double(const Decimal* value) except? -1.0:
    """The double that ILP sent, or that the server made of its text: the nearest one."""
    cdef double number
    cdef int32_t exponent = value.exponent
    if value.mantissa <= EXACT_MANTISSA_MAX and -EXACT_POWER_MAX <= exponent <= EXACT_POWER_MAX:
        number = <double><int64_t>value.mantissa
        # Both are exact in a double, so that the one operation rounds correctly.
        return number / <double>POWERS[-exponent] if exponent < 0 else number * <double>POWERS[exponent]
    mantissa = (int(<uint64_t>(value.mantissa >> 64)) << 64) | int(<uint64_t>value.mantissa)
    return float(f"{mantissa}e{exponent}")


cdef bytes blank(Py_ssize_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef class Window:
    """Rows of one instrument by exchange time, then arrival: a column each, copied out of the rings.

    The columns are read-only memoryviews, one value a row: what polars and encoders take without a
    loop in Python.
    """

    cdef int fill(self, const FoundRows* found, const char* texts, const int64_t* ends) except -1:
        cdef Py_ssize_t i, count = found.count, words = count * 8
        cdef const Row* row
        cdef Decimal price, quantity
        self.count = count
        self.texts = PyBytes_FromStringAndSize(texts, ends[count - 1] if count else 0)
        self.ends = PyBytes_FromStringAndSize(<const char*>ends, words)
        self.exchange, self.received, self.sequence = blank(words), blank(words), blank(words)
        self.price, self.amount = blank(words), blank(words)
        self.sides, self.origin, self.kind = blank(count), blank(count), blank(count)
        cdef int64_t* exchange = <int64_t*>PyBytes_AS_STRING(self.exchange)
        cdef int64_t* received = <int64_t*>PyBytes_AS_STRING(self.received)
        cdef int64_t* sequence = <int64_t*>PyBytes_AS_STRING(self.sequence)
        cdef double* prices = <double*>PyBytes_AS_STRING(self.price)
        cdef double* amounts = <double*>PyBytes_AS_STRING(self.amount)
        cdef char* sides = PyBytes_AS_STRING(self.sides)
        cdef char* origins = PyBytes_AS_STRING(self.origin)
        cdef char* kinds = PyBytes_AS_STRING(self.kind)
        for i in range(count):
            row = &found.rows[i].row
            row_decimals(row, found.rows[i].data, &price, &quantity)
            exchange[i] = row.exchange_ns
            received[i] = row.receive_ns
            sequence[i] = row.sequence_number
            prices[i] = as_double(&price)
            amounts[i] = as_double(&quantity)
            sides[i] = row_is_sell(row)
            origins[i] = <char>row_origin(row)
            kinds[i] = <char>row_kind(row)
        return 0

    def __len__(self):
        return self.count

    @property
    def exchange_ns(self):
        """The venues' trade times, int64."""
        return memoryview(self.exchange).cast("q")

    @property
    def received_ns(self):
        """Our clock when the bytes came, int64; 0 = not known."""
        return memoryview(self.received).cast("q")

    @property
    def prices(self):
        """float64, as the table has them."""
        return memoryview(self.price).cast("d")

    @property
    def quantities(self):
        """Base coins, float64, as the table has them."""
        return memoryview(self.amount).cast("d")

    @property
    def sequence_numbers(self):
        """The venue's own order, int64."""
        return memoryview(self.sequence).cast("q")

    @property
    def sells(self):
        """uint8: 1 where the taker sold."""
        return memoryview(self.sides)

    @property
    def origins(self):
        """uint8, into ORIGIN_NAMES."""
        return memoryview(self.origin)

    @property
    def kinds(self):
        """uint8, into parser.KIND_NAMES."""
        return memoryview(self.kind)

    @property
    def id_text(self):
        """All trade ids, one behind the other."""
        return self.texts

    @property
    def id_ends(self):
        """int64: where each row's id ends in ``id_text``."""
        return memoryview(self.ends).cast("q")

    def trade_ids(self):
        """The ids as a list of texts."""
        cdef const char* texts = PyBytes_AS_STRING(self.texts)
        cdef const int64_t* ends = <const int64_t*>PyBytes_AS_STRING(self.ends)
        cdef Py_ssize_t i
        return [texts[ends[i - 1] if i else 0:ends[i]].decode() for i in range(self.count)]

    def rows_of(self, ids=None):
        """(exchange_ns, trade_id, origin, received_ns) of all rows, or of those with some ids."""
        cdef const char* texts = PyBytes_AS_STRING(self.texts)
        cdef const int64_t* ends = <const int64_t*>PyBytes_AS_STRING(self.ends)
        cdef const int64_t* exchange = <const int64_t*>PyBytes_AS_STRING(self.exchange)
        cdef const int64_t* received = <const int64_t*>PyBytes_AS_STRING(self.received)
        cdef Py_ssize_t i, start = 0
        wanted = None if ids is None else {trade_id.encode(): trade_id for trade_id in ids}
        found = []
        for i in range(self.count):
            text = texts[start:ends[i]]
            start = ends[i]
            trade_id = text.decode() if wanted is None else wanted.get(text)
            if trade_id is not None:
                found.append((exchange[i], trade_id, self.origin[i], received[i]))
        return found

    def rows(self):
        """A dict a row, its keys the table's columns but for the instrument; times in ns since 1970 UTC."""
        cdef Py_ssize_t i
        cdef const int64_t* exchange = <const int64_t*>PyBytes_AS_STRING(self.exchange)
        cdef const int64_t* received = <const int64_t*>PyBytes_AS_STRING(self.received)
        cdef const int64_t* sequence = <const int64_t*>PyBytes_AS_STRING(self.sequence)
        cdef const double* prices = <const double*>PyBytes_AS_STRING(self.price)
        cdef const double* amounts = <const double*>PyBytes_AS_STRING(self.amount)
        return [
            {
                "timestamp_ns": exchange[i],
                "side": SIDES[self.sides[i]],
                "price": prices[i],
                "quantity": amounts[i],
                "trade_id": trade_id,
                "sequence_number": sequence[i],
                "received_ns": received[i] or None,
                "origin": ORIGIN_NAMES[self.origin[i]],
                "kind": KIND_NAMES[self.kind[i]],
            }
            for i, trade_id in enumerate(self.trade_ids())
        ]


cdef Window make_window(int feed, uint32_t instrument, FoundRows* found):
    """The window of what was found: by exchange time, then arrival; of rows with one key the last."""
    cdef Window window = Window.__new__(Window)
    cdef int64_t* ends = <int64_t*>malloc((found.count + 1) * sizeof(int64_t))
    cdef char* texts = NULL
    window.feed = feed
    window.instrument = instrument
    try:
        sort_rows(found)
        texts = render_ids(found, ends) if ends != NULL else NULL
        if texts == NULL or not fold(found, texts, ends):
            raise MemoryError(f"no room for a window of {found.count} rows")
        window.fill(found, texts, ends)
    finally:
        free(ends)
        free(texts)
    return window
