"use strict";
// The worst pairs and the longest silent devices, asked for every half minute while the node is there.

const ALERTS_SHOWN = 5;
const ALERTS_EVERY_MS = 30000;
let alertsAt = -Infinity;

async function lookForAlerts() {
  if (Date.now() - alertsAt < ALERTS_EVERY_MS) return;
  alertsAt = Date.now();
  try {
    showAlerts(await ask(`/v1/analytics/alerts?limit=${ALERTS_SHOWN}`));
  } catch (error) {
    alertsState(`Not found out: ${error.message}`, true);
  }
}

function alertsState(text, warn) {
  say("alerts-state", text);
  $("alerts-state").classList.toggle("warn", warn);
}

function showAlerts(found) {
  const judged = found.source !== "none";
  say("alerts", judged ? count(found.totalPairs) : "–");
  say("alerts-note", `less than ${number(found.threshold, 0)} % of AC arrives as DC`);
  say("silent", count(found.totalSilent));
  say("silent-note", "no reading for too many of their cadences");
  const clock = (moment) => new Date(moment).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const late = found.pending ? ` ${many(found.pending, "change")} by late readings or new devices ${found.pending === 1 ? "waits" : "wait"} to be added up.` : "";
  const range = judged ? `Pairs from ${clock(found.from)} to ${clock(found.to)}.` : "";
  alertsState(`${range} ${found.notes.join(" ")}${late}`.trim(), found.source !== "raw" && found.notes.length > 0);
  table("worst", found.pairs, (pair) => [
    device(pair.vehicleId),
    device(pair.meterId),
    `${number(pair.efficiencyRatio, 1)} %`,
    `${number(pair.lost, 2)} kWh`,
  ]);
  table("quiet", found.silent, (one) => [device(one.deviceId), age(one.lastReading), duration(one.cadence)]);
}

function table(id, rows, cells) {
  $(id).hidden = rows.length === 0;
  $(id).tBodies[0].replaceChildren(
    ...rows.map((row) => {
      const line = document.createElement("tr");
      for (const cell of cells(row)) {
        const box = document.createElement("td");
        box.append(cell);
        line.append(box);
      }
      return line;
    }),
  );
}

// An id that looks its device up below.
function device(id) {
  const link = make("a", id, { href: "#h-device" });
  link.addEventListener("click", () => {
    $("device").value = id;
    $("device-form").requestSubmit();
  });
  return link;
}

// A link sends no key. Where there is one, what it leads to is fetched with the key, and saved.
for (const link of document.querySelectorAll("#all-alerts a")) {
  link.addEventListener("click", async (event) => {
    if (sessionStorage.getItem(KEY) === null) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href, { headers: headers(), cache: "no-store" });
      if (!answer.ok) throw new Error(await problemOf(answer));
      const address = URL.createObjectURL(await answer.blob());
      make("a", "", { href: address, download: link.dataset.file }).click();
      setTimeout(() => URL.revokeObjectURL(address), ALERTS_EVERY_MS);
    } catch (error) {
      alertsState(`Not found out: ${error.message}`, true);
    }
  });
}

stream.start();
