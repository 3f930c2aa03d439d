"""One spelling of a feed's messages: its templates, who gets it, and how a tick becomes chunks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import Bytes, Ints, Words
from pumpwatch.sim.frames import (
    HEADER_MIDDLE_MAX,
    HEADER_SHORT_MAX,
    MIDDLE_HEADER_BYTES,
    Columns,
    TemplateSet,
    cut,
    frame,
    header,
)
from pumpwatch.sim.generate import Draw, Messages
from pumpwatch.sim.instruments import Entry, Instrument
from pumpwatch.sim.outgoing import Chunk, SharedStream, batch_chunk
from pumpwatch.sim.tape import Batch, Tape
from pumpwatch.sim.venue import Venue

Flags = npt.NDArray[np.bool_]
Push = Callable[[SharedStream, Chunk], None]


@dataclass(frozen=True, eq=False)
class Outlet:
    """Where a tick's chunks go, and whose rows they deliver."""

    tape: Tape
    batch: Batch
    some: Ints | None  # the rows of the batch that are sent; None: all
    push: Push

    def send(self, link: SharedStream, data: bytes, ends: Ints, until: Ints, rows: Ints) -> None:
        """Frames for one link; ``rows`` count within those that are sent."""
        rows = rows if self.some is None else self.some[rows]
        self.push(link, batch_chunk(self.tape, self.batch, data, ends, until, rows))


