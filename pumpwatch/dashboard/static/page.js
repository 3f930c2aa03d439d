// The page: listens to /api/stream and shows what it says, once a second.

import { drawWindow, lagBars, sparkline } from "/static/charts.js";
import { moveFocus, showFeeds, startFeeds } from "/static/feeds.js";
import { byId, bytes, count, make, moment, say, short, span } from "/static/words.js";

const LOST_S = 5; // without an event for so long the figures are not to be trusted
const HISTORY_S = 180;
const STATES = { ok: "recording", degraded: "recording, degraded", down: "not well", lost: "no answer", waiting: "waiting" };
const THEME = "pumpwatch-theme";

const drawTotal = sparkline(byId("hero-chart"), { width: 600, height: 118, grid: 3, label: "rows a second, last three minutes" });
const drawLags = lagBars(byId("lag-chart"));
let totals = [];
let heardAt = 0;
let source = null;

// --- the stream ---

function listen() {
  source?.close();
  source = new EventSource("/api/stream");
  source.addEventListener("first", (event) => {
    const first = JSON.parse(event.data);
    totals = first.history.map((feeds) => feeds.reduce((sum, rate) => sum + rate, 0));
    startFeeds(first);
  });
  source.addEventListener("moment", (event) => {
    heardAt = performance.now();
    show(JSON.parse(event.data));
  });
}

setInterval(() => {
  if (!heardAt || performance.now() - heardAt < LOST_S * 1000) return;
  setState("lost", `nothing heard for ${span((performance.now() - heardAt) / 1000)}`);
  banner("The daemon does not answer. What you see is how it last stood.");
  if (source.readyState === EventSource.CLOSED) listen();
}, 1000);

function setState(state, more) {
  document.body.dataset.state = state;
  say(byId("state"), STATES[state]);
  say(byId("state-more"), more);
}

function banner(text) {
  say(byId("banner"), text);
  byId("banner").hidden = !text;
}

// --- what it says ---

function show({ standing, health }) {
  const { process } = standing;
  const bad = health.parts.filter((part) => part.state !== "ok" && part.name !== "feeds");
  setState(health.state, standing.state === "running" ? `up ${span(process.uptime_s)}` : standing.state);
  banner(bad.map((part) => `${part.name.replace("_", " ")}: ${part.text}`).join(" · "));
  say(byId("clock"), standing.at.slice(11, 19));
  say(byId("version"), process.version);
  showTotals(standing);
  showRoad(standing);
  showFeeds({ standing, health });
  showStore(standing, health);
  showTables(standing);
  showAlerts(standing);
  showParts(health);
  showBoards(standing);
  say(byId("process"), `pid ${process.pid} · since ${moment(process.started_at)} · ${count(process.open_files)} file handles · event loop ${span(process.loop_lag_s)} late`);
  document.title = health.state === "ok" ? "PumpWatch" : `(${health.state}) PumpWatch`;
}

const sum = (feeds, read) => feeds.reduce((total, feed) => total + (read(feed) ?? 0), 0);

function quantile({ edges_s, counts }, share) {
  const total = counts.reduce((all, rows) => all + rows, 0);
  let reached = 0;
  for (let index = 0; total && index < counts.length; index++) {
    reached += counts[index];
    if (reached && reached >= share * total) return edges_s[Math.min(index, edges_s.length - 1)];
  }
  return null;
}

function showTotals({ feeds, database, applied_lag, tables }) {
  totals.push(Math.round(sum(feeds, (feed) => feed.rows_per_s["1"])));
  if (totals.length > HISTORY_S) totals.shift();
  drawTotal(totals, HISTORY_S);
  say(byId("rate"), count(sum(feeds, (feed) => feed.rows_per_s["10"])));
  say(byId("rate60"), count(sum(feeds, (feed) => feed.rows_per_s["60"])));
  say(byId("rate-peak"), count(Math.max(0, ...totals)));
  say(byId("stored"), count(database.applied_rows));
  say(byId("stored-more"), database.pending_rows ? `${count(database.pending_rows)} more on their way` : "rows visible in SQL");
  say(byId("lag"), span(quantile(applied_lag, 0.5)));
  say(byId("lag-more"), `half of the rows; 99 % within ${span(quantile(applied_lag, 0.99))}`);
  const subscribed = sum(feeds, (feed) => feed.subscribed);
  const wanted = sum(feeds, (feed) => feed.wanted);
  say(byId("subscribed"), count(subscribed));
  say(byId("subscribed-more"), `of ${count(wanted)} symbols on ${feeds.length} feeds`);
  const open = tables ? sum(feeds, (feed) => feed.gaps_open) : null;
  const lost = tables ? Object.values(tables.gaps_lost).reduce((all, gaps) => all + gaps, 0) : null;
  say(byId("gaps-open"), count(open));
  say(byId("gaps-more"), tables ? `${count(lost)} lost in the last day` : "the database has not answered");
  byId("gaps-open").classList.toggle("warned", Boolean(open));
}

