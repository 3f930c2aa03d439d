"""Whether bytes are UTF-8 (RFC 3629), which a WebSocket text message must be (RFC 6455 section 8.1)."""

cdef bint is_utf8(const char* text, Py_ssize_t size) noexcept nogil
