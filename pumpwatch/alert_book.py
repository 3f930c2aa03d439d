"""Which alerts stand, and what is told of them: once, with its recovery; sans-IO.

Each alert (rule, subject) goes through waiting (it has not held long enough) -> told | suppressed
(something above it stands) | silenced (by a person) | held (quiet hours) -> gone. What comes back
before it was gone for ``clear_s`` is a repeat: counted, not told. Each return within an hour
doubles ``clear_s``, so that something that flaps is told a few times and not a hundred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from pumpwatch.alert_rules import Key, Rule, Severity

SECOND_NS = 10**9
CLEAR_S = 30.0
CLEAR_S_MAX = 1800.0
FLAP_NS = 3600 * SECOND_NS
DAY_S = 86_400
STATES = Literal["waiting", "told", "suppressed", "silenced", "held", "digest"]


class Alert(msgspec.Struct, kw_only=True):
    """One alert that stands."""

    rule: str
    subject: str
    text: str
    since_ns: int
    due_from_ns: int  # holding is counted from here
    state: STATES = "waiting"
    suppressed_by: str = ""
    repeats: int = 0
    is_present: bool = True
    absent_ns: int = 0  # since when it is not


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told."""

    kind: Literal["fired", "recovered", "digest", "test", "listing"]
    severity: Severity
    rule: str
    subject: str
    title: str
    body: str
    at_ns: int


class Memory(msgspec.Struct, kw_only=True):
    """What outlives a restart."""

    alerts: list[Alert] = []
    fired_ns: dict[str, list[int]] = {}
    digest: list[str] = []
    digest_day: int = -1


class QuietHours(msgspec.Struct, frozen=True):
    """From and to, seconds of the day in UTC; may span midnight. Equal: none."""

    from_s: int = 0
    to_s: int = 0

    def holds(self, now_ns: int) -> bool:
        """Whether it is quiet."""
        second = now_ns // SECOND_NS % DAY_S
        if self.from_s <= self.to_s:
            return self.from_s <= second < self.to_s
        return second >= self.from_s or second < self.to_s


