// Asks for /status.json once a second and shows what changed since the time before. All that comes from there is text:
// it is put into the page by textContent only.
"use strict";

const kEveryMs = 1000;
const kSpanMs = 10000; // rates and percentiles are of the last ten seconds
const history = [];

const at = (id) => document.getElementById(id);

function cell(row, text, style) {
  const td = document.createElement("td");
  td.textContent = text;
  if (style) td.className = style;
  row.append(td);
  return td;
}

function fill(id, rows) {
  at(id).querySelector("tbody").replaceChildren(...rows);
}

const zero = (report) => report.bucket_bounds_ns.map(() => 0).concat(0);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// Adds the kinds of operations up: how many worked, how many did not, and their times.
function added(report, kinds) {
  const all = { good: 0, failed: 0, buckets: zero(report) };
  for (const kind of kinds) {
    all.good += kind.outcomes[0];
    all.failed += sum(kind.outcomes.slice(1));
    kind.took.buckets.forEach((count, i) => { all.buckets[i] += count; });
  }
  return all;
}

function since(now, before) {
  if (!before) return { good: 0, failed: 0, buckets: now.buckets.map(() => 0) };
  return {
    good: now.good - before.good,
    failed: now.failed - before.failed,
    buckets: now.buckets.map((count, i) => count - before.buckets[i]),
  };
}

// In nanoseconds, as Prometheus' histogram_quantile does it; null without any.
function quantile(bounds, buckets, share) {
  const wanted = share * sum(buckets);
  if (wanted === 0) return null;
  let seen = 0;
  for (let i = 0; i < bounds.length; ++i) {
    if (seen + buckets[i] >= wanted) {
      const low = i === 0 ? 0 : bounds[i - 1];
      return low + ((bounds[i] - low) * (wanted - seen)) / buckets[i];
    }
    seen += buckets[i];
  }
  return Infinity;
}

function time(ns) {
  if (ns === null) return "–";
  if (ns === Infinity) return "> 10 s";
  if (ns >= 1e9) return (ns / 1e9).toPrecision(3) + " s";
  if (ns >= 1e6) return (ns / 1e6).toPrecision(3) + " ms";
  return (ns / 1e3).toPrecision(3) + " µs";
}

function rate(count, seconds) {
  const value = seconds > 0 ? count / seconds : 0;
  return value >= 100 || value === 0 ? value.toFixed(0) : value.toPrecision(2);
}

function ago(seconds) {
  if (seconds < 90) return Math.max(0, Math.round(seconds)) + " s ago";
  if (seconds < 5400) return Math.round(seconds / 60) + " min ago";
  return Math.round(seconds / 3600) + " h ago";
}

const slotStyle = (state) => (state === "healthy" ? "good" : state === "latched" || state === "ejected" ? "bad" : "warn");
const healthStyle = (state) => (state === "ok" ? "good" : state === "degraded" ? "warn" : "bad");

function slotRows(report, before, seconds) {
  const rows = [];
  for (const slot of report.slots) {
    const old = before && before.slots.find((other) => other.name === slot.name);
    const done = since(added(report, slot.operations), old && added(before, old.operations));
    const row = document.createElement("tr");
    cell(row, slot.name);
    cell(row, slot.state, slotStyle(slot.state));
    cell(row, [slot.model, slot.firmware].join(" "));
    const s = slot.sessions;
    const sessions = `${s.leased} of ${s.leased + s.idle} in use, limit ${s.limit}`;
    cell(row, s.quarantined > 0 ? `${sessions}, ${s.quarantined} stuck` : sessions, s.quarantined > 0 ? "warn" : "");
    cell(row, `${slot.in_flight} of ${slot.concurrency}`);
    cell(row, rate(done.good, seconds)).dataset.rate = done.good / Math.max(seconds, 0.001);
    cell(row, time(quantile(report.bucket_bounds_ns, done.buckets, 0.5)));
    cell(row, time(quantile(report.bucket_bounds_ns, done.buckets, 0.99)));
    cell(row, rate(done.failed, seconds), done.failed > 0 ? "bad" : "");
    cell(row, slot.last_success === 0 ? "never" : ago(report.now_ms / 1000 - slot.last_success));
    rows.push(row);
    if (slot.reason) {
      const why = document.createElement("tr");
      cell(why, slot.reason, "why").colSpan = 10;
      rows.push(why);
    }
  }
  return rows;
}

function requestRows(report, before, seconds) {
  return report.requests.map((kind) => {
    const old = before && before.requests.find((o) => o.operation === kind.operation && o.algorithm === kind.algorithm);
    const all = added(report, [kind]);
    // A kind that the report before left out had not come yet.
    const done = since(all, old ? added(before, [old]) : before && { good: 0, failed: 0, buckets: zero(report) });
    const row = document.createElement("tr");
    cell(row, kind.operation);
    cell(row, kind.algorithm);
    cell(row, rate(done.good, seconds));
    cell(row, time(quantile(report.bucket_bounds_ns, done.buckets, 0.5)));
    cell(row, time(quantile(report.bucket_bounds_ns, done.buckets, 0.99)));
    cell(row, rate(done.failed, seconds), done.failed > 0 ? "bad" : "");
    cell(row, String(all.good));
    return row;
  });
}

function errorRows(report) {
  return report.errors.map((error) => {
    const row = document.createElement("tr");
    cell(row, ago((report.now_ms - error.last_ms) / 1000));
    cell(row, String(error.count));
    cell(row, error.what);
    cell(row, error.slot);
    cell(row, error.call);
    cell(row, error.rv ? "0x" + error.rv.toString(16) : "");
    cell(row, error.algorithm);
    cell(row, [error.outcome, error.reason].filter((text) => text).join(": "));
    return row;
  });
}

function totals(report, before, seconds) {
  const now = added(report, report.requests);
  const done = since(now, before && added(before, before.requests));
  const boxes = [
    ["requests/s", rate(done.good, seconds)],
    ["p99", time(quantile(report.bucket_bounds_ns, done.buckets, 0.99))],
    ["failed/s", rate(done.failed, seconds)],
    ["waiting", String(report.waiting ?? 0)],
    ["submitted", String(report.submitted ?? 0)],
  ];
  at("totals").replaceChildren(...boxes.map(([name, value]) => {
    const box = document.createElement("div");
    const number = document.createElement("b");
    number.textContent = value;
    box.append(number, name);
    return box;
  }));
}

function show(report) {
  while (history.length > 1 && report.now_ms - history[1].now_ms >= kSpanMs) history.shift();
  const before = history[0];
  const seconds = before ? (report.now_ms - before.now_ms) / 1000 : 0;
  at("version").textContent = report.version;
  at("health").textContent = report.health;
  at("health").className = healthStyle(report.health);
  document.title = `hsmux: ${report.health}`;
  at("reasons").replaceChildren(...report.reasons.map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));
  totals(report, before, seconds);
  fill("slots", slotRows(report, before, seconds));
  fill("requests", requestRows(report, before, seconds));
  fill("errors", errorRows(report));
  at("footer").textContent =
    `of the last ${Math.max(1, Math.round(seconds))} s; ${new Date(report.now_ms).toISOString()}`;
  history.push(report);
}

async function look() {
  try {
    const answer = await fetch("/status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    history.length = 0;
    at("health").textContent = "no answer";
    at("health").className = "bad";
    at("footer").textContent = String(error);
  }
  setTimeout(look, kEveryMs);
}

look();