class Dialect:
    """The connections that get the feed's messages in this spelling, and the templates for it."""

    def __init__(self, venue: Venue, name: str, tape: Tape, per_symbol: int) -> None:
        self.name = name
        self.links: list[SharedStream] = []
        self.wants: list[Flags] = []  # each link's symbols
        self._venue = venue
        self._tape = tape
        count, is_many = len(tape.instruments), venue.flow.rows_max > 1
        spare_bytes = max(1, len(venue.suffix)) if is_many else 0
        self._rows = TemplateSet(count, per_symbol, framed=not is_many, spare_bytes=spare_bytes)
        self._prefixes = TemplateSet(count, 1, framed=False) if is_many else None

    # --- who gets it ------------------------------------------------------------------------------

    def set_wanted(self, link: SharedStream, symbol: int, *, wanted: bool) -> None:
        """The link gets this symbol's trades from now on, or no more."""
        if link not in self.links:
            self.links.append(link)
            self.wants.append(np.zeros(len(self._tape.instruments), dtype=np.bool_))
        self.wants[self.links.index(link)][symbol] = wanted

    def drop(self, link: SharedStream) -> None:
        """The connection is gone."""
        if link in self.links:
            at = self.links.index(link)
            del self.links[at], self.wants[at]

    # --- templates --------------------------------------------------------------------------------

    def render(
        self, instrument: Instrument, entries: Sequence[Entry], values: dict[str, str]
    ) -> None:
        """(Re)write a symbol's templates; ``values`` are the marks' texts as of now."""
        texts = [self._venue.row_text(instrument, entry, self.name) for entry in entries]
        self._rows.render(instrument.index, texts, values)
        if self._prefixes is not None:
            text = " " * MIDDLE_HEADER_BYTES + self._venue.prefix_text(instrument, self.name)
            self._prefixes.render(instrument.index, [text], values)

    # --- sending ----------------------------------------------------------------------------------

    def send_text(self, symbol: int, text: str, batch: Batch, rows: Ints) -> None:
        """One message to all who want the symbol; it delivers these rows of the batch."""
        data = frame(text)
        for link, wants in zip(self.links, self.wants, strict=True):
            if wants[symbol]:
                ends, until = np.array([len(data)]), np.array([len(rows)])
                link.push(batch_chunk(self._tape, batch, data, ends, until, rows))

    def send(
        self,
        draw: Draw,
        keys: Words,
        offsets: Ints,
        some: Ints | None = None,
        push: Push = SharedStream.push,
    ) -> None:
        """A tick's trades, or ``some`` of them (ascending), to all who want them."""
        if not self.links or (some is not None and not len(some)):
            return
        outlet = Outlet(self._tape, draw.batch, some, push)
        draw = draw if some is None else draw.part(some)
        batch = draw.batch
        columns = Columns(
            batch.symbol, batch.row, batch.ns, batch.number, batch.sequence, keys, offsets
        )
        rows = self._rows.fill(draw.template, columns)
        lengths = self._rows.length[draw.template].astype(np.int64)
        messages = draw.messages
        if messages is None:
            pieces = cut(rows)
            for link, wants in zip(self.links, self.wants, strict=True):
                self._push_single(link, wants, batch, pieces, lengths, outlet)
            return
        heads = Columns(
            messages.symbol, np.zeros_like(messages.ns), messages.ns, messages.sequence,
            messages.sequence, keys, offsets,
        )  # fmt: skip
        pieces, frame_bytes = self._bundle(messages, rows, lengths, heads)
        for link, wants in zip(self.links, self.wants, strict=True):
            self._push_bundled(link, wants, messages, pieces, frame_bytes, outlet)

    @staticmethod
    def _push_single(
        link: SharedStream, wants: Flags, batch: Batch, pieces: list[bytes], lengths: Ints,
        outlet: Outlet,
    ) -> None:  # fmt: skip
        chosen = np.flatnonzero(wants[batch.symbol])
        if not len(chosen):
            return
        some: Sequence[bytes] = pieces
        if len(chosen) < len(pieces):
            some, lengths = _pick(pieces, chosen), lengths[chosen]
        until = np.arange(1, len(chosen) + 1)
        outlet.send(link, b"".join(some), np.cumsum(lengths), until, chosen)

    def _bundle(
        self, messages: Messages, rows: Bytes, lengths: Ints, columns: Columns
    ) -> tuple[list[bytes], Ints]:
        """The messages' pieces (prefixes, then rows) and each frame's size."""
        assert self._prefixes is not None
        total, width = rows.shape
        suffix = np.frombuffer(self._venue.suffix.encode(), dtype=np.uint8)
        ends = np.arange(total) * width + lengths
        last = np.cumsum(messages.rows) - 1
        flat = rows.reshape(-1)
        flat[ends] = ord(",")
        flat[ends[last][:, None] + np.arange(len(suffix))] = suffix
        sizes = lengths + 1
        sizes[last] += len(suffix) - 1
        heads = self._prefixes.fill(messages.symbol, columns)
        payload = (
            self._prefixes.length[messages.symbol].astype(np.int64)
            - MIDDLE_HEADER_BYTES
            + np.add.reduceat(sizes, last - messages.rows + 1)
        )
        heads[:, 0], heads[:, 1] = 0x81, 126
        heads[:, 2], heads[:, 3] = payload >> 8 & 0xFF, payload & 0xFF
        pieces = cut(heads)
        frame_bytes = payload + MIDDLE_HEADER_BYTES
        is_other = (payload <= HEADER_SHORT_MAX) | (payload > HEADER_MIDDLE_MAX)
        for at in np.flatnonzero(is_other).tolist():
            head = header(int(payload[at]))
            pieces[at] = head + pieces[at][MIDDLE_HEADER_BYTES:]
            frame_bytes[at] = payload[at] + len(head)
        return pieces + cut(rows), frame_bytes

    @staticmethod
    def _push_bundled(
        link: SharedStream,
        wants: Flags,
        messages: Messages,
        pieces: list[bytes],
        frame_bytes: Ints,
        outlet: Outlet,
    ) -> None:
        chosen = np.flatnonzero(wants[messages.symbol])
        if not len(chosen):
            return
        counts = messages.rows[chosen]
        starts = (np.cumsum(messages.rows) - messages.rows)[chosen]
        with_head = counts + 1
        ends = np.cumsum(with_head)
        nth = np.arange(int(ends[-1])) - np.repeat(ends - with_head, with_head)
        rows = np.repeat(starts, with_head) + nth - 1
        order = np.where(nth == 0, np.repeat(chosen, with_head), rows + len(messages.rows))
        data = b"".join(_pick(pieces, order))
        outlet.send(link, data, np.cumsum(frame_bytes[chosen]), np.cumsum(counts), rows[nth > 0])


def _pick(pieces: list[bytes], chosen: Ints) -> Sequence[bytes]:
    if len(chosen) == 1:
        return [pieces[int(chosen[0])]]
    picked: tuple[bytes, ...] = operator.itemgetter(*chosen.tolist())(pieces)
    return picked
