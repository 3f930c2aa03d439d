"""Trades of several instruments as columns, in canonical order; written as JSON without a dict a row.

Canonical order: timestamp, exchange, market_type, symbol, sequence_number, trade_id (as bytes). Rows of
memory and of the table meet here: of two with one key the table's stays, as it may have been corrected.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free

from pumpwatch._fast.json_text cimport is_plain, put_moment
from pumpwatch._fast.window cimport Window
from pumpwatch._fast.words cimport put_digits

import json
from collections import namedtuple

from pumpwatch._fast.parser import KIND_NAMES
from pumpwatch._fast.window import ORIGIN_NAMES, SIDES

cdef extern from "Python.h":
    char* PyOS_double_to_string(double value, char code, int precision, int flags, int* kind) except NULL
    int Py_DTSF_ADD_DOT_0

cdef enum:
    LABELS_MAX = 65535
    TIME_BYTES = 32                     # of a quoted moment: "2026-01-31T13:00:00.123456789Z"
    ROW_BYTES_MAX = 512                 # of a row's JSON but for its labels and its id
    FROM_MEMORY = 0
    FROM_TABLE = 1

cdef struct Item:
    int64_t exchange_ns
    int64_t received_ns                 # 0: not known
    int64_t sequence_number
    double price
    double quantity
    uint32_t id_at                      # in the texts
    uint32_t id_bytes
    const char* id                      # set before sorting
    uint16_t label
    uint8_t is_sell
    uint8_t origin
    uint8_t kind
    uint8_t source                      # FROM_MEMORY, FROM_TABLE; 255: folded away

Label = namedtuple("Label", ("exchange", "market_type", "symbol", "venue_symbol"))
_KINDS = {name: number for number, name in enumerate(KIND_NAMES)}
_ORIGINS = {name: number for number, name in enumerate(ORIGIN_NAMES)}
_TRADE_KEYS = ("timestamp", "exchange", "market_type", "symbol", "side", "price", "quantity", "trade_id",
               "sequence_number", "received_at", "origin", "kind", "venue_symbol")


cdef int compare(const void* left, const void* right) noexcept nogil:
    cdef const Item* a = <const Item*>left
    cdef const Item* b = <const Item*>right
    cdef int order
    if a.exchange_ns != b.exchange_ns:
        return -1 if a.exchange_ns < b.exchange_ns else 1
    if a.label != b.label:
        return -1 if a.label < b.label else 1
    if a.sequence_number != b.sequence_number:
        return -1 if a.sequence_number < b.sequence_number else 1
    order = memcmp(a.id, b.id, min(a.id_bytes, b.id_bytes))
    if order == 0:
        order = (a.id_bytes > b.id_bytes) - (a.id_bytes < b.id_bytes)
    return order if order else <int>a.source - <int>b.source


cdef inline bint same_key(const Item* a, const Item* b) noexcept nogil:
    return a.id_bytes == b.id_bytes and memcmp(a.id, b.id, a.id_bytes) == 0


cdef void fold(Item* items, Py_ssize_t count) noexcept nogil:
    """Marks rows of memory that the table has, too. Each source has a key once at most."""
    cdef Py_ssize_t first = 0, last, i, j
    cdef bint tables, memories
    while first < count:
        last = first
        tables = memories = 0
        while last < count and items[last].exchange_ns == items[first].exchange_ns and items[last].label == items[first].label:
            tables |= items[last].source == FROM_TABLE
            memories |= items[last].source == FROM_MEMORY
            last += 1
        if tables and memories:
            for i in range(first, last):
                if items[i].source != FROM_MEMORY:
                    continue
                # A neighbour, where both have the same sequence number, as nearly always.
                if i + 1 < last and items[i + 1].source == FROM_TABLE and same_key(&items[i], &items[i + 1]):
                    items[i].source = 255
                    continue
                for j in range(first, last):
                    if items[j].source == FROM_TABLE and same_key(&items[i], &items[j]):
                        items[i].source = 255
                        break
        first = last


cdef class RowsBuilder:
    """Takes rows of windows and of the table, and makes ``TradeRows`` of them once.

    ``labels`` are in canonical order, each (exchange, market_type, symbol) once; a row's label is
    given by its place there. Raises ValueError where they are not.
    """

    cdef list labels
    cdef dict numbers
    cdef Item* items
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef char* texts
    cdef size_t texts_used
    cdef size_t texts_capacity

    def __init__(self, labels):
        self.labels = [Label(*label) for label in labels]
        keys = [label[:3] for label in self.labels]
        if len(keys) > LABELS_MAX or any(a >= b for a, b in zip(keys, keys[1:])):
            raise ValueError("labels must be in canonical order, each once")
        self.numbers = {key: number for number, key in enumerate(keys)}

    def __dealloc__(self):
        free(self.items)
        free(self.texts)

    cdef int reserve(self, Py_ssize_t rows, size_t text_bytes) except -1:
        cdef Py_ssize_t capacity = self.capacity
        cdef size_t texts_capacity = self.texts_capacity
        cdef void* grown
        if self.count + rows > capacity:
            capacity = max(capacity * 2, self.count + rows)
            grown = realloc(self.items, capacity * sizeof(Item))
            if grown == NULL:
                raise MemoryError(f"no room for a window of {capacity} rows")
            self.items = <Item*>grown
            self.capacity = capacity
        if self.texts_used + text_bytes > texts_capacity:
            texts_capacity = max(texts_capacity * 2, self.texts_used + text_bytes)
            if texts_capacity > 0xFFFFFFFFU:
                raise MemoryError("a window's ids take more than 4 GiB: ask for less at once")
            grown = realloc(self.texts, texts_capacity)
            if grown == NULL:
                raise MemoryError(f"no room for a window of {capacity} rows")
            self.texts = <char*>grown
            self.texts_capacity = texts_capacity
        return 0

    def add_window(self, int label, Window window, int64_t from_ns, int64_t to_ns):
        """Rows of memory with from_ns <= exchange time < to_ns."""
        cdef Py_ssize_t i, count = window.count
        cdef const int64_t* exchange = <const int64_t*>PyBytes_AS_STRING(window.exchange)
        cdef const int64_t* received = <const int64_t*>PyBytes_AS_STRING(window.received)
        cdef const int64_t* sequence = <const int64_t*>PyBytes_AS_STRING(window.sequence)
        cdef const double* prices = <const double*>PyBytes_AS_STRING(window.price)
        cdef const double* amounts = <const double*>PyBytes_AS_STRING(window.amount)
        cdef const int64_t* ends = <const int64_t*>PyBytes_AS_STRING(window.ends)
        cdef const char* sides = PyBytes_AS_STRING(window.sides)
        cdef const char* origins = PyBytes_AS_STRING(window.origin)
        cdef const char* kinds = PyBytes_AS_STRING(window.kind)
        cdef int64_t start
        cdef Item* item
        if not 0 <= label < len(self.labels):
            raise ValueError(f"label {label} is none of {len(self.labels)}")
        self.reserve(count, len(window.texts))
        for i in range(count):
            if not from_ns <= exchange[i] < to_ns:
                continue
            start = ends[i - 1] if i else 0
            item = &self.items[self.count]
            item.exchange_ns = exchange[i]
            item.received_ns = received[i]
            item.sequence_number = sequence[i]
            item.price = prices[i]
            item.quantity = amounts[i]
            item.id_at = <uint32_t>self.texts_used
            item.id_bytes = <uint32_t>(ends[i] - start)
            item.label = <uint16_t>label
            item.is_sell = sides[i]
            item.origin = origins[i]
            item.kind = kinds[i]
            item.source = FROM_MEMORY
            memcpy(self.texts + self.texts_used, PyBytes_AS_STRING(window.texts) + start, item.id_bytes)
            self.texts_used += item.id_bytes
            self.count += 1

    def add_table(self, rows):
        """Rows of the table: exchange, market_type, symbol, timestamp_ns, side, price, quantity, trade_id,
        sequence_number, received_ns or None, origin, kind or None. Others than the labels' are left out.

        Returns how many were taken. Raises ValueError for a row that no table of ours holds.
        """
        cdef Item* item
        cdef Py_ssize_t before = self.count
        cdef bytes text
        for exchange, market_type, symbol, exchange_ns, side, price, quantity, trade_id, sequence, received, origin, kind in rows:
            label = self.numbers.get((exchange, market_type, symbol))
            if label is None:
                continue
            if side not in SIDES or origin not in _ORIGINS or kind not in _KINDS:
                raise ValueError(f"a row of {exchange_ns} has side {side!r}, origin {origin!r}, kind {kind!r}")
            text = trade_id.encode()
            self.reserve(1, len(text))
            item = &self.items[self.count]
            item.exchange_ns = exchange_ns
            item.received_ns = received or 0
            item.sequence_number = sequence or 0
            item.price = price
            item.quantity = quantity
            item.id_at = <uint32_t>self.texts_used
            item.id_bytes = <uint32_t>len(text)
            item.label = label
            item.is_sell = side == "sell"
            item.origin = _ORIGINS[origin]
            item.kind = _KINDS[kind]
            item.source = FROM_TABLE
            memcpy(self.texts + self.texts_used, PyBytes_AS_STRING(text), len(text))
            self.texts_used += len(text)
            self.count += 1
        return self.count - before

    def build(self):
        """The rows in canonical order."""
        cdef TradeRows rows = TradeRows.__new__(TradeRows)
        cdef Py_ssize_t i, kept = 0
        for i in range(self.count):
            self.items[i].id = self.texts + self.items[i].id_at
        with nogil:
            for i in range(1, self.count):
                if compare(&self.items[i - 1], &self.items[i]) > 0:
                    qsort(self.items, self.count, sizeof(Item), compare)
                    break
            fold(self.items, self.count)
            for i in range(self.count):
                if self.items[i].source != 255:
                    if kept != i:
                        self.items[kept] = self.items[i]
                    kept += 1
        rows.labels = self.labels
        rows.count = kept
        rows.items, rows.texts = self.items, self.texts
        self.items, self.texts = NULL, NULL
        self.count = self.capacity = 0
        self.texts_used = self.texts_capacity = 0
        return rows


# --- JSON -----------------------------------------------------------------------------------------


cdef char* put_double(char* at, double value) except NULL:
    """The shortest digits that read back; NULL cannot be: no price is none."""
    cdef char* text
    cdef Py_ssize_t size = 0
    if value != value or value - value != 0:
        memcpy(at, b"null", 4)
        return at + 4
    text = PyOS_double_to_string(value, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
    while text[size]:
        at[size] = text[size]
        size += 1
    PyMem_Free(text)
    return at + size


cdef inline char* put(char* at, bytes text) noexcept:
    memcpy(at, PyBytes_AS_STRING(text), len(text))
    return at + len(text)


cdef class TradeRows:
    """Rows of several instruments in canonical order; columns are read-only memoryviews."""

    cdef readonly list labels
    cdef Py_ssize_t count
    cdef Item* items
    cdef char* texts

    def __dealloc__(self):
        free(self.items)
        free(self.texts)

    def __len__(self):
        return self.count

    cdef object column(self, str code):
        """int64 (q) or float64 (d): exchange, received, sequence, price, quantity by ``code``."""
        cdef Py_ssize_t i
        cdef bytes blank = PyBytes_FromStringAndSize(NULL, self.count * 8)
        cdef int64_t* whole = <int64_t*>PyBytes_AS_STRING(blank)
        cdef double* real = <double*>PyBytes_AS_STRING(blank)
        cdef Py_UCS4 which = code[0]
        for i in range(self.count):
            if which == u"e":
                whole[i] = self.items[i].exchange_ns
            elif which == u"r":
                whole[i] = self.items[i].received_ns
            elif which == u"s":
                whole[i] = self.items[i].sequence_number
            elif which == u"p":
                real[i] = self.items[i].price
            else:
                real[i] = self.items[i].quantity
        return memoryview(blank).cast("d" if code in "pa" else "q")

    cdef object narrow(self, str code):
        """uint8: side, origin, kind by ``code``."""
        cdef Py_ssize_t i
        cdef bytes blank = PyBytes_FromStringAndSize(NULL, self.count)
        cdef char* out = PyBytes_AS_STRING(blank)
        cdef Py_UCS4 which = code[0]
        for i in range(self.count):
            if which == u"s":
                out[i] = self.items[i].is_sell
            elif which == u"o":
                out[i] = self.items[i].origin
            else:
                out[i] = self.items[i].kind
        return memoryview(blank)

    @property
    def exchange_ns(self):
        """The venues' trade times, int64."""
        return self.column("e")

    @property
    def received_ns(self):
        """Our clock when the bytes came, int64; 0 = not known."""
        return self.column("r")

    @property
    def sequence_numbers(self):
        """The venue's own order, int64."""
        return self.column("s")

    @property
    def prices(self):
        """float64."""
        return self.column("p")

    @property
    def quantities(self):
        """Base coins, float64."""
        return self.column("a")

    @property
    def sells(self):
        """uint8: 1 where the taker sold."""
        return self.narrow("s")

    @property
    def origins(self):
        """uint8, into window.ORIGIN_NAMES."""
        return self.narrow("o")

    @property
    def kinds(self):
        """uint8, into parser.KIND_NAMES."""
        return self.narrow("k")

    @property
    def label_numbers(self):
        """uint16, into ``labels``."""
        cdef Py_ssize_t i
        cdef bytes blank = PyBytes_FromStringAndSize(NULL, self.count * 2)
        cdef uint16_t* out = <uint16_t*>PyBytes_AS_STRING(blank)
        for i in range(self.count):
            out[i] = self.items[i].label
        return memoryview(blank).cast("H")

    def trade_ids(self):
        """The ids as texts."""
        return [self.items[i].id[:self.items[i].id_bytes].decode() for i in range(self.count)]

    def counts(self):
        """Rows of each label."""
        cdef Py_ssize_t i
        found = [0] * len(self.labels)
        for i in range(self.count):
            found[self.items[i].label] += 1
        return found

    def rows(self):
        """A dict a row, its keys the table's columns and venue_symbol; times in ns, None where unknown."""
        cdef Py_ssize_t i
        cdef Item* item
        found = []
        for i in range(self.count):
            item = &self.items[i]
            exchange, market_type, symbol, venue_symbol = self.labels[item.label]
            found.append(dict(zip(_TRADE_KEYS, (
                item.exchange_ns, exchange, market_type, symbol, SIDES[item.is_sell], item.price, item.quantity,
                item.id[:item.id_bytes].decode(), item.sequence_number, item.received_ns or None,
                ORIGIN_NAMES[item.origin], KIND_NAMES[item.kind], venue_symbol,
            ))))
        return found

    def json(self, Py_ssize_t limit=-1, bint newest_first=False):
        """A JSON array of at most ``limit`` rows (-1: all), oldest first, or the newest ones, newest first.

        Keys are the columns of ``trades``; times are ISO 8601 text.
        """
        cdef Py_ssize_t i, n, count = self.count if limit < 0 else min(limit, self.count), size = 2
        cdef Item* item
        cdef bytes blank, head, id_text
        cdef char* start
        cdef char* at
        heads = [
            (f',"exchange":{json.dumps(label.exchange)},"market_type":{json.dumps(label.market_type)}'
             f',"symbol":{json.dumps(label.symbol)},"side":').encode()
            for label in self.labels
        ]
        longest = max(map(len, heads), default=0)
        for i in range(count):
            size += self.items[self.count - 1 - i if newest_first else i].id_bytes * 6
        blank = PyBytes_FromStringAndSize(NULL, size + count * (ROW_BYTES_MAX + longest))
        start = at = PyBytes_AS_STRING(blank)
        at[0] = c'['
        at += 1
        for n in range(count):
            item = &self.items[self.count - 1 - n if newest_first else n]
            if n:
                at[0] = c','
                at += 1
            at = put_moment(put(at, b'{"timestamp":'), item.exchange_ns)
            head = heads[item.label]
            at = put(put(at, head), b'"sell","price":' if item.is_sell else b'"buy","price":')
            at = put_double(at, item.price)
            at = put_double(put(at, b',"quantity":'), item.quantity)
            at = put(at, b',"trade_id":')
            if is_plain(item.id, item.id_bytes):
                at[0] = c'"'
                memcpy(at + 1, item.id, item.id_bytes)
                at += item.id_bytes + 1
                at[0] = c'"'
                at += 1
            else:
                id_text = json.dumps(item.id[:item.id_bytes].decode()).encode()
                at = put(at, id_text)
            at = put(at, b',"sequence_number":')
            if item.sequence_number < 0:
                at[0] = c'-'
                at += 1
            at += put_digits(at, <uint64_t>abs(item.sequence_number))
            at = put(at, b',"received_at":')
            at = put_moment(at, item.received_ns) if item.received_ns else put(at, b"null")
            at = put(put(at, b',"origin":"'), ORIGINS[item.origin])
            at = put(put(at, b'","kind":'), KINDS[item.kind])
            at[0] = c'}'
            at += 1
        at[0] = c']'
        return blank[:at + 1 - start]


cdef list ORIGINS = [name.encode() for name in ORIGIN_NAMES]
cdef list KINDS = [json.dumps(name).encode() for name in KIND_NAMES]
