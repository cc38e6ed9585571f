"use strict";
// Server-sent events over fetch(): EventSource cannot send the header that carries an API key.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;
// The node sends something every few seconds; after so long without anything the connection is dead.
const SILENCE_MAX_MS = 12000;
const LONG_MS = 60000;

// Calls onEvent(name, document) for each event and onState(state, detail) when the connection changes: "live", "lost"
// (detail: milliseconds to the next attempt, and why) or "locked" (401 or 403: nothing more until `start` again).
class LiveStream {
  constructor(url, headers, onEvent, onState) {
    this.url = url;
    this.headers = headers;
    this.onEvent = onEvent;
    this.onState = onState;
    this.life = 0;
    this.pause = FIRST_PAUSE_MS;
  }

  start() {
    this.stop();
    this.pause = FIRST_PAUSE_MS;
    this._connect(this.life);
  }

  stop() {
    this.life += 1;
    clearTimeout(this.timer);
    if (this.abort) this.abort.abort();
  }

  async _connect(life) {
    this.abort = new AbortController();
    const abort = this.abort;
    let silence;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MAX_MS);
    };
    let why = "the connection ended";
    const began = Date.now();
    try {
      listen();
      const answer = await fetch(this.url, { headers: this.headers(), signal: abort.signal, cache: "no-store" });
      if (life !== this.life) return;
      if (answer.status === 401 || answer.status === 403) {
        this.onState("locked", answer.status);
        return;
      }
      if (!answer.ok) {
        why = await problemOf(answer);
      } else {
        await this._read(answer, life, listen);
        // The node ends what has lasted for minutes, to see the key again: nothing that anybody has to know.
        if (life === this.life && Date.now() - began > LONG_MS) return this._connect(life);
      }
    } catch (error) {
      why = abort.signal.aborted ? "nothing came for a while" : "the node cannot be reached";
    } finally {
      clearTimeout(silence);
    }
    if (life !== this.life) return;
    // A little chance, so that all the pages that one restart cut off do not come back at once.
    const wait = this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE_MS);
    this.onState("lost", { wait, why });
    this.timer = setTimeout(() => this._connect(life), wait);
  }

  async _read(answer, life, listen) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || life !== this.life) return;
      listen();
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) this._tell(event);
    }
  }

  _tell(event) {
    const fields = Object.fromEntries(event.split("\n").map((line) => [line.split(": ")[0], line.slice(line.indexOf(": ") + 2)]));
    if (!fields.event) return; // a comment
    this.pause = FIRST_PAUSE_MS;
    this.onState("live");
    this.onEvent(fields.event, JSON.parse(fields.data));
  }
}

// What an answer that is a problem says, for people.
async function problemOf(answer) {
  try {
    const problem = await answer.json();
    return problem.detail || problem.title;
  } catch (error) {
    return `the node answers with status ${answer.status}`;
  }
}
