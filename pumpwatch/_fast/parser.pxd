"""What a venue's parser is: a C function over one JSON document, and a handle for Python."""
from pumpwatch._fast.cursor cimport Cursor
from pumpwatch._fast.trade cimport Batch, ParseStatus

# Reads one JSON document at ``cur``, appends its trades to ``out`` (oldest first, as the venue
# means the order) and leaves ``cur`` behind the document. Rows it appended do not count unless it
# returns PARSE_TRADES. It must not look before ``cur.at`` nor at or behind ``cur.end``.
ctypedef ParseStatus (*parse_fn)(Cursor* cur, Batch* out) noexcept nogil


cdef class Parser:
    cdef parse_fn run
    cdef readonly str feed


cdef Parser make_parser(str feed, parse_fn run)

# Every document of one message (Bybit was seen joining two), all or nothing.
cdef ParseStatus parse_message(parse_fn run, const char* text, Py_ssize_t size_bytes, Batch* out) noexcept nogil

cdef int batch_init(Batch* batch, Py_ssize_t capacity, Py_ssize_t scratch_bytes) except -1
cdef void batch_free(Batch* batch) noexcept
