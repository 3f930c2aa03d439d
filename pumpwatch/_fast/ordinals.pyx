"""Counts equal rows of one nanosecond across messages, and finds what repeats a snapshot (R6).

The rows of the last 64 nanoseconds are counted in an open-addressed table whose keys are the row's
hash and an era: the number of its nanosecond in order of arrival. An era that is over never matches
again, so that nothing needs to be taken out of the table; it is swept when it is half full.
"""
from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

cdef enum:
    NS_KEPT = 64               # trades of one ns never were farther apart in any recording
    SNAPSHOT_ROWS_MAX = 1024   # recorded snapshots have 1000
    SLOTS_MIN = 256
    SLOTS_MAX = 65536          # 1.5 MiB; more rows than that in 64 ns is no venue

cdef struct Counter:
    uint64_t era               # 0: the slot is free
    uint64_t key
    int32_t count

cdef struct Row:
    int64_t ns
    uint64_t key

cdef struct Ordinals:
    int64_t ns[NS_KEPT]        # by era modulo NS_KEPT
    int64_t largest_ns
    uint64_t era               # of the ns that came last; the first is 1
    uint64_t era_over          # this era and those before it are over
    Counter* counters
    Py_ssize_t slots           # a power of two, or 0
    Py_ssize_t used
    Row* snapshot              # its newest rows, until a message goes on behind it
    Py_ssize_t snapshot_rows


cdef Ordinals* ordinals_new() noexcept nogil:
    cdef Ordinals* state = <Ordinals*>calloc(1, sizeof(Ordinals))
    if state != NULL:
        state.largest_ns = INT64_MIN
    return state


cdef void ordinals_free(Ordinals* state) noexcept nogil:
    if state != NULL:
        free(state.counters)
        free(state.snapshot)
        free(state)


cdef void forget_counters(Ordinals* state) noexcept nogil:
    state.era_over = state.era
    state.largest_ns = INT64_MIN
    state.used = 0
    if state.counters != NULL:
        memset(state.counters, 0, state.slots * sizeof(Counter))


cdef uint64_t era_of(Ordinals* state, int64_t ns) noexcept nogil:
    cdef uint64_t era = state.era
    if ns <= state.largest_ns:
        while era > state.era_over:
            if state.ns[era % NS_KEPT] == ns:
                return era
            era -= 1
    else:
        state.largest_ns = ns
    state.era += 1
    state.ns[state.era % NS_KEPT] = ns
    if state.era - state.era_over > NS_KEPT:
        state.era_over = state.era - NS_KEPT
    return state.era


cdef Counter* find_counter(Counter* counters, Py_ssize_t slots, uint64_t era, uint64_t key) noexcept nogil:
    """The row's counter, or the free slot for it; there must be a free one."""
    cdef uint64_t mixed = (key ^ (era * 0x9E3779B97F4A7C15ULL)) * 0xD6E8FEB86659FD93ULL
    cdef Py_ssize_t i = <Py_ssize_t>((mixed >> 32) & <uint64_t>(slots - 1))
    while counters[i].era != 0 and (counters[i].era != era or counters[i].key != key):
        i = (i + 1) & (slots - 1)
    return &counters[i]


cdef bint make_room(Ordinals* state) noexcept nogil:
    """Sweep a table that is half full; 0 when counters had to be given up."""
    cdef Py_ssize_t i, live = 0, slots = SLOTS_MIN
    cdef Counter* counters
    if state.used * 2 < state.slots:
        return 1
    for i in range(state.slots):
        live += state.counters[i].era > state.era_over
    while slots < live * 4:
        slots *= 2
    counters = <Counter*>calloc(slots, sizeof(Counter)) if slots <= SLOTS_MAX else NULL
    if counters == NULL:
        forget_counters(state)
        return 0
    for i in range(state.slots):
        if state.counters[i].era > state.era_over:
            find_counter(counters, slots, state.counters[i].era, state.counters[i].key)[0] = state.counters[i]
    free(state.counters)
    state.counters = counters
    state.slots = slots
    state.used = live
    return 1


cdef bint count_row(Ordinals* state, int64_t ns, uint64_t key, int32_t* ordinal) noexcept nogil:
    cdef bint is_sound = make_room(state)
    cdef Counter* counter
    ordinal[0] = 0
    if state.slots == 0:
        return 0
    counter = find_counter(state.counters, state.slots, era_of(state, ns), key)
    if counter.era == 0:
        counter.era = state.era if state.ns[state.era % NS_KEPT] == ns else era_of(state, ns)
        counter.key = key
        counter.count = 0
        state.used += 1
    ordinal[0] = counter.count
    counter.count += 1
    return is_sound


