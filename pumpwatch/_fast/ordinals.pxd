"""Ordinals for venues without trade ids: the how-manieth of equal rows a row is (R6)."""
from libc.stdint cimport int32_t, int64_t, uint64_t

# What is known of one instrument on one connection; looked into by ordinals.pyx only.
cdef struct Ordinals

cdef Ordinals* ordinals_new() noexcept nogil  # NULL where there is no memory
cdef void ordinals_free(Ordinals* state) noexcept nogil

# The ordinals of one message's rows, oldest first. ``keys`` are hashes of side, price and size.
# ``ordinal`` -1 marks a row that is proven to repeat the snapshot. Returns 0, to be told in the
# ledger, when the rows reach back into the snapshot but do not fit to it, or counters were lost:
# their ids may then fold a row of another's or stand for a row twice.
cdef int ordinals_take(Ordinals* state, const int64_t* ns, const uint64_t* keys, Py_ssize_t count,
                       bint is_snapshot, int32_t* ordinal) noexcept nogil
