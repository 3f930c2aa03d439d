"""One connection's way in: received bytes -> frames -> messages -> rows on the feed's road."""
from libc.stdint cimport int64_t

from pumpwatch._fast.frames cimport Assembly, Frame
from pumpwatch._fast.road cimport FeedRoad, Lane, Refusal
from pumpwatch._fast.trade cimport ParseStatus

cdef struct Kept:               # a message that Python wants to see, copied out after the nogil part
    Py_ssize_t offset           # in Intake.kept_text
    Py_ssize_t size
    int64_t rows
    int reason                  # -1: a message for the session


cdef class Intake:
    cdef readonly FeedRoad road
    cdef Lane lane
    cdef Assembly assembly
    cdef char* carry            # the tail of a frame that is not whole yet
    cdef Py_ssize_t carry_size
    cdef Py_ssize_t carry_capacity
    cdef char* kept_text
    cdef Py_ssize_t kept_text_size
    cdef Py_ssize_t kept_text_capacity
    cdef Kept* kept
    cdef Py_ssize_t kept_count
    cdef Py_ssize_t kept_capacity
    cdef char* control
    cdef Py_ssize_t control_size
    cdef Py_ssize_t control_capacity
    cdef readonly int64_t bytes_received
    cdef readonly int64_t messages
    cdef readonly int64_t trades

    cdef int finish_carry(self, const char* data, Py_ssize_t size, Py_ssize_t* used) noexcept nogil
    cdef int scan(self, const char* data, Py_ssize_t size, Py_ssize_t* used) noexcept nogil
    # What ends the connection, or FRAME_MORE.
    cdef int take_message(self, Frame* frame) noexcept nogil
    cdef int set_aside(self, Frame* frame, int reason) noexcept nogil
    cdef int keep(self, Frame* frame, int64_t rows, int reason) noexcept nogil
