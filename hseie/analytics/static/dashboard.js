"use strict";
// The dashboard: figures from the live stream, a chart of its rates, and the look-up of a device.

const KEY = "hseie.key";
const PAST_S = 15 * 60;
const COVERAGE_THIN = 0.8;
const PAIRS_FEW = 30;
const DEVICE_READINGS = 200;

const $ = (id) => document.getElementById(id);
const count = (value) => number(value, 0);

function say(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function orDash(value, show) {
  return value === null || value === undefined ? "–" : show(value);
}

// "1 reading", "2 readings"
function many(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function age(moment) {
  const seconds = (Date.now() - Date.parse(moment)) / 1000;
  if (Math.abs(seconds) < 2) return "just now";
  if (seconds < 0) return `${duration(-seconds)} ahead`;
  return `${duration(seconds)} ago`;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// --- rates ---------------------------------------------------------------------------------------------------------

let rates = [];
const chart = makeChart($("chart"), [
  { label: "Received", colour: "first", unit: "/s", digits: 1, scale: "rate", zero: true },
  { label: "Committed", colour: "second", dash: [6, 4], unit: "/s", digits: 1, scale: "rate", zero: true },
]);

function addRates(more) {
  // What this page has seen itself outlives a restart of the node, which then begins to count anew.
  const from = more.length ? more[0].at : Infinity;
  const last = rates.length ? rates[rates.length - 1].at : 0;
  if (more.length === 1 && from <= last) return;
  rates = [...rates.filter((one) => one.at < from), ...more];
  const since = rates.length ? rates[rates.length - 1].at - PAST_S : 0;
  rates = rates.filter((one) => one.at >= since);
  drawRates();
}

function drawRates() {
  const columns = [[], [], []];
  let former = null;
  for (const one of rates) {
    if (former !== null && one.at - former > 10) {
      columns[0].push(former + 1);
      columns[1].push(null); // a gap is shown as one
      columns[2].push(null);
    }
    columns[0].push(one.at);
    columns[1].push(one.received);
    columns[2].push(one.committed);
    former = one.at;
  }
  chart.setData(columns);
  if (former !== null) chart.setScale("x", { min: former - PAST_S, max: former });
  const most = Math.max(0, ...rates.map((one) => one.received));
  const span = rates.length ? rates[rates.length - 1].at - rates[0].at : 0;
  say("chart-note", rates.length ? `${duration(span)} of samples; most received: ${number(most, 1)} readings/s.` : "No samples yet.");
}

// --- what the node says --------------------------------------------------------------------------------------------

function mark(element, good, text) {
  element.className = `${element.classList.contains("state") ? "state " : ""}${good ? "good" : "bad"}`;
  element.replaceChildren(Object.assign(document.createElement("span"), { textContent: good ? "✓" : "✗" }), ` ${text}`);
  element.firstChild.setAttribute("aria-hidden", "true");
}

function showNow(now) {
  say("version", `version ${now.version}`);
  say("received", orDash(now.rates, (one) => number(one.received, 1)));
  say("committed", orDash(now.rates, (one) => number(one.committed, 1)));
  say("waiting", orDash(now.waiting, (waiting) => count(waiting + now.active)));
  const missing = now.missingShards.length ? `; not counted: shard ${now.missingShards.join(", ")}, whose writer is away` : "";
  say("waiting-note", `readings in journals, ${orDash(now.active, count)} of them being flushed${missing}`);
  say("refused", orDash(now.rejected, count));
  const dead = now.deadLettered === null ? "" : `; ${many(now.deadLettered, "dead letter")} in PostgreSQL`;
  say("refused-note", `readings since the acceptors started${dead}`);
  if (now.rates) addRates([now.rates]);
  showChecks(now);
  showFleet(now.fleet, now.fleetIsOld);
  lookForAlerts();
}

function showChecks(now) {
  const failed = now.checks.filter((check) => !check.ok);
  const degraded = now.checks.filter((check) => check.ok && check.degraded);
  const ready = failed.length === 0;
  mark($("node"), ready, ready ? (degraded.length ? "ready, degraded" : "ready") : "not ready");
  say("ready", ready ? "Ready: all checks are passed." : `Not ready: ${failed.map((check) => `${check.name}: ${check.detail}`).join("; ")}.`);
  $("ready").classList.toggle("warn", !ready);
  list("checks", now.checks, (item, check) => {
    mark(item, check.ok && !check.degraded, `${check.name}: ${check.detail}${check.ok ? "" : " (failed)"}`);
    item.classList.toggle("wide", check.detail.length > 40);
  });
  const problems = Object.entries(now.problems).sort((one, other) => other[1] - one[1]);
  $("no-problems").hidden = problems.length > 0;
  list("problems", problems, (item, [code, times]) => {
    item.textContent = `${code}: ${many(times, "request")}`;
  });
}

function list(id, items, fill) {
  const box = $(id);
  while (box.children.length > items.length) box.lastChild.remove();
  while (box.children.length < items.length) box.append(document.createElement("li"));
  items.forEach((item, place) => fill(box.children[place], item));
}

function showFleet(fleet, isOld) {
  $("h-fleet").parentElement.classList.toggle("stale", isOld);
  $("fleet-note").classList.toggle("warn", isOld);
  if (fleet === null) {
    say("fleet-note", isOld ? "PostgreSQL does not answer, so nothing is known of the fleet. Readings are still taken, and kept in the journals while these have room." : "Asking PostgreSQL …");
    return;
  }
  say("devices", count(fleet.totalVehicles + fleet.totalMeters));
  say("devices-note", `${many(fleet.totalVehicles, "vehicle")}, ${many(fleet.totalMeters, "meter")}`);
  say("stored", count(fleet.totalReadings));
  say("stored-note", fleet.oldestReading ? `in history, since ${new Date(fleet.oldestReading).toLocaleDateString("en-GB", { dateStyle: "medium" })}` : "in history");
  say("newest", orDash(fleet.latestReading, age));
  say("soc", orDash(fleet.avgSoc, (value) => `${number(value, 1)} %`));
  say("temp", orDash(fleet.avgBatteryTemp, (value) => `${number(value, 1)} °C`));
  showEfficiency(fleet);
  const known = `As of ${new Date(fleet.computedAt).toLocaleTimeString("en-GB")}.`;
  if (isOld) say("fleet-note", `PostgreSQL does not answer. ${known} Readings are still taken, and kept in the journals while these have room.`);
  else say("fleet-note", fleet.totalReadings ? known : "No readings are stored yet. Once devices send, their figures appear here.");
}

function showEfficiency(fleet) {
  say("efficiency", orDash(fleet.efficiencyRatio, (value) => `${number(value, 1)} %`));
  const coverage = fleet.energy && fleet.energy.coverage;
  const note = $("efficiency-note");
  let text = "DC to AC; too many vehicles to add up here";
  let thin = false;
  if (coverage && coverage.share === null) {
    text = "DC to AC; no readings in the last 15 min";
  } else if (coverage) {
    thin = coverage.share < COVERAGE_THIN || coverage.correlated < PAIRS_FEW;
    text = `DC to AC, last 15 min; ${number(100 * coverage.share, 0)} % of readings paired (${many(coverage.correlated, "pair")})`;
    if (thin) text = `Thin: ${text}`;
  }
  say("efficiency-note", text);
  note.classList.toggle("warn", thin);
}

// --- connection ----------------------------------------------------------------------------------------------------

function banner(text) {
  $("banner").hidden = text === "";
  say("banner", text);
}

const stream = new LiveStream(
  "/v1/live",
  headers,
  (name, document) => (name === "past" ? addRates(document.rates) : showNow(document)),
  (state, detail) => {
    document.querySelector("main").classList.toggle("lost", state !== "live");
    if (state === "live") {
      banner("");
      $("key-form").hidden = true;
      return;
    }
    mark($("node"), false, state === "locked" ? "locked" : "not connected");
    if (state === "locked") {
      banner("");
      $("key-form").hidden = false;
      const refused = sessionStorage.getItem(KEY) !== null;
      say("key-error", !refused ? "" : detail === 403 ? "This key has not the scope read." : "This key was refused.");
    } else {
      banner(`No connection to the node: ${detail.why}. What is shown is old. Next attempt in ${duration(detail.wait / 1000)}.`);
    }
  },
);

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  stream.start();
});

// --- a device ------------------------------------------------------------------------------------------------------

const KINDS = {
  vehicle: {
    facts: [["soc", "State of charge", "%", 1], ["batteryTemp", "Battery temperature", "°C", 1], ["kwhDeliveredDc", "Delivered, DC", "kWh", 4]],
    lines: [["soc", "State of charge", "%"], ["batteryTemp", "Battery temperature", "°C"]],
  },
  meter: {
    facts: [["kwhConsumedAc", "Consumed, AC", "kWh", 4], ["voltage", "Voltage", "V", 1]],
    lines: [["kwhConsumedAc", "Consumed, AC", "kWh"], ["voltage", "Voltage", "V"]],
  },
};
let deviceCharts = [];
let looks = 0;

async function ask(path) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store" });
  if (answer.ok) return answer.json();
  if (answer.status === 404) return null;
  throw new Error(await problemOf(answer));
}

