"""A ring of trades in memory: rows in order of arrival, each linked to the one before it of its instrument.

A row is 72 bytes and holds all that the trades table holds (DESIGN R16). Rows lie in chunks, which are
given up oldest first; a chunk's texts grow from its end towards its rows and go with it.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from pumpwatch._fast.trade cimport Decimal, Trade

cdef enum:
    ROW_BYTES = 72
    CHUNK_BYTES = 2097152           # one huge page; 29,127 rows
    FEEDS_MAX = 64

cdef enum Origin:
    ORIGIN_STREAM = 0
    ORIGIN_BACKFILL = 1
    ORIGIN_IMPORT = 2
    ORIGIN_ARCHIVE = 3

cdef enum IdForm:                   # how the id's text is kept
    ID_NUMBER = 0                   # id_low, without leading zeros
    ID_UUID = 1                     # 16 bytes; lower case hex with its dashes
    ID_COMPOSED = 2                 # id_low is the ordinal; the rest is side, price and quantity (R6)
    ID_TEXT = 3                     # id_high bytes at id_low of the chunk

cdef struct Row:
    int64_t exchange_ns
    int64_t receive_ns              # 0: not known (imports)
    int64_t sequence_number
    uint64_t price                  # mantissa; of a wide row, where in the chunk two Decimals lie
    uint64_t quantity
    uint64_t id_low
    uint64_t id_high
    uint32_t instrument
    uint32_t back                   # to the row before it of its chain, as a distance of places; 0: none
    uint32_t skip                   # to one many rows before; 0: none
    int8_t price_exponent           # WIDE_EXPONENT: a wide row
    int8_t quantity_exponent
    uint8_t feed
    uint8_t marks                   # is_sell 1 bit, IdForm 2, Origin 2, TradeKind 3

cdef struct Chunk:
    char* data
    uint32_t rows
    uint32_t text_at                # where its texts begin; rows end before it
    int64_t newest_ns               # the highest receive_ns in it

cdef struct Track:                  # what the ring knows of one instrument of one feed
    uint64_t prompt                 # place of the newest row of this chain; 0: none
    uint64_t stray
    uint64_t prompt_rows            # how many this chain ever had
    uint64_t anchors[2]             # newest rows that longer links lead to
    int64_t prompt_ns               # receive_ns of the newest
    int64_t begun_ns                # all trades from here on were put
    int64_t evicted_ns              # the highest exchange_ns that is not held any more

cdef struct Found:
    int64_t exchange_ns
    uint64_t order                  # by arrival
    const char* data                # its chunk
    Row row                         # a copy: reading it again would wait for memory again

cdef struct FoundRows:
    Found* rows
    Py_ssize_t count
    Py_ssize_t capacity


cdef inline bint row_is_sell(const Row* row) noexcept nogil:
    return row.marks & 1


cdef inline IdForm row_id_form(const Row* row) noexcept nogil:
    return <IdForm>(row.marks >> 1 & 3)


cdef inline Origin row_origin(const Row* row) noexcept nogil:
    return <Origin>(row.marks >> 3 & 3)


cdef inline uint8_t row_kind(const Row* row) noexcept nogil:
    return row.marks >> 5


cdef void row_decimals(const Row* row, const char* data, Decimal* price, Decimal* quantity) noexcept nogil

# The id's text, not ended; ``out`` has ROW_ID_BYTES. The length.
cdef enum:
    ROW_ID_BYTES = 512
cdef Py_ssize_t row_id(const Row* row, const char* data, char* out) noexcept nogil


cdef class Ring:
    cdef Chunk* chunks              # by number modulo their count
    cdef uint64_t mask
    cdef uint64_t first             # number of the oldest chunk; numbers begin at 1
    cdef uint64_t next              # number of the next to be made
    cdef Py_ssize_t chunk_bytes
    cdef uint64_t chunks_max
    cdef int64_t window_ns
    cdef int64_t expires_ns         # when the oldest chunk will be too old
    cdef Ring lender                # gives up its chunks before own rows are
    cdef Track* tracks[FEEDS_MAX]
    cdef uint32_t track_counts[FEEDS_MAX]
    cdef int64_t rows               # held
    cdef int64_t text_rows          # held, with an id that is kept as text
    cdef int64_t unheld             # rows that found no memory

    # ``trade`` is scaled and has an id; ``ordinal`` >= 0: that id is composed. 0: no memory, not held.
    cdef bint put(self, int feed, const Trade* trade, int64_t receive_ns, int32_t ordinal,
                  Origin origin) noexcept nogil
    cdef Track* track(self, int feed, uint32_t instrument) noexcept nogil  # NULL: never put
    # Rows with from_ns <= exchange_ns < to_ns behind those of ``found``, in no order; 0: no memory.
    # Both times keep a minute's distance from what 64 bits hold.
    cdef bint collect(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns,
                      FoundRows* found) noexcept nogil
    cdef void expire(self, int64_t now_ns) noexcept nogil
    cdef Track* make_track(self, int feed, uint32_t instrument) noexcept nogil
    cdef Chunk* room(self, int64_t receive_ns, uint64_t text_bytes) noexcept nogil
    cdef bint begin_chunk(self) noexcept nogil
    cdef char* evict(self) noexcept nogil
    cdef bint walk(self, uint64_t place, int64_t from_ns, int64_t to_ns, int64_t stop_ns,
                   FoundRows* found) noexcept nogil
    cdef uint64_t leap(self, const Track* track, int64_t receive_ns) noexcept nogil
