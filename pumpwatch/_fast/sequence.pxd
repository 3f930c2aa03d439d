"""What is proven seen, per instrument: repeats, jumps, late ids, id resets (DESIGN R1)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    MISSING_MAX = 64                     # open holes kept per instrument
    SEEN_SLOTS = 32768                   # 256 KiB a feed: fits the L2 cache

cdef enum Verdict:
    VERDICT_NEW = 0                      # goes on
    VERDICT_REPEAT = 1                   # proven seen: dropped and counted
    VERDICT_JUMP = 2                     # goes on; ids before it are missing
    VERDICT_LATE = 3                     # goes on; it was missing
    VERDICT_RESET = 4                    # goes on; the venue's ids began anew

cdef struct IdRange:
    uint64_t first
    uint64_t last

cdef struct Position:
    uint64_t seen_from                   # ids below it are not proven seen
    uint64_t seen_to                     # 0: none yet
    int64_t last_ns                      # the highest exchange time that went on; 0: none
    IdRange* missing                     # holes between seen_from and seen_to, oldest first
    uint32_t missing_count


cdef void position_init(Position* position) noexcept
cdef void position_free(Position* position) noexcept

# Judges a contiguous id and moves the position. For VERDICT_JUMP, ``hole`` is set.
cdef Verdict observe_id(Position* position, uint64_t trade_id, int64_t exchange_ns, IdRange* hole) noexcept nogil

# A range that the venue says it merged (R7). VERDICT_REPEAT: nothing new. Else ``merged`` are the ids of
# it that are not proven seen; VERDICT_JUMP: ``skipped`` are the ids missing before it (last 0: none).
cdef Verdict observe_range(Position* position, uint64_t first, uint64_t last, int64_t exchange_ns,
                           IdRange* skipped, IdRange* merged) noexcept nogil

# Ids that no trade has are missing no more. 0: a hole would have to be split, and there is no place.
cdef bint forget_ids(Position* position, uint64_t first, uint64_t last) noexcept nogil


cdef class SeenIds:
    """Recent ids of feeds whose ids do not count up: remembers, never guesses."""
    cdef uint64_t* hashes
    cdef bint seen_before(self, uint64_t key) noexcept nogil