function showRoad({ feeds, differences, spool }) {
  const of = (name) => sum(feeds, (feed) => feed.balance[name]);
  const pending = of("spooled") + of("replayed") - of("applied") - of("refused");
  const steps = [
    ["parsed from messages", of("parsed"), `${count(sum(feeds, (feed) => feed.unreadable))} messages not understood`],
    ["new rows", of("passed"), `${short(of("repeated"))} repeated, ${short(of("history_skipped"))} too old, ${count(of("quarantined"))} in quarantine`],
    ["on disk", of("spooled") + of("replayed"), `${count(spool.buffered_rows)} in memory only`],
    ["taken by the database", of("accepted"), `${count(of("refused"))} refused`],
    ["visible in SQL", of("applied"), `${count(Math.max(0, pending))} pending`],
  ];
  const list = byId("road");
  steps.forEach(([name, rows, aside], index) => {
    const item = list.children[index] ?? list.appendChild(make("li", {}, make("p", { class: "step" }, name),
      make("p", { class: "count num" }), make("p", { class: "aside num" })));
    say(item.children[1], count(rows));
    say(item.children[2], aside);
  });
  const chip = byId("balance");
  say(chip, differences.length ? differences.join("; ") : "every row is accounted for");
  chip.className = `chip ${differences.length ? "bad" : "good"}`;
}

function showStore({ spool, database, volume, process, applied_lag, upkeep }, health) {
  const part = health.parts.find(({ name }) => name === "database");
  const chip = byId("database-state");
  say(chip, part.state === "ok" ? "database answers" : part.text);
  chip.className = `chip ${{ ok: "good", degraded: "warn", down: "bad" }[part.state]}`;
  byId("store").dataset.health = part.state;
  meter("spool on disk", `${bytes(spool.disk_bytes)} of ${bytes(spool.disk_bytes_max)}`, spool.disk_bytes / spool.disk_bytes_max);
  meter("disk", `${bytes(volume.free_bytes)} free`, volume.used_bytes / (volume.used_bytes + volume.free_bytes || 1));
  showUpkeep(upkeep);
  const used = process.rss_bytes + database.rss_bytes;
  meter("memory", `daemon ${bytes(process.rss_bytes)}, database ${bytes(database.rss_bytes)}`, used / process.memory_bytes_max);
  meter("tables", `${bytes(database.disk_bytes)}, ${count(database.pending_rows)} rows pending`, null);
  drawLags(applied_lag);
}

function showUpkeep({ tiers, days_left, disks, backup, proof, working_on }) {
  fill("tiers", tiers, "not asked yet", ({ name, rows, bytes: size, oldest, partitions }) => make("li", {},
    make("b", {}, name), make("span", { class: "sub num" },
      `${count(rows)} rows · ${bytes(size)}${partitions ? ` · ${count(partitions)} hours` : ""}${oldest ? ` · ${name === "gone" ? "older than" : "since"} ${moment(oldest)}` : ""}`)));
  for (const { name, used_share, free_bytes } of disks) meter(`disk of the ${name}`, `${bytes(free_bytes)} free`, used_share);
  say(byId("tiers-more"), days_left === null ? "" : `${count(Math.floor(days_left))} days left at this rate`);
  say(byId("backup"), `${backup}${working_on ? ` · at work: ${working_on}` : ""}`);
  say(byId("proof"), proof.split("; certificates")[0] || "the first line comes tomorrow morning");
}