class AlertBook:
    """Decides; ``update`` is called about once a second."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        quiet: QuietHours = QuietHours(),  # noqa: B008 - frozen
        digest_at_s: int = 8 * 3600,
        memory: Memory | None = None,
    ) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._order = {rule.name: place for place, rule in enumerate(rules)}
        self._quiet = quiet
        self._digest_at_s = digest_at_s
        memory = memory or Memory()
        self.alerts: dict[Key, Alert] = {
            (alert.rule, alert.subject): alert
            for alert in memory.alerts
            if alert.rule in self._rules
        }
        self._fired_ns = memory.fired_ns
        self._digest = memory.digest
        self._digest_day = memory.digest_day

    def use(self, quiet: QuietHours, digest_at_s: int) -> None:
        """Other hours from now on."""
        self._quiet = quiet
        self._digest_at_s = digest_at_s

    def memory(self) -> Memory:
        """To be kept, and handed to the next book."""
        return Memory(
            alerts=list(self.alerts.values()), fired_ns=self._fired_ns, digest=self._digest,
            digest_day=self._digest_day,
        )  # fmt: skip

    def update(
        self, now_ns: int, signals: Mapping[Key, str], silences: Mapping[str, int]
    ) -> list[Message]:
        """Take in what holds now; returns what is to be told.

        ``silences``: rule, or rule/subject -> until when (ns).
        """
        messages = self._note_absent(now_ns, signals)
        for key, text in signals.items():
            self._note_present(now_ns, key, text)
        # Those above first: what they explain is not told in the same moment.
        for alert in sorted(self.alerts.values(), key=lambda alert: self._order[alert.rule]):
            if alert.is_present and alert.state not in ("told", "digest"):
                messages += self._judge(now_ns, alert, silences)
        return messages + self._tell_digest(now_ns)

    # -- what is gone ---------------------------------------------------------------------------

    def _note_absent(self, now_ns: int, signals: Mapping[Key, str]) -> list[Message]:
        messages = []
        for key, alert in list(self.alerts.items()):
            if key in signals:
                continue
            if alert.is_present:
                alert.is_present, alert.absent_ns = False, now_ns
            was_told = alert.state == "told"
            if was_told and now_ns - alert.absent_ns < self._clear_ns(now_ns, key):
                continue
            del self.alerts[key]
            if was_told and self._rules[alert.rule].tells_recovery:
                messages.append(self._recovery(now_ns, alert))
            if was_told:
                self._free_children(now_ns, key)
        return messages

    def _recovery(self, now_ns: int, alert: Alert) -> Message:
        lasted = _span((alert.absent_ns - alert.since_ns) / SECOND_NS)
        repeats = f", came back {alert.repeats} times" if alert.repeats else ""
        return Message(
            kind="recovered",
            severity=self._rules[alert.rule].severity,
            rule=alert.rule,
            subject=alert.subject,
            title=f"recovered: {_name(alert)}",
            body=f"after {lasted}{repeats} (was: {alert.text})",
            at_ns=now_ns,
        )

    def _free_children(self, now_ns: int, parent: Key) -> None:
        """What the parent explained has to hold for itself from now on."""
        for alert in self.alerts.values():
            if parent in self._rules[alert.rule].above(alert.subject):
                alert.due_from_ns = max(alert.due_from_ns, now_ns)

    def _clear_ns(self, now_ns: int, key: Key) -> int:
        recent = [at for at in self._fired_ns.get("/".join(key), []) if now_ns - at < FLAP_NS]
        doublings = max(0, len(recent) - 1)
        return int(min(CLEAR_S * 2**doublings, CLEAR_S_MAX) * SECOND_NS)

    # -- what is there --------------------------------------------------------------------------

    def _note_present(self, now_ns: int, key: Key, text: str) -> None:
        alert = self.alerts.get(key)
        if alert is None:
            rule, subject = key
            self.alerts[key] = Alert(
                rule=rule, subject=subject, text=text, since_ns=now_ns, due_from_ns=now_ns
            )
            return
        alert.text = text
        if not alert.is_present:
            alert.is_present = True
            alert.repeats += 1

    def _judge(self, now_ns: int, alert: Alert, silences: Mapping[str, int]) -> list[Message]:
        rule = self._rules[alert.rule]
        parents = [key for key in rule.above(alert.subject) if key in self.alerts]
        alert.suppressed_by = parents[0][0] if parents else ""
        if parents:
            alert.state = "suppressed"
            return []
        if alert.state == "suppressed":
            alert.state, alert.due_from_ns = "waiting", max(alert.due_from_ns, now_ns)
        if now_ns - alert.due_from_ns < rule.hold_s * SECOND_NS:
            return []
        until_ns = max(
            silences.get(alert.rule, 0), silences.get(f"{alert.rule}/{alert.subject}", 0)
        )
        if now_ns < until_ns:
            alert.state = "silenced"
            return []
        if rule.severity == "digest":
            alert.state = "digest"
            self._digest.append(f"{_name(alert)}: {alert.text}")
            return []
        if rule.severity == "notify" and not rule.is_urgent and self._quiet.holds(now_ns):
            alert.state = "held"
            return []
        alert.state = "told"
        self._remember_firing(now_ns, (alert.rule, alert.subject))
        return [
            Message(
                kind="fired", severity=rule.severity, rule=alert.rule, subject=alert.subject,
                title=_name(alert), body=f"{alert.text} ({rule.help})", at_ns=now_ns,
            )
        ]  # fmt: skip

    def _remember_firing(self, now_ns: int, key: Key) -> None:
        for name, times in list(self._fired_ns.items()):
            kept = [at for at in times if now_ns - at < FLAP_NS]
            if kept:
                self._fired_ns[name] = kept
            else:
                del self._fired_ns[name]
        self._fired_ns.setdefault("/".join(key), []).append(now_ns)

    # -- the digest -----------------------------------------------------------------------------

    def _tell_digest(self, now_ns: int) -> list[Message]:
        day = (now_ns // SECOND_NS - self._digest_at_s) // DAY_S
        if self._digest_day < 0:
            self._digest_day = day
        if day == self._digest_day:
            return []
        self._digest_day = day
        lines, self._digest = self._digest, []
        if not lines:
            return []
        return [
            Message(
                kind="digest", severity="digest", rule="", subject="",
                title=f"PumpWatch: {len(lines)} things of the last day", body="\n".join(lines),
                at_ns=now_ns,
            )
        ]  # fmt: skip


def _name(alert: Alert) -> str:
    words = alert.rule.replace("_", " ")
    return f"{words}: {alert.subject}" if alert.subject else words


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
