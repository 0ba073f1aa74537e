// A region map to paint on: named brushes, sizes, fill, undo. The value is JSON {map: a PNG of region ids as a data URL}.
limner.painter = (element, trigger, props, watch) => {
  const { make, parsed, idsOf } = limner;
  const root = element.querySelector(".lm-painter");
  const { names, colours } = parsed(root.dataset.regions);
  const SIDE = 256;
  let ids = new Uint8Array(SIDE * SIDE), brush = 1, size = 14, filling = false, last = null, sent = null;
  const undone = [], done = [];
  let known = [];  // what was shown or said lately, {ids, when}: a value may be handed over twice, the second time late
  const ECHO = 10000;
  const remember = () => { known = [...known.slice(-20), { ids: ids.slice(), when: Date.now() }]; };
  const count = () => { root.dataset.painted = ids.reduce((sum, id) => sum + (id > 0), 0); };
  const canvas = make("canvas", { width: SIDE, height: SIDE, tabindex: "0", role: "application",
    "aria-label": "Region map. Arrow keys move the brush, space paints, Z undoes." });
  const pen = canvas.getContext("2d");
  const cursor = { x: SIDE / 2, y: SIDE / 2, shown: false };
  const palette = make("div", { class: "lm-palette", role: "radiogroup", "aria-label": "Region to paint" });
  names.forEach((name, id) => {
    const radio = make("input", { type: "radio", name: `brush-${root.dataset.name}`, value: id, onchange: () => { brush = id; } });
    radio.checked = id === brush;
    palette.append(make("label", { class: "lm-chip" }, radio,
      make("span", { class: "lm-swatch", style: `background: rgb(${colours[id]})` }), name));
  });
  const width = make("input", { type: "range", min: 2, max: 60, value: size, "aria-label": "Brush size",
    oninput: (e) => { size = Number(e.target.value); } });
  const tool = (name, work) => make("button", { type: "button", class: "lm-small", onclick: work }, name);
  const fill = make("button", { type: "button", class: "lm-small", "aria-pressed": "false", onclick: () => {
    filling = !filling;
    fill.setAttribute("aria-pressed", filling);
  } }, "Fill");
  const draw = () => {
    const pixels = pen.createImageData(SIDE, SIDE);
    for (let k = 0; k < ids.length; k++) pixels.data.set([...colours[ids[k]], 255], 4 * k);
    pen.putImageData(pixels, 0, 0);
    if (cursor.shown) {
      pen.strokeStyle = "#fff";
      pen.beginPath();
      pen.arc(cursor.x, cursor.y, size / 2, 0, 7);
      pen.stroke();
    }
  };
  const keep = () => { done.push(ids.slice()); if (done.length > 60) done.shift(); undone.length = 0; };
  const publish = () => {
    const out = make("canvas", { width: SIDE, height: SIDE });
    const to = out.getContext("2d");
    const pixels = to.createImageData(SIDE, SIDE);
    for (let k = 0; k < ids.length; k++) pixels.data.set([ids[k], ids[k], ids[k], 255], 4 * k);
    to.putImageData(pixels, 0, 0);
    const empty = !ids.some((id) => id);
    sent = empty ? "" : JSON.stringify({ map: out.toDataURL("image/png") });
    count();
    remember();
    props.value = sent;
  };
  const dab = (x, y) => {
    const r = size / 2;
    for (let j = Math.max(0, Math.floor(y - r)); j <= Math.min(SIDE - 1, y + r); j++)
      for (let i = Math.max(0, Math.floor(x - r)); i <= Math.min(SIDE - 1, x + r); i++)
        if ((i - x) ** 2 + (j - y) ** 2 <= r * r) ids[j * SIDE + i] = brush;
  };
  const line = (a, b) => {
    const steps = Math.max(1, Math.ceil(Math.hypot(b.x - a.x, b.y - a.y) / 2));
    for (let k = 0; k <= steps; k++) dab(a.x + (b.x - a.x) * k / steps, a.y + (b.y - a.y) * k / steps);
  };
  const flood = (x, y) => {
    const start = Math.floor(y) * SIDE + Math.floor(x), old = ids[start];
    if (old === brush) return;
    const stack = [start];
    while (stack.length) {
      const at = stack.pop();
      if (ids[at] !== old) continue;
      ids[at] = brush;
      const i = at % SIDE;
      if (i > 0) stack.push(at - 1);
      if (i < SIDE - 1) stack.push(at + 1);
      if (at >= SIDE) stack.push(at - SIDE);
      if (at < SIDE * (SIDE - 1)) stack.push(at + SIDE);
    }
  };
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    return { x: (e.clientX - box.left) / box.width * SIDE, y: (e.clientY - box.top) / box.height * SIDE };
  };
  canvas.addEventListener("pointerdown", (e) => {
    canvas.setPointerCapture(e.pointerId);
    keep();
    last = place(e);
    if (filling) { flood(last.x, last.y); last = null; draw(); publish(); return; }
    dab(last.x, last.y);
    draw();
  });
  canvas.addEventListener("pointermove", (e) => {
    if (!last) return;
    const now = place(e);
    line(last, now);
    last = now;
    draw();
  });
  const lift = () => { if (last) { last = null; publish(); } };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  const undo = () => { if (done.length) { undone.push(ids); ids = done.pop(); draw(); publish(); } };
  const redo = () => { if (undone.length) { done.push(ids); ids = undone.pop(); draw(); publish(); } };
  canvas.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: [-4, 0], ArrowRight: [4, 0], ArrowUp: [0, -4], ArrowDown: [0, 4] }[e.key];
    if (step) {
      cursor.shown = true;
      cursor.x = Math.min(SIDE - 1, Math.max(0, cursor.x + step[0]));
      cursor.y = Math.min(SIDE - 1, Math.max(0, cursor.y + step[1]));
      draw();
    } else if (e.key === " ") { keep(); dab(cursor.x, cursor.y); draw(); publish();
    } else if (e.key.toLowerCase() === "z") { if (e.shiftKey) redo(); else undo();
    } else return;
    e.preventDefault();
  });
  canvas.addEventListener("blur", () => { cursor.shown = false; draw(); });
  const clear = () => { keep(); ids = new Uint8Array(SIDE * SIDE); draw(); publish(); };
  root.append(
    make("div", { class: "lm-canvas" }, canvas),
    make("div", { class: "lm-tools" }, make("label", {}, "Brush ", width), fill, tool("Undo", undo), tool("Redo", redo),
      tool("Clear", clear)),
    palette);
  const show = async () => {
    const text = props.value || "";
    if (text === sent) return;
    const value = parsed(text, null), shown = new Uint8Array(SIDE * SIDE);
    if (value) {
      const map = await idsOf(value.map);
      for (let j = 0; j < SIDE; j++)
        for (let i = 0; i < SIDE; i++)
          shown[j * SIDE + i] = map.ids[Math.floor(j * map.height / SIDE) * map.width + Math.floor(i * map.width / SIDE)];
    }
    const same = (other) => shown.every((id, k) => id === other[k]);
    if (known.some((each) => Date.now() - each.when < ECHO && same(each.ids))) return;
    sent = text;
    known = [];
    if (!same(ids)) keep();
    ids = shown;
    remember();
    count();
    draw();
  };
  watch("value", show);
  draw();
  show();
};