const meters = new Map();

function meter(name, text, share) {
  if (!meters.has(name)) {
    const fill = make("span", {});
    const value = make("dd", { class: "num" });
    const row = make("div", {}, make("dt", {}, name), value);
    if (share !== null) row.append(make("span", { class: "track" }, fill));
    byId("meters").append(row);
    meters.set(name, { fill, value, row });
  }
  const { fill, value, row } = meters.get(name);
  say(value, text);
  if (share === null) return;
  fill.style.width = `${Math.min(100, 100 * share).toFixed(1)}%`;
  row.className = share >= 0.95 ? "full" : share >= 0.85 ? "high" : "";
}

// A list is rebuilt only when what it shows has changed.
function fill(id, items, none, build) {
  const list = byId(id);
  const key = JSON.stringify(items);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...(items.length ? items.map(build) : [make("li", { class: "none" }, none)]));
}

const TONE = { complete: "good", proven: "good", ok: "good", verified: "good", good: "good", partial: "warn", pending: "", running: "", suspected: "warn", confirmed: "warn", failed: "bad", error: "bad" };

const chipOf = (text) => make("span", { class: `chip ${TONE[text] ?? ""}` }, text);

function showTables({ tables }) {
  const silent = "the database has not answered";
  fill("listings", tables?.listings ?? [], tables ? "no coin was announced yet" : silent, (listing) => {
    const at = listing.announced_at ?? listing.detected_at;
    return make("li", {},
      make("button", { class: "coin", type: "button", title: "its trades around the announcement", onclick: () => openWindow(listing.symbol, at) }, listing.symbol),
      chipOf(listing.state || "?"),
      make("span", { class: "sub num" }, `${listing.source} · ${moment(at)} · ${short(listing.collected_trades)} trades on ${listing.exchanges_with_data} feeds`),
      make("span", { class: "sub" }, certificateOf(listing), ...reportOf(listing)));
  });
  fill("gaps", tables?.gaps ?? [], tables ? "no hole is open" : silent, (gap) => make("li", {},
    make("b", {}, `${gap.feed.replace("_", " ")} ${gap.symbol}`), chipOf(gap.state),
    make("span", { class: "sub num" }, `${gap.cause.replaceAll("_", " ")} · ${gap.missing < 0 ? "unknown" : count(gap.missing)} rows · since ${moment(gap.opened_at)}`)));
  fill("operations", tables?.operations ?? [], tables ? "nothing was done yet" : silent, (operation) => make("li", {},
    make("b", {}, `${operation.operation} ${operation.subject}`), chipOf(operation.result),
    make("span", { class: "sub num" }, `${moment(operation.started_at)}${operation.detail ? " · " + operation.detail : ""}`)));
  say(byId("listings-more"), tables ? `asked ${tables.asked_at.slice(11, 19)}` : "");
  say(byId("gaps-list-more"), tables?.gaps.length ? "the newest" : "");
}

function reportOf({ certificate }) {
  const bundle = certificate?.bundle;
  if (typeof bundle !== "string" || !bundle) return [];
  return [" · ", make("a", { class: "report", href: `/listings/${encodeURIComponent(bundle)}/report.html`, target: "_blank", rel: "noopener" }, "report")];
}

function certificateOf({ certificate, title }) {
  if (!certificate) return title;
  if (typeof certificate.verdict === "string") return certificate.verdict;
  const grades = {};
  for (const grade of Object.values(certificate)) {
    if (typeof grade === "string") grades[grade] = (grades[grade] ?? 0) + 1;
  }
  const text = Object.entries(grades).map(([grade, feeds]) => `${feeds} ${grade}`).join(", ");
  return text || title;
}

function showAlerts({ alerts, alert_deliveries }) {
  fill("alerts", alerts, "nothing stands", (alert) => make("li", {},
    make("b", {}, `${alert.rule.replaceAll("_", " ")}${alert.subject ? " · " + alert.subject : ""}`),
    make("span", { class: `chip ${alert.silenced || alert.suppressed_by ? "" : alert.severity === "page" ? "bad" : "warn"}` },
      alert.silenced ? "silenced" : alert.suppressed_by ? `under ${alert.suppressed_by}` : alert.severity),
    make("span", { class: "sub num" }, `${alert.text} · since ${moment(alert.since)}`)));
  const { delivered = 0, failed = 0, waiting = 0 } = alert_deliveries;
  say(byId("alerts-more"), failed + waiting ? `${count(waiting)} waiting, ${count(failed)} tries failed` : `${count(delivered)} messages sent`);
}

