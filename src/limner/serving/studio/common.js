// Shared by the page's own components. Each is a function of Gradio's (element, trigger, props, watch).
window.limner = {};
(() => {
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child != null));
    return node;
  };
  const loadImage = (url) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("this picture could not be shown"));
    image.src = url;
  });
  const parsed = (text, otherwise) => {
    if (!text) return otherwise;
    try { return JSON.parse(text); } catch { return otherwise; }
  };
  // The ids in a region map, one a pixel, whatever it was saved as.
  const idsOf = async (url) => {
    const image = await loadImage(url);
    const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const ids = new Uint8Array(canvas.width * canvas.height);
    for (let k = 0; k < ids.length; k++) ids[k] = pixels[4 * k];
    return { ids, width: canvas.width, height: canvas.height };
  };
  const say = (trigger, name) => setTimeout(() => trigger(name), 30);
  // Photos on their way. A button that is pressed meanwhile waits for them, for it would find them missing.
  const underway = new Set();
  const sending = (work) => {
    underway.add(work);
    work.finally(() => underway.delete(work));
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.lg, button.primary");
    if (!button || !underway.size) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    while (underway.size) await Promise.allSettled(underway);
    const press = () => { button.ariaBusy = null; button.click(); };
    setTimeout(press, 500); // after `say` has told the page, on a busy machine, too
  }, true);
  Object.assign(window.limner, { make, loadImage, parsed, idsOf, say, sending });

  // Stop. It goes to the API at once and not through the page's queue of events, which is slow on a busy machine. A job
  // that was started and has no id on the page yet is stopped as soon as it has one.
  const RUNS = {
    "paint-stop": { note: "#paint-note", starts: "#paint-go, #paint-again" },
    "edit-stop": {
      note: "#edit-note",
      starts: "#edit-shape, #edit-brush, #edit-move, #edit-regions, #edit-swap, #edit-reenact",
    },
  };
  const started = new Map(); // by note: a number that each start changes
  const cancel = async (job) => {
    for (let tries = 0; tries < 30; tries++) {
      try {
        const { status } = await fetch(`/v1/jobs/${job}/cancel`, { method: "POST" });
        if (status < 500) return; // cancelled, or it had ended
      } catch { /* not reached: again */ }
      await new Promise((done) => setTimeout(done, 1000));
    }
  };
  const stop = async (note) => {
    const run = started.get(note);
    for (let looks = 0; looks < 1200 && started.get(note) === run; looks++) {
      const job = document.querySelector(`${note} [data-job]`)?.dataset.job;
      if (job) return cancel(job);
      if (run === undefined) return;
      await new Promise((done) => setTimeout(done, 100));
    }
  };
  document.addEventListener("click", (event) => {
    for (const [id, { note, starts }] of Object.entries(RUNS)) {
      if (event.target.closest(`#${id}`)) stop(note);
      else if (event.target.closest(starts)) started.set(note, (started.get(note) ?? 0) + 1);
    }
  }, true);

  // Which engines are loaded, asked every few seconds.
  window.limner.status = (element) => {
    const place = element.querySelector(".lm-status");
    const show = async () => {
      let text = "server not reached";
      try {
        const health = await (await fetch("/health")).json();
        text = Object.entries(health.engines)
          .filter(([name]) => name === "reader" || name === "MDiTFace")
          .map(([name, state]) => `${name === "reader" ? "Reader" : "Painter"}: ${state}`).join(" · ");
        if (health.queued + health.running > 0) text += ` · ${health.queued + health.running} at work`;
      } catch { /* the text says it */ }
      if (place.textContent !== text) place.textContent = text;
    };
    show();
    setInterval(show, 3000);
    const toggle = element.querySelector(".lm-theme");
    const body = document.body;
    const apply = (dark) => body.classList.toggle("dark", dark);
    const tell = () => toggle.setAttribute("aria-pressed", body.classList.contains("dark"));
    const kept = localStorage.getItem("limner-theme");
    if (kept) apply(kept === "dark");
    tell();
    new MutationObserver(tell).observe(body, { attributeFilter: ["class"] }); // the page may follow the system later
    toggle.addEventListener("click", () => {
      const dark = !body.classList.contains("dark");
      localStorage.setItem("limner-theme", dark ? "dark" : "light");
      apply(dark);
    });
    toggle.disabled = false; // from here on a click is heard
  };
})();