// A photo to open with a brush: what is brushed is transparent. The value is JSON {photo: id, mask: PNG data URL}.
limner.opening = (element, trigger, props, watch) => {
  const { make, parsed, loadImage } = limner;
  const root = element.querySelector(".lm-opening");
  const canvas = make("canvas", { role: "application", tabindex: "0", "aria-label": "Brush over what is to be painted again" });
  let photo = null, open = null, id = "", last = null, size = 0.08, sent = null;
  const note = make("p", { class: "lm-note" }, "Choose a photo first.");
  const show = () => {
    if (!photo) return;
    const pen = canvas.getContext("2d");
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.6;
    pen.drawImage(open, 0, 0);
    pen.globalAlpha = 1;
  };
  const publish = () => {
    const out = make("canvas", { width: photo.naturalWidth, height: photo.naturalHeight });
    const pen = out.getContext("2d");
    pen.fillRect(0, 0, out.width, out.height);
    pen.globalCompositeOperation = "destination-out";
    pen.drawImage(open, 0, 0, out.width, out.height);
    sent = JSON.stringify({ photo: id, mask: out.toDataURL("image/png") });
    props.value = sent;
    root.dataset.opened = "yes";
  };
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    return { x: (e.clientX - box.left) / box.width * canvas.width, y: (e.clientY - box.top) / box.height * canvas.height };
  };
  const stroke = (a, b) => {
    const pen = open.getContext("2d");
    pen.strokeStyle = "#ff5a36";
    pen.lineCap = "round";
    pen.lineWidth = size * canvas.width;
    pen.beginPath();
    pen.moveTo(a.x, a.y);
    pen.lineTo(b.x, b.y + 0.01);
    pen.stroke();
    show();
  };
  canvas.addEventListener("pointerdown", (e) => {
    if (!photo) return;
    canvas.setPointerCapture(e.pointerId);
    last = place(e);
    stroke(last, last);
  });
  canvas.addEventListener("pointermove", (e) => { if (last) { const now = place(e); stroke(last, now); last = now; } });
  const lift = () => { if (last) { last = null; publish(); } };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  const blank = () => {
    open = make("canvas", { width: canvas.width, height: canvas.height });
    show();
  };
  const width = make("input", { type: "range", min: 1, max: 25, value: 8, "aria-label": "Brush size",
    oninput: (e) => { size = Number(e.target.value) / 100; } });
  root.append(note, make("div", { class: "lm-canvas" }, canvas),
    make("div", { class: "lm-tools" }, make("label", {}, "Brush ", width),
      make("button", { type: "button", class: "lm-small", onclick: () => {
        if (photo) { blank(); sent = JSON.stringify({ photo: id }); props.value = sent; }
      } }, "Clear")));
  canvas.hidden = true;
  const load = async () => {
    const text = props.value || "";
    if (text === sent) return;
    sent = text;
    id = parsed(text, {}).photo || "";
    canvas.hidden = !id;
    note.hidden = !!id;
    photo = null;
    if (!id) return;
    const image = await loadImage(`/v1/pictures/${id}`);
    const scale = Math.min(1, 800 / Math.max(image.naturalWidth, image.naturalHeight));
    canvas.width = Math.round(image.naturalWidth * scale);
    canvas.height = Math.round(image.naturalHeight * scale);
    photo = image;
    root.dataset.ready = id;
    blank();
  };
  watch("value", load);
  load();
};
