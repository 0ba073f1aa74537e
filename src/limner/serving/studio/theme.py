"""Colours and type of the page: warm paper, ink, vermilion; system fonts, so that nothing is fetched."""

from __future__ import annotations

import gradio as gr

_VERMILION = gr.themes.Color(
    "#fdf3ef", "#fbe3d9", "#f6c5b3", "#eea085", "#e27a57", "#d05c37", "#b64626", "#94371f", "#772f1e", "#61291c",
    "#34130c",
)  # fmt: skip
_PAPER = gr.themes.Color(
    "#fbfaf8", "#f4f1ec", "#e7e2d9", "#d3ccbf", "#a79f91", "#7b7468", "#5c564d", "#45413a", "#2b2925", "#1e1c1a",
    "#151412",
)  # fmt: skip


def theme() -> gr.themes.Base:
    """The page's theme."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
    base = gr.themes.Base(
        primary_hue=_VERMILION,
        secondary_hue=_VERMILION,
        neutral_hue=_PAPER,
        radius_size="md",
        font=[gr.themes.Font(name) for name in sans],
        font_mono=[gr.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")],
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="#ffffff",
        block_label_text_weight="500",
        button_large_radius="*radius_md",
    )