function showParts({ parts }) {
  const isFeed = ({ name }) => document.querySelector(`tr.feed[data-feed="${name}"]`);
  const shown = parts.filter((part) => !isFeed(part)).map(({ name, state, text }) => ({ name, state, text: text.replace(/^up .*/, "up") }));
  fill("parts", shown, "", ({ name, state, text }) => {
    const item = make("li", {}, make("i", {}), make("b", {}, name.replace("_", " ")), make("span", {}, text));
    item.dataset.health = state;
    return item;
  });
}

function showBoards({ detectors, queries }) {
  fill("boards", detectors.map(({ name, silent_s, interval_s, error }) => ({ name, error, at: ago(silent_s), late: silent_s === null || silent_s > 3 * interval_s + 10 })),
    "no board is watched", ({ name, at, error, late }) => {
      const item = make("li", {}, make("i", {}), make("b", {}, name.replaceAll("_", " ")), make("span", { class: "num", title: error }, error && late ? error : at));
      item.dataset.health = late ? "down" : error ? "degraded" : "ok";
      return item;
    });
  const asked = Object.entries(queries).map(([source, times]) => ({ source, total: times.counts.reduce((sum, n) => sum + n, 0), p50: quantile(times, 0.5), p99: quantile(times, 0.99) }));
  fill("questions", asked.filter(({ total }) => total), "none yet", ({ source, total, p50, p99 }) => make("li", {},
    make("b", {}, source), make("span", { class: "chip num" }, count(total)),
    make("span", { class: "sub num" }, `half within ${span(p50)}, 99 % within ${span(p99)}`)));
}

const ago = (seconds) => (seconds === null ? "not yet" : seconds < 10 ? "just now" : `${span(seconds)} ago`);

// --- the window ---

function openWindow(name = "", at = "") {
  const form = byId("window-form");
  if (name) form.elements.namedItem("name").value = name;
  const now = new Date(Date.now() - 30_000).toISOString().slice(0, 19) + "Z";
  form.elements.at.value = at || form.elements.at.value || now;
  const dialog = byId("window-dialog");
  if (!dialog.open) dialog.showModal();
  if (name) form.requestSubmit();
}

byId("window-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, at, before_s, after_s } = Object.fromEntries(new FormData(event.target));
  const note = byId("window-note");
  say(note, "asking …");
  const ask = async (kind) => {
    const query = new URLSearchParams({ [kind]: name.trim(), at, before_s, after_s });
    const answer = await fetch(`/api/trades/window?${query}`);
    return { status: answer.status, body: await answer.json() };
  };
  try {
    let found = await ask("coin");
    if (found.status === 404) found = await ask("symbol");
    if (found.status !== 200) { say(note, found.body.error); return; }
    const { body } = found;
    await drawWindow(byId("window-chart"), body, at);
    say(note, `${count(body.count)} trades of ${body.symbols.join(", ")}${body.truncated ? ", and more than are shown" : ""}, from ${body.source}`);
  } catch (error) {
    say(note, error.message);
  }
});

// --- keys and colours ---

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function flipTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(theme);
  try { localStorage.setItem(THEME, theme); } catch { /* a browser that forbids it: for this visit only */ }
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem(THEME); } catch { /* as above */ }
  setTheme(chosen ?? (dark.matches ? "dark" : "light"));
  if (!chosen) dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
}

const KEYS = { w: () => openWindow(), t: flipTheme, j: () => moveFocus(1), k: () => moveFocus(-1), "?": () => byId("help-dialog").showModal() };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || document.querySelector("dialog[open]")) return;
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); action(); }
});
byId("open-window").addEventListener("click", () => openWindow());
byId("theme").addEventListener("click", flipTheme);
byId("help").addEventListener("click", KEYS["?"]);

startTheme();
listen();
