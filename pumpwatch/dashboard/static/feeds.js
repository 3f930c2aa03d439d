// The table of feeds: one row each, which opens to its connections and its balance.

import { sparkline } from "/static/charts.js";
import { byId, count, make, say, short, span } from "/static/words.js";

const HISTORY_S = 180;
const rows = new Map();

class FeedRow {
  constructor(name) {
    const [exchange, market] = name.split("_");
    this.values = [];
    this.button = make("button", { class: "feed-name", type: "button", onclick: () => this.toggle() },
      make("i", {}), `${exchange} `, make("span", {}, market));
    this.button.setAttribute("aria-expanded", "false");
    this.links = make("div", { class: "links" });
    this.fill = make("span", {});
    this.subscribed = make("span", { class: "num" });
    const spark = make("div", { class: "spark" });
    this.cells = Object.fromEntries(["rate", "lag", "last", "gaps", "stored"].map((kind) =>
      [kind, make("td", { class: `r num c-${kind}` })]));
    this.row = make("tr", { class: "feed" },
      make("td", {}, this.button), make("td", { class: "c-conn" }, this.links),
      make("td", { class: "c-subs" }, make("div", { class: "bar" }, make("span", {}, this.fill), this.subscribed)),
      make("td", { class: "wide" }, spark),
      ...Object.values(this.cells));
    this.row.dataset.feed = name;
    this.draw = sparkline(spark, { width: 360, height: 28, label: `rows a second of ${name}` });
    this.detail = make("tr", { class: "detail", hidden: true });
    this.detailCell = make("td", { colSpan: 9 });
    this.detail.append(this.detailCell);
    byId("feed-rows").append(this.row, this.detail);
  }

  toggle() {
    this.detail.hidden = !this.detail.hidden;
    this.button.setAttribute("aria-expanded", String(!this.detail.hidden));
    if (this.feed) this.showDetail();
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > HISTORY_S) this.values.shift();
    this.draw(this.values, HISTORY_S);
  }

  show(feed, part) {
    this.feed = feed;
    this.row.dataset.health = part ? part.state : "";
    this.row.title = part ? part.text : "";
    this.showLinks(feed);
    this.fill.style.width = `${feed.wanted ? (100 * feed.subscribed) / feed.wanted : 0}%`;
    say(this.subscribed, `${count(feed.subscribed)}/${count(feed.wanted)}`);
    this.subscribed.classList.toggle("warned", feed.subscribed < feed.wanted);
    say(this.cells.rate, short(Math.round(feed.rows_per_s["10"] ?? 0)));
    say(this.cells.lag, feed.lag_ms === null ? "–" : span(feed.lag_ms / 1000));
    say(this.cells.last, feed.silent_s === null ? "–" : feed.silent_s < 1 ? "now" : `${span(feed.silent_s)} ago`);
    this.cells.last.classList.toggle("failed", feed.silent_s !== null && feed.silent_s > 60);
    say(this.cells.gaps, count(feed.gaps_open));
    this.cells.gaps.classList.toggle("warned", Boolean(feed.gaps_open));
    say(this.cells.stored, short(feed.balance.applied));
    if (!this.detail.hidden) this.showDetail();
  }

  showLinks(feed) {
    while (this.links.children.length > feed.connections.length) this.links.lastChild.remove();
    feed.connections.forEach((connection, index) => {
      const mark = this.links.children[index] ?? this.links.appendChild(make("i", {}));
      mark.className = connection.state;
      mark.title = `connection ${connection.number}: ${connection.state}, ${connection.subscribed}/${connection.wanted} symbols`
        + (connection.error ? `, last error: ${connection.error}` : "");
    });
    this.links.setAttribute("role", "img");
    this.links.setAttribute("aria-label", `${feed.connections_open} of ${feed.connections.length} connections open`);
  }

  showDetail() {
    const { balance, ...feed } = this.feed;
    const figures = (pairs) => make("dl", { class: "num" }, ...pairs.flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]));
    const refused = Object.entries(feed.refused);
    const parts = [
      figures([["parsed", count(balance.parsed)], ["repeated", count(balance.repeated)],
        ["older than asked for", count(balance.history_skipped)], ["in quarantine", count(balance.quarantined)],
        ["on disk", count(balance.spooled + balance.replayed)], ["visible", count(balance.applied)],
        ["refused by the database", count(balance.refused)]]),
      figures([["messages", count(feed.messages)], ["not understood", count(feed.unreadable)],
        ["values rounded", count(feed.inexact_values)], ["reconnects", count(feed.reconnects)],
        ["symbols left out", count(feed.left_out)], ["symbols refused", count(refused.length)]]),
      figures(feed.connections.slice(0, 12).map((connection) => [`connection ${connection.number}`,
        `${connection.state}, ${connection.subscribed}/${connection.wanted}, ${short(connection.trades)} trades`])),
    ];
    const grid = make("div", { class: "detail-grid" }, ...parts);
    const notes = [];
    if (feed.error) notes.push(make("p", { class: "error" }, feed.error));
    if (refused.length) notes.push(make("p", { class: "dim" }, "refused: " + refused.slice(0, 8).map(([symbol, reason]) => `${symbol} (${reason})`).join(", ")));
    this.detailCell.replaceChildren(grid, ...notes);
  }
}

export function startFeeds({ feeds, history }) {
  feeds.forEach((name, index) => {
    if (!rows.has(name)) rows.set(name, new FeedRow(name));
    const row = rows.get(name);
    row.values = history.map((moment) => moment[index]);
    row.draw(row.values, HISTORY_S);
  });
}

export function showFeeds({ standing, health }) {
  const parts = new Map(health.parts.map((part) => [part.name, part]));
  for (const feed of standing.feeds) {
    if (!rows.has(feed.feed)) rows.set(feed.feed, new FeedRow(feed.feed));
    const row = rows.get(feed.feed);
    row.push(feed.rows_per_s["1"] ?? 0);
    row.show(feed, parts.get(feed.feed));
  }
  const open = standing.feeds.reduce((sum, feed) => sum + feed.connections_open, 0);
  const all = standing.feeds.reduce((sum, feed) => sum + feed.connections.length, 0);
  say(byId("feeds-more"), `${standing.feeds.length} feeds, ${open} of ${all} connections open`);
}

export function moveFocus(step) {
  const buttons = [...rows.values()].map((row) => row.button);
  if (!buttons.length) return;
  const at = buttons.indexOf(document.activeElement);
  buttons[(at + step + buttons.length) % buttons.length].focus();
}
