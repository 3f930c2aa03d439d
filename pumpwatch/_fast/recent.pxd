"""The memory hour: the trades of the last hour, answered without the database (DESIGN section 6, R16)."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from pumpwatch._fast.ring cimport Origin, Ring
from pumpwatch._fast.trade cimport Trade
from pumpwatch._fast.window cimport Window


cdef class Recent:
    cdef Ring live                      # what the roads put
    cdef Ring history                   # what was read back from the database after a restart
    cdef dict cuts                      # (feed, instrument) -> [(from_ns, to_ns)], in order, apart
    cdef dict loaded                    # likewise: spans that the history was loaded for

    # A row that went on. ``trade`` is scaled and has an id; ``ordinal`` >= 0: that id is composed. 0: not held.
    cdef bint put(self, int feed, const Trade* trade, int64_t receive_ns, int32_t ordinal,
                  Origin origin) noexcept nogil
    cdef Window collect(self, int feed, uint32_t instrument, int64_t from_ns, int64_t to_ns)
