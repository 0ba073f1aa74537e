"""The place Ask: talk about a photo. Without UniF²ace's weights it says so, and tells what the reader read instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import gradio as gr

from limner.errors import InputError
from limner.serving.requests import FacesRequest
from limner.serving.server import Server, Turns
from limner.serving.studio import components
from limner.serving.studio.read import table_of
from limner.serving.token_stream import Tell


def place(server: Server) -> None:
    """Build it."""
    reason = server.engines.missing("ask")
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            photo = components.picker("Drop a photo to ask about", "ask-photo")
            facts = gr.HTML("", elem_id="ask-facts")
        with gr.Column(scale=3, min_width=300):
            if reason is not None:
                gr.HTML(components.notice(f"{reason}. Until then you get what the analysers read of the photo."))
            talk = gr.Chatbot(label="Conversation", height=420, elem_id="ask-talk", buttons=["copy"])
            with gr.Row():
                question = gr.Textbox(
                    placeholder="Is she smiling?",
                    show_label=False,
                    container=False,
                    scale=5,
                    max_length=2000,
                    elem_id="ask-question",
                )
                send = gr.Button("Ask", variant="primary", scale=1, min_width=80, elem_id="ask-send")
            stop = gr.Button("Stop", size="sm", elem_id="ask-stop")

    turns = gr.State([])

    def show(picture: str) -> str:
        if not picture:
            return ""
        try:
            faces = server.faces(FacesRequest(photo=picture))["faces"]
        except InputError as error:
            return components.notice(str(error), "bad")
        return table_of(faces[0]) if faces else components.notice("No face found in this photo.", "bad")

    def write(picture: str, text: str, before: Turns, tell: Tell) -> None:
        if reason is None:
            server.tell_answer(picture, text, tell, before)
        else:
            tell(f"UniF²ace is not available here. The reader found: {server.describe(picture, 'reader')}")

    async def answer(text: str, picture: str, so_far: list[dict], before: Turns) -> AsyncIterator[tuple[Any, ...]]:
        if not text.strip():
            yield so_far, "", before
            return
        so_far = [*so_far, {"role": "user", "content": text}]
        if not picture:
            yield [*so_far, {"role": "assistant", "content": "Choose a photo first."}], "", before
            return
        yield [*so_far, {"role": "assistant", "content": "…"}], "", before
        shown = ""
        try:
            async with aclosing(server.told(partial(write, picture, text, before))) as pieces:
                async for piece in pieces:
                    shown += piece
                    yield [*so_far, {"role": "assistant", "content": shown}], "", before
            yield [*so_far, {"role": "assistant", "content": shown}], "", [*before, (text, shown)]
        except InputError as error:
            yield [*so_far, {"role": "assistant", "content": str(error)}], "", before

    # another photo, another conversation
    photo.picked(lambda: ([], []), None, [talk, turns], show_progress="hidden", api_visibility="private")
    photo.picked(show, photo, facts, show_progress="hidden", api_visibility="private")
    asked = gr.on(
        [send.click, question.submit], answer, [question, photo, talk, turns], [talk, question, turns],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    stop.click(None, cancels=[asked], api_visibility="private")
