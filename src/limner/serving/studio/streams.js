// Gradio's server ends a session's stream of messages when no event is left, and its client forgets an event that joins in
// that very moment: its button would wait for ever. So an end reaches the client only while no event joins or waits;
// otherwise the stream is asked for again, and the client sees one that never ended.
(() => {
  const ask = window.fetch.bind(window);
  const joins = new Set(); // requests on their way
  const waiting = new Set(); // ids of events that have joined
  const done = new Set(); // ids that were completed before their join was answered

  const join = async (resource, options) => {
    const answer = await ask(resource, options);
    const { event_id: id } = await answer.clone().json().catch(() => ({}));
    if (id && !done.delete(id)) waiting.add(id);
    return answer;
  };
  const tracked = (promise) => {
    joins.add(promise);
    const gone = () => joins.delete(promise);
    promise.then(gone, gone);
    return promise;
  };
  const messages = async function* (body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { done: ended, value } = await reader.read();
      if (ended) return;
      const parts = (text + value).split("\n\n");
      text = parts.pop();
      yield* parts;
    }
  };
  const parsed = (message) => {
    try { return JSON.parse(message.slice(message.indexOf(":") + 1)); } catch { return {}; }
  };
  const stream = async (resource, options) => {
    const open = () => ask(resource instanceof Request ? resource.clone() : resource, options);
    const first = await open();
    if (!first.ok || !first.body) return first;
    const told = async function* (answer) {
      let end = null;
      for await (const message of messages(answer.body)) {
        const { msg, event_id: id } = parsed(message);
        if (msg === "close_stream") { end = message; break; }
        if (msg === "process_completed" && !waiting.delete(id)) done.add(id);
        yield message;
      }
      await Promise.allSettled(joins);
      const next = end !== null && waiting.size ? await open() : null;
      if (next?.ok) yield* told(next);
      else if (end !== null) yield end;
    };
    const source = told(first), encoder = new TextEncoder();
    const body = new ReadableStream({
      async pull(controller) {
        const { done: ended, value } = await source.next();
        if (ended) controller.close();
        else controller.enqueue(encoder.encode(value + "\n\n"));
      },
      cancel: () => source.return(),
    });
    return new Response(body, { status: first.status, headers: first.headers });
  };
  window.fetch = (resource, options) => {
    const address = String(resource?.url ?? resource);
    if (address.includes("/queue/join")) return tracked(join(resource, options));
    if (address.includes("/queue/data")) return stream(resource, options);
    return ask(resource, options);
  };
})();
