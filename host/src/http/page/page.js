"use strict";
// Keeps the page fresh. Every text is set as text, never as markup; requests are few, bounded in
// number and time, and stop while nobody looks.
const AT_ONCE = 5, EVERY_MS = 1000, LIMIT_MS = 5000, RATE_SAMPLES = 11;
const $ = (id) => document.getElementById(id);
const table = document.querySelector("table");
const columns = [...table.tHead.rows[0].cells].slice(2).map((cell) => cell.dataset);
const windows = [...document.querySelectorAll("fieldset label")].slice(1).map((label) => label.textContent);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const samples = [];

const write = {
  count: (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f"),
  amount(value) {
    const size = Math.abs(value);
    for (const [from, scale, unit] of [[1e12, 1e12, "T"], [1e9, 1e9, "B"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]]) {
      if (size >= from) return (value / scale).toFixed(2) + unit;
    }
    return value.toFixed(2);
  },
  price(value) {
    if (!value || !Number.isFinite(value)) return "0";
    const places = 4 - Math.floor(Math.log10(Math.abs(value)));
    return value.toFixed(Math.min(24, Math.max(0, places)));
  },
  percent: (value) => (value > 0 ? "+" : "") + value.toFixed(2) + " %",
};

async function get(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(LIMIT_MS) });
  return { ok: response.ok, status: response.status, body: await response.json() };
}

// Runs a job for each item, a few at once.
async function each(items, job) {
  const queue = items.entries();
  const run = async () => { for (const [index, item] of queue) await job(item, index); };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
}

function put(cell, text, mood) {
  if (mood !== undefined && cell.className !== mood) cell.className = mood;
  if (cell.textContent === text) return;
  cell.textContent = text;
  if (calm.matches) return;
  cell.animate([{ backgroundColor: "var(--new)" }, { backgroundColor: "transparent" }], 900);
}

function notice(words) {
  put($("notice"), words.join(" · "));
  $("notice").hidden = words.length === 0;
}

function short(token) {
  const characters = [...token];
  return characters.length <= 12 ? token : characters.slice(0, 5).join("") + "…" + characters.slice(-5).join("");
}

// The rows of a token that was not on the page.
function make(token) {
  const body = document.createElement("tbody");
  body.title = token;
  windows.forEach((name, index) => {
    const row = body.insertRow();
    row.className = "w" + index;
    const head = row.appendChild(document.createElement("th"));
    head.scope = "row";
    const link = head.appendChild(document.createElement("a"));
    link.href = "/tokens/" + encodeURIComponent(token);
    link.textContent = short(token);
    row.insertCell().textContent = name;
    for (const _ of columns) row.insertCell().textContent = "–";
  });
  return body;
}

function fill(body, aggregates) {
  windows.forEach((name, index) => {
    const values = aggregates[name] || {};
    columns.forEach((column, at) => {
      const value = Number(values[column.f]);
      if (values[column.f] === undefined || Number.isNaN(value)) return;
      const mood = column.k !== "percent" ? undefined : value > 0 ? "up" : value < 0 ? "down" : "";
      put(body.rows[index].cells[at + 2], write[column.k](value), mood);
    });
  });
}

function health(answer) {
  const { status, metrics_summary: sum, uptime_seconds: uptime, checks } = answer.body;
  put($("health"), status, status);
  put($("trades"), write.count(sum.trades_total));
  put($("active"), write.count(sum.active_tokens));
  put($("workers"), String(sum.worker_count));
  $("uptime").textContent = write.count(Math.floor(uptime)) + " s";
  samples.push([performance.now(), sum.trades_total]);
  if (samples.length > RATE_SAMPLES) samples.shift();
  const [[from, before], [to, now]] = [samples[0], samples[samples.length - 1]];
  if (to > from) put($("rate"), write.count(Math.max(0, (now - before) * 1000 / (to - from))));
  return Object.entries(checks).filter(([, check]) => check.state !== "ok")
    .map(([part, check]) => part + ": " + check.reason);
}

async function refresh() {
  const [words, listing] = await Promise.all([
    get("/health").then(health),
    get("/tokens?sort=trades&limit=" + table.dataset.limit),
  ]);
  if (!listing.ok) return notice([...words, listing.body.error]);
  const known = new Map([...table.tBodies].map((body) => [body.title, body]));
  const bodies = listing.body.tokens.map(({ token }) => known.get(token) || make(token));
  // Bodies move only where the order changed, so that nothing flickers or loses the focus.
  bodies.forEach((body, index) => {
    if (table.tBodies[index] !== body) table.insertBefore(body, table.tBodies[index] || null);
  });
  while (table.tBodies.length > bodies.length) table.tBodies[bodies.length].remove();
  $("empty").hidden = bodies.length > 0;
  await each(bodies, async (body) => {
    const answer = await get("/tokens/" + encodeURIComponent(body.title));
    if (answer.ok) fill(body, answer.body.results.aggregates || {});
    else if (answer.status !== 404 && !words.includes(answer.body.error)) words.push(answer.body.error);
  });
  notice(words);
}

(async function loop() {
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      put($("health"), "unreachable", "unhealthy");
      samples.length = 0;
      notice(["no answer from the service; trying again"]);
    }
  }
  setTimeout(loop, EVERY_MS);
})();
