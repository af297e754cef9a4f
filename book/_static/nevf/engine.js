// Opens the worker, wherever the page is: from a server its file, which a strict policy allows;
// from the disk, where a browser refuses files, its source; without workers, the page's own thread.
"use strict";

window.nevfEngine = (() => {
  const MODULES = [nevfSiren, nevfFlow, nevfLosses, nevfDescent, nevfWorker];

  // listen: called with each frame. Returns { post, kind }.
  function open(listen, folder) {
    const engine = { kind: "worker", post: null };
    let kept = []; // what was posted before the first answer, for the case that none comes
    const here = () => {
      const scope = { postMessage: (frame) => setTimeout(listen, 0, frame) };
      nevfWorker(scope);
      engine.kind = "page";
      engine.post = (data) => scope.onmessage({ data });
      for (const data of kept) engine.post(data);
    };
    let worker;
    try {
      worker = new Worker(location.protocol === "file:" ? source() : `${folder}/worker.js`);
    } catch {
      here();
      return engine;
    }
    worker.onmessage = ({ data }) => {
      kept = null;
      listen(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      worker.terminate();
      here();
    };
    engine.post = (data) => {
      kept?.push(data);
      worker.postMessage(data);
    };
    return engine;
  }

  function source() {
    const text = `"use strict";\n${MODULES.join("\n")}\nnevfWorker(self);`;
    return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  }

  return { open };
})();