cdef void drop_snapshot(Ordinals* state) noexcept nogil:
    free(state.snapshot)
    state.snapshot = NULL
    state.snapshot_rows = 0


cdef bint keep_snapshot(Ordinals* state, const int64_t* ns, const uint64_t* keys, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, rows = min(count, <Py_ssize_t>SNAPSHOT_ROWS_MAX)
    drop_snapshot(state)
    if rows == 0:
        return 1
    state.snapshot = <Row*>malloc(rows * sizeof(Row))
    if state.snapshot == NULL:
        return 0
    for i in range(rows):
        state.snapshot[i].ns = ns[count - rows + i]
        state.snapshot[i].key = keys[count - rows + i]
    state.snapshot_rows = rows
    return 1


cdef bint stands_at(const Ordinals* state, Py_ssize_t place, const int64_t* ns, const uint64_t* keys,
                    Py_ssize_t count) noexcept nogil:
    """Whether the first ``count`` rows are those of the snapshot from ``place`` on."""
    cdef Py_ssize_t i
    for i in range(count):
        if state.snapshot[place + i].ns != ns[i] or state.snapshot[place + i].key != keys[i]:
            return 0
    return 1


cdef bint align(Ordinals* state, const int64_t* ns, const uint64_t* keys, Py_ssize_t count,
                Py_ssize_t* repeats) noexcept nogil:
    """How many of the first rows repeat the snapshot: its longest tail that they begin with.

    A message that ends before the snapshot does must stand in it as a whole. Neither is asked of
    rows that are all younger. Returns 0 when rows are older than the snapshot's end and do not fit.
    """
    cdef Py_ssize_t rows = state.snapshot_rows, place
    cdef int64_t last_ns = state.snapshot[rows - 1].ns
    cdef uint64_t era
    cdef bint is_aligned = 1
    repeats[0] = 0
    if ns[0] <= last_ns:
        for place in range(max(rows - count, <Py_ssize_t>0), rows):
            if stands_at(state, place, ns, keys, rows - place):
                repeats[0] = rows - place
                break
    if repeats[0] == 0 and ns[0] < last_ns:
        for place in range(rows - count):
            if stands_at(state, place, ns, keys, count):
                repeats[0] = count
                return 1  # the next message may still repeat what follows
        # The snapshot holds all that is older than its end: equal rows are the same rows, and get
        # the same ids, when they are counted from 0 as every list is.
        for era in range(state.era_over + 1, state.era + 1):
            if state.ns[era % NS_KEPT] < last_ns:
                state.ns[era % NS_KEPT] = INT64_MIN
        is_aligned = 0
    drop_snapshot(state)
    return is_aligned


cdef int ordinals_take(Ordinals* state, const int64_t* ns, const uint64_t* keys, Py_ssize_t count,
                       bint is_snapshot, int32_t* ordinal) noexcept nogil:
    cdef Py_ssize_t i, repeats = 0
    cdef int is_sound = 1
    if is_snapshot:
        forget_counters(state)
        is_sound = keep_snapshot(state, ns, keys, count)
    elif state.snapshot_rows > 0 and count > 0:
        is_sound = align(state, ns, keys, count, &repeats)
    for i in range(repeats):
        ordinal[i] = -1
    for i in range(repeats, count):
        is_sound &= count_row(state, ns[i], keys[i], &ordinal[i])
    return is_sound


cdef class OrdinalCounter:
    """One instrument on one connection, for tests."""

    cdef Ordinals* state

    def __cinit__(self):
        self.state = ordinals_new()
        if self.state == NULL:
            raise MemoryError("no room for ordinals")

    def __dealloc__(self):
        ordinals_free(self.state)

    def take(self, rows, bint is_snapshot=False):
        """Number the rows (ns, key) of a message, oldest first.

        Returns ``(is_aligned, ordinals)``; an ordinal of -1 is a row that repeats the snapshot.
        """
        cdef Py_ssize_t i, count = len(rows)
        cdef int64_t* ns = <int64_t*>calloc(count + 1, sizeof(int64_t))
        cdef uint64_t* keys = <uint64_t*>calloc(count + 1, sizeof(uint64_t))
        cdef int32_t* ordinal = <int32_t*>calloc(count + 1, sizeof(int32_t))
        try:
            if ns == NULL or keys == NULL or ordinal == NULL:
                raise MemoryError("no room for a message")
            for i in range(count):
                ns[i], keys[i] = rows[i]
            is_aligned = ordinals_take(self.state, ns, keys, count, is_snapshot, ordinal)
            return bool(is_aligned), [ordinal[i] for i in range(count)]
        finally:
            free(ns)
            free(keys)
            free(ordinal)
