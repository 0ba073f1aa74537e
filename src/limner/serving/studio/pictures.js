// Pictures side by side, each a button. The value is JSON [{id, caption}]; choosing one fires the event with its id.
limner.pictures = (element, trigger, props, watch, event) => {
  const { make, parsed } = limner;
  const root = element.querySelector(".lm-pictures");
  const show = () => {
    const value = parsed(props.value, []);
    root.replaceChildren(...value.map(({ id, url, caption }) => {
      const image = make("img", { src: url || `/v1/pictures/${id}${root.dataset.small ? "?side=256" : ""}`, alt: caption || "", loading: "lazy" });
      if (!id) return make("figure", { class: "lm-preview" }, image);
      return make("button", { type: "button", class: "lm-picture", "data-id": id, "aria-label": `Open: ${caption}`,
        onclick: () => trigger(event, { id }) }, image, make("span", {}, caption || ""));
    }));
    if (!value.length) root.append(make("p", { class: "lm-hint" }, root.dataset.empty));
  };
  watch("value", show);
  show();
};

// Before and after, a slider between them. The value is JSON {before, after}: picture ids; or {preview}: an
// address, while it is made.
limner.compare = (element, trigger, props, watch) => {
  const { make, parsed } = limner;
  const root = element.querySelector(".lm-compare");
  const show = () => {
    const value = parsed(props.value, null);
    root.replaceChildren();
    if (!value) { root.append(make("p", { class: "lm-hint" }, root.dataset.empty)); return; }
    if (value.preview) {
      root.append(make("figure", { class: "lm-preview" }, make("img", { src: value.preview, alt: "a preview" })));
      return;
    }
    const after = make("img", { src: `/v1/pictures/${value.after}`, alt: "after" });
    const before = make("img", { src: value.before_url || `/v1/pictures/${value.before}`, alt: "before", class: "lm-before" });
    const slide = (share) => root.style.setProperty("--share", `${share}%`);
    const range = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after",
      oninput: (e) => slide(e.target.value) });
    slide(50);
    root.append(make("div", { class: "lm-pair" }, after, before, make("span", { class: "lm-edge" })), range,
      make("a", { class: "lm-link", href: `/v1/pictures/${value.after}?download=yes`, download: true }, "Download with provenance"));
  };
  watch("value", show);
  show();
};
