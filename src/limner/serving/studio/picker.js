// A photo: dropped, chosen, or pasted. Sent to /v1/uploads; the value is its id.
limner.picker = (element, trigger, props, watch, event) => {
  const { make, say, sending } = limner;
  const root = element.querySelector(".lm-picker");
  const input = make("input", { type: "file", accept: "image/*", class: "lm-hidden", tabindex: "-1", "aria-hidden": "true" });
  const shown = make("img", { alt: "the chosen picture", hidden: true });
  const hint = make("span", { class: "lm-hint" }, root.dataset.hint);
  const button = make("button", { type: "button", class: "lm-drop", "aria-label": root.dataset.hint }, shown, hint);
  const clear = make("button", { type: "button", class: "lm-small", hidden: true }, "Remove");
  const note = make("p", { class: "lm-note", role: "alert" });
  root.append(button, clear, input, note);
  const show = () => {
    const id = props.value || "";
    shown.hidden = clear.hidden = !id;
    hint.hidden = !!id;
    if (id) shown.src = `/v1/pictures/${id}?side=512`;
  };
  const send = (file) => { if (file) sending(upload(file)); };
  const upload = async (file) => {
    note.textContent = "";
    root.classList.add("lm-busy");
    try {
      const form = new FormData();
      form.append("file", file);
      const answer = await fetch("/v1/uploads", { method: "POST", body: form });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error.message);
      props.value = body.id;
      show();
      say(trigger, event);
    } catch (error) {
      note.textContent = error.message;
    } finally {
      root.classList.remove("lm-busy");
    }
  };
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => { send(input.files[0]); input.value = ""; });
  clear.addEventListener("click", () => { props.value = ""; show(); say(trigger, event); });
  button.addEventListener("dragover", (e) => { e.preventDefault(); root.classList.add("lm-over"); });
  button.addEventListener("dragleave", () => root.classList.remove("lm-over"));
  button.addEventListener("drop", (e) => {
    e.preventDefault();
    root.classList.remove("lm-over");
    send(e.dataTransfer.files[0]);
  });
  button.addEventListener("paste", (e) => send([...e.clipboardData.files][0]));
  watch("value", show);
  show();
};
