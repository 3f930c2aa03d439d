// Small drawings in SVG, and the window chart, for which plotly is fetched when it is asked for.

const NS = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A line over an area; values are oldest first. Returns a function that draws new values.
export function sparkline(holder, { width = 300, height = 40, grid = 0, label = "" } = {}) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const root = svg("svg", {
    class: "trend ruled", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  });
  for (let row = 1; row <= grid; row++) {
    const y = (height * row) / (grid + 1);
    root.append(svg("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }));
  }
  root.append(area, line);
  holder.replaceChildren(root);
  return (values, spanMax) => {
    if (values.length < 2) return;
    const span = Math.min(spanMax, Math.max(values.length, 45)); // a young daemon has a short past
    const top = Math.max(...values, 1) * 1.08;
    const step = width / (span - 1);
    const left = width - step * (values.length - 1);
    const points = values.map((value, index) =>
      `${(left + index * step).toFixed(1)},${(height - 1.5 - (value / top) * (height - 3)).toFixed(1)}`);
    line.setAttribute("d", "M" + points.join("L"));
    area.setAttribute("d", `M${left.toFixed(1)},${height}L${points.join("L")}L${width},${height}Z`);
  };
}

// How rows spread over lags: bars from 1 ms to 800 s, each edge 1.25 times the one before.
export function lagBars(holder) {
  const root = svg("svg", { class: "ruled", viewBox: "0 0 600 64", preserveAspectRatio: "none", role: "img" });
  const axis = document.createElement("div");
  axis.className = "axis";
  for (const text of ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"]) {
    const mark = document.createElement("span");
    mark.textContent = text;
    axis.append(mark);
  }
  holder.replaceChildren(root, axis);
  let bars = [];
  return ({ counts }) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const top = Math.max(...counts, 1);
    const shown = counts.slice(0, 56); // beyond 300 s there is nothing to tell apart
    if (bars.length !== shown.length) {
      const wide = 600 / shown.length;
      bars = shown.map((_, index) => svg("rect", { x: (index * wide + 0.6).toFixed(1), width: (wide - 1.2).toFixed(1), rx: 1 }));
      root.replaceChildren(svg("line", { class: "grid", x1: 0, x2: 600, y1: 63.5, y2: 63.5 }), ...bars);
    }
    shown.forEach((count, index) => {
      const tall = count ? Math.max(1.5, (count / top) * 60) : 0;
      bars[index].setAttribute("y", (63 - tall).toFixed(1));
      bars[index].setAttribute("height", tall.toFixed(1));
    });
    root.setAttribute("aria-label", `${total} rows by the time from receipt to visibility`);
  };
}

// One colour for an exchange; its spot market is a full line, its futures a dotted one.
const INKS = ["#14b8a6", "#f59e0b", "#6366f1", "#ec4899", "#0ea5e9", "#84cc16"];

let plotly = null;

function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/static/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { plotly = null; reject(new Error("plotly could not be fetched")); };
    document.head.append(script);
  });
  return plotly;
}

// Price by feed around a moment: change in percent from each feed's first trade.
export async function drawWindow(holder, answer, at) {
  const Plotly = await loadPlotly();
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  const feeds = new Map();
  for (const trade of answer.trades) {
    const name = `${trade.exchange}_${trade.market_type}`;
    const key = answer.symbols.length > 1 ? `${name} ${trade.symbol}` : name;
    if (!feeds.has(key)) feeds.set(key, { x: [], y: [], text: [] });
    const feed = feeds.get(key);
    feed.first ??= trade.price;
    feed.x.push(trade.timestamp.slice(0, 23) + "Z");
    feed.y.push((trade.price / feed.first - 1) * 100);
    feed.text.push(`${trade.price} × ${trade.quantity} ${trade.side ?? ""}`);
  }
  const exchanges = [...new Set(answer.trades.map((trade) => trade.exchange))].sort();
  const traces = [...feeds].sort().map(([name, feed]) => ({
    name, x: feed.x, y: feed.y, text: feed.text, mode: "lines+markers", type: "scatter",
    line: {
      shape: "hv", width: 1.4, dash: name.includes("_futures") ? "dot" : "solid",
      color: INKS[exchanges.indexOf(name.split("_")[0]) % INKS.length],
    },
    marker: { size: 3.5 },
    hovertemplate: "%{x|%H:%M:%S.%L}  %{y:+.3f} %<br>%{text}",
  }));
  const axis = { gridcolor: ink("--line"), zerolinecolor: ink("--dim"), linecolor: ink("--line") };
  await Plotly.react(holder, traces, {
    height: 440, margin: { l: 56, r: 12, t: 12, b: 40 }, paper_bgcolor: "transparent",
    plot_bgcolor: "transparent", font: { color: ink("--text"), size: 12 },
    xaxis: { ...axis, type: "date" }, yaxis: { ...axis, ticksuffix: " %" },
    legend: { orientation: "h", y: -0.14 }, hovermode: "closest",
    modebar: { bgcolor: "transparent", color: ink("--dim"), activecolor: ink("--accent") },
    shapes: at ? [{ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { color: ink("--bad"), width: 1, dash: "dot" } }] : [],
  }, { displaylogo: false, responsive: true });
}