$("device-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const id = $("device").value.trim();
  const look = ++looks;
  const box = $("device-found");
  for (const one of deviceCharts) removeChart(one);
  deviceCharts = [];
  box.textContent = "Looking …";
  try {
    const found = await Promise.all(
      Object.keys(KINDS).map(async (kind) => {
        const current = await ask(`/v1/ingest/${kind}/${encodeURIComponent(id)}/current`);
        const page = current && (await ask(`/v1/analytics/history/${kind}/${encodeURIComponent(id)}?limit=${DEVICE_READINGS}`));
        return current && { kind, current, readings: page ? page.readings : [] };
      }),
    );
    if (look !== looks) return; // somebody has asked for another one meanwhile
    box.textContent = found.some(Boolean) ? "" : `No reading of ${id} was ever stored, neither as a vehicle nor as a meter.`;
    for (const one of found.filter(Boolean)) showDevice(box, id, one);
  } catch (error) {
    if (look === looks) box.textContent = `Not found out: ${error.message}`;
  }
});

function make(name, text, more) {
  return Object.assign(document.createElement(name), { textContent: text, ...more });
}

function showDevice(box, id, { kind, current, readings }) {
  box.append(make("h3", `${kind === "vehicle" ? "Vehicle" : "Meter"} ${id}`));
  const facts = make("dl", "", { className: "figures" });
  for (const [name, label, unit, digits] of KINDS[kind].facts) {
    const group = make("div", "");
    group.append(make("dt", label), make("dd", `${number(current[name], digits)} ${unit}`));
    facts.append(group);
  }
  const when = make("div", "");
  when.append(make("dt", "Newest reading"), make("dd", age(current.timestamp)), make("dd", new Date(current.timestamp).toLocaleString("en-GB"), { className: "note" }));
  facts.append(when);
  box.append(facts, make("h3", `The last ${many(readings.length, "reading")}`));
  const plot = make("div", "", { className: "chart" });
  box.append(plot);
  const lines = KINDS[kind].lines.map(([, label, unit], place) => ({
    label, unit, digits: 2, scale: unit, points: readings.length < 60, colour: place ? "second" : "first", dash: place ? [6, 4] : undefined,
  }));
  const drawn = makeChart(plot, lines);
  const rising = [...readings].reverse();
  drawn.setData([rising.map((one) => Date.parse(one.timestamp) / 1000), ...KINDS[kind].lines.map(([name]) => rising.map((one) => one[name]))]);
  deviceCharts.push(drawn);
}
