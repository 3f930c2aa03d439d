"""Trade ids in 8 or 16 bytes."""
from libc.stdint cimport uint64_t

# At most 19 digits without leading zeros; 0: the text is none, and ``value`` may have changed.
cdef bint read_number(const char* text, Py_ssize_t size, uint64_t* value) noexcept nogil

# 36 characters, lower case hex; 0: the text is none.
cdef bint read_uuid(const char* text, Py_ssize_t size, uint64_t* low, uint64_t* high) noexcept nogil

# The text into ``out``; 36.
cdef Py_ssize_t put_uuid(char* out, uint64_t low, uint64_t high) noexcept nogil
