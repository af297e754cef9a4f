// The loop, in a worker. Messages to it:
//   { type: "begin", ticket, settings, fixed, moving, shape, keep, theta }  a new run; with keep it
//     goes on from the present parameters and moments, with other settings
//   { type: "go", count, wait }  so many steps, `wait` milliseconds apart; 0 stops
//   { type: "shown" }            the page has drawn the last frame and wants another
// Messages from it are frames: { ticket, records, displacement, cells, resting, begun, rate }. The
// last of the records belongs to the displacement; resting: no step is to come; begun: none has
// been taken since "begin"; rate is in steps a second of its own time.
"use strict";

function nevfWorker(scope) {
  const descent = nevfDescent();
  const turns = new MessageChannel(); // a timer would wait 4 ms between steps
  let run = null;
  let ticket = 0;
  let left = 0;
  let wait = 0;
  let records = [];
  let wanted = true;
  let coming = false; // a turn has been asked for
  let speed = { steps: 0, milliseconds: 0 };

  function send(begun = false) {
    const resting = left === 0;
    if (!run || !records.length || !(wanted || resting)) return;
    const { steps, milliseconds } = speed;
    const displacement = Float32Array.from(run.displacement);
    const cells = Float32Array.from(run.cells);
    const rate = steps ? (1000 * steps) / milliseconds : 0;
    scope.postMessage({ ticket, records, displacement, cells, resting, begun, rate });
    records = [];
    wanted = false;
  }

  function rest(begun) {
    left = 0;
    records.push(descent.evaluate(run)); // of the field that the last step left
    send(begun);
  }

  function turn() {
    coming = false;
    if (left === 0) return;
    const start = performance.now();
    records.push(descent.step(run));
    speed.milliseconds += performance.now() - start;
    speed.steps++;
    left--;
    if (!Number.isFinite(records[records.length - 1].loss)) left = 0;
    if (left === 0) return rest();
    send();
    again();
  }

  function again() {
    if (coming) return;
    coming = true;
    if (wait) setTimeout(turn, wait);
    else turns.port2.postMessage(0);
  }

  turns.port1.onmessage = turn;

  scope.onmessage = ({ data }) => {
    if (data.type === "begin") {
      const before = data.keep ? run : { theta: data.theta };
      run = descent.begin(data.settings, data.fixed, data.moving, data.shape, before);
      ticket = data.ticket;
      records = [];
      speed = { steps: 0, milliseconds: 0 };
      if (left === 0) rest(true);
    } else if (data.type === "go") {
      wait = data.wait ?? 0;
      const going = left > 0;
      left = data.count;
      if (left > 0) again();
      else if (going) rest();
    } else if (data.type === "shown") {
      wanted = true;
      if (left > 0) send();
    }
  };
}

// As a file of its own it brings its modules; in the page, or in a worker made of their sources, it
// is called by others.
if (typeof importScripts === "function") {
  importScripts("siren.js", "flow.js", "losses.js", "descent.js");
  nevfWorker(self);
}
