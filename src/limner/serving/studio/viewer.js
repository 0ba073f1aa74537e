// What was read of a photo: regions, boxes and landmarks over it, each to be switched on and off.
limner.viewer = (element, trigger, props, watch) => {
  const { make, loadImage, parsed, idsOf } = limner;
  const root = element.querySelector(".lm-viewer");
  const canvas = make("canvas", { role: "img", "aria-label": "the photo with what was read drawn over it" });
  const legend = make("fieldset", { class: "lm-legend" });
  root.append(canvas, legend);
  const hidden = new Set(["landmarks"]);
  let read = null, photo = null, maps = [];
  const draw = () => {
    if (!read) return;
    const scale = Math.min(1, 1000 / Math.max(read.width, read.height));
    canvas.width = Math.round(read.width * scale);
    canvas.height = Math.round(read.height * scale);
    const pen = canvas.getContext("2d");
    pen.drawImage(photo, 0, 0, canvas.width, canvas.height);
    for (const { ids, width, height } of maps) {
      const layer = make("canvas", { width, height });
      const paint = layer.getContext("2d");
      const pixels = paint.createImageData(width, height);
      for (let k = 0; k < ids.length; k++) {
        const id = ids[k];
        if (id === 0 || hidden.has(id)) continue;
        const [r, g, b] = read.colours[id];
        pixels.data.set([r, g, b, 130], 4 * k);
      }
      paint.putImageData(pixels, 0, 0);
      pen.imageSmoothingQuality = "high";
      pen.filter = "blur(0.8px)"; // rounds the stairs of the map
      pen.drawImage(layer, 0, 0, canvas.width, canvas.height);
      pen.filter = "none";
    }
    pen.lineWidth = Math.max(2, canvas.width / 400);
    pen.font = `600 ${Math.max(14, canvas.width / 45)}px system-ui, sans-serif`;
    read.faces.forEach((face, number) => {
      const [x1, y1, x2, y2] = face.box.map((edge) => edge * scale);
      if (!hidden.has("boxes")) {
        pen.strokeStyle = "rgba(0,0,0,.45)";
        pen.strokeRect(x1 + 1, y1 + 1, x2 - x1, y2 - y1);
        pen.strokeStyle = "#fff";
        pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
        pen.fillStyle = "#fff";
        pen.shadowColor = "#000";
        pen.shadowBlur = 4;
        pen.fillText(String(number + 1), x1 + 6, y1 + Math.max(16, canvas.width / 40));
        pen.shadowBlur = 0;
      }
      if (!hidden.has("landmarks")) {
        pen.fillStyle = "rgba(255,255,255,.85)";
        for (const [x, y] of face.landmarks) pen.fillRect(x * scale - 1, y * scale - 1, 2, 2);
      }
    });
  };
  const chip = (key, name, colour) => {
    const box = make("input", { type: "checkbox", checked: !hidden.has(key), onchange: (e) => {
      if (e.target.checked) hidden.delete(key); else hidden.add(key);
      draw();
    } });
    box.checked = !hidden.has(key);
    const swatch = colour ? make("span", { class: "lm-swatch", style: `background: rgb(${colour})` }) : null;
    return make("label", { class: "lm-chip" }, box, swatch, name);
  };
  const show = async () => {
    const value = parsed(props.value, null);
    legend.replaceChildren();
    if (!value) { read = null; canvas.width = canvas.height = 0; return; }
    photo = await loadImage(`/v1/pictures/${value.photo}`);
    maps = await Promise.all(value.faces.map((face) => idsOf(`/v1/pictures/${face.regions}`)));
    read = value;
    const there = new Set(maps.flatMap((map) => [...new Set(map.ids)]));
    legend.append(make("legend", {}, "Show"), chip("boxes", "boxes"), chip("landmarks", "landmarks"));
    value.names.forEach((name, id) => { if (id && there.has(id)) legend.append(chip(id, name, value.colours[id])); });
    draw();
    root.dataset.ready = value.photo;
  };
  watch("value", show);
  show();
};
