"use strict";
// Keeps the page fresh. The service sends the parts of the page that changed, drawn as for a new page; each is put in
// the place of the former one node by node, so that what is selected, focused, opened or scrolled stays. Nothing is
// made of text here: what comes is markup whose texts the service has escaped, and the policy runs no script in it.
const $ = (id) => document.getElementById(id);
const RETRY_MS = 3000, SILENCE_MS = 5000;

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function morph(before, after) {
  const known = [...before.childNodes];
  [...after.childNodes].forEach((node, at) => {
    const old = known[at];
    if (!old) return before.append(node);
    if (old.nodeType !== node.nodeType || old.nodeName !== node.nodeName) return old.replaceWith(node);
    if (node.nodeType !== Node.ELEMENT_NODE) { if (old.data !== node.data) old.data = node.data; return; }
    for (const { name } of [...old.attributes]) if (name !== "open" && !node.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    morph(old, node);
  });
  known.slice(after.childNodes.length).forEach((node) => node.remove());
}

// What a chart says at the place where somebody points.
let pointer = null;
function readout() {
  document.querySelectorAll(".cross").forEach((line) => line.remove());
  if (!pointer) return;
  const { plot, part } = pointer;
  if (!plot.isConnected) return;
  const read = plot.closest(".chart").querySelector(".read");
  const at = part * 300, words = [];
  for (const line of plot.querySelectorAll("path:not(.area)")) {
    let best = null;
    for (const [, x, y] of (line.getAttribute("d") || "").matchAll(/[ML]([\d.]+) ([\d.]+)/g)) {
      if (!best || Math.abs(x - at) < Math.abs(best.x - at)) best = { x: Number(x), y: Number(y) };
    }
    if (!best || Math.abs(best.x - at) > 4) continue;
    const value = (100 - best.y) / 92 * Number(plot.dataset.max);
    words.push(Number(value.toPrecision(3)).toLocaleString("en").replaceAll(",", "\u202f") + plot.dataset.unit);
  }
  const ago = Math.round(300 - at);
  read.textContent = words.length ? words.join(" · ") + ", " + ago + " s ago" : "";
  const cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ class: "cross", x1: part * 100 + "%", x2: part * 100 + "%", y1: 0, y2: "100%" })) {
    cross.setAttribute(name, value);
  }
  plot.append(cross);
}
addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.(".plot");
  if (!plot && !pointer) return;
  const box = plot?.getBoundingClientRect();
  if (!plot && pointer) pointer.plot.closest(".chart").querySelector(".read").textContent = "";
  pointer = plot ? { plot, part: Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) } : null;
  readout();
});

function live(word, state) {
  $("live").textContent = word;
  $("live").className = state;
  document.body.classList.toggle("stale", state === "off");
}

let source = null, heard = 0;
function listen() {
  if (source || document.hidden) return;
  source = new EventSource(document.body.dataset.events);
  source.onmessage = (event) => {
    heard = Date.now();
    const parts = JSON.parse(event.data);
    // Another program answers than the one that drew this page.
    if (parts.program && parts.program !== document.body.dataset.program) return location.reload();
    document.querySelectorAll(".cross").forEach((line) => line.remove());
    for (const [id, html] of Object.entries(parts)) if ($(id)) morph($(id), parse(html));
    document.title = document.querySelector("[data-title]")?.dataset.title || document.title;
    live("live", "on");
    readout();
  };
  source.onerror = () => {
    live("no answer, trying again", "off");
    if (source?.readyState === EventSource.CLOSED) { hush(); setTimeout(listen, RETRY_MS); }
  };
}
function hush() { source?.close(); source = null; }
document.addEventListener("visibilitychange", () => document.hidden ? hush() : listen());
setInterval(() => { if (source && heard && Date.now() - heard > SILENCE_MS) live("no answer, trying again", "off"); }, 1000);
$("live").hidden = false;
live("connecting", "");
listen();
